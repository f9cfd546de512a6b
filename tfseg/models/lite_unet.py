"""Lite U-Net: our own network, a light decoder on an EfficientNet-Lite trunk that starts from published weights."""

import functools
from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import require_divisible, to_logits
from tfseg.models.conv_norm import conv_norm
from tfseg.models.efficientnet_lite import STAGES, trunk
from tfseg.models.layers import Upsample

Tensor = Any

_conv_norm = functools.partial(conv_norm, epsilon=1e-3, momentum=0.9)


def lite_unet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    trunk_width: int = 112,
    widths: tuple[int, ...] = (64, 40, 24),
    head: int = 2,
) -> keras.Model:
    """Build a U-Net on the first stages of EfficientNet-Lite0, which start from ImageNet weights.

    Made for phones: every operation is one that int8 and GPU delegates run as it is, skips are added rather than
    concatenated, and the decoder convolves channel by channel.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.
        trunk_width: channels of the trunk's last stage, 112 or 80, both at a sixteenth of the resolution.
        widths: channels of the decoder, from an eighth of the resolution up.
        head: at which fraction of the resolution the logits are computed, 2 or 4; they are then enlarged bilinearly.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 723,257 trainable parameters for one
        input channel and one class, 267,473 with a trunk of 80 channels and widths of 48, 32 and 16.
    """
    require_divisible(input_shape, 16)
    image = keras.Input(input_shape, name="image")
    *skips, x = _features(image, trunk_width)
    x = _conv_norm(x, widths[0], 1, activation="relu6", name="top")
    for level, (skip, width) in enumerate(zip(reversed(skips[head.bit_length() - 2 :]), widths, strict=True)):
        x = _up(x, skip, width, name=f"up{level}")
    logits = to_logits(x, classes)
    return keras.Model(image, Upsample(head, dtype="float32", name="upsample")(logits), name="lite_unet")


def _features(image: Tensor, trunk_width: int) -> tuple[Tensor, ...]:
    """Return what the trunk makes of an image at a half, a quarter, an eighth and a sixteenth of the resolution."""
    stages = [stage.width for stage in STAGES].index(trunk_width) + 1
    half, quarter, eighth, *sixteenth = trunk(image, stages=stages)
    return half, quarter, eighth, sixteenth[-1]


def _up(x: Tensor, skip: Tensor, width: int, *, name: str) -> Tensor:
    if x.shape[-1] != width:
        x = _conv_norm(x, width, 1, activation="relu6", name=f"{name}_narrow")
    x = Upsample(name=f"{name}_upsample")(x)
    skip = _conv_norm(skip, width, 1, activation=None, name=f"{name}_skip")
    x = layers.Add(name=f"{name}_add")([x, skip])
    x = _conv_norm(x, width, 3, depthwise=True, activation="relu6", name=f"{name}_depthwise")
    return _conv_norm(x, width, 1, activation="relu6", name=f"{name}_point")
