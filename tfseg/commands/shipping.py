"""tfseg convert, inspect, benchmark."""

import argparse
import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

from tfseg.commands.opening import load_tensorflow, newest_run, open_data, run_data
from tfseg.commands.output import print_summary, print_table, say
from tfseg.errors import InputError, WorkError

if TYPE_CHECKING:
    from tfseg.lite.convert import Options


def convert(arguments: argparse.Namespace) -> None:
    """tfseg convert."""
    from tfseg import runs

    if not arguments.precisions and not arguments.sensitivity:
        raise InputError("say what kind of file: --fp32, --fp16, --dynamic, --int8, --int8-qat or --prune SHARE")
    path = arguments.path or newest_run()
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

    load_tensorflow()
    from tfseg.deploy import convert_file

    with progress() as watch:
        for kind, target in targets.items():
            convert_file(path, _options(arguments, kind), target, images=arguments.calibration, watch=watch)
            say(f"{target}: {target.stat().st_size / 1e6:.2f} MB; not scored: convert its run to know what it is worth")
    if arguments.json:
        print(json.dumps({"written": [str(target) for target in targets.values()]}, indent=2))


def _convert_run(arguments: argparse.Namespace, run: Path, targets: dict[str, Path]) -> None:
    from tfseg import runs
    from tfseg.progress import progress

    if arguments.calibration:
        raise InputError("--calibration goes with a .keras file; a run calibrates on images that it learned from")
    recipe = runs.read_recipe(run)
    root = arguments.data or run_data(run)
    lost = []
    with progress() as watch:
        source = open_data(recipe, root, watch)
        if source.fingerprint != runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"]:
            raise InputError(f"{root}: holds other images than {run} learned from; name those with --data DIR")
        with runs.locked(run):
            load_tensorflow()
            from tfseg.deploy import drops, sensitivity, ship
            from tfseg.job import Job
            from tfseg.report.html import write_report

            job = Job(recipe=recipe, source=source, run=run, watch=watch)
            if arguments.sensitivity:
                _print_sensitivity(sensitivity(job), recipe.dataset, as_json=arguments.json)
            for kind, target in targets.items():
                summary = ship(job, _options(arguments, kind), target)
                print_summary(summary, as_json=arguments.json, comparison_only=True)
                say(f"{target}: {target.stat().st_size / 1e6:.2f} MB")
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
    from tfseg.tables import Table

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
    print_table(table)


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

    arguments.files = arguments.files or [newest_run()]
    cells = command.run(arguments, tell=say)
    if cells:
        print_table(command.table(cells))
    if failed := [cell for cell in cells if cell.status == result.FAILED]:
        raise WorkError(f"{len(failed)} of {len(cells)} measurements failed; the first: {result.headline(failed[0])}")
