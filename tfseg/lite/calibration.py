"""Ranges for 8 bits: on which images they are found, and how.

A value's importance is how much the probabilities move with it: the square of their derivative, summed over the pixels
of the result (the diagonal of the Gauss-Newton matrix, as in Li et al., ICLR 2021, arXiv:2102.05426). Each range is the
one whose 256 steps cost least, importance weighing both the rounding inside and the clipping outside. Where the
background is certain, activations may be a hundred times those at a nerve's border: no number of bits that reaches them
leaves steps for the border, and clipping them changes no probability.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfseg.activation import activate
from tfseg.progress import Watch, silent

_SHIFT = 18  # a bin holds the float32 numbers that share sign, exponent and 5 bits of the fraction: 32 bins an octave
_BINS = 1 << (32 - _SHIFT)
_REACHES = np.geomspace(0.01, 1, 40)  # shares of the largest value that are tried as the end of a range
_LEVELS = 255
_FLOOR = 1e-30  # of importance: where no value moves the result, all count alike


@dataclasses.dataclass(frozen=True, kw_only=True)
class Calibration:
    """The images that ranges are found on.

    Attributes:
        names: of the images.
        images: uint8 (H, W, C) each, as tfseg.data.images.network_input returns them.
    """

    names: tuple[str, ...]
    images: Sequence[np.ndarray]


def choose(names: Sequence[str], labels: Sequence[Collection[str]], *, count: int = 64, seed: int) -> list[str]:
    """Choose training images that resemble the whole: from every combination of labels its share, but one at least.

    Args:
        names: of the training images.
        labels: of each image, what it shows and its stratum (tfseg.data.folds.labels).
        count: how many; all where there are no more.
        seed: of the choice.

    Returns:
        The chosen names, in the order of `names`.

    >>> choose(["a", "b", "c", "d"], [["nerve"], ["nerve"], ["nerve"], []], count=2, seed=0)
    ['c', 'd']
    """
    rng = np.random.default_rng(seed)
    strata: dict[tuple[str, ...], list[int]] = {}
    for index in rng.permutation(len(names)):
        strata.setdefault(tuple(sorted(labels[index])), []).append(int(index))
    # A stratum's first image comes at 0, its others evenly up to 1: any beginning of the order resembles the whole.
    places = [
        (place / len(members), stratum, member)
        for stratum, members in sorted(strata.items())
        for place, member in enumerate(members)
    ]
    return [names[index] for index in sorted(member for *_, member in sorted(places)[:count])]


def find_ranges(
    network: Any, tensors: Iterable[str], calibration: Calibration, activation: str, *, watch: Watch = silent
) -> dict[str, tuple[float, float]]:
    """Find the range of tensors inside a network.

    Args:
        network: a frozen function, traced, from images (1, H, W, C) in [0, 1] to logits.
        tensors: names of operations in its graph.
        calibration: the images.
        activation: "sigmoid" or "softmax", from logits to probabilities.
        watch: told how far the work is.

    Returns:
        (low, high) by name, low <= 0 <= high.
    """
    names = list(tensors)
    measure = _measuring(network, names, activation)
    histograms = {name: np.zeros(_BINS) for name in names}
    for done, image in enumerate(calibration.images, 1):
        signs = np.random.default_rng(done).choice(np.array([-1, 1], np.float32), network.outputs[0].shape)
        values = measure(tf.constant(image[None].astype(np.float32) / 255), tf.constant(signs))
        for name, value, slope in zip(names, values[::2], values[1::2], strict=True):
            histograms[name] += _histogram(value.numpy(), slope.numpy())
        watch("calibrating", done, len(calibration.images))
    return {name: cheapest_range(histogram) for name, histogram in histograms.items()}


def cheapest_range(histogram: np.ndarray) -> tuple[float, float]:
    """Return the range whose 256 steps cost least, from the importance of the values in each bin."""
    used = np.flatnonzero(histogram)
    if not len(used):
        return 0.0, 0.0
    values, weights = _centres(used), histogram[used]
    lows = _REACHES * min(values.min(), 0) if values.min() < 0 else np.zeros(1)
    highs = _REACHES * max(values.max(), 0) if values.max() > 0 else np.zeros(1)
    below = [(weights * np.maximum(low - values, 0) ** 2).sum() for low in lows]
    above = [(weights * np.maximum(values - high, 0) ** 2).sum() for high in highs]
    steps = np.unique(np.subtract.outer(highs, lows) / _LEVELS)
    costs = [_rounding(values, weights, step) for step in steps]
    rounding = np.interp(np.subtract.outer(highs, lows) / _LEVELS, steps, costs)
    high, low = np.unravel_index(np.argmin(np.add.outer(above, below) + rounding), rounding.shape)
    return float(lows[low]), float(highs[high])


def _rounding(values: np.ndarray, weights: np.ndarray, step: float) -> float:
    """What rounding to multiples of `step` costs: all of a value below half a step, step**2 / 12 on average above."""
    return (weights * np.where(np.abs(values) < step / 2, values**2, step**2 / 12)).sum()


def _measuring(network: Any, names: Sequence[str], activation: str) -> Any:
    """Return a function from an image and random signs (1, H, W, K) to value, slope, value, slope, ...

    With random signs the square of one gradient is, on average, the sum of the squares of all pixels' gradients.
    """

    def measure(image: Any, signs: Any) -> list[Any]:
        *tensors, logits = tf.graph_util.import_graph_def(
            network.graph.as_graph_def(),
            input_map={network.inputs[0].name: image},
            return_elements=[*(f"{name}:0" for name in names), network.outputs[0].name],
            name="",
        )
        total = tf.reduce_sum(signs * activate(logits, activation))
        slopes = tf.gradients(total, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [part for pair in zip(tensors, slopes, strict=True) for part in pair]

    shapes = [tf.TensorSpec(tensor.shape, tf.float32) for tensor in (network.inputs[0], network.outputs[0])]
    return tf.compat.v1.wrap_function(measure, shapes)


def _histogram(values: np.ndarray, slopes: np.ndarray) -> np.ndarray:
    """Return the importance, squared slopes, of the values in each bin."""
    bins = values.ravel().view(np.uint32) >> _SHIFT
    return np.bincount(bins, weights=np.square(slopes, dtype=np.float64).ravel() + _FLOOR, minlength=_BINS)


def _centres(bins: np.ndarray) -> np.ndarray:
    """Return the number in the middle of each bin."""
    middle = (bins.astype(np.uint32) << _SHIFT) | np.uint32(1 << (_SHIFT - 1))
    return middle.view(np.float32).astype(np.float64)
