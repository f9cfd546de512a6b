"""What is kept of images so that they, and nearly the same ones, are recognised later: 40 bytes an image.

Eight bytes are a digest of the decoded pixels. The others are a signature: 256 signs of random projections of the small
picture less what all images of the set share (Charikar, Similarity estimation techniques from rounding algorithms, STOC
2002). Two pictures that correlate at r differ in arccos(r) / pi of their signs: in 26 of 256 on average at 0.95, in 52
at 0.8, in 128 where they have nothing in common. A picture is compared in its eight orientations. Crops are recognised
by `near_duplicates` alone, which needs whole thumbnails.
"""

import base64
import functools
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np

from tfseg.data.alignment import ORIENTATIONS, SIDE, oriented
from tfseg.data.duplicates import as_floats, common_backdrop

_DIGEST_BYTES = 8
_SIGNS = 256
_DIFFERENT_SIGNS = 42  # of near-duplicates at most: 99.9 % of pairs that correlate at 0.95 have no more, 5 % at 0.8
_SMALL_SIDE = 32
_SCALE = 32  # levels of one standard deviation in a stored backdrop
_BLOCK = 256  # pictures compared at once


@dataclass(frozen=True, kw_only=True)
class Seen:
    """N images that a network, or a run, has seen.

    Attributes:
        digests: uint8 (N, 8), of the decoded pixels.
        signatures: uint8 (N, 32), zeros of an image that is flat or a volume: nothing is nearly the same as it.
        backdrop: int8 (32, 32), what all of them share; zeros where that cannot be told.
    """

    digests: np.ndarray
    signatures: np.ndarray
    backdrop: np.ndarray

    @classmethod
    def of(cls, digests: Sequence[bytes], levels: np.ndarray) -> Self:
        """Keep what recognises images of these digests and thumbnails, int8 (N, SIDE, SIDE), as they are kept."""
        shared = common_backdrop(levels)
        small = np.zeros((1, SIDE, SIDE)) if shared is None else shared[None]
        backdrop = np.rint(np.clip(_shrunk(small)[0] * _SCALE, -127, 127)).astype(np.int8)
        blocks = [
            _signatures(as_floats(levels[start : start + _BLOCK]), backdrop) for start in range(0, len(levels), _BLOCK)
        ]
        return cls(digests=_short(digests), signatures=np.concatenate(blocks), backdrop=backdrop)

    def only(self, places: Sequence[int]) -> Self:
        """Return what is kept of some of the images."""
        chosen = np.asarray(places, int)
        return type(self)(digests=self.digests[chosen], signatures=self.signatures[chosen], backdrop=self.backdrop)

    def matches(self, digests: np.ndarray, levels: np.ndarray) -> list[list[int]]:
        """Return, of each of M pictures, the places of the images here that it equals or nearly equals.

        Args:
            digests: uint8 (M, 8), as they are kept here.
            levels: int8 (M, SIDE, SIDE), thumbnails as they are kept.
        """
        place: dict[bytes, list[int]] = {}
        for index, digest in enumerate(self.digests):
            place.setdefault(digest.tobytes(), []).append(index)
        equal = [place.get(digest.tobytes(), []) for digest in digests]
        return [sorted({*same, *near}) for same, near in zip(equal, self._near(levels), strict=True)]

    def _near(self, levels: np.ndarray) -> Iterator[list[int]]:
        known = _signs(self.signatures)  # (N, 256), zeros where there is no signature
        for start in range(0, len(levels), _BLOCK):
            block = as_floats(levels[start : start + _BLOCK])
            agree = np.full((len(block), len(known)), -_SIGNS, np.float32)
            for orientation in range(ORIENTATIONS):
                signs = _signs(_signatures(oriented(block, orientation), self.backdrop))
                np.maximum(agree, signs @ known.T, out=agree)  # those that agree less those that differ
            for row in agree:
                yield np.flatnonzero(row >= _SIGNS - 2 * _DIFFERENT_SIGNS).tolist()

    def to_json(self) -> dict[str, str]:
        """Return the content of JSON: each array in base64."""
        arrays = {"digests": self.digests, "signatures": self.signatures, "backdrop": self.backdrop}
        return {name: base64.b64encode(array.tobytes()).decode() for name, array in arrays.items()}

    @classmethod
    def from_json(cls, table: Mapping[str, str]) -> Self:
        """Return what `to_json` wrote; ValueError or KeyError where it is something else."""
        raw = {name: np.frombuffer(base64.b64decode(table[name]), np.uint8) for name in ("digests", "signatures")}
        backdrop = np.frombuffer(base64.b64decode(table["backdrop"]), np.int8)
        return cls(
            digests=raw["digests"].reshape(-1, _DIGEST_BYTES),
            signatures=raw["signatures"].reshape(-1, _SIGNS // 8),
            backdrop=backdrop.reshape(_SMALL_SIDE, _SMALL_SIDE),
        )


def _short(digests: Sequence[bytes]) -> np.ndarray:
    """Return the first bytes of digests, uint8 (N, 8)."""
    return np.frombuffer(b"".join(digest[:_DIGEST_BYTES] for digest in digests), np.uint8).reshape(-1, _DIGEST_BYTES)


def _shrunk(thumbnails: np.ndarray) -> np.ndarray:
    step = SIDE // _SMALL_SIDE
    return thumbnails.reshape(-1, _SMALL_SIDE, step, _SMALL_SIDE, step).mean(axis=(2, 4), dtype=np.float32)


def _signatures(thumbnails: np.ndarray, backdrop: np.ndarray) -> np.ndarray:
    """Return uint8 (N, 32) of thumbnails (N, SIDE, SIDE); zeros of flat ones."""
    small = _shrunk(thumbnails).reshape(len(thumbnails), -1)
    own = small - backdrop.ravel().astype(np.float32) / _SCALE
    own -= own.mean(axis=1, keepdims=True)
    packed = np.packbits(own @ _projections() > 0, axis=1)
    packed[~small.any(axis=1)] = 0
    return packed


@functools.cache
def _projections() -> np.ndarray:
    """Return the random signs (1024, 256) on which pictures are projected, the same on every machine and for good."""
    size = _SMALL_SIDE**2 * _SIGNS
    bits = np.unpackbits(np.frombuffer(hashlib.shake_256(b"tfseg seen images").digest(size // 8), np.uint8))
    return (2 * bits.astype(np.float32) - 1).reshape(-1, _SIGNS)


def _signs(signatures: np.ndarray) -> np.ndarray:
    """Return -1 and 1, float32 (N, 256), and zeros where there is no signature."""
    signs = 2 * np.unpackbits(signatures, axis=1).astype(np.float32) - 1
    return signs * signatures.any(axis=1, keepdims=True)
