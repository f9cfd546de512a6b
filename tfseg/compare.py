"""Runs, or files within runs, side by side on the same images: paired differences with intervals over patients."""

import dataclasses
import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.errors import InputError
from tfseg.intervals import FEW
from tfseg.metrics import HOLDOUT, Row, read_rows
from tfseg.summary import paired_difference
from tfseg.tables import Table

KERAS = "keras"


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contestant:
    """One file of one run, with its scores on images that its networks never saw.

    Attributes:
        name: how the caller calls it.
        data: what the run's summary says of its data.
        classes: in order.
        rows: of metrics.csv, of that file alone and without the hold-out.
    """

    name: str
    data: dict[str, Any]
    classes: tuple[str, ...]
    rows: tuple[Row, ...]


def contestant(name: str) -> Contestant:
    """Open RUN (its networks as they were trained) or RUN:FILE, such as runs/1:int8.

    Raises:
        InputError: no such run, or it holds no scores of that file.
    """
    path, colon, file = name.rpartition(":")
    if not colon or Path(name).exists():
        path, file = name, KERAS
    run = Path(path)
    runs.read_recipe(run)
    if not (run / runs.SUMMARY).exists():
        raise InputError(f"{run}: not scored yet; go on with it: --resume")
    summary = runs.read_json(run / runs.SUMMARY)
    rows = [row for row in read_rows(run / runs.METRICS) if row.fold != HOLDOUT]
    files = list(dict.fromkeys(row.file for row in rows))
    if file not in files:
        raise InputError(f"{name}: {run} holds no scores of {file!r}; it has {', '.join(files) or 'none'}")
    return Contestant(
        name=name,
        data=summary["data"],
        classes=tuple(summary["classes"]),
        rows=tuple(row for row in rows if row.file == file),
    )


def compare(contestants: Sequence[Contestant], *, seed: int = 0) -> dict[str, Any]:
    """Compare each with the first, class by class, on the images that both scored.

    Returns:
        "data" and "phantom"; "against", the first's name; "patients", the fewest that any shares with it; "classes":
        class -> list of one entry each, with "name", and what `paired_difference` says, and "wins", "ties", "losses":
        images with a higher, equal or lower Dice.

    Raises:
        InputError: they are fewer than two, on different data or classes, or share no image.
    """
    first, *others = contestants
    if not others:
        raise InputError("name at least two runs to compare")
    if len({one.name for one in contestants}) < len(contestants):
        raise InputError("a run is named twice: compare different runs, or different files: RUN:keras RUN:int8")
    for one in others:
        _refuse_unlike(first, one)
    return {
        "data": first.data["name"],
        "phantom": first.data["phantom"],
        "against": first.name,
        "patients": min(_shared_patients(first, one) for one in others),
        "classes": {name: [_paired(first, one, name, seed) for one in others] for name in first.classes},
    }


def difference(ours: Sequence[Contestant], theirs: Sequence[Contestant], *, seed: int = 0) -> dict[str, Any]:
    """Return the paired difference of Dice of two networks that were trained with several seeds.

    The Dice of an image is first averaged over seeds and classes; then it is as in `paired_difference`: "mean", "low"
    and "high".
    """
    rows = [*_averaged(ours, "ours"), *_averaged(theirs, "theirs")]
    return paired_difference(rows, "ours", "theirs", class_name=_ALL, seed=seed)["dice"]


def tables(comparison: dict[str, Any]) -> list[Table]:
    """Return one table a class."""
    mark = "PHANTOM " if comparison["phantom"] else ""
    note = (
        "Difference of Dice on the same images, with its 95 % interval over patients; higher, equal and lower: images. "
        "Flipped: images that one of the two leaves empty and the other does not."
    )
    if comparison["patients"] < FEW:
        note += f" CAUTION: with {comparison['patients']} patients or groups of images the intervals are rough."
    return [
        Table(
            title=f"{mark}{comparison['data']}, {name}: against {comparison['against']}",
            note=note,
            header=("run", "Dice", "difference", "higher", "equal", "lower", "worst image", "flipped"),
            rows=tuple(_cells(entry) for entry in entries),
        )
        for name, entries in comparison["classes"].items()
    ]


_ALL = "all"


def _shared_patients(first: Contestant, other: Contestant) -> int:
    images = {row.image for row in first.rows}
    return len({row.patient for row in other.rows if row.image in images})


def _refuse_unlike(first: Contestant, other: Contestant) -> None:
    if other.data["fingerprint"] != first.data["fingerprint"]:
        raise InputError(
            f"{other.name}: scored on other images ({other.data['name']}) than {first.name} ({first.data['name']}); "
            "only scores of the same images can be paired"
        )
    if other.classes != first.classes:
        raise InputError(
            f"{other.name}: its classes are {', '.join(other.classes)}, those of {first.name} "
            f"{', '.join(first.classes)}; only the same classes can be compared"
        )
    if not {row.image for row in other.rows} & {row.image for row in first.rows}:
        raise InputError(f"{other.name}: has no image in common with {first.name}")


def _paired(first: Contestant, other: Contestant, class_name: str, seed: int) -> dict[str, Any]:
    both = [dataclasses.replace(row, file=one.name) for one in (first, other) for row in one.rows]
    paired = paired_difference(both, other.name, first.name, class_name=class_name, seed=seed)
    dice = {row.image: row.dice for row in first.rows if row.class_name == class_name}
    changes = [row.dice - dice[row.image] for row in other.rows if row.class_name == class_name and row.image in dice]
    return (
        {"name": other.name}
        | paired
        | {
            "wins": sum(change > 0 for change in changes),
            "ties": sum(change == 0 for change in changes),
            "losses": sum(change < 0 for change in changes),
        }
    )


def _averaged(contestants: Sequence[Contestant], name: str) -> list[Row]:
    """Return one row an image, its Dice the mean over seeds and classes; nothing else in it means anything."""
    dice: dict[str, list[float]] = {}
    kept: dict[str, Row] = {}
    for row in (row for one in contestants for row in one.rows):
        dice.setdefault(row.image, []).append(row.dice)
        kept[row.image] = row
    return [
        dataclasses.replace(row, file=name, class_name=_ALL, dice=statistics.mean(dice[image]))
        for image, row in kept.items()
    ]


def _cells(entry: dict[str, Any]) -> tuple[str, ...]:
    dice = entry["dice"]
    interval = "" if dice["low"] is None else f" [{dice['low']:+.4f}, {dice['high']:+.4f}]"
    counts = (str(entry[key]) for key in ("wins", "ties", "losses"))
    flipped = f"{entry['flipped']} of {entry['images']}"
    return (
        entry["name"],
        f"{entry['score']:.3f}",
        f"{dice['mean']:+.4f}{interval}",
        *counts,
        f"{entry['worst']:+.3f}",
        flipped,
    )
