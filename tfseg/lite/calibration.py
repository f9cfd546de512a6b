"""Ranges for 8 bits: on which images they are found, and how.

A value's importance is how much the probabilities move with it: the square of their derivative, summed over the pixels
of the result (the diagonal of the Gauss-Newton matrix, as in Li et al., ICLR 2021, arXiv:2102.05426). What a range
costs an image is the error of its 256 steps, squared and weighed by importance: rounding inside, clipping outside. The
range is taken whose costs have the least geometric mean over the images, so that no single image rules. Where the
background is certain, activations may be a hundred times those at a nerve's border: a range that reaches them leaves no
steps for the border, and clipping them changes no probability.

Seen on the U-Net of the nerve slides, trained on usgra, images that it never saw: Dice of the 8-bit against the float
mask was 0.50 with least and greatest values, 0.76 with percentiles, 0.65 with least squares, 0.99 so. On a SegResNet
with one outlier among 32 images, an arithmetic mean of the costs gave 0.74 and the geometric mean 0.86.
"""

import dataclasses
from collections.abc import Collection, Iterable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfseg.activation import activate
from tfseg.errors import InputError
from tfseg.models.layers import groups_train
from tfseg.progress import Watch, silent

_SHIFT = 18  # a bin holds the float32 numbers that share sign, exponent and 5 bits of the fraction: 32 bins an octave
_REACHES = np.geomspace(0.01, 1, 40)  # shares of the largest value that are tried as the end of a range
_LEVELS = 255
_COUNTED = 1 << 18  # values of one image and result that are counted, about
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
    order = list(range(len(names)))
    rng.shuffle(order)
    for index in order:
        strata.setdefault(tuple(sorted(labels[index])), []).append(index)
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

    Raises:
        InputError: the network has convolutions by groups, and TensorFlow no gradients of them; or it gives numbers
            that are not finite on an image.
    """
    if _by_groups(network) and not groups_train():
        raise InputError(
            "TensorFlow computes without oneDNN, which alone has gradients of convolutions by groups: import tfseg "
            "before it, or set TF_ENABLE_ONEDNN_OPTS=1"
        )
    names = list(tensors)
    measure = _measuring(network, names, activation)
    found: dict[str, list[Histogram]] = {name: [] for name in names}
    for done, image in enumerate(calibration.images, 1):
        signs = np.random.default_rng(done).choice(np.array([-1, 1], np.float32), network.outputs[0].shape)
        results = measure(tf.constant(image[None].astype(np.float32) / 255), tf.constant(signs))
        for name, values, slopes in zip(names, results[::2], results[1::2], strict=True):
            if not np.isfinite(values).all():
                raise InputError(f"{name} gives numbers that are not finite on calibration images")
            found[name].append(histogram(values.numpy(), slopes.numpy()))
        watch("calibrating", done, len(calibration.images))
    return {name: cheapest_range(images) for name, images in found.items()}


def _by_groups(network: Any) -> bool:
    convs = [operation for operation in network.graph.get_operations() if operation.type == "Conv2D"]
    return any(x.shape[-1] != kernel.shape[2] for x, kernel in (conv.inputs for conv in convs))


Histogram = tuple[np.ndarray, np.ndarray]  # the bins that hold something, and the importance of what they hold


def histogram(values: np.ndarray, slopes: np.ndarray) -> Histogram:
    """Count float32 values (..., C), each by the square of its slope; of a large map, pixels evenly over all of it."""
    every = values.size // _COUNTED | 1  # odd, so that all columns have their turn
    values, slopes = (x.reshape(-1, x.shape[-1])[::every] for x in (values, slopes))
    bins = np.ascontiguousarray(values).ravel().view(np.uint32) >> _SHIFT
    importance = np.bincount(bins, weights=np.square(slopes, dtype=np.float64).ravel() + _FLOOR)
    used = np.flatnonzero(importance)
    return used, importance[used]


def cheapest_range(images: Sequence[Histogram]) -> tuple[float, float]:
    """Return the range (low, high), low <= 0 <= high, whose 256 steps cost least, given a histogram of each image.

    >>> ones = histogram(np.ones(100, np.float32), np.ones(100))
    >>> low, high = cheapest_range([ones])
    >>> low, round(high, 1)
    (0.0, 1.0)
    """
    every = _centres(np.unique(np.concatenate([bins for bins, _ in images])))
    lows = _REACHES * every.min() if every.min() < 0 else np.zeros(1)
    highs = _REACHES * every.max() if every.max() > 0 else np.zeros(1)
    steps = np.subtract.outer(lows, highs) / -_LEVELS
    tried = np.geomspace(steps.min(), steps.max(), len(_REACHES)) if steps.max() > 0 else np.zeros(2)
    cost = np.zeros_like(steps)
    for bins, importance in images:
        values = _centres(bins)
        below = np.square(np.maximum(lows[:, None] - values, 0)) @ importance
        above = np.square(np.maximum(values - highs[:, None], 0)) @ importance
        rounding = np.interp(steps, tried, [_rounding(values, step) @ importance for step in tried])
        cost += np.log(np.add.outer(below, above) + rounding + _FLOOR)
    low, high = np.unravel_index(np.argmin(cost), cost.shape)
    return float(lows[low]), float(highs[high])


def _rounding(values: np.ndarray, step: float) -> np.ndarray:
    """Return what rounding to multiples of `step` costs: below half a step all of it, above step**2 / 12 on average."""
    return np.where(np.abs(values) < step / 2, np.square(values), step**2 / 12)


def _measuring(network: Any, names: Sequence[str], activation: str) -> Any:
    """Return a function from an image and random signs (1, H, W, K) to value, slope, value, slope, ...

    With random signs the square of one gradient is, on average, the sum of the squares of all pixels' gradients.
    """

    graph = network.graph.as_graph_def()
    for node in graph.node:  # gradients written in Python, such as tf.nn.silu's, hold tensors of the first graph
        node.attr.pop("_gradient_op_type", None)

    def measure(image: Any, signs: Any) -> list[Any]:
        *tensors, logits = tf.graph_util.import_graph_def(
            graph,
            input_map={network.inputs[0].name: image},
            return_elements=[*(f"{name}:0" for name in names), network.outputs[0].name],
            name="",
        )
        total = tf.reduce_sum(signs * activate(logits, activation))
        slopes = tf.gradients(total, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
        return [part for pair in zip(tensors, slopes, strict=True) for part in pair]

    shapes = [tf.TensorSpec(tensor.shape, tf.float32) for tensor in (network.inputs[0], network.outputs[0])]
    return tf.compat.v1.wrap_function(measure, shapes)


def _centres(bins: np.ndarray) -> np.ndarray:
    """Return the number in the middle of each bin."""
    middle = (bins.astype(np.uint32) << _SHIFT) | np.uint32(1 << (_SHIFT - 1))
    return middle.view(np.float32).astype(np.float64)
