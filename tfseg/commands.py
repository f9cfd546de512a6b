"""What each command does once its words are understood; TensorFlow loads only after everything cheap was checked."""

import argparse
import dataclasses
import json
import os
import sys
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfseg.config import Recipe, parse_assignments
from tfseg.errors import InputError, WorkError
from tfseg.quiet import silent_stderr

if TYPE_CHECKING:
    from tfseg.data.source import Source
    from tfseg.lite.convert import Options
    from tfseg.progress import Watch
    from tfseg.summary import Table

RECIPE_FLAGS = ("dataset", "model", "weights", "folds", "epochs", "image_size", "batch_size", "seed", "deploy", "final")
PHANTOM_SUBJECTS, PHANTOM_FRAMES, PHANTOM_EMPTY = 40, 3, 0.3  # many subjects: a small run has something to learn


def kfold(arguments: argparse.Namespace) -> None:
    """tfseg kfold."""
    _train(arguments, only=None)


def train(arguments: argparse.Namespace) -> None:
    """tfseg train: the first fold alone."""
    _train(arguments, only=0)


def _train(arguments: argparse.Namespace, *, only: int | None) -> None:
    recipe = _recipe(arguments)
    _check_names(recipe)
    from tfseg import runs
    from tfseg.data.locate import find
    from tfseg.progress import progress

    root = find(recipe.dataset, arguments.data)
    run = _run_folder(arguments, recipe)
    with progress() as watch:
        source = _source(recipe, root or _phantom(recipe.dataset, watch), watch)
        if source.phantom:
            _say(f"PHANTOM: {source.root} holds simulated images; no result here says anything about patients")
        if recipe.weights:
            _load_tensorflow()
            from tfseg.models.pretrained import fetch

            fetch(recipe.model, recipe.weights)
        with runs.locked(run):
            runs.sweep(run)
            _load_tensorflow()
            from tfseg.kfold import kfold as cross_validate
            from tfseg.report.html import write_report

            summary = cross_validate(recipe, source, run, command=runs.command_line(), only=only, watch=watch)
            write_report(run)
    _print_summary(summary, as_json=arguments.json)
    _say(f"run: {run}  report: {run / runs.REPORT}")


def evaluate(arguments: argparse.Namespace) -> None:
    """tfseg evaluate."""
    if arguments.run.suffix == ".tflite":
        _evaluate_file(arguments)
        return
    from tfseg import runs
    from tfseg.data import dataset
    from tfseg.data.locate import find
    from tfseg.progress import progress

    recipe = runs.read_recipe(arguments.run)
    name = arguments.dataset or recipe.dataset
    dataset(name)
    own = arguments.data is None and name == recipe.dataset
    root = _run_data(arguments.run) if own else find(name, arguments.data)
    if root is None:
        raise InputError(f"{name}: the images are not there; name their folder with --data DIR")
    with progress() as watch:
        source = _source(Recipe.from_mapping({"dataset": name}, base=recipe), root, watch)
        _load_tensorflow()
        from tfseg.kfold import rescore

        summary = rescore(arguments.run, source, watch=watch)
    _print_summary(summary, as_json=arguments.json)


def _run_data(run: Path) -> Path:
    """Return the folder of images that a run learned from."""
    from tfseg import runs

    root = Path(runs.read_json(run / runs.PROVENANCE)["data"]["root"])
    if not root.is_dir():
        raise InputError(f"{root}: the images are not there; name their folder with --data DIR")
    return root


def _evaluate_file(arguments: argparse.Namespace) -> None:
    _load_tensorflow()
    from tfseg.data import dataset
    from tfseg.data.locate import find
    from tfseg.deploy import score_file
    from tfseg.lite import metadata
    from tfseg.progress import progress

    about = metadata.read(arguments.run)
    name = arguments.dataset or about.dataset
    dataset(name).select(about.classes)
    root = find(name, arguments.data)
    if root is None:
        raise InputError(f"{name}: the images are not there; name their folder with --data DIR")
    with progress() as watch:
        source = _source(Recipe.from_mapping({"dataset": name, "channels": about.channels}), root, watch)
        summary = score_file(arguments.run, source, watch=watch)
    _print_summary(summary, as_json=arguments.json)


