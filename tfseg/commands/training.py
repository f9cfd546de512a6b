"""tfseg kfold, train, evaluate, report, card."""

import argparse
import dataclasses
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfseg.commands.opening import load_tensorflow, newest_run, open_data, open_engine, phantom_data, run_data
from tfseg.commands.output import print_summary, say
from tfseg.config import Recipe, parse_assignments
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.data.sample import Dataset
    from tfseg.engine import Engine

RECIPE_FLAGS = (
    "dataset",
    "model",
    "weights",
    "teacher",
    "folds",
    "epochs",
    "minutes",
    "image_size",
    "batch_size",
    "seed",
    "deploy",
    "final",
)


def kfold(arguments: argparse.Namespace) -> None:
    """tfseg kfold."""
    _train(arguments, only=None, engine=open_engine(arguments))


def train(arguments: argparse.Namespace) -> None:
    """tfseg train: the first fold alone."""
    from tfseg.engine import Local

    _train(arguments, only=0, engine=Local())


def _train(arguments: argparse.Namespace, *, only: int | None, engine: "Engine") -> None:
    recipe = _recipe(arguments)
    _check_names(recipe)
    from tfseg import runs
    from tfseg.data.hygiene import warnings
    from tfseg.data.locate import find
    from tfseg.job import settled
    from tfseg.progress import progress

    root = find(recipe.dataset, arguments.data)
    if arguments.out is not None:
        _check_out(arguments)
    with progress() as watch:
        source = open_data(recipe, root or phantom_data(recipe.dataset, watch), watch)
        if source.phantom:
            say(f"PHANTOM: {source.root} holds simulated images; no result here says anything about patients")
        for line in warnings(source.report, source.root):
            say(line)
        asked, recipe = recipe, settled(recipe, source)
        if asked.validation != recipe.validation:
            say(
                "validation = 0: nothing is decided on these data, so that all patients of a fold's training part learn"
            )
        if left_out := source.contradicting(source.dataset.select(recipe.classes)):
            say(f"{len(left_out)} images are not trained on: a near-duplicate of each has a contradicting mask")
        run = arguments.out or _run_folder(recipe, source.fingerprint, resume=arguments.resume)
        if recipe.weights not in ("", "none"):
            load_tensorflow()
            from tfseg.models.pretrained import fetch

            fetch(recipe.model, recipe.weights)
        with runs.locked(run):
            runs.sweep(run)
            load_tensorflow()
            from tfseg.kfold import kfold as cross_validate
            from tfseg.models.files import read_card
            from tfseg.report.html import write_report

            if recipe.weights.endswith(".keras") and read_card(Path(recipe.weights)).seen is None:
                say(f"{recipe.weights}: does not list the images that it learned from: all of these count as unseen")
            command = runs.command_line()
            summary = cross_validate(recipe, source, run, command=command, only=only, engine=engine, watch=watch)
            write_report(run)
    print_summary(summary, as_json=arguments.json)
    say(f"run: {run}  report: {run / runs.REPORT}")


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
    paired = _paired(arguments, name, dataset(recipe.dataset).select(recipe.classes), recipe.region)
    own = arguments.data is None and name == recipe.dataset
    root = run_data(arguments.run) if own else find(name, arguments.data)
    if root is None:
        raise InputError(f"{name}: the images are not there; name their folder with --data DIR")
    with progress() as watch:
        source = open_data(Recipe.from_mapping({"dataset": name}, base=recipe), root, watch)
        load_tensorflow()
        from tfseg.rescore import rescore

        source = dataclasses.replace(source, dataset=paired)
        summary = rescore(arguments.run, source, flips=arguments.flips, watch=watch)
    _say_unseen(summary, arguments.run)
    print_summary(summary, as_json=arguments.json)


def _say_unseen(summary: dict[str, Any], path: Path) -> None:
    """Say which images were left out because a network learned from them, or that nobody can know."""
    from tfseg.unseen import listed

    if "unseen" not in summary:
        return
    left_out = summary["unseen"]["left_out"]
    if left_out is None:
        say(f"{path}: made before tfseg noted each image that networks learn from: all images count as unseen")
    elif left_out:
        say(
            f"{len(left_out)} of {len(left_out) + summary['unseen']['scored']} images are left out, for {path} learned "
            f"from them, from nearly the same, or from others of their patients: {listed(left_out)}"
        )


def _evaluate_file(arguments: argparse.Namespace) -> None:
    load_tensorflow()
    from tfseg.data.locate import find
    from tfseg.deploy import score_file
    from tfseg.lite import metadata
    from tfseg.progress import progress

    about = metadata.read(arguments.run)
    name = arguments.dataset or about.dataset
    paired = _paired(arguments, name, about.classes, about.region)
    root = find(name, arguments.data)
    if root is None:
        raise InputError(f"{name}: the images are not there; name their folder with --data DIR")
    with progress() as watch:
        source = open_data(Recipe.from_mapping({"dataset": name, "channels": about.channels}), root, watch)
        source = dataclasses.replace(source, dataset=paired)
        summary = score_file(arguments.run, source, flips=arguments.flips, watch=watch)
    _say_unseen(summary, arguments.run)
    print_summary(summary, as_json=arguments.json)


