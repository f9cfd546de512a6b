"""Images standardized by the numbers that a network starts with, so that no operation is added to it."""

import keras
import numpy as np


def standardize_input(model: keras.Model, mean: np.ndarray, deviation: np.ndarray) -> None:
    """Change the first convolution's random numbers so that it sees (image - mean) / deviation.

    Networks take images in [0, 1], of which all pixels are positive. Without a norm, that common part drives all
    activations of the first steps in one direction: the logits of the nerve slides' U-Net fall below -80 within four
    epochs, where the Dice loss has no gradient left, and every mask is empty from then on. What the convolution pads
    with stays black.

    Args:
        model: newly built, from (B, H, W, C) images in [0, 1].
        mean: of the training images, (C,).
        deviation: their standard deviation, (C,), not 0.
    """
    first = next(layer for layer in model.layers if isinstance(layer, keras.layers.Conv2D))
    kernel, *bias = first.get_weights()  # (k, k, C, width)
    kernel = kernel / deviation[:, None]
    if bias:
        bias = [bias[0] - np.einsum("yxco,c->o", kernel, mean)]
    first.set_weights([kernel, *bias])
