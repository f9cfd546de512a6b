"""Turned, mirrored, moved and cropped copies among thumbnails: which may be a copy of which, and where its pixels lie.

A copy is sought in the eight orientations of a square and as a crop that keeps 70 % or more of each side. Two steps:
`candidates` correlates coarse pictures with crops on a grid, all with all, as matrix products; `align` slides the copy
over the whole, and refines the place that fits best.

The numbers were set on copies made of 150 images of HC18, the hardest set at hand, since all its heads look alike when
coarse: among the first 4 candidates are 99 of 100 copies that keep 70 % of each side, and all that keep 80 % or more.
With crops of 70 % on a grid of steps of 10 % instead of 7 % it was 84.
"""

from dataclasses import dataclass
from itertools import product

import cv2
import numpy as np

SIDE = 64
ALIGNED_CORRELATION = 0.95
ORIENTATIONS = 8
_FINE_SIDE, _COARSE_SIDE = 32, 6
_COARSE_CORRELATION = 0.78  # true copies have more
_NEIGHBOURS = 6  # candidates of an image, at 0.1 ms each
_GRID = ((1.0, 1), (0.9, 2), (0.8, 4), (0.72, 5))  # share of a side that a crop keeps, and places along a side
_CROPS = tuple(
    (share, x, y) for share, places in _GRID for x, y in product(np.linspace(0, 1 - share, places).tolist(), repeat=2)
)
_SLID_CORRELATION = 0.8  # true copies have 0.84 and more
_SLID_SHARES = (0.94, 0.97, 1.0, 1.03, 1.06)  # of the crop's
_LEAST_SHARE = 0.66  # of a side: 70 %, with room for how well a place is found
_LARGEST_MOVE = 1 / 8  # of a side, beyond the edge
_LARGEST_BEND = 0.1  # of a side: a warp that bends more makes one picture of another
_VISITS = 8  # cells that a picture is compared with
_FROM_CELL = 3  # candidates that it may find in each
_AT_ONCE = 1 << 20  # correlations held at once
_BLOCK = 1024  # rows compared at once
_STOP = (cv2.TERM_CRITERIA_EPS | cv2.TERM_CRITERIA_COUNT, 15, 1e-3)
_BLUR = 3


@dataclass(frozen=True, kw_only=True)
class Candidate:
    """A thumbnail that may show a part of another one.

    Attributes:
        whole: its index.
        copy: of the one that shows the part.
        orientation: in which the copy looks like the whole, see `oriented`.
        share: about what the copy shows of each side.
    """

    whole: int
    copy: int
    orientation: int
    share: float


def oriented(images: np.ndarray, orientation: int) -> np.ndarray:
    """Turn images (..., S, S) by `orientation` % 4 quarters, and then mirror them where it is 4 to 7."""
    turned = np.rot90(images, orientation % 4, axes=(-2, -1))
    return np.ascontiguousarray(turned[..., ::-1] if orientation >= 4 else turned)