def convert(arguments: argparse.Namespace) -> None:
    """tfseg convert."""
    from tfseg import runs

    if not arguments.precisions and not arguments.sensitivity:
        raise InputError("say what kind of file: --fp32, --fp16, --dynamic, --int8, --int8-qat or --prune SHARE")
    path = arguments.path or runs.newest(Path("runs"))
    if path is None:
        raise InputError("no run in runs: name a run folder or a .keras file")
    if arguments.out and len(arguments.precisions) > 1:
        raise InputError(f"--out {arguments.out}: name one kind of file, or leave --out to tfseg")
    single = path.suffix == ".keras"
    if single:
        folder, name = path.parent, path.stem
    else:
        folder, name = path, runs.read_recipe(path).model.replace("@", "_")
    targets = {kind: arguments.out or folder / f"{name}-{kind}.tflite" for kind in dict.fromkeys(arguments.precisions)}
    for target in targets.values():
        if target.suffix != ".tflite":
            raise InputError(f"--out {target}: the name of such a file ends in .tflite")
        if target.exists():
            raise InputError(f"{target}: exists already; choose another place with --out, or remove it")
    if single and not path.is_file():
        raise InputError(f"{path}: no such file")
    if single and arguments.sensitivity:
        raise InputError(f"{path}: --sensitivity scores images that the network never saw: name its run")
    (_convert_file if single else _convert_run)(arguments, path, targets)


def _convert_file(arguments: argparse.Namespace, path: Path, targets: dict[str, Path]) -> None:
    from tfseg.progress import progress

    _load_tensorflow()
    from tfseg.deploy import convert_file

    with progress() as watch:
        for kind, target in targets.items():
            convert_file(path, _options(arguments, kind), target, images=arguments.calibration, watch=watch)
            _say(
                f"{target}: {target.stat().st_size / 1e6:.2f} MB; not scored: convert its run to know what it is worth"
            )
    if arguments.json:
        print(json.dumps({"written": [str(target) for target in targets.values()]}, indent=2))


