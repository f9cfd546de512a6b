"""Which images of a folder a run's networks, or a file, never saw: image by image, not folder by folder.

A run keeps the small thumbnails of its images, and a file 40 bytes of each image that its network learned from
(tfseg.data.seen). What equals one of them, or nearly, is seen, and so is every other image of the same patient.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg import runs
from tfseg.data.duplicates import as_floats, near_duplicates, unite
from tfseg.data.seen import Seen
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.metrics import HOLDOUT

_SHOWN = 3
Parts = Sequence[Mapping[str, str]]  # of `Seen.to_json`, as files carry them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Unseen:
    """What may be scored.

    Attributes:
        folds: fold -> images that its network never saw; HOLDOUT -> those that no network saw.
        left_out: the others.
    """

    folds: dict[str, list[str]]
    left_out: list[str]

    def about(self) -> dict[str, Any]:
        """Return what a summary says of it."""
        return {"scored": sum(map(len, self.folds.values())), "left_out": self.left_out}


def keep(run: Path, source: Source) -> None:
    """Write what a run knows its images by."""
    assert source.thumbnails is not None
    with runs.replacing(run / runs.IMAGES) as temporary, temporary.open("wb") as file:
        np.savez_compressed(
            file, names=np.array(list(source.samples)), digests=source.seen.digests, thumbnails=source.thumbnails
        )


def learned(source: Source, names: Sequence[str], before: Parts | None) -> tuple[dict[str, str], ...]:
    """Return what a network file carries of the images `names` that it learned from, and of those its weights did."""
    place = {name: index for index, name in enumerate(source.samples)}
    own = source.seen.only([place[name] for name in names]).to_json()
    return own, *(dict(part) for part in before or ())


def seen_by(parts: Parts, source: Source) -> set[str]:
    """Return the images that equal, or nearly, one that a file carries."""
    assert source.thumbnails is not None
    found = set()
    for part in parts:
        matches = Seen.from_json(part).matches(source.seen.digests, source.thumbnails)
        found |= {name for name, match in zip(source.samples, matches, strict=True) if match}
    return found


def of_file(parts: Parts, source: Source, fold: str, path: Path) -> Unseen:
    """Return what a file never saw, as that fold; InputError where nothing is left."""
    seen = seen_by(parts, source)
    patients = {source.groups[name] for name in seen}
    left_out = [name for name in source.samples if source.groups[name] in patients]
    return _some(Unseen(folds={fold: _without(source.samples, left_out)}, left_out=left_out), source, path)


def of_run(
    run: Path, split: Mapping[str, Sequence[str]], trained: Sequence[int], before: Parts, source: Source
) -> Unseen:
    """Return what the networks of a run never saw.

    An image of the run is unseen by the network of its own fold, as long as it is like no image of another one; one
    that is like none of the run's, nor of a patient who is, is unseen by all.

    Args:
        run: the run folder.
        split: its folds.
        trained: those that have a network.
        before: what the weights that it started from have seen.
        source: other data than the run began with, or those as they are now.
    """
    fold_of = {name: fold for fold, names in split.items() for name in names}
    matches = _matches(run, source)
    of_image = {name: {fold_of[known] for known in match if known in fold_of} for name, match in matches.items()}
    of_group: dict[str, set[str]] = {}
    for name, own in of_image.items():
        of_group.setdefault(source.groups[name], set()).update(own)
    gone = seen_by(before, source)
    folds: dict[str, list[str]] = {str(fold): [] for fold in trained} | {HOLDOUT: []}
    for name in source.samples:
        own = of_image[name] or of_group[source.groups[name]]
        fold = HOLDOUT if own <= {HOLDOUT} else next(iter(own))
        if len(own) < 2 and fold in folds and name not in gone:
            folds[fold].append(name)
    scored = {name for names in folds.values() for name in names}
    found = Unseen(folds=folds, left_out=_without(source.samples, scored))
    return _some(found, source, run)


def listed(names: Sequence[str]) -> str:
    """Return the first of some names, and how many more there are."""
    more = len(names) - _SHOWN
    return ", ".join(names[:_SHOWN]) + (f" and {more} more" if more > 0 else "")


def _matches(run: Path, source: Source) -> dict[str, list[str]]:
    """Return, for each image, the run's images that it equals or nearly equals, through others of `source`, too."""
    assert source.thumbnails is not None
    with np.load(run / runs.IMAGES) as stored:
        names, digests, thumbnails = (stored[key] for key in ("names", "digests", "thumbnails"))
    count = len(names)
    both = as_floats(np.concatenate([thumbnails, source.thumbnails]))
    first: dict[bytes, int] = {}
    equal = [
        (first.setdefault(digest.tobytes(), index), index)
        for index, digest in enumerate(np.concatenate([digests, source.seen.digests]))
    ]
    pairs = np.concatenate([near_duplicates(both).indices, np.array(equal, np.int32)])
    units = unite(len(both), pairs).tolist()
    known: dict[int, list[str]] = {}
    for name, unit in zip(names.tolist(), units[:count], strict=True):
        known.setdefault(unit, []).append(name)
    return {name: known.get(unit, []) for name, unit in zip(source.samples, units[count:], strict=True)}


def _some(found: Unseen, source: Source, path: Path) -> Unseen:
    if not any(found.folds.values()):
        raise InputError(
            f"{path}: learned from these very images, or nearly the same or of the same patients: all "
            f"{len(found.left_out)} in {source.root}, {listed(found.left_out)}; score it on others, or see what it is "
            "worth in its run: tfseg report RUN"
        )
    return found


def _without(names: Mapping[str, Any], out: Sequence[str] | set[str]) -> list[str]:
    gone = set(out)
    return [name for name in names if name not in gone]