def _paired(arguments: argparse.Namespace, name: str, classes: tuple[str, ...], region: str) -> "Dataset":
    """Return the data set with the classes of the network that is scored, paired by name and by --map."""
    from tfseg.data import dataset
    from tfseg.evaluate import pair, parse_pairs

    pairs = parse_pairs(arguments.map) if arguments.map else {}
    paired = pair(dataset(name), classes, pairs, region=region)
    for ours, theirs in pairs.items():
        say(f"{ours} of the network is scored against {theirs} of {name}")
    return paired


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


def card(arguments: argparse.Namespace) -> None:
    """tfseg card."""
    from tfseg import runs
    from tfseg.report.card import write_card

    run = arguments.run or newest_run()
    runs.read_recipe(run)
    print(write_card(run, arguments.out, benchmarks=arguments.benchmark))


def _recipe(arguments: argparse.Namespace) -> Recipe:
    flags = {name: value for name in RECIPE_FLAGS if (value := getattr(arguments, name, None)) is not None}
    overrides = flags | parse_assignments(arguments.set)
    for key, value, other in (("schedule", "plateau", "warmup"), ("select", "best", "ema")):
        if overrides.get(key) == value:  # what was asked for goes before what a recipe has beside it
            overrides.setdefault(other, 0.0)
    if {"folds", "seed", "holdout"} & overrides.keys():  # other folds than those that chose the recipe's settings
        overrides.setdefault("tried_on", ())
    if "epochs" in overrides:  # so many are asked for, not more
        overrides.setdefault("min_steps", 0)
    if arguments.recipe is not None:
        recipe = Recipe.load(arguments.recipe, overrides=overrides)
    else:
        recipes = resources.files("tfseg") / "recipes"
        overrides.setdefault("dataset", Recipe.dataset)
        own = recipes / f"{overrides['dataset']}.toml"
        with resources.as_file(own if own.is_file() else recipes / "default.toml") as path:
            recipe = Recipe.load(path, overrides=overrides)
    return _settled(recipe if "image_size" in overrides else _fitting(recipe))


def _settled(recipe: Recipe) -> Recipe:
    """Choose the precision where the recipe leaves it to the processor."""
    from tfseg.bench import machine

    settled = recipe.settled(machine.this().flags)
    if settled != recipe:
        why = {"bfloat16": "has", "float32": "has no"}[settled.precision]
        say(f"precision = {settled.precision}: this processor {why} instructions for bfloat16")
    return settled


def _fitting(recipe: Recipe) -> Recipe:
    """Enlarge an image size that nobody asked for, the recipe's, to what the network takes."""
    from tfseg.models import network

    stride = network(recipe.model)[0].stride
    size = -(-recipe.image_size // stride) * stride
    if size == recipe.image_size:
        return recipe
    say(f"image_size = {size}: the recipe's {recipe.image_size} is no multiple of {stride}, which {recipe.model} takes")
    return Recipe.from_mapping({"image_size": size}, base=recipe)


def _check_names(recipe: Recipe) -> None:
    """Refuse an unknown name, or a size the network cannot take, before anything heavy is loaded."""
    from tfseg.losses import loss
    from tfseg.models import network
    from tfseg.models.pretrained import check

    network(recipe.model, image_size=recipe.image_size)
    if recipe.weights not in ("", "none"):
        check(recipe.model, recipe.weights)
    loss(recipe.loss)
    from tfseg.data import dataset

    dataset(recipe.dataset).select(recipe.classes)


def _check_out(arguments: argparse.Namespace) -> None:
    """Refuse an --out that holds something else, or a run that is not to be resumed."""
    from tfseg import runs

    if runs.begun(arguments.out):
        if not arguments.resume:
            raise InputError(f"{arguments.out}: exists already; add --resume to go on with it, or choose another --out")
    elif arguments.resume:
        say(f"nothing to resume in {arguments.out}: starting from the beginning")


def _run_folder(recipe: Recipe, fingerprint: str, *, resume: bool) -> Path:
    """Return the folder of the run to go on with, which has that recipe and those data, or of a new one."""
    from tfseg import runs

    root = Path("runs")
    if resume:
        found = runs.newest(root, recipe=recipe, fingerprint=fingerprint)
        if found:
            return found
        say(f"nothing to resume in {root} with this recipe and these data: starting from the beginning")
    return runs.new_folder(root, f"{recipe.dataset}-{recipe.model.replace('@', '_')}")
