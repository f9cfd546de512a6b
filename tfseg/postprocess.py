"""From probabilities to masks, at whatever resolution the probabilities come."""

import numpy as np
from scipy import ndimage


def postprocess(
    probability: np.ndarray, *, threshold: float, exclusive: bool, largest_component: bool, smallest_area: float = 0.0
) -> np.ndarray:
    """Return the mask, uint8 (H, W, K), of a probability, float (H, W, K) in [0, 1].

    Args:
        probability: of each pixel and class.
        threshold, exclusive: see `binarize`.
        largest_component: whether only the largest component of each class is kept.
        smallest_area: share of the image below which what is left of a class counts as nothing.

    Raises:
        ValueError: `probability` has no (H, W, K) shape.
    """
    mask = binarize(probability, threshold, exclusive=exclusive)
    mask = keep_largest(mask) if largest_component else mask
    return drop_small(mask, smallest_area) if smallest_area else mask


def drop_small(mask: np.ndarray, smallest_area: float) -> np.ndarray:
    """Empty the classes of a mask, uint8 (H, W, K), 0 or 1, that cover less than that share of the image.

    >>> drop_small(np.array([[[1, 1], [0, 1], [0, 1], [0, 0]]], np.uint8), 0.5).sum(axis=(0, 1))
    array([0, 3], dtype=uint64)
    """
    return mask * (mask.mean(axis=(0, 1)) >= smallest_area)


def exclusive(activation: str, classes: int) -> bool:
    """Tell whether classes exclude each other: several of a "softmax" (see tfseg.activation), and only those."""
    return activation == "softmax" and classes > 1


def binarize(probability: np.ndarray, threshold: float, *, exclusive: bool) -> np.ndarray:
    """Return the mask, uint8 (H, W, K), of a probability, float (H, W, K) in [0, 1]: the one rule for every network.

    Args:
        probability: of each pixel and class.
        threshold: probability from which a pixel counts, class by class; without effect on exclusive classes.
        exclusive: whether a pixel gets the most probable of the background and the classes, and no other. The
            background has what the classes leave of 1; of equals the background, then the first class wins.

    Raises:
        ValueError: `probability` has no (H, W, K) shape.

    >>> binarize(np.array([[[0.45, 0.35]]]), threshold=0.5, exclusive=False).ravel()
    array([0, 0], dtype=uint8)
    >>> binarize(np.array([[[0.45, 0.35]]]), threshold=0.5, exclusive=True).ravel()
    array([1, 0], dtype=uint8)
    """
    if probability.ndim != 3:
        raise ValueError(f"probability has shape {probability.shape}: it must be (H, W, K)")
    if not exclusive:
        return (probability >= threshold).astype(np.uint8)
    background = 1 - probability.sum(axis=-1, keepdims=True)
    winner = np.concatenate([background, probability], axis=-1).argmax(axis=-1)[..., None]
    return (winner == np.arange(1, probability.shape[-1] + 1)).astype(np.uint8)


def keep_largest(mask: np.ndarray) -> np.ndarray:
    """Keep the largest component of each class of a mask, uint8 (H, W, K), 0 or 1.

    Pixels that share a side or a corner belong together. Of components of one size the first stays: the one that
    reading the rows from the top left meets first.

    >>> keep_largest(np.array([[[1], [0], [1], [1]]], np.uint8)).ravel()
    array([0, 0, 1, 1], dtype=uint8)
    """
    return np.stack([_largest(mask[..., k]) for k in range(mask.shape[-1])], axis=-1)


def _largest(mask: np.ndarray) -> np.ndarray:
    labels = np.empty(mask.shape, np.int32)  # 0 outside the mask, then the components in the order of the scan
    ndimage.label(mask, structure=np.ones((3, 3), int), output=labels)
    sizes = np.bincount(labels.ravel())[1:]
    return mask if len(sizes) < 2 else (labels == 1 + np.argmax(sizes)).astype(np.uint8)


def keep_largest_body(mask: np.ndarray) -> np.ndarray:
    """Keep the largest component of a volume's mask, uint8 (D, H, W), 0 or 1, in place, and return it.

    Voxels that share a side, an edge or a corner belong together. Slices are labelled twice, so that the labels of two
    slices are held at a time: those of a whole volume of 512x512x800 would take 800 MiB.

    >>> keep_largest_body(np.array([[[1, 0, 0, 1]], [[0, 0, 0, 1]]], np.uint8)).tolist()
    [[[0, 0, 0, 1]], [[0, 0, 0, 1]]]
    """
    parent, sizes = [0], [0]  # of every component of a slice, numbered through the volume; 0 is the background
    above = np.zeros(mask.shape[1:], np.int32)
    for plane in mask:
        labels, count = _labelled(plane, len(parent) - 1)
        parent += range(len(parent), len(parent) + count)
        sizes += np.bincount(labels.ravel(), minlength=len(parent))[len(sizes) :].tolist()
        for one, other in _touching(above, labels):
            parent[max(_root(parent, one), _root(parent, other))] = min(_root(parent, one), _root(parent, other))
        above = labels
    roots = np.array([_root(parent, index) for index in range(len(parent))])
    kept = roots == np.argmax(np.bincount(roots, weights=sizes))
    done = 0
    for plane in mask:
        labels, count = _labelled(plane, done)
        plane &= kept[labels]
        done += count
    return mask


def _labelled(plane: np.ndarray, done: int) -> tuple[np.ndarray, int]:
    """Return the labels of a slice (H, W), 0 outside the mask and from `done` + 1 up inside, and how many there are."""
    labels = np.empty(plane.shape, np.int32)
    count = ndimage.label(plane, structure=np.ones((3, 3), int), output=labels)
    labels[labels > 0] += done
    return labels, int(count)


def _touching(above: np.ndarray, below: np.ndarray) -> set[tuple[int, int]]:
    """Return the pairs of labels that touch from one slice (H, W) to the next, corners included."""
    height, width = above.shape
    padded = np.pad(above, 1).astype(np.int64) << 32
    pairs: set[int] = set()
    for row in range(3):
        for column in range(3):
            both = padded[row : row + height, column : column + width][below > 0] | below[below > 0]
            pairs.update(both[np.flatnonzero(np.diff(both, prepend=-1))].tolist())  # one of each run
    return {(pair >> 32, pair & 0xFFFFFFFF) for pair in pairs if pair >> 32}


def _root(parent: list[int], index: int) -> int:
    while parent[index] != index:
        parent[index] = parent[parent[index]]
        index = parent[index]
    return index
