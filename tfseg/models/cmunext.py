"""CMUNeXt-S and Mobile-CMUNeXt: wide depthwise kernels, bottlenecks that widen fourfold, and skips that are fused."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import conv, conv_norm_relu, depthwise, norm, norm_relu, require_divisible, to_logits
from tfseg.models.layers import Activation, Upsample

Tensor = Any

_KERNELS = (3, 3, 7, 7, 9)  # of the depthwise convolutions, from full resolution down


def cmunext_s(input_shape: tuple[int, int, int], classes: int, *, activation: str = "gelu") -> keras.Model:
    """Build a CMUNeXt-S (Tang et al., ISBI 2024, arXiv:2308.01239), as its published code builds it.

    Departure: He initialization. The biases that batch norm makes idle are kept, as there.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.
        activation: "gelu", before the batch norm in the blocks, as published; or "relu", after it, for the network
            that ships.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 417,361 trainable parameters for one
        input channel and one class.
    """
    require_divisible(input_shape, 16)
    image = keras.Input(input_shape, name="image")
    widths = (8, 16, 32, 64, 128)
    x, skips = _encoder(image, widths, (1, 1, 1, 1, 1), depthwise_convs=1, activation=activation)
    for level in reversed(range(4)):
        x = _enlarged(x, widths[level], level)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = _fused(x, widths[level], groups=2, activation=activation, name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="cmunext_s" if activation == "gelu" else "cmunext_s_relu")


def cmunext_s_relu(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the CMUNeXt-S that ships: convolution, batch norm, ReLU in this order, all else as in `cmunext_s`.

    GELU stays float in an int8 file, and batch norm after it is an operation of its own where its result is added to
    another; here every convolution takes up its batch norm and its ReLU.
    """
    return cmunext_s(input_shape, classes, activation="relu")


def mobile_cmunext(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a Mobile-CMUNeXt (IEEE YEF-ECE 2025), in the form that its authors run in 8 bits.

    Against CMUNeXt-S: 8 to 24 channels, two depthwise convolutions in each block, skips that are added in place of
    concatenated, convolutions without groups, and convolution, batch norm, ReLU in this order everywhere. It ships as
    it is. Departure: He initialization.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 46,425 trainable parameters for one
        input channel and one class.
    """
    require_divisible(input_shape, 16)
    image = keras.Input(input_shape, name="image")
    widths = (8, 8, 16, 16, 24)
    x, skips = _encoder(image, widths, (3, 1, 1, 1, 2), depthwise_convs=2, activation="relu")
    for level in reversed(range(4)):
        x = _enlarged(x, widths[level], level)
        x = layers.Add(name=f"up{level}_add")([skips[level], x])
        x = _fused(x, widths[level], groups=1, activation="relu", name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="mobile_cmunext")


def _encoder(
    x: Tensor, widths: Sequence[int], depths: Sequence[int], *, depthwise_convs: int, activation: str
) -> tuple[Tensor, list[Tensor]]:
    """Return the features of the lowest level, and those of all levels: (H, W) / 2**level each."""
    x = conv_norm_relu(x, widths[0], name="stem")
    found = []
    for level, (width, depth, size) in enumerate(zip(widths, depths, _KERNELS, strict=True)):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        for block in range(1, depth + 1):
            x = _mixed(
                x, size, depthwise_convs=depthwise_convs, activation=activation, name=f"down{level}_block{block}"
            )
        x = conv_norm_relu(x, width, name=f"down{level}")
        found.append(x)
    return x, found


def _mixed(x: Tensor, size: int, *, depthwise_convs: int, activation: str, name: str) -> Tensor:
    """Mix pixels channel by channel, then the channels."""
    width = x.shape[-1]
    for number in range(1, depthwise_convs + 1):
        place = f"{name}_depth{number}"
        y = _bent(depthwise(x, size, name=f"{place}_conv"), activation, name=place)
        x = layers.Add(name=f"{place}_add")([x, y])
    return _bottleneck(x, width, activation=activation, name=name)


def _fused(x: Tensor, width: int, *, groups: int, activation: str, name: str) -> Tensor:
    x = _bent(conv(x, x.shape[-1], groups=groups, name=f"{name}_fuse_conv"), activation, name=f"{name}_fuse")
    return _bottleneck(x, width, activation=activation, name=name)


def _bottleneck(x: Tensor, width: int, *, activation: str, name: str) -> Tensor:
    x = _bent(conv(x, 4 * width, 1, name=f"{name}_expand_conv"), activation, name=f"{name}_expand")
    return _bent(conv(x, width, 1, name=f"{name}_project_conv"), activation, name=f"{name}_project")


def _enlarged(x: Tensor, width: int, level: int) -> Tensor:
    return conv_norm_relu(Upsample(name=f"up{level}_resize")(x), width, name=f"up{level}")


def _bent(x: Tensor, activation: str, *, name: str) -> Tensor:
    """ReLU follows batch norm; anything else goes before it."""
    if activation == "relu":
        return norm_relu(x, name=name)
    return norm(Activation(activation, name=f"{name}_{activation}")(x), name=f"{name}_norm")
