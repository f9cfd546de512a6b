"""What training watches: accuracy, IoU and Dice of thresholded masks, at the network's resolution.

These draw the curves. The numbers that are reported come from tfseg.metrics, at the original resolution.
"""

from collections.abc import Callable
from typing import Any

from keras import ops

from tfseg.activation import activate, with_background
from tfseg.postprocess import exclusive

Tensor = Any


def curve_metrics(activation: str, threshold: float) -> list[Callable[[Tensor, Tensor], Tensor]]:
    """Return the functions `accuracy`, `iou` and `dice` of (y_true, logits), each (B,) and averaged over classes.

    A pixel is true where a class covers at least half of it, and predicted as tfseg.postprocess.binarize has it.
    """

    def predicted(logits: Tensor) -> Tensor:
        classes = logits.shape[-1]
        if not exclusive(activation, classes):
            return ops.cast(activate(logits, activation) >= threshold, "float32")
        return ops.one_hot(ops.argmax(with_background(logits), axis=-1), 1 + classes, dtype="float32")[..., 1:]

    def counts(y_true: Tensor, logits: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        truth = ops.cast(ops.cast(y_true, "float32") >= 0.5, "float32")
        prediction = predicted(logits)
        overlap = ops.sum(truth * prediction, axis=(1, 2))  # (B, K)
        return overlap, ops.sum(truth, axis=(1, 2)), ops.sum(prediction, axis=(1, 2))

    def accuracy(y_true: Tensor, logits: Tensor) -> Tensor:
        overlap, truth, prediction = counts(y_true, logits)
        pixels = ops.cast(ops.shape(y_true)[1] * ops.shape(y_true)[2], "float32")
        return ops.mean(1 - (truth + prediction - 2 * overlap) / pixels, axis=-1)

    def iou(y_true: Tensor, logits: Tensor) -> Tensor:
        overlap, truth, prediction = counts(y_true, logits)
        return ops.mean(_ratio(overlap, truth + prediction - overlap), axis=-1)

    def dice(y_true: Tensor, logits: Tensor) -> Tensor:
        overlap, truth, prediction = counts(y_true, logits)
        return ops.mean(_ratio(2 * overlap, truth + prediction), axis=-1)

    return [accuracy, iou, dice]


def _ratio(part: Tensor, whole: Tensor) -> Tensor:
    """part / whole, and 1 where both are empty."""
    return ops.where(whole > 0, part / ops.maximum(whole, 1.0), 1.0)
