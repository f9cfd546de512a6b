"""Mobile U-Net: a U-Net of depthwise separable convolutions with residual connections."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import conv, conv_norm_relu, norm, norm_relu, require_divisible, to_logits
from tfseg.models.layers import Upsample

Tensor = Any


def mobile_unet(
    input_shape: tuple[int, int, int], classes: int, *, widths: Sequence[int] = (32, 64, 128, 256, 512)
) -> keras.Model:
    """Build the Mobile U-Net of the liver tumour paper (section 2.4.5 there; it names Dai et al., 2018, as its source).

    What the paper says, and this network has: depthwise separable convolutions and max pooling on the way down;
    upsampling, concatenation of the encoder's features of the same size, and depthwise separable convolutions on the
    way up; a pointwise convolution after each depthwise one, to reduce channels; residual connections.

    What it leaves open, and what we took: five levels of half the U-Net's channels; batch norm without biases and ReLU
    after the depthwise and after the pointwise convolution, as in MobileNet (Howard et al., 2017, arXiv:1704.04861); a
    residual connection around each pair of separable convolutions; bilinear upsampling; a pointwise convolution that
    reduces the channels after each concatenation. Our departure: the first convolution is a regular one, since a
    depthwise convolution sees one channel of the image at a time.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (len(widths) - 1).
        classes: channels of the logits; 1 means foreground against background.
        widths: channels of each level, from full resolution down.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits.

    Raises:
        ValueError: height or width is no such multiple.
    """
    require_divisible(input_shape, 2 ** (len(widths) - 1))
    image = keras.Input(input_shape, name="image")
    x = conv_norm_relu(image, widths[0], use_bias=False, name="stem")
    skips = []
    for level, width in enumerate(widths):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = _residual_separable(x, width, name=f"down{level}")
        skips.append(x)  # (H, W) / 2**level
    for level in reversed(range(len(widths) - 1)):
        x = Upsample(name=f"up{level}_resize")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = conv_norm_relu(x, widths[level], 1, use_bias=False, name=f"up{level}_reduce")
        x = _residual_separable(x, widths[level], name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="mobile_unet")


def _residual_separable(x: Tensor, width: int, *, name: str) -> Tensor:
    """Two separable convolutions and, around both, their input: as it is, or through 1x1 where its channels differ."""
    shortcut = x
    if x.shape[-1] != width:
        shortcut = conv(x, width, 1, use_bias=False, name=f"{name}_shortcut_conv")
        shortcut = norm(shortcut, name=f"{name}_shortcut_norm")
    x = _separable(x, width, name=f"{name}a")
    x = layers.ReLU(name=f"{name}a_point_relu")(x)
    x = _separable(x, width, name=f"{name}b")
    x = layers.Add(name=f"{name}_add")([x, shortcut])
    return layers.ReLU(name=f"{name}_relu")(x)


def _separable(x: Tensor, width: int, *, name: str) -> Tensor:
    channels = x.shape[-1]
    x = conv(x, channels, groups=channels, use_bias=False, name=f"{name}_depth_conv")
    x = norm_relu(x, name=f"{name}_depth")
    return norm(conv(x, width, 1, use_bias=False, name=f"{name}_point_conv"), name=f"{name}_point_norm")
