"""What all images of a set share: the frame that a scanner draws round every picture, which makes nobody a duplicate.

The round edge of a fundus or the fan of an ultrasound probe correlates two people's images at 0.97. What is left of
HC18's near-duplicates without what all share correlates at 0.88 and more; in pairs of different people's eyes (CHASE)
and hearts (CAMUS) whose frames join them, at up to 0.78.
"""

import cv2
import numpy as np
from scipy.ndimage import binary_dilation

OWN_CORRELATION = 0.8
FEW = 4  # images that do not tell what all share
_MANY = 8  # near-duplicates that tell it by themselves
_FINE = 4  # pixels: what a Gaussian of this width blurs away is fine
_STILL = 0.25  # of the deviation of pixels that move: one that moves less is of the frame
_EDGE = 3  # pixels beside the frame that look like it
_SCENE = 0.5  # share of the fine structure that images of one scene have in common


def backdrop(thumbnails: np.ndarray, members: np.ndarray, total: np.ndarray) -> np.ndarray | None:
    """Return what the frame of a set of near-duplicates looks like, or None where they are one scene or cannot tell.

    A large set tells by itself: where its images have more than half of their fine structure in common, away from the
    frame, they show one scene. A small one is seen against all other images.

    Args:
        thumbnails: (N, S, S), of mean 0 and variance 1.
        members: indices of the set.
        total: sum (S, S) of all thumbnails.
    """
    others = len(thumbnails) - len(members)
    own = thumbnails[members].sum(axis=0, dtype=np.float64)
    if len(members) < _MANY:
        return (total - own) / others if others >= FEW else None
    mean = own / len(members)
    return None if one_scene(thumbnails[members], mean) else mean


def own_correlation(
    first: np.ndarray, second: np.ndarray, shared: np.ndarray, shown: np.ndarray | None = None
) -> float:
    """Return the correlation of two images (S, S) without what all share (S, S), where `shown` (S, S)."""
    where = np.ones(first.shape, bool) if shown is None else shown
    a, b, common = first[where].astype(np.float64), second[where].astype(np.float64), shared[where]
    gain, offset = np.polyfit(b, a, 1) if b.std() > 1e-6 else (1.0, 0.0)  # a crop has other brightness and contrast
    left, right = ((own - own.mean()).ravel() for own in (a - common, gain * b + offset - common))
    return float(left @ right / max(np.linalg.norm(left) * np.linalg.norm(right), 1e-12))


def aligned_correlation(whole: np.ndarray, copy: np.ndarray, warp: np.ndarray, shared: np.ndarray) -> float:
    """Return the least `own_correlation` of two images, seen from either; `warp` leads from `whole` to `copy`."""
    side = whole.shape[0]
    everywhere = np.ones(whole.shape, np.float32)
    found = []
    for here, there, flags in ((whole, copy, cv2.WARP_INVERSE_MAP), (copy, whole, 0)):
        moved, shown = (
            cv2.warpAffine(x, warp, (side, side), flags=flags | cv2.INTER_LINEAR) for x in (there, everywhere)
        )
        found.append(own_correlation(here, moved, shared, shown > 1 - 1e-3))
    return min(found)


def one_scene(images: np.ndarray, mean: np.ndarray) -> bool:
    """Tell whether images (N, S, S) have most of their fine structure in common, away from a frame."""
    deviation = images.std(axis=0)
    still = deviation <= _STILL * np.quantile(deviation, 0.95)
    inside = (~binary_dilation(still, iterations=_EDGE)).astype(np.float32)
    if not inside.any():
        return True  # nothing moves
    energy = np.mean([(_fine(image, inside) ** 2).sum() for image in images])
    return bool((_fine(mean.astype(np.float32), inside) ** 2).sum() > _SCENE * energy)


def _fine(image: np.ndarray, inside: np.ndarray) -> np.ndarray:
    """Return what an image (S, S) has beside its blurred form, `inside` 1, where nothing outside blurs in."""
    blurred = cv2.GaussianBlur(image * inside, (0, 0), _FINE) / (cv2.GaussianBlur(inside, (0, 0), _FINE) + 1e-6)
    return (image - blurred) * inside
