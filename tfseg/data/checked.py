"""What was read of images and masks, kept between commands: what has the same path, size and time is not read again.

One file for each folder, data set and number of channels, below the cache folder. It holds what `examine` found, 4 KiB
of thumbnail an image and some hundred bytes more, and the near-duplicates of all of them. Deleting it costs only time.
"""

import contextlib
import hashlib
import json
import time
import zipfile
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from tfseg.data.duplicates import SIDE, Pairs
from tfseg.data.examine import Facts, Finding
from tfseg.data.locate import cache_root
from tfseg.data.sample import Dataset, Sample
from tfseg.runs import replacing

_SCHEMA = 1  # changes with what `examine` or `near_duplicates` find
_SETTLED_S = 2.0  # a file that changed since may change again without another time


@dataclass(frozen=True, kw_only=True)
class Checked:
    """What is known of a folder.

    Attributes:
        facts: of images whose files are as they were, by their name.
        pairs: near-duplicates of all images in order, or None where one is new, gone or changed.
    """

    facts: Mapping[str, Facts]
    pairs: Pairs | None


def stamps(samples: Iterable[Sample], root: Path) -> dict[str, str]:
    """Return for each image what changes with its files: their paths below `root`, sizes and times."""
    found = {}
    for sample in samples:
        name = sample.image.relative_to(root).as_posix()
        with contextlib.suppress(OSError):  # gone: reading it will say so
            states = [(path, path.stat()) for path in (sample.image, *sample.masks)]
            files = [(path.relative_to(root).as_posix(), state.st_size, state.st_mtime_ns) for path, state in states]
            found[name] = json.dumps([files, [asdict(polygon) for polygon in sample.polygons], sample.slices])
    return found


def recall(dataset: Dataset, root: Path, samples: Sequence[Sample], *, channels: int) -> Checked:
    """Return what earlier commands found in `root` that still holds; nothing where they left no file that is whole."""
    path = _path(dataset, root, channels)
    now = stamps(samples, root)
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as stored:
            table = json.loads(zlib.decompress(stored["table"].tobytes()))
            thumbnails, indices, warps = stored["thumbnails"], stored["indices"], stored["warps"]
            regions = stored["regions"].tobytes()
    except (OSError, ValueError, KeyError, EOFError, zlib.error, zipfile.BadZipFile):
        return Checked(facts={}, pairs=None)
    of_name = {sample.image.relative_to(root).as_posix(): sample for sample in samples}
    facts, start = {}, 0
    for entry, thumbnail in zip(table["images"], thumbnails, strict=True):
        stop = start + entry["region_bytes"]
        if now.get(entry["name"]) == entry["stamp"]:
            facts[entry["name"]] = _fact(entry, of_name[entry["name"]], thumbnail, regions[start:stop])
        start = stop
    pairs = None
    if table["all"] == _all(now, of_name):
        keys = [tuple(pair) for pair in table["warped"]]
        pairs = Pairs(indices=indices, warps=dict(zip(keys, warps, strict=True)))
    return Checked(facts=facts, pairs=pairs)


def keep(facts: Sequence[Facts], pairs: Pairs, dataset: Dataset, root: Path, *, channels: int) -> None:
    """Keep what was found for the next command; a cache folder that cannot be written is no error."""
    now, newest = stamps([fact.sample for fact in facts], root), time.time() - _SETTLED_S
    kept = [fact for fact in facts if fact.size and fact.digest and fact.name in now and _changed_s(fact) < newest]
    regions = [zlib.compress(fact.regions.tobytes(), 1) for fact in kept]
    images = [_entry(fact, now[fact.name], len(region)) for fact, region in zip(kept, regions, strict=True)]
    whole = _all(now, [fact.name for fact in facts]) if len(kept) == len(facts) else ""
    table = {"images": images, "all": whole, "warped": list(pairs.warps)}
    arrays = {
        "table": np.frombuffer(zlib.compress(json.dumps(table).encode(), 1), np.uint8),
        "thumbnails": np.array([fact.thumbnail for fact in kept], np.int8).reshape(-1, SIDE, SIDE),
        "regions": np.frombuffer(b"".join(regions), np.uint8),
        "indices": pairs.indices,
        "warps": np.array(list(pairs.warps.values()), np.float32).reshape(-1, 2, 3),
    }
    path = _path(dataset, root, channels)
    with contextlib.suppress(OSError), replacing(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)


def _path(dataset: Dataset, root: Path, channels: int) -> Path:
    key = json.dumps([_SCHEMA, dataset.name, dataset.classes, str(root.resolve()), channels])
    return cache_root() / "checked" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.npz"


def _changed_s(fact: Facts) -> float:
    return max(path.stat().st_mtime for path in (fact.sample.image, *fact.sample.masks))


def _all(stamp_of: Mapping[str, str], names: Iterable[str]) -> str:
    """Return a digest of the stamps of all images in order."""
    return hashlib.sha256("\n".join(stamp_of.get(name, "") for name in names).encode()).hexdigest()


def _entry(fact: Facts, stamp: str, region_bytes: int) -> dict[str, object]:
    assert fact.digest
    return {
        "name": fact.name,
        "stamp": stamp,
        "size": fact.size,
        "digest": fact.digest.hex(),
        "contents": fact.contents,
        "drawn": fact.drawn.tolist(),
        "problems": [asdict(problem) for problem in fact.problems],
        "region_bytes": region_bytes,
    }


def _fact(entry: Mapping[str, object], sample: Sample, thumbnail: np.ndarray, regions: bytes) -> Facts:
    table: dict = dict(entry)
    problems = tuple(Finding(**{**problem, "files": tuple(problem["files"])}) for problem in table["problems"])
    return Facts(
        name=table["name"],
        sample=sample,
        problems=problems,
        size=tuple(table["size"]),
        digest=bytes.fromhex(table["digest"]),
        contents=tuple(table["contents"]),
        thumbnail=thumbnail,
        drawn=np.array(table["drawn"], bool),
        regions=np.frombuffer(zlib.decompress(regions), np.uint8).reshape(-1, SIDE, SIDE),
    )
