"""Near-duplicates: pairs of images that show one moment of one scan, found from small thumbnails.

Two passes. The first correlates all thumbnails as they are: frames of a clip, other brightness, noise or compression.
The second looks for copies that were moved, cropped, mirrored or turned (tfseg.data.alignment). Pairs that are alike
in nothing but the frame of their scanner are dropped (tfseg.data.backdrop). Each image is compared with one of every
set that it may belong to, so that ten thousand still frames are ten thousand pairs.

The thresholds were set on usgra-seg and HC18. Of the 40 grey images of usgra-seg, 29 are crops of colour images in it,
equal to the last pixel: plain correlation sees them at 0.76 to 0.93 and finds 2 other pairs; aligned, they reach 0.987
to 0.998. The other pairs above 0.96 show one place in one person moments apart. The 999 images of HC18 hold 13 groups,
each of one subject.
"""

from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from tfseg.data.alignment import SIDE, Candidate, align, candidates
from tfseg.data.backdrop import FEW, OWN_CORRELATION, aligned_correlation, backdrop, one_scene, own_correlation

PLAIN_CORRELATION = 0.97
_COARSE_SIDE = 16
_BLOCK = 512  # rows of the correlation matrix held at once
_SAME_VIEW = 0.8  # share of its area that each of two images shows of the other, or one is a crop
_LOOKED_AT = 512  # images of a set that tell whether it is one scene
_LEVELS = 24  # of one standard deviation: rounding costs correlations 0.0001
_TRIED = 64  # images of a set that an image is compared with at once


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Near-duplicates among N images.

    Attributes:
        indices: int32 (M, 2), the first of a pair below the second; each pair joins two sets, so that M < N.
        warps: for pairs that had to be aligned, pair -> float32 (2, 3): where in the second thumbnail a pixel (x, y, 1)
            of the first one lies.
    """

    indices: np.ndarray
    warps: dict[tuple[int, int], np.ndarray]


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, C) to float32 (SIDE, SIDE) of mean 0 and variance 1, or of zeros where it is flat."""
    small = cv2.resize(image.mean(axis=-1), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _standard(small[None])[0]


def as_levels(thumbnails: np.ndarray) -> np.ndarray:
    """Round thumbnails (N, SIDE, SIDE) to int8, in which they are kept: a 24th of a standard deviation a level."""
    return np.rint(np.clip(thumbnails * _LEVELS, -127, 127)).astype(np.int8)


def as_floats(levels: np.ndarray) -> np.ndarray:
    """Return kept thumbnails as `thumbnail` made them, but for rounding."""
    return _standard(levels.astype(np.float32) / _LEVELS)


def common_backdrop(levels: np.ndarray) -> np.ndarray | None:
    """Return what all kept thumbnails, int8 (N, SIDE, SIDE), share, or None where they are few or one scene."""
    if len(levels) < FEW:
        return None
    mean = levels.mean(axis=0, dtype=np.float64) / _LEVELS
    return None if one_scene(as_floats(levels[:: -(-len(levels) // _LOOKED_AT)]), mean) else mean


def mask_thumbnail(mask: np.ndarray) -> np.ndarray:
    """Shrink a mask (H, W, K) of 0 and 1 to uint8 (K, SIDE, SIDE): 255 times the share of a pixel's area that is 1."""
    channels = [
        cv2.resize(mask[..., k] * np.float32(255), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for k in range(mask.shape[-1])
    ]
    return np.rint(channels).astype(np.uint8)


def near_duplicates(thumbnails: np.ndarray) -> Pairs:
    """Find near-duplicates among thumbnails (N, SIDE, SIDE), N > 0: pairs that join all of each set.

    Memory grows with N, never with N ** 2.
    """
    count = len(thumbnails)
    total = thumbnails.sum(axis=0, dtype=np.float64)
    plain, leads = _join(thumbnails, np.arange(count))
    unit = unite(count, plain)[plain[:, 0]]
    order = np.argsort(unit, kind="stable")
    kept = [np.empty((0, 2), np.int32)]
    for pairs in np.split(plain[order], np.flatnonzero(np.diff(unit[order])) + 1):
        members = np.unique(pairs)
        shared = backdrop(thumbnails, members, total) if len(members) else None
        if shared is not None:
            pairs, alone = _join(thumbnails, members, shared)
            leads = np.union1d(leads, alone)
        kept.append(pairs)
    own = np.concatenate(kept)
    warps = _aligned(thumbnails, total, leads, unite(count, own))
    return Pairs(indices=np.array(sorted([*map(tuple, own.tolist()), *warps]), np.int32).reshape(-1, 2), warps=warps)


def unite(count: int, pairs: np.ndarray) -> np.ndarray:
    """Number the sets into which `pairs` (M, 2) join `count` images: (count,), in the order of their first image.

    >>> unite(5, np.array([[1, 4], [2, 4]])).tolist()
    [0, 1, 1, 2, 1]
    """
    matrix = coo_array((np.ones(len(pairs), bool), (pairs[:, 0], pairs[:, 1])), shape=(count, count))
    found = connected_components(matrix, directed=False)[1]
    _, first, inverse = np.unique(found, return_index=True, return_inverse=True)
    return np.argsort(np.argsort(first))[inverse]


def agreement(regions: Sequence[np.ndarray], drawn: Sequence[np.ndarray], pairs: Pairs) -> np.ndarray:
    """Return the Dice of the masks of every pair, by class: float (M, K), 1 where both are empty, 0 where one is.

    The masks of a pair that had to be aligned are compared aligned.

    Args:
        regions: of every image, the thumbnails of its mask (K, SIDE, SIDE).
        drawn: of every image, whether its mask shows anything of a class, bool (K,); thumbnails lose a single pixel.
        pairs: which to compare.
    """
    return np.array(
        [_pair_dice(regions, drawn, pair, pairs.warps.get(pair)) for pair in map(tuple, pairs.indices.tolist())]
    )


def _pair_dice(
    regions: Sequence[np.ndarray], drawn: Sequence[np.ndarray], pair: tuple[int, int], warp: np.ndarray | None
) -> np.ndarray:
    first, second = regions[pair[0]], regions[pair[1]]
    shown = np.ones((SIDE, SIDE), np.uint8)
    if warp is not None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        second = np.stack([cv2.warpAffine(channel, warp, (SIDE, SIDE), flags=flags) for channel in second])
        shown = cv2.warpAffine(shown, warp, (SIDE, SIDE), flags=flags)
        first = first * shown  # a crop says nothing of what it does not show
    overlap = np.minimum(first, second).sum(axis=(1, 2), dtype=np.int64)
    area = first.sum(axis=(1, 2), dtype=np.int64) + second.sum(axis=(1, 2), dtype=np.int64)
    dice = np.where(area > 0, 2 * overlap / np.maximum(area, 1), 1)
    area_ratio = 1 if warp is None else abs(np.linalg.det(warp[:, :2]))
    same_view = shown.mean() > _SAME_VIEW and _SAME_VIEW < area_ratio < 1 / _SAME_VIEW
    return np.where(drawn[pair[0]] == drawn[pair[1]], dice, 0) if same_view else dice


def _join(
    thumbnails: np.ndarray, members: np.ndarray, shared: np.ndarray | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Compare images as they are; where `shared` (S, S) is given, what they have beside it must be alike, too.

    Returns:
        Pairs int32 (M, 2) that join all that are alike, and the images that resemble none of the others returned
        before them: one of every few that are nearly equal.
    """
    rows = _bounds(thumbnails, members)
    units, leads, pairs = np.arange(len(members)), np.zeros(len(members), bool), []
    for start in range(0, len(members), _BLOCK):
        bounds = rows[start : start + _BLOCK] @ rows[: start + _BLOCK].T
        for row in range(start, min(start + _BLOCK, len(members))):
            likely = np.flatnonzero(bounds[row - start, :row] > PLAIN_CORRELATION)
            joined, leads[row] = [], True
            for unit in np.unique(units[likely]):
                those = likely[units[likely] == unit]
                those = those[np.lexsort((-bounds[row - start, those], ~leads[those]))]  # those that lead come first
                twin = _first_alike(thumbnails, members[row], members[those], shared)
                if twin is not None:
                    joined.append(unit)
                    pairs.append((members[those[twin]], members[row]))
                    leads[row] &= not leads[those[twin]]
            if joined:
                units[row] = joined[0]
                if joined[1:]:
                    units[np.isin(units, joined)] = joined[0]
    return np.array(pairs, np.int32).reshape(-1, 2), members[leads]


def _bounds(thumbnails: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Return rows (M, d) whose dot products no correlation of two images exceeds.

    They hold the image shrunk, and the length of what shrinking lost: Cauchy's inequality.
    """
    step = SIDE // _COARSE_SIDE
    rows = np.empty((len(members), _COARSE_SIDE**2 + 1), np.float32)
    for start in range(0, len(members), _BLOCK):
        block = thumbnails[members[start : start + _BLOCK]]
        shrunk = block.reshape(-1, _COARSE_SIDE, step, _COARSE_SIDE, step).mean(axis=(2, 4), dtype=np.float32)
        rows[start : start + _BLOCK, :-1] = shrunk.reshape(len(block), -1) / _COARSE_SIDE
    kept = (rows[:, :-1] ** 2).sum(axis=1)
    flat = kept == 0
    rows[:, -1] = np.where(flat, 0, np.sqrt(np.clip(1 - kept, 0, None)))
    return rows


def _first_alike(thumbnails: np.ndarray, image: int, others: np.ndarray, shared: np.ndarray | None) -> int | None:
    """Return the place in `others` of the first that is alike, or None."""
    for start in range(0, len(others), _TRIED):
        tried = others[start : start + _TRIED]
        correlation = thumbnails[tried].reshape(len(tried), -1) @ thumbnails[image].ravel() / SIDE**2
        for place in np.flatnonzero(correlation > PLAIN_CORRELATION).tolist():
            if shared is None or own_correlation(thumbnails[image], thumbnails[tried[place]], shared) > OWN_CORRELATION:
                return start + place
    return None


def _aligned(
    thumbnails: np.ndarray, total: np.ndarray, leads: np.ndarray, units: np.ndarray
) -> dict[tuple[int, int], np.ndarray]:
    """Return pair -> warp of those among `leads` that are copies of each other and of different `units` (N,)."""
    warps: dict[tuple[int, int], np.ndarray] = {}
    units = units.copy()
    with ThreadPoolExecutor(2) as pool:  # OpenCV releases the interpreter's lock
        for found in candidates(thumbnails[leads]):
            apart = _apart(found, leads, units)
            fits = pool.map(
                lambda one: align(thumbnails[one.whole], thumbnails[one.copy], one.orientation, one.share), apart
            )
            for one, warp in zip(apart, fits, strict=True):
                if warp is not None and _is_copy(thumbnails, total, units, one, warp):
                    units[units == units[one.copy]] = units[one.whole]
                    forward = one.whole < one.copy
                    warps[min(one.whole, one.copy), max(one.whole, one.copy)] = (
                        warp if forward else cv2.invertAffineTransform(warp)
                    )
    return warps


def _apart(found: Iterable[Candidate], leads: np.ndarray, units: np.ndarray) -> list[Candidate]:
    """Number candidates among `leads` as all images are, and return one of each two that are of different `units`."""
    numbered = (replace(one, whole=int(leads[one.whole]), copy=int(leads[one.copy])) for one in found)
    once = {(frozenset((one.whole, one.copy)), one.share < 1): one for one in numbered}
    return [one for one in once.values() if units[one.whole] != units[one.copy]]


def _is_copy(thumbnails: np.ndarray, total: np.ndarray, units: np.ndarray, one: Candidate, warp: np.ndarray) -> bool:
    """Tell whether two images that a warp aligns join two `units`, and have more in common than all others have."""
    if units[one.whole] == units[one.copy]:
        return False
    both = np.flatnonzero((units == units[one.whole]) | (units == units[one.copy]))
    others = len(thumbnails) - len(both)
    if others < FEW:
        return True
    shared = (total - thumbnails[both].sum(axis=0, dtype=np.float64)) / others
    return aligned_correlation(thumbnails[one.whole], thumbnails[one.copy], warp, shared) > OWN_CORRELATION


def _standard(images: np.ndarray) -> np.ndarray:
    """Give every image (N, h, w) mean 0 and variance 1; one that is flat but for rounding becomes zeros."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    deviation = centred.std(axis=(1, 2), keepdims=True)
    return np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0).astype(np.float32)
