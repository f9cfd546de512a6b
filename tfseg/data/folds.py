"""Folds: which images a network never sees. No patient is in two of them, and each resembles the whole."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.data.deal import Table, deal
from tfseg.data.duplicates import unite
from tfseg.data.sample import Sample
from tfseg.errors import InputError
from tfseg.metrics import HOLDOUT
from tfseg.runs import read_json

_SHOWN = 3


def groups(samples: Sequence[Sample], near_duplicates: Sequence[Sequence[str]], root: Path) -> list[str]:
    """Return, for every sample, the unit that folds never part.

    That is its patient, and all patients that share an image or nearly one: "3 + 5". Where nobody of a group of
    near-duplicates is known it is that group, "group-1", "group-2", ... in the order of the samples, and an image that
    has no double is a group of its own. A double of a patient's image is that patient's.

    Args:
        samples: all of them.
        near_duplicates: groups of images, named by their path relative to `root`.
        root: the folder of the data.
    """
    group_of = {image: number for number, group in enumerate(near_duplicates) for image in group}
    keys = [group_of.get(image, image) for image in _names(samples, root)]
    number: dict[tuple[str, int | str], int] = {}
    for key, sample in zip(keys, samples, strict=True):
        number.setdefault(("group", key), len(number))
        if sample.patient is not None:
            number.setdefault(("patient", sample.patient), len(number))
    links = [
        (number["group", key], number["patient", sample.patient])
        for key, sample in zip(keys, samples, strict=True)
        if sample.patient is not None
    ]
    units = unite(len(number), np.array(links, np.int64).reshape(-1, 2))
    patients: dict[int, dict[str, None]] = {}
    for key, sample in zip(keys, samples, strict=True):
        known = patients.setdefault(int(units[number["group", key]]), {})
        if sample.patient is not None:
            known[sample.patient] = None
    unknown = [unit for unit, known in patients.items() if not known]
    names = {unit: f"group-{place}" for place, unit in enumerate(unknown, 1)}
    names |= {unit: _joined(list(known)) for unit, known in patients.items() if known}
    return [names[int(units[number["group", key]])] for key in keys]


def _joined(patients: Sequence[str]) -> str:
    """Name patients that folds never part."""
    more = [f"{len(patients) - _SHOWN} more"] if len(patients) > _SHOWN else []
    return " + ".join([*patients[:_SHOWN], *more])


def labels(samples: Sequence[Sample], empties: Mapping[str, Collection[str]], root: Path) -> list[frozenset[str]]:
    """Return, for every sample, what folds keep in proportion: its stratum and the classes that its mask shows.

    Args:
        samples: all of them.
        empties: class -> the images whose mask shows nothing of it, named by their path relative to `root`.
        root: the folder of the data.
    """
    without = {name: frozenset(images) for name, images in empties.items()}
    return [
        _stratum(sample) | {name for name, images in without.items() if image not in images}
        for sample, image in zip(samples, _names(samples, root), strict=True)
    ]


def draw(
    samples: Sequence[Sample],
    groups: Sequence[str],
    root: Path,
    *,
    folds: int,
    seed: int,
    holdout: float = 0.0,
    labels: Sequence[Collection[str]] | None = None,
    classes: Collection[str] = (),
) -> dict[str, list[str]]:
    """Deal the images into folds, after a hold-out is set aside where one is asked for.

    Args:
        samples: all of them.
        groups: of every sample, the unit that is never parted.
        root: the folder of the data.
        folds: how many, at least 2.
        seed: of the order in which groups are dealt.
        holdout: share of the groups to set aside, in [0, 1); at least one group when above 0.
        labels: of every sample, what to keep in proportion; None stands for its stratum.
        classes: the labels that every fold's training images must have.

    Returns:
        The content of folds.json: "0", "1", ... and "holdout" -> images by their path relative to `root`, in the order
        of the samples.

    Raises:
        InputError: there are too few groups, or one fold would hold all images of a class.
    """
    assert folds >= 2
    assert 0 <= holdout < 1
    table = Table.of(groups, labels or [_stratum(sample) for sample in samples])
    count = len(table.counts)
    aside = max(1, round(holdout * count)) if holdout else 0
    unit = "patient" if all(sample.patient is not None for sample in samples) else "group of near-duplicates"
    if count < folds + aside:
        parts = f"{folds} folds" + (f" and a hold-out of {aside}" if aside else "")
        raise InputError(f"{root}: {_count(count, unit)} cannot fill {parts}; ask for fewer folds or add data")
    rng = np.random.default_rng(seed)
    part = np.full(count, folds)
    inside = np.arange(count)
    if aside:
        inside = np.flatnonzero(deal(table.counts, [aside / count, 1 - aside / count], rng, first=aside))
    columns = [1 + table.labels.index(name) for name in classes if name in table.labels]
    part[inside] = deal(table.counts[inside], [1 / folds] * folds, rng, spread=columns)
    for name in classes:
        shown = table.counts[:, 1 + table.labels.index(name)] > 0 if name in table.labels else np.zeros(count, bool)
        if len(set(part[shown]) - {folds}) < 2:
            raise InputError(
                f"{root}: {name} is to be seen in {_count(int(shown.sum()), unit)}: too few for every fold to train "
                "on it without those it is scored on; add data, or leave the class out"
            )
    images = _names(samples, root)
    split: dict[str, list[str]] = {str(fold): [] for fold in range(folds)} | ({HOLDOUT: []} if aside else {})
    keys = list(split)
    for image, number in zip(images, part[table.member].tolist(), strict=True):
        split[keys[number]].append(image)
    check_folds(split, dict(zip(images, groups, strict=True)))
    return split


def validation_split(
    images: Sequence[str],
    groups: Sequence[str],
    labels: Sequence[Collection[str]] | None = None,
    *,
    share: float,
    seed: int,
) -> tuple[list[str], list[str]]:
    """Part a fold's training images into those to learn from and those to watch, by group, at least one on each side.

    Args:
        images: the fold's training images.
        groups: of every image, the unit that is never parted.
        labels: of every image, what to keep in proportion.
        share: of the groups that are watched, in (0, 1).
        seed: of the order in which groups are dealt.

    Raises:
        InputError: all images are of one group.
    """
    assert 0 < share < 1
    table = Table.of(groups, labels or [()] * len(images))
    count = len(table.counts)
    if count < 2:
        raise InputError(
            f"validation = {share}: the {_count(len(images), 'image')} that a fold trains on are all of {groups[0]!r}, "
            "and nobody is left to validate on; ask for more folds or add data"
        )
    watched = min(max(1, round(share * count)), count - 1)
    rng = np.random.default_rng(seed)
    part = deal(table.counts, [watched / count, 1 - watched / count], rng, first=watched)[table.member]
    return (
        [image for image, side in zip(images, part, strict=True) if side == 1],
        [image for image, side in zip(images, part, strict=True) if side == 0],
    )


def check_folds(split: Mapping[str, Sequence[str]], groups: Mapping[str, str]) -> None:
    """Assert what folds promise: every image of `groups` (image -> group) is in one of them, and every group too."""
    dealt = [image for images in split.values() for image in images]
    assert sorted(dealt) == sorted(groups)
    assert all(split.values())
    places = {(groups[image], name) for name, images in split.items() for image in images}
    assert len(places) == len(set(groups.values()))


def load(path: Path, samples: Sequence[Sample], root: Path) -> dict[str, list[str]]:
    """Read folds.json.

    Raises:
        InputError: it is damaged, or its images are not those of `samples` below `root`.
    """
    split = read_json(path)
    if not _is_split(split):
        raise InputError(f'{path}: not a list of images for each of "0", "1", ...; choose another --out')
    dealt, present = [image for images in split.values() for image in images], _names(samples, root)
    differences = [
        f"{what}: {_shown(images)}"
        for what, images in (
            ("new", sorted(set(present) - set(dealt))),
            ("gone", sorted(set(dealt) - set(present))),
            ("listed twice", sorted(image for image, times in Counter(dealt).items() if times > 1)),
        )
        if images
    ]
    if differences:
        raise InputError(
            f"{path}: does not fit the images below {root} ({'; '.join(differences)}); restore them, "
            "or choose another --out"
        )
    return split


def _is_split(split: Any) -> bool:
    """Tell whether JSON has the form of folds.json."""
    if not isinstance(split, dict):
        return False
    keys = [key for key in split if key != HOLDOUT]
    lists = [images for images in split.values() if isinstance(images, list)]
    return (
        len(keys) > 1
        and keys == [str(fold) for fold in range(len(keys))]
        and len(lists) == len(split)
        and all(isinstance(image, str) for images in lists for image in images)
    )


def _stratum(sample: Sample) -> frozenset[str]:
    """The label of a sample's stratum; no class is named like it."""
    return frozenset({f"stratum {sample.stratum}"} if sample.stratum else ())


def _names(samples: Sequence[Sample], root: Path) -> list[str]:
    return [sample.image.relative_to(root).as_posix() for sample in samples]


def _count(number: int, noun: str) -> str:
    first, _, rest = noun.partition(" ")
    return f"{number} {first}{'' if number == 1 else 's'}{' ' + rest if rest else ''}"


def _shown(images: Sequence[str]) -> str:
    more = len(images) - _SHOWN
    return ", ".join(images[:_SHOWN]) + (f" and {more} more" if more > 0 else "")