def _convert_run(arguments: argparse.Namespace, run: Path, targets: dict[str, Path]) -> None:
    from tfseg import runs
    from tfseg.progress import progress

    if arguments.calibration:
        raise InputError("--calibration goes with a .keras file; a run calibrates on images that it learned from")
    recipe = runs.read_recipe(run)
    root = arguments.data or _run_data(run)
    lost = []
    with progress() as watch:
        source = _source(recipe, root, watch)
        if source.fingerprint != runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"]:
            raise InputError(f"{root}: holds other images than {run} learned from; name those with --data DIR")
        with runs.locked(run):
            _load_tensorflow()
            from tfseg.deploy import drops, sensitivity, ship
            from tfseg.job import Job
            from tfseg.report.html import write_report

            job = Job(recipe=recipe, source=source, run=run, watch=watch)
            if arguments.sensitivity:
                _print_sensitivity(sensitivity(job), recipe.dataset, as_json=arguments.json)
            for kind, target in targets.items():
                summary = ship(job, _options(arguments, kind), target)
                _print_summary(summary, as_json=arguments.json, comparison_only=True)
                _say(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
                lost += [
                    f"{target}: loses {drop:.4f} Dice of {name}, more than --max-drop {arguments.max_drop:g}"
                    for name, drop in drops(summary, kind).items()
                    if drop > arguments.max_drop
                ]
            write_report(run)
    if lost:
        raise WorkError(f"{'; '.join(lost)}; the file is kept, and says so")


def _options(arguments: argparse.Namespace, kind: str) -> "Options":
    from tfseg.lite.convert import Options

    return Options.of(
        kind,
        input=arguments.input,
        head=arguments.head,
        image_size=arguments.image_size,
        keep_float=arguments.keep_float if kind.startswith("int8") else "",
    )


def _print_sensitivity(changes: dict[str, dict[str, float]], title: str, *, as_json: bool) -> None:
    from tfseg.summary import Table

    if as_json:
        print(json.dumps({"sensitivity": changes}, indent=2))
        return
    classes = list(next(iter(changes.values()), {}))
    table = Table(
        title=f"{title}: what 8 bits in one layer alone change",
        note="Dice of the first fold's unseen images, less that of the fp32 file. --keep-float NAME spares a layer.",
        header=("layer", *(f"Dice, {name}" for name in classes)),
        rows=tuple((layer, *(f"{by_class[name]:+.4f}" for name in classes)) for layer, by_class in changes.items()),
    )
    _print_table(table)


def predict(arguments: argparse.Namespace) -> None:
    """tfseg predict."""
    from tfseg import runs
    from tfseg.predict import expand, masks, refuse_existing, run_lengths
    from tfseg.progress import progress

    images = expand(arguments.inputs)
    if arguments.run.suffix not in (".keras", ".tflite"):
        runs.read_recipe(arguments.run)
    elif not arguments.run.is_file():
        raise InputError(f"{arguments.run}: no such file")
    _load_tensorflow()
    from tfseg.inference import open_network, write_masks
    from tfseg.lite.interpret import open_file
    from tfseg.overlays import overlay, write_png

    if arguments.run.suffix == ".tflite":
        predictor, masking = open_file(arguments.run)
    else:
        predictor, masking = open_network(arguments.run, fold=arguments.fold)
    classes = masking.classes
    if arguments.class_name is not None:
        if arguments.class_name not in classes:
            raise InputError(f"--class {arguments.class_name}: this network knows {', '.join(classes)}")
        classes = (arguments.class_name,)
    if arguments.rle and len(classes) > 1:
        raise InputError(f"--rle holds one class: choose it with --class ({', '.join(classes)})")
    outputs = [
        f"{name}_{part}.png" for name in images for part in (*classes, *(["overlay"] if arguments.overlay else []))
    ]
    refuse_existing([arguments.out / name for name in outputs] + ([arguments.rle] if arguments.rle else []))
    channel = [masking.classes.index(name) for name in classes]
    lines, written = [], []
    with progress() as watch:
        for done, (name, image, mask) in enumerate(masks(predictor, masking, images), 1):
            mask = mask[..., channel]
            written += write_masks(mask, arguments.out / name, classes)
            if arguments.overlay:
                written.append(write_png(arguments.out / f"{name}_overlay.png", overlay(image, None, mask)))
            lines.append((Path(name).name, run_lengths(mask[..., 0])))
            watch("predicting", done, len(images))
    if arguments.rle:
        runs.write_csv(arguments.rle, ("img", "pixels"), lines)
        written.append(arguments.rle)
    if arguments.json:
        print(json.dumps({"written": [str(path) for path in written]}, indent=2))
    else:
        _say(f"{len(images)} images: {len(written)} files in {arguments.out}")


def inspect(arguments: argparse.Namespace) -> None:
    """tfseg inspect."""
    from tfseg.lite import gpu
    from tfseg.lite import inspect as inspecting

    found = inspecting.inspect(arguments.file)
    if arguments.gpu:
        found = dataclasses.replace(found, run=gpu.run(arguments.file))
    print(json.dumps(found.to_json(), indent=2) if arguments.json else "\n".join(inspecting.lines(found)))


def benchmark(arguments: argparse.Namespace) -> None:
    """tfseg benchmark."""
    from tfseg.bench import command, result

    cells = command.run(arguments, tell=_say)
    if cells:
        _print_table(command.table(cells))
    if failed := [cell for cell in cells if cell.status == result.FAILED]:
        raise WorkError(f"{len(failed)} of {len(cells)} measurements failed; the first: {result.headline(failed[0])}")


def report(arguments: argparse.Namespace) -> None:
    """tfseg report."""
    if (arguments.run is None) == (arguments.benchmark is None):
        raise InputError("name a run folder, or results with --benchmark DIR")
    if arguments.benchmark:
        from tfseg.report.benchmark import write_benchmark_report

        print(write_benchmark_report(arguments.benchmark))
        return
    from tfseg import runs
    from tfseg.report.html import write_report

    runs.read_recipe(arguments.run)
    print(write_report(arguments.run))


def models_list(arguments: argparse.Namespace) -> None:
    """tfseg models."""
    from tfseg import models
    from tfseg.progress import progress

    _load_tensorflow()
    import keras

    from tfseg.models.cost import gmac, parameters
    from tfseg.summary import Table

    rows, names = [], models.names()
    with progress() as watch:
        for done, name in enumerate(names, 1):
            keras.backend.clear_session()
            model, row = models.build(name, (256, 256, 3), classes=1), models.network(name)[0]
            rows.append(
                {
                    "name": name,
                    "parameters": parameters(model),
                    "gmac": round(gmac(model), 3),
                    "stride": row.stride,
                    "paper": row.paper,
                }
            )
            watch("building networks", done, len(names))
    if arguments.json:
        print(json.dumps(rows, indent=2))
        return
    _print_table(
        Table(
            title="Networks",
            header=("name", "parameters", "GMAC", "stride", "paper"),
            rows=tuple(
                (row["name"], f"{row['parameters']:,}", f"{row['gmac']:.2f}", str(row["stride"]), row["paper"])
                for row in rows
            ),
            note="Trainable parameters, three channels in, one class; GMAC at 256x256.",
        )
    )


def models_import(arguments: argparse.Namespace) -> None:
    """tfseg import."""
    from tfseg import models, runs

    models.network(arguments.model, image_size=arguments.image_size)
    if arguments.out.suffix != ".keras":
        raise InputError(f"--out {arguments.out}: the name of a network file ends in .keras")
    if arguments.out.exists():
        raise InputError(f"{arguments.out}: exists already; choose another place or remove it")
    _load_tensorflow()
    from tfseg.models.cost import parameters
    from tfseg.models.files import Card, save
    from tfseg.models.import_torch import import_network, read_state_dict

    state = read_state_dict(arguments.weights)
    model = import_network(arguments.model, state, image_size=arguments.image_size)
    channels, outputs = model.input_shape[-1], model.output_shape[-1]
    classes = arguments.classes.split(",") if arguments.classes else [f"class{k + 1}" for k in range(outputs)]
    if len(set(classes)) != outputs:
        raise InputError(f"--classes {','.join(classes)}: the weights have {outputs} classes, each needs its own name")
    card = Card(
        model=arguments.model,
        classes=tuple(classes),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset=arguments.weights.name,
        fingerprint=runs.sha256(arguments.weights),
        phantom=False,
        fold=None,
    )
    save(model, arguments.out, card)
    answer = {
        "written": str(arguments.out),
        "model": arguments.model,
        "tensors": len(state),
        "parameters": parameters(model),
        "channels": channels,
        "classes": classes,
    }
    if arguments.json:
        print(json.dumps(answer, indent=2))
    else:
        _say(f"{arguments.out}: {arguments.model} with {answer['parameters']:,} parameters, {', '.join(classes)}")


def data_list(arguments: argparse.Namespace) -> None:
    """tfseg data list."""
    from tfseg.data import DATASETS
    from tfseg.data.locate import candidates, find

    table = [
        {
            "name": row.name,
            "classes": list(row.classes),
            "layout": row.layout,
            "licence": row.licence,
            "citation": row.citation,
            "source": row.source,
            "looked_for": [str(path) for path in candidates(row.name)],
            "found": None if (found := find(row.name, None)) is None else str(found),
        }
        for row in DATASETS.values()
    ]
    if arguments.json:
        print(json.dumps(table, indent=2))
        return
    for row in table:
        print(f"{row['name']}: {', '.join(row['classes'])}")
        print(f"    layout   {row['layout']}")
        print(f"    licence  {row['licence']}")
        print(f"    source   {row['source']}")
        print(
            f"    found    {row['found']}" if row["found"] else f"    missing  looked in {', '.join(row['looked_for'])}"
        )


def data_check(arguments: argparse.Namespace) -> None:
    """tfseg data check."""
    from tfseg.data import dataset
    from tfseg.data.hygiene import check, fatal, lines
    from tfseg.data.locate import find
    from tfseg.progress import progress

    row = dataset(arguments.dataset)
    root = find(row.name, arguments.folder)
    assert root is not None
    with progress() as watch:
        found = check(row, root, watch=lambda done, total: watch("checking images", done, total))
    if arguments.json:
        print(json.dumps(found.to_json(), indent=2))
    else:
        print("\n".join(lines(found, limit=5)))
    if fatal(found):
        raise InputError(f"{root}: training on this folder would be wrong; mend the errors listed above")


def data_phantom(arguments: argparse.Namespace) -> None:
    """tfseg data phantom."""
    from tfseg.data import dataset
    from tfseg.data.phantom import generate
    from tfseg.progress import progress

    dataset(arguments.name)
    for name in ("subjects", "frames"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} {getattr(arguments, name)}: at least 1")
    with progress() as watch:
        images = generate(
            arguments.name,
            arguments.folder,
            subjects=arguments.subjects,
            frames=arguments.frames,
            seed=arguments.seed,
            watch=lambda done, total: watch("simulating images", done, total),
        )
    _say(f"{images} simulated images in {arguments.folder}")


def data_get(arguments: argparse.Namespace) -> None:
    """tfseg data get."""
    from tfseg.data import dataset
    from tfseg.data.locate import get

    print(get(dataset(arguments.name).name))


def _recipe(arguments: argparse.Namespace) -> Recipe:
    flags = {name: value for name in RECIPE_FLAGS if (value := getattr(arguments, name, None)) is not None}
    overrides = flags | parse_assignments(arguments.set)
    if arguments.recipe is not None:
        recipe = Recipe.load(arguments.recipe, overrides=overrides)
    else:
        own = resources.files("tfseg") / "recipes" / f"{overrides.get('dataset', Recipe.dataset)}.toml"
        with resources.as_file(own) as path:
            recipe = Recipe.load(path, overrides=overrides) if path.is_file() else Recipe.from_mapping(overrides)
    return recipe if "image_size" in overrides else _fitting(recipe)


def _fitting(recipe: Recipe) -> Recipe:
    """Enlarge an image size that nobody asked for, the recipe's, to what the network takes."""
    from tfseg.models import network

    stride = network(recipe.model)[0].stride
    size = -(-recipe.image_size // stride) * stride
    if size == recipe.image_size:
        return recipe
    _say(
        f"image_size = {size}: the recipe's {recipe.image_size} is no multiple of {stride}, which {recipe.model} takes"
    )
    return Recipe.from_mapping({"image_size": size}, base=recipe)


def _check_names(recipe: Recipe) -> None:
    """Refuse an unknown name, or a size the network cannot take, before anything heavy is loaded."""
    from tfseg.losses import loss
    from tfseg.models import network
    from tfseg.models.pretrained import check

    network(recipe.model, image_size=recipe.image_size)
    if recipe.weights:
        check(recipe.model, recipe.weights)
    loss(recipe.loss)
    from tfseg.data import dataset

    dataset(recipe.dataset).select(recipe.classes)


def _run_folder(arguments: argparse.Namespace, recipe: Recipe) -> Path:
    from tfseg import runs

    root, name = Path("runs"), f"{recipe.dataset}-{recipe.model.replace('@', '_')}"
    if arguments.out is None:
        found = runs.newest(root, recipe=recipe) if arguments.resume else None
        if arguments.resume and found is None:
            _say(f"nothing to resume in {root} with this recipe: starting anew")
        return found or runs.new_folder(root, name)
    if runs.begun(arguments.out):
        if not arguments.resume:
            raise InputError(f"{arguments.out}: exists already; add --resume to go on with it, or choose another --out")
    elif arguments.resume:
        _say(f"nothing to resume in {arguments.out}: starting anew")
    return arguments.out


def _phantom(name: str, watch: "Watch") -> Path:
    """Return the simulated data set that stands in where no data were named and none are found."""
    from tfseg.data.locate import cache_root, candidates
    from tfseg.data.phantom import VERSION, generate

    looked = ", ".join(map(str, candidates(name)))
    _say(f"PHANTOM: no --data was named and none is in {looked}: this run uses simulated images")
    root = cache_root() / "phantom" / f"{name}-{PHANTOM_SUBJECTS}x{PHANTOM_FRAMES}-{VERSION}"
    if not root.exists():
        generate(
            name,
            root,
            subjects=PHANTOM_SUBJECTS,
            frames=PHANTOM_FRAMES,
            empty_share=PHANTOM_EMPTY,
            watch=lambda done, total: watch("simulating images", done, total),
        )
    return root


def _source(recipe: Recipe, root: Path, watch: "Watch") -> "Source":
    from tfseg.data import DATASETS
    from tfseg.data.source import open_source

    return open_source(
        DATASETS[recipe.dataset],
        root,
        channels=recipe.channels,
        watch=lambda done, total: watch("checking images", done, total),
    )


def _print_summary(summary: dict[str, Any], *, as_json: bool, comparison_only: bool = False) -> None:
    from tfseg.summary import comparison_table, fold_tables

    if as_json:
        print(json.dumps(summary, indent=2))
        return
    comparison = comparison_table(summary)
    for table in [*([] if comparison_only else fold_tables(summary)), *([comparison] if comparison else [])]:
        _print_table(table)


def _print_table(table: "Table") -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table as RichTable

    console = Console(width=None if sys.stdout.isatty() else 200)
    shown = RichTable(*table.header, title=table.title, title_justify="left")
    for row in table.rows:
        shown.add_row(*(escape(cell.replace(" [", "\n[")) for cell in row))
    console.print(shown, table.note, sep="\n")


def _load_tensorflow() -> None:
    """Import TensorFlow without its greetings, which it writes past Python; TF_CPP_MIN_LOG_LEVEL=0 shows them."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":
        with silent_stderr():
            import keras  # noqa: F401
            import tensorflow  # noqa: F401


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
