"""Near-duplicates: pairs of images that show one moment of one scan, found from small thumbnails.

Two passes. The first correlates all thumbnails as they are: frames of a clip, other brightness, noise or compression.
The second aligns images that look alike when coarse, since a crop of a few per cent or a small move of the probe spoils
the plain correlation of speckle long before the eye sees another picture.

The thresholds were set on usgra-seg and HC18. Of the 40 grey images of usgra-seg, 29 are crops of colour images in it,
equal to the last pixel: plain correlation sees them at 0.76 to 0.93 and finds 2 other pairs; aligned, they reach 0.987
to 0.998. The other pairs above 0.96 show one place in one person moments apart; the next that a small move aligns is at
0.947. No pair of HC18 exceeds 0.91, and those that come close are second images of one subject. For 5,635 frames of 47
subjects, two busy cores take 8 s and 100 MB.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

SIDE = 64
PLAIN_CORRELATION = 0.97
ALIGNED_CORRELATION = 0.95
_COARSE_SIDE = 16
_COARSE_CORRELATION = 0.75  # the crops of usgra-seg have 0.89 and more, the alignment recovers copies with less
_COARSE_NEIGHBOURS = 4  # alignments an image may ask for, at about 2 ms each
_LARGEST_MOVE = 1 / 8  # of the side: a warp that moves a corner further has bent one picture into another
_BLOCK = 512  # rows of the correlation matrix held at once
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-3)
_BLUR = 3
_EVERYWHERE = np.full((SIDE, SIDE), 255, np.uint8)


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Near-duplicates among N images.

    Attributes:
        indices: int32 (M, 2), the first of a pair below the second, each pair once.
        warps: for pairs that had to be aligned, pair -> float32 (2, 3): where in the second thumbnail a pixel (x, y, 1)
            of the first one lies.
    """

    indices: np.ndarray
    warps: dict[tuple[int, int], np.ndarray]


def thumbnail(image: np.ndarray) -> np.ndarray:
    """Shrink an image (H, W, C) to float32 (SIDE, SIDE) of mean 0 and variance 1, or of zeros where it is flat."""
    small = cv2.resize(image.mean(axis=-1), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
    return _standard(small[None])[0]


def mask_thumbnail(mask: np.ndarray) -> np.ndarray:
    """Shrink a mask (H, W, K) of 0 and 1 to uint8 (K, SIDE, SIDE): 255 times the share of a pixel's area that is 1."""
    channels = [
        cv2.resize(mask[..., k] * np.float32(255), (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        for k in range(mask.shape[-1])
    ]
    return np.rint(channels).astype(np.uint8)


def near_duplicates(thumbnails: np.ndarray) -> Pairs:
    """Find the pairs of near-duplicates among thumbnails (N, SIDE, SIDE), N > 0.

    Memory grows with N and with the pairs found, never with N ** 2. Images that the first pass joined, through others
    too, are not aligned with each other: those pairs are of one group already.
    """
    indices = _plain_pairs(thumbnails)
    units = unite(len(thumbnails), indices)
    warps: dict[tuple[int, int], np.ndarray] = {}
    with ThreadPoolExecutor(2) as pool:  # OpenCV releases the interpreter's lock
        for candidates in _candidates(thumbnails, units):
            apart = [(first, second) for first, second in candidates if units[first] != units[second]]
            found = pool.map(lambda pair: _align(thumbnails[pair[0]], thumbnails[pair[1]]), apart)
            fitting = {pair: warp for pair, warp in zip(apart, found, strict=True) if warp is not None}
            warps |= fitting
            indices = np.concatenate([indices, np.array(list(fitting), np.int32).reshape(-1, 2)])
            units = unite(len(thumbnails), indices)
    return Pairs(indices=indices, warps=warps)


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
    if warp is not None:
        flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
        second = np.stack([cv2.warpAffine(channel, warp, (SIDE, SIDE), flags=flags) for channel in second])
    overlap = np.minimum(first, second).sum(axis=(1, 2), dtype=np.int64)
    area = first.sum(axis=(1, 2), dtype=np.int64) + second.sum(axis=(1, 2), dtype=np.int64)
    dice = np.where(area > 0, 2 * overlap / np.maximum(area, 1), 1)
    return np.where(drawn[pair[0]] == drawn[pair[1]], dice, 0)


def _plain_pairs(thumbnails: np.ndarray) -> np.ndarray:
    flat = _unit_rows(thumbnails)
    found = [np.empty((0, 2), np.int32)]
    for start in range(0, len(flat), _BLOCK):
        correlation = flat[start : start + _BLOCK] @ flat[start:].T  # (rows, N - start)
        rows, columns = np.nonzero(np.triu(correlation > PLAIN_CORRELATION, 1))
        found.append(np.stack([rows + start, columns + start], axis=1).astype(np.int32))
    return np.concatenate(found)


def _candidates(thumbnails: np.ndarray, units: np.ndarray) -> list[list[tuple[int, int]]]:
    """Return pairs of different `units` (N,) that look alike when coarse: each image with its closest, its next, ..."""
    count = len(thumbnails)
    step = SIDE // _COARSE_SIDE
    coarse = thumbnails.reshape(count, _COARSE_SIDE, step, _COARSE_SIDE, step).mean(axis=(2, 4))
    flat = _unit_rows(_standard(coarse))
    rounds: list[set[tuple[int, int]]] = [set() for _ in range(_COARSE_NEIGHBOURS)]
    for start in range(0, count, _BLOCK):
        correlation = flat[start : start + _BLOCK] @ flat.T  # (rows, N)
        correlation[units[start : start + _BLOCK, None] == units] = -1
        rows = np.arange(len(correlation))
        for pairs in rounds:
            closest = correlation.argmax(axis=1)
            alike = rows[correlation[rows, closest] > _COARSE_CORRELATION]
            pairs.update(
                (min(pair), max(pair)) for pair in zip((alike + start).tolist(), closest[alike].tolist(), strict=True)
            )
            correlation[rows, closest] = -1
    return [sorted(pairs) for pairs in rounds]


def _align(first: np.ndarray, second: np.ndarray) -> np.ndarray | None:
    """Return the affine warp (2, 3) that takes pixels of `first` to those of `second`, or None where nothing fits.

    Enhanced correlation coefficient: Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008, as OpenCV has it.
    """
    start = np.eye(2, 3, dtype=np.float32)
    try:
        correlation, warp = cv2.findTransformECC(first, second, start, cv2.MOTION_AFFINE, _STOP, _EVERYWHERE, _BLUR)
    except cv2.error:  # it did not converge: these two pictures have little in common
        return None
    corners = np.array([[0, 0, 1], [SIDE, 0, 1], [0, SIDE, 1], [SIDE, SIDE, 1]])
    move = np.abs(corners @ warp.T - corners[:, :2]).max() / SIDE
    return warp if correlation > ALIGNED_CORRELATION and move <= _LARGEST_MOVE else None


def _standard(images: np.ndarray) -> np.ndarray:
    """Give every image (N, h, w) mean 0 and variance 1; one that is flat but for rounding becomes zeros."""
    centred = images - images.mean(axis=(1, 2), keepdims=True)
    deviation = centred.std(axis=(1, 2), keepdims=True)
    return np.where(deviation > 1e-6, centred / np.maximum(deviation, 1e-6), 0).astype(np.float32)


def _unit_rows(images: np.ndarray) -> np.ndarray:
    """Flatten standard images (N, h, w) to rows whose dot products are correlations."""
    return images.reshape(len(images), -1) / np.float32(np.sqrt(images[0].size))
