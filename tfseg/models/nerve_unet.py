"""The U-Net of the nerve slides: five levels, no batch norm, transposed convolutions."""

from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import conv, require_divisible, to_logits

Tensor = Any


def nerve_unet(
    input_shape: tuple[int, int, int], classes: int, *, widths: tuple[int, ...] = (32, 64, 128, 256, 512)
) -> keras.Model:
    """Build the U-Net of the nerve slides (after Ronneberger et al., MICCAI 2015, arXiv:1505.04597).

    Departures from the paper: "same" padding, half the channels, He initialization with zero biases, no dropout.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (len(widths) - 1).
        classes: channels of the logits; 1 means foreground against background.
        widths: channels of each level, from full resolution down.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 7,759,521 parameters for one input
        channel and one class.

    Raises:
        ValueError: height or width is no such multiple.
    """
    require_divisible(input_shape, 2 ** (len(widths) - 1))
    x = image = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(widths):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = _double_conv(x, width, name=f"down{level}")
        skips.append(x)  # (H, W) / 2**level
    for level in reversed(range(len(widths) - 1)):
        x = layers.Conv2DTranspose(
            widths[level], 2, strides=2, kernel_initializer="he_normal", name=f"up{level}_transpose"
        )(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _double_conv(x, widths[level], name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="nerve_unet")


def _double_conv(x: Tensor, width: int, *, name: str) -> Tensor:
    for part in "ab":
        x = conv(x, width, activation="relu", name=f"{name}{part}_conv")
    return x