def candidates(thumbnails: np.ndarray) -> list[list[Candidate]]:
    """Return who may be a copy of whom among thumbnails (N, SIDE, SIDE): each one's likeliest, its next, ...

    Coarse crops of all thumbnails are dealt to cells, each by the centre that it is most like, and a picture is
    compared with what lies in the cells that it is most like itself. Time grows with N ** 1.5.
    """
    count = len(thumbnails)
    crops = _coarse(thumbnails)  # (V N, d)
    whole = crops[:count].reshape(count, _COARSE_SIDE, _COARSE_SIDE)
    pictures = np.concatenate([_unit_rows(oriented(whole, turn)) for turn in range(ORIENTATIONS)])  # (8 N, d)
    centres = crops[np.random.default_rng(0).permutation(len(crops))[: round(np.sqrt(len(crops)))]]
    home = _likest(crops, centres, 1)[:, 0]
    visits = _likest(pictures, centres, min(_VISITS, len(centres)))  # (8 N, visits)
    crops_of, pictures_of = _members(home, len(centres)), _members(visits.ravel(), len(centres))
    found = [np.empty((3, 0))]
    for residents, visitors in zip(crops_of, pictures_of, strict=True):
        rows = max(1, _AT_ONCE // max(1, len(residents)))
        for start in range(0, len(visitors), rows):
            found += _best(pictures, crops, visitors[start : start + rows] // visits.shape[1], residents, count)
    return _ranked(np.concatenate(found, axis=1), count)


def _best(
    pictures: np.ndarray, crops: np.ndarray, visitors: np.ndarray, residents: np.ndarray, count: int
) -> list[np.ndarray]:
    """Return (likeness, picture, crop), (3, M), of those in a cell that each of its visitors is most like, next, ..."""
    likeness = pictures[visitors] @ crops[residents].T
    likeness[visitors[:, None] % count == residents % count] = -1  # itself
    found, rows = [], np.arange(len(visitors))
    for _ in range(min(_FROM_CELL, len(residents))):
        best = likeness.argmax(axis=1)
        fits = likeness[rows, best]
        near = np.flatnonzero(fits > _COARSE_CORRELATION)
        found.append(np.stack([fits[near], visitors[near], residents[best[near]]]))
        likeness[rows, best] = -1
    return found


def _likest(rows: np.ndarray, centres: np.ndarray, number: int) -> np.ndarray:
    """Return the centres that each row is most like, (rows, number), in no order."""
    found = []
    for start in range(0, len(rows), _BLOCK):
        likeness = rows[start : start + _BLOCK] @ centres.T
        found.append(np.argpartition(-likeness, number - 1, axis=1)[:, :number])
    return np.concatenate(found)


def _members(cells: np.ndarray, count: int) -> list[np.ndarray]:
    """Return the indices of those in cell 0, 1, ..., `count` - 1."""
    order = np.argsort(cells, kind="stable")
    return np.split(order, np.searchsorted(cells[order], np.arange(1, count)))


def _ranked(found: np.ndarray, count: int) -> list[list[Candidate]]:
    """Sort (likeness, picture, crop), (3, M), into rounds: of each thumbnail its best whole, its next best, ..."""
    likeness, picture, crop = found[0], found[1].astype(np.int64), found[2].astype(np.int64)
    copy, whole = picture % count, crop % count
    order = np.lexsort((-likeness, copy))
    _, first = np.unique((copy * count + whole)[order], return_index=True)  # a pair's best fit
    order = order[np.sort(first)]
    rank = np.arange(len(order)) - np.searchsorted(copy[order], copy[order])
    rounds: list[list[Candidate]] = [[] for _ in range(_NEIGHBOURS)]
    for index, place in zip(order[rank < _NEIGHBOURS], rank[rank < _NEIGHBOURS], strict=True):
        rounds[place].append(
            Candidate(
                whole=int(whole[index]),
                copy=int(copy[index]),
                orientation=int(picture[index]) // count,
                share=_CROPS[int(crop[index]) // count][0],
            )
        )
    return rounds


def align(whole: np.ndarray, copy: np.ndarray, orientation: int, share: float) -> np.ndarray | None:
    """Return the affine warp (2, 3) from pixels (x, y, 1) of `whole` to those of `copy`, or None where nothing fits.

    Enhanced correlation coefficient: Evangelidis and Psarakis, IEEE TPAMI 30(10), 2008, as OpenCV has it. The copy is
    shrunk to the size at which the whole shows the same, so that neither is sharper.

    Args:
        whole: (SIDE, SIDE).
        copy: (SIDE, SIDE).
        orientation: in which the copy looks like the whole.
        share: about what the copy shows of each side of the whole.
    """
    turned = oriented(copy, orientation)
    fit, x, y, share = _slide(whole, turned, share)
    if fit < _SLID_CORRELATION:
        return None
    pixels = round(share * SIDE)
    template = cv2.resize(turned, (pixels, pixels), interpolation=cv2.INTER_AREA)
    start = np.array([[1, 0, x * SIDE], [0, 1, y * SIDE]], np.float32)
    everywhere = np.full(whole.shape, 255, np.uint8)
    try:
        fit, warp = cv2.findTransformECC(template, whole, start, cv2.MOTION_AFFINE, _STOP, everywhere, _BLUR)
    except cv2.error:  # it did not converge: these two pictures have little in common
        return None
    scale = (SIDE - 1) / (pixels - 1)
    turned_to_whole = np.vstack([warp, [0, 0, 1]]) @ np.diag([1 / scale, 1 / scale, 1])
    if fit <= ALIGNED_CORRELATION or not _is_crop(turned_to_whole):
        return None
    return (_turning(orientation) @ np.linalg.inv(turned_to_whole))[:2].astype(np.float32)


def _slide(whole: np.ndarray, copy: np.ndarray, share: float) -> tuple[float, float, float, float]:
    """Return the best correlation of `copy` with a part of `whole`, its place (x, y) in 0..1, and its share."""
    small = cv2.resize(whole, (_FINE_SIDE, _FINE_SIDE), interpolation=cv2.INTER_AREA)
    found = (-1.0, 0.0, 0.0, share)
    for pixels in dict.fromkeys(min(_FINE_SIDE, round(share * factor * _FINE_SIDE)) for factor in _SLID_SHARES):
        part = cv2.resize(copy, (pixels, pixels), interpolation=cv2.INTER_AREA)
        _, fit, _, (x, y) = cv2.minMaxLoc(cv2.matchTemplate(small, part, cv2.TM_CCOEFF_NORMED))
        found = max(found, (fit, x / _FINE_SIDE, y / _FINE_SIDE, pixels / _FINE_SIDE))
    return found


def _is_crop(warp: np.ndarray) -> bool:
    """Tell whether a warp (3, 3) takes the corners of a thumbnail to those of a part of another one, and bends little.

    A part may reach beyond the edge by an eighth of its side: a probe that moved a little shows the same place.
    """
    corners = np.array([[0, 0, 1], [SIDE, 0, 1], [0, SIDE, 1], [SIDE, SIDE, 1]]) @ warp[:2].T / SIDE  # (4, 2)
    across, down = corners[1] - corners[0], corners[2] - corners[0]
    width, height = across[0], down[1]
    beyond = max(-corners.min(), corners.max() - 1)
    bent = max(abs(across[1]), abs(down[0]), abs(width - height))
    return min(width, height) >= _LEAST_SHARE and bent <= _LARGEST_BEND and beyond <= _LARGEST_MOVE


def _turning(orientation: int) -> np.ndarray:
    """Return the affine map (3, 3) from a pixel (x, y, 1) of an oriented thumbnail to where it was before."""
    last = SIDE - 1
    rows, columns = (oriented(grid, orientation) for grid in np.mgrid[:SIDE, :SIDE])
    origin = np.array([columns[0, 0], rows[0, 0]])
    across = np.array([columns[0, last], rows[0, last]]) - origin
    down = np.array([columns[last, 0], rows[last, 0]]) - origin
    return np.array(
        [[across[0] / last, down[0] / last, origin[0]], [across[1] / last, down[1] / last, origin[1]], [0, 0, 1]]
    )


def _coarse(thumbnails: np.ndarray) -> np.ndarray:
    """Shrink every crop of thumbnails (N, SIDE, SIDE) to unit rows (V N, d): the first crop of all, the second, ..."""
    spans = list(dict.fromkeys((left, share) for share, left, _ in _CROPS))
    weights = np.concatenate([_averages(left, share) for left, share in spans])  # (spans * _COARSE_SIDE, _FINE_SIDE)
    place = {span: slice(number * _COARSE_SIDE, (number + 1) * _COARSE_SIDE) for number, span in enumerate(spans)}
    rows = np.empty((len(_CROPS), len(thumbnails), _COARSE_SIDE**2), np.float32)
    step = SIDE // _FINE_SIDE
    for start in range(0, len(thumbnails), _BLOCK):
        block = thumbnails[start : start + _BLOCK].astype(np.float32)
        block = block.reshape(-1, _FINE_SIDE, step, _FINE_SIDE, step).mean(axis=(2, 4))
        shrunk = weights @ block @ weights.T
        for number, (share, left, top) in enumerate(_CROPS):
            part = shrunk[:, place[top, share], place[left, share]]
            rows[number, start : start + _BLOCK] = _unit_rows(part)
    return rows.reshape(-1, _COARSE_SIDE**2)


def _averages(start: float, share: float) -> np.ndarray:
    """Return weights (_COARSE_SIDE, _FINE_SIDE) that average over equal parts of a `share` of a row from `start`."""
    edges = start + share * np.linspace(0, 1, _COARSE_SIDE + 1)[:, None]
    pixels = np.arange(_FINE_SIDE) / _FINE_SIDE
    overlap = np.minimum(edges[1:], pixels + 1 / _FINE_SIDE) - np.maximum(edges[:-1], pixels)
    return (np.maximum(overlap, 0) * _COARSE_SIDE / share).astype(np.float32)


def _unit_rows(images: np.ndarray) -> np.ndarray:
    """Flatten images (N, h, w) to rows whose dot products are correlations; a flat one becomes zeros."""
    rows = images.reshape(len(images), -1)
    rows = rows - rows.mean(axis=1, keepdims=True)
    length = np.linalg.norm(rows, axis=1, keepdims=True)
    return np.where(length > 1e-4, rows / np.maximum(length, 1e-4), 0).astype(np.float32)
