"""Deep Residual U-Net: a U-Net of three levels and a bridge, built of residual units."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import conv, norm, norm_relu, require_divisible, to_logits
from tfseg.models.layers import Upsample

Tensor = Any


def resunet(
    input_shape: tuple[int, int, int], classes: int, *, widths: Sequence[int] = (64, 128, 256, 512)
) -> keras.Model:
    """Build a Deep Residual U-Net (Zhang, Liu and Wang, IEEE GRSL 2018, arXiv:1711.10684).

    Units are full pre-activation: norm, ReLU and 3x3 convolution twice, added to the unit's input; a stride of 2 in a
    unit's first convolution takes the place of pooling; the first unit begins with its convolution, as in the paper.

    Departures: where a unit changes the number of channels or the size, a 1x1 convolution with batch norm carries its
    input across (the paper writes of an identity and does not say how; its 7.8 M parameters are those of the 3x3
    convolutions alone); upsampling is bilinear, which the paper leaves open; logits where the paper ends in a sigmoid.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (len(widths) - 1).
        classes: channels of the logits; 1 means foreground against background.
        widths: channels of each level, from full resolution down to the bridge.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits.

    Raises:
        ValueError: height or width is no such multiple.
    """
    require_divisible(input_shape, 2 ** (len(widths) - 1))
    x = image = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(widths):
        x = _residual_unit(x, width, strides=2 if level else 1, first=level == 0, name=f"down{level}")
        skips.append(x)  # (H, W) / 2**level
    for level in reversed(range(len(widths) - 1)):
        x = Upsample(name=f"up{level}_resize")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _residual_unit(x, widths[level], name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="resunet")


def _residual_unit(x: Tensor, width: int, *, name: str, strides: int = 1, first: bool = False) -> Tensor:
    shortcut = norm(conv(x, width, 1, strides=strides, name=f"{name}_shortcut_conv"), name=f"{name}_shortcut_norm")
    if not first:
        x = norm_relu(x, name=f"{name}a")
    x = conv(x, width, strides=strides, name=f"{name}a_conv")
    x = conv(norm_relu(x, name=f"{name}b"), width, name=f"{name}b_conv")
    return layers.Add(name=f"{name}_add")([x, shortcut])
