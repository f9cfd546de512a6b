"""From probabilities to masks, at whatever resolution the probabilities come."""

import numpy as np
from scipy import ndimage


def postprocess(probability: np.ndarray, *, threshold: float, largest_component: bool) -> np.ndarray:
    """Return the mask, uint8 (H, W, K), of a probability, float (H, W, K) in [0, 1].

    Args:
        probability: of each pixel and class.
        threshold: probability from which a pixel counts as foreground.
        largest_component: whether only the largest component of each class is kept.

    Raises:
        ValueError: `probability` has no (H, W, K) shape.
    """
    mask = binarize(probability, threshold)
    return keep_largest(mask) if largest_component else mask


def binarize(probability: np.ndarray, threshold: float) -> np.ndarray:
    """Return uint8 (H, W, K), 1 where `probability`, float (H, W, K) in [0, 1], is at least `threshold`.

    >>> binarize(np.array([[[0.2], [0.5], [0.9]]]), 0.5).ravel()
    array([0, 1, 1], dtype=uint8)
    """
    if probability.ndim != 3:
        raise ValueError(f"probability has shape {probability.shape}: it must be (H, W, K)")
    return (probability >= threshold).astype(np.uint8)


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
