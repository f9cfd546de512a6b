"""Batch norm's statistics, estimated again for weights that no training step has seen, such as averaged ones."""

from collections.abc import Iterable
from typing import Any

import keras
import numpy as np
import tensorflow as tf


def estimate_statistics(model: keras.Model, batches: Iterable[tuple[Any, Any]]) -> None:
    """Set the moving mean and variance of every batch norm to those of `batches` (Izmailov et al., UAI 2018,
    arXiv:1803.05407, section 3.2).

    The mean is that of all batches, the variance the mean of the batches' variances plus the variance of their means,
    so that equal batches give the statistics of all their pixels together. Dropout is off meanwhile. Without batch norm
    nothing happens.

    Args:
        model: any network.
        batches: of (B, H, W, C) images in [0, 1], and anything.
    """
    norms = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    if not norms:
        return
    kept = _set(model, norms)
    run = tf.function(lambda images: model(images, training=True))
    means, variances = [], []
    for images, _ in batches:
        run(images)
        means.append([_float64(layer.moving_mean) for layer in norms])
        variances.append([_float64(layer.moving_variance) for layer in norms])
    for layer, name, value in kept:
        setattr(layer, name, value)
    for index, layer in enumerate(norms):
        mean = np.array([of_batch[index] for of_batch in means])
        layer.moving_mean.assign(mean.mean(axis=0))
        layer.moving_variance.assign(np.mean([of[index] for of in variances], axis=0) + mean.var(axis=0))


def _float64(variable: Any) -> np.ndarray:
    return keras.ops.convert_to_numpy(variable).astype("float64")


def _set(model: keras.Model, norms: list[Any]) -> list[tuple[Any, str, float]]:
    """Let the moving averages follow each batch at once, and switch dropout off; return what to set back."""
    changed = [(layer, "momentum") for layer in norms]
    changed += [(layer, "rate") for layer in model.layers if isinstance(layer, keras.layers.Dropout)]
    kept = [(layer, name, getattr(layer, name)) for layer, name in changed]
    for layer, name in changed:
        setattr(layer, name, 0.0)
    return kept
