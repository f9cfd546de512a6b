"""The form of a study: rows that are recipes, seeds, and what its table shows; a study may be a function of its own."""

import dataclasses
import importlib
import json
import tomllib
from collections.abc import Callable, Iterable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.bench import machine
from tfseg.config import Recipe
from tfseg.data.source import Source
from tfseg.engine import Engine
from tfseg.errors import InputError
from tfseg.losses import loss
from tfseg.models import network
from tfseg.progress import Watch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Row:
    """One row of a study's table.

    Attributes:
        name: what the table calls it, and what `--models` chooses it by.
        keys: of the recipe, where it differs from the study's.
    """

    name: str
    keys: Mapping[str, Any]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Study:
    """What one published study repeats, as a list of runs: rows x seeds, on each data set; folds come with each run.

    Attributes:
        name: what `tfseg study` takes.
        title: of its table.
        datasets: what it runs on; the first alone where `several` is false and nobody asks for another.
        recipe: keys that all of its runs share.
        rows: of its table, in order.
        columns: of its table, names in tfseg.study.table.COLUMNS.
        seeds: how many, counted from 0.
        quick: keys that `--quick` lays over all of them.
        quick_seeds: how many seeds `--quick` takes.
        several: whether one table holds all of `datasets`.
        ships: whether its table holds the int8 files: their scores, and their latency on this computer.
        curves: whether its page shows the curves of the first run.
        departures: of its recipe from the paper, in words.
        work: "module:function" below tfseg.study that takes an Order and returns the content of study.json.
    """

    name: str
    title: str
    datasets: tuple[str, ...]
    recipe: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    rows: tuple[Row, ...] = ()
    columns: tuple[str, ...] = ()
    seeds: int = 3
    quick: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    quick_seeds: int = 1
    several: bool = False
    ships: bool = False
    curves: bool = False
    departures: str = ""
    work: str = "work:run_rows"

    def load(self) -> Callable[["Order"], dict[str, Any]]:
        """Import the function that does the study's work."""
        module, _, function = self.work.partition(":")
        return getattr(importlib.import_module(f"tfseg.study.{module}"), function)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order:
    """One call of a study: what is asked for, and where it goes.

    Attributes:
        study: which.
        out: the study's folder, locked by the caller: run folders in runs/, latencies in latency/.
        sources: the data sets by name, opened, in the order of the table.
        quick: whether sizes are those of `Study.quick`.
        seeds: their numbers.
        rows: those that are asked for.
        overrides: keys of the recipe that the caller sets for all rows.
        base: keys of the recipe file that stands for the study's own recipe, or None.
        engine: what runs the trainings.
        command: how to say this again, for provenance.
        watch: told how far the work is.
        instructions: that the int8 file of a network takes on an Arm CPU, by the network's name.
        instructions_note: what they were counted on, in words.
    """

    study: Study
    out: Path
    sources: Mapping[str, Source]
    quick: bool
    seeds: tuple[int, ...]
    rows: tuple[Row, ...]
    overrides: Mapping[str, Any]
    base: Mapping[str, Any] | None
    engine: Engine
    command: tuple[str, ...]
    watch: Watch
    instructions: Mapping[str, int] = dataclasses.field(default_factory=dict)
    instructions_note: str = ""

    def recipe(self, row: Row, dataset: str, seed: int) -> Recipe:
        """Return the recipe of one run: the study's keys (or a file's), then the row's, those of --quick, and --set."""
        study = self.study
        shared = study.recipe if self.base is None else self.base
        files = {"deploy": ("int8",)} if study.ships else {}
        keys = {**shared, **files, **row.keys, **(study.quick if self.quick else {}), **self.overrides}
        recipe = Recipe.from_mapping({**keys, "dataset": dataset, "seed": seed})
        return _fitting(recipe).settled(machine.this().flags)

    @property
    def phantom(self) -> bool:
        """Whether any of its images were simulated."""
        return any(source.phantom for source in self.sources.values())


def _fitting(recipe: Recipe) -> Recipe:
    """Enlarge the image size to what the network takes."""
    stride = network(recipe.model)[0].stride
    return dataclasses.replace(recipe, image_size=-(-recipe.image_size // stride) * stride)


def read_base(study: Study, path: Path) -> dict[str, Any]:
    """Return the keys of a recipe file that are to stand for the study's own; what its rows differ in is left out."""
    keys = dataclasses.asdict(Recipe.load(path))
    varied = {key for row in study.rows for key in row.keys}
    return {key: value for key, value in keys.items() if key not in {*varied, "dataset", "seed", "deploy", "final"}}


def refuse_varied(study: Study, keys: Iterable[str]) -> None:
    """Raise InputError where `--set` names a key that the study's rows differ in, or that it takes from elsewhere."""
    varied = {key for row in study.rows for key in row.keys}
    for key in keys:
        if key in varied:
            raise InputError(
                f"--set {key}: the rows of study {study.name} differ in it; choose among them with --models"
            )
        if key in ("dataset", "seed", "deploy"):
            raise InputError(f"--set {key}: a study has its own ways: --dataset, --seeds, and the files of its table")


def read_instructions(path: Path) -> tuple[dict[str, int], str]:
    """Return the instructions by network of a file of tools/bench/arm.py, and what they were counted on, in words.

    Raises:
        InputError: there is no such file, or it is another's.
    """
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        counts = {row["name"]: row["tfseg"]["instructions"] for row in kept["networks"] if row["tfseg"]}
        size, cpu = kept["settings"]["image_size"], kept["settings"]["cpu"]
    except OSError as error:
        raise InputError(f"{path}: cannot read: {error.strerror}") from error
    except (ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path}: is not a file of instructions; tools/bench/arm.py --out writes one") from error
    return counts, f"Instructions: of one {size}x{size} image on an emulated {cpu}, counted on random weights."


def refuse_foreign(out: Path) -> None:
    """Raise InputError where `out` holds something that no study left there."""
    ours = {"runs", "latency", "cascade", "study.json", "table.md", "table.csv", "study.html", "study.svg", runs.LOCK}
    if out.exists() and not out.is_dir():
        raise InputError(f"{out}: is no folder; choose another --out")
    foreign = [path.name for path in out.iterdir() if path.name not in ours] if out.exists() else []
    if foreign := [name for name in foreign if ".tmp" not in name]:
        raise InputError(f"{out}: is not a study's folder (it holds {foreign[0]}); choose another --out")


def check(order: Order) -> None:
    """Raise InputError where the recipe of any run is wrong, before the first one starts."""
    for dataset, source in order.sources.items():
        for row in order.rows:
            recipe = order.recipe(row, dataset, order.seeds[0])
            loss(recipe.loss)
            source.dataset.select(recipe.classes)


def published(study: Study) -> dict[str, Any]:
    """Return the published numbers of a study: "source", "data", and "rows" by data set (or "any") and row.

    A number is given as the paper gives it; [mean, standard deviation] where it gives both.
    """
    text = (resources.files("tfseg.study") / "published" / f"{study.name}.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def published_row(table: Mapping[str, Any], dataset: str, row: Row) -> Mapping[str, Any]:
    """Return what was published of one row on one data set: figure -> number, text or [mean, standard deviation]."""
    return {**table["rows"].get("any", {}).get(row.name, {}), **table["rows"].get(dataset, {}).get(row.name, {})}
