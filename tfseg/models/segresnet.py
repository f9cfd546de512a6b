"""SegResNet: residual blocks, strided convolutions down, bilinear upsampling and addition up."""

from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import norm as batch_norm
from tfseg.models.blocks import norm_relu, require_divisible, to_logits
from tfseg.models.layers import GroupNorm, Upsample

Tensor = Any


def segresnet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    width: int = 8,
    down_blocks: tuple[int, ...] = (1, 2, 2, 4),
    norm: str = "group",
) -> keras.Model:
    """Build a SegResNet in two dimensions (Myronenko, BrainLes 2018, arXiv:1810.11654), as MONAI's class builds it.

    Departures from the paper, shared with MONAI: two dimensions, 8 initial channels, no variational autoencoder branch,
    no dropout. Departure from MONAI: He initialization. MONAI's own weights load (tfseg.models.import_torch).

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (len(down_blocks) - 1).
        classes: channels of the logits; 1 means foreground against background.
        width: channels at full resolution, a multiple of 8; each level below has twice as many.
        down_blocks: residual blocks of each level, from full resolution down; going up, each level has one.
        norm: "group", eight groups, before each convolution of a block, as published; or "batch", after each, and after
            the first convolution of the network in place of after the last block.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 395,121 trainable parameters for three
        input channels and one class, whatever the norm.
    """
    if norm not in ("group", "batch"):
        raise ValueError(f'norm = {norm!r}: "group" or "batch"')
    require_divisible(input_shape, 2 ** (len(down_blocks) - 1))
    residual = _norms_first if norm == "group" else _norms_last
    image = keras.Input(input_shape, name="image")
    x = _conv(image, width, 3, name="stem_conv")
    if norm == "batch":
        x = norm_relu(x, name="stem")
    skips = []
    for level, blocks in enumerate(down_blocks):
        if level:
            x = layers.ZeroPadding2D(1, name=f"down{level}_pad")(x)  # "same" would pad right and below only
            x = _conv(x, width * 2**level, 3, strides=2, padding="valid", name=f"down{level}_conv")
        for block in range(1, blocks + 1):
            x = residual(x, name=f"down{level}_block{block}")
        skips.append(x)  # (H, W) / 2**level
    for up, skip in enumerate(reversed(skips[:-1])):
        x = _conv(x, skip.shape[-1], 1, name=f"up{up}_conv")
        x = Upsample(name=f"up{up}_upsample")(x)
        x = layers.Add(name=f"up{up}_add")([x, skip])
        x = residual(x, name=f"up{up}_block0")
    if norm == "group":
        x = _group_relu(x, name="final_norm")
    return keras.Model(image, to_logits(x, classes), name="segresnet" if norm == "group" else "segresnet_bn")


def segresnet_bn(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the SegResNet that ships: batch norm after the convolutions, all else as in `segresnet`.

    Group norm takes means over each image while the network runs; in an int8 file it leaves float islands. Batch norm
    is a constant by then, and where it follows a convolution that takes it up: before one, as published, 13 of the 25
    would stay operations of their own, since the sums that they normalize go elsewhere, too. The order is that of He et
    al., CVPR 2016, arXiv:1512.03385.
    """
    return segresnet(input_shape, classes, norm="batch")


def _norms_first(x: Tensor, *, name: str) -> Tensor:
    identity = x
    for part in "12":
        x = _group_relu(x, name=f"{name}_norm{part}")
        x = _conv(x, identity.shape[-1], 3, name=f"{name}_conv{part}")
    return layers.Add(name=f"{name}_add")([x, identity])


def _norms_last(x: Tensor, *, name: str) -> Tensor:
    identity, width = x, x.shape[-1]
    x = norm_relu(_conv(x, width, 3, name=f"{name}_conv1"), name=f"{name}_1")
    x = batch_norm(_conv(x, width, 3, name=f"{name}_conv2"), name=f"{name}_2_norm")
    return layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_add")([x, identity]))


def _group_relu(x: Tensor, *, name: str) -> Tensor:
    return layers.ReLU(name=f"{name}_relu")(GroupNorm(groups=8, epsilon=1e-5, name=name)(x))


def _conv(x: Tensor, width: int, size: int, *, strides: int = 1, padding: str = "same", name: str) -> Tensor:
    return layers.Conv2D(
        width, size, strides, padding, use_bias=False, kernel_initializer="he_normal", name=name
    )(x)  # fmt: skip
