"""MK-UNet: inverted residuals with depthwise kernels of three sizes at once, and light attention on the way up."""

from collections.abc import Sequence
from typing import Any

import keras
from keras import layers, ops

from tfseg.models.blocks import conv, depthwise, norm, norm_relu, require_divisible, to_logits
from tfseg.models.layers import Upsample

Tensor = Any

_SIZES = (1, 3, 5)  # of the depthwise kernels
_SQUEEZES = (4, 8, 16, 16, 16)  # how many times fewer channels the channel attention has inside, by level


def mk_unet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Sequence[int] = (16, 32, 64, 96, 160),
    ships: bool = False,
) -> keras.Model:
    """Build an MK-UNet (Rahman and Marculescu, ICCV Workshops 2025, arXiv:2509.18493), as its published code builds it.

    Departures from that code: no heads of the deeper levels, whose results it does not use (31, 59 and 115 parameters
    of @t, @s and the network without suffix); no shuffle of channels before 1x1 convolutions of all channels, whose
    weights it only brings into another order; images of any number of channels, where it makes three of one; He
    initialization.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 32.
        classes: channels of the logits; 1 means foreground against background.
        widths: channels of the five levels, from full resolution down.
        ships: whether to leave out what phones run badly, as `mk_unet_relu` says.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 315,451 trainable parameters for three
        input channels and one class, 92,991 with @s and 27,353 with @t.

    Raises:
        ValueError: height or width is no such multiple.
    """
    require_divisible(input_shape, 2 ** len(widths))
    spatial = layers.Conv2D(1, 7, padding="same", use_bias=False, activation="sigmoid", name="spatial_conv")
    x = image = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(widths):
        x = _inverted_residual(x, width, ships=ships, name=f"down{level}")
        x = layers.MaxPooling2D(name=f"pool{level}")(x)
        skips.append(x)  # (H, W) / 2**(level + 1)
    for level in reversed(range(len(widths))):
        x = _channel_attention(x, _SQUEEZES[level], ships=ships, name=f"up{level}_channel")
        if not ships:  # one convolution for all levels
            gate = spatial(ChannelStatistics(name=f"up{level}_statistics")(x))
            x = layers.Multiply(name=f"up{level}_spatial_gate")([x, gate])
        x = _inverted_residual(x, widths[max(level - 1, 0)], ships=ships, name=f"up{level}")
        x = _enlarged_relu(x, ships=ships, name=f"up{level}")
        if level:
            skip = _gated(skips[level - 1], x, name=f"up{level}_skip")
            x = layers.Add(name=f"up{level}_sum")([x, skip])
    return keras.Model(image, to_logits(x, classes), name="mk_unet_relu" if ships else "mk_unet")


def mk_unet_relu(
    input_shape: tuple[int, int, int], classes: int, *, widths: Sequence[int] = (16, 32, 64, 96, 160)
) -> keras.Model:
    """Build the MK-UNet that ships: `mk_unet` without what phones run badly.

    - ReLU in place of ReLU6, and after the sum of the three depthwise convolutions in place of after each, which makes
      them one 5x5 convolution in a file (tfseg.lite.fuse): 25 in place of 35 multiplications, and no sums.
    - Channel attention looks at means only, and there is no spatial attention (98 parameters less): maxima and means
      over channels stay float in an int8 file.
    - ReLU before the upsampling in place of after it, on a quarter of the pixels, where the sum before takes it up.
    """
    return mk_unet(input_shape, classes, widths=widths, ships=True)


@keras.saving.register_keras_serializable(package="tfseg")
class ChannelStatistics(layers.Layer):
    """Mean and maximum over the channels of each pixel."""

    def call(self, inputs: Tensor) -> Tensor:
        """(B, H, W, C) -> (B, H, W, 2)."""
        return ops.concatenate([ops.mean(inputs, -1, keepdims=True), ops.max(inputs, -1, keepdims=True)], -1)


def _inverted_residual(x: Tensor, width: int, *, ships: bool, name: str) -> Tensor:
    """Widen twofold, convolve each channel by kernels of three sizes, sum, narrow to `width`, and add what came in."""
    shortcut, channels = x, x.shape[-1]
    if channels != width:
        shortcut = conv(x, width, 1, use_bias=False, name=f"{name}_shortcut_conv")
    x = conv(x, 2 * channels, 1, use_bias=False, name=f"{name}_expand_conv")
    x = norm_relu(x, name=f"{name}_expand") if ships else _norm_relu6(x, name=f"{name}_expand")
    branches = []
    for size in _SIZES:
        place = f"{name}_depth{size}"
        y = depthwise(x, size, use_bias=False, name=f"{place}_conv")
        branches.append(norm(y, name=f"{place}_norm") if ships else _norm_relu6(y, name=place))
    x = layers.Add(name=f"{name}_depth_sum")(branches)
    if ships:
        x = layers.ReLU(name=f"{name}_depth_relu")(x)
    x = norm(conv(x, width, 1, use_bias=False, name=f"{name}_project_conv"), name=f"{name}_project_norm")
    return layers.Add(name=f"{name}_add")([shortcut, x])


def _norm_relu6(x: Tensor, *, name: str) -> Tensor:
    return layers.ReLU(6.0, name=f"{name}_relu6")(norm(x, name=f"{name}_norm"))


def _channel_attention(x: Tensor, squeeze: int, *, ships: bool, name: str) -> Tensor:
    """Weigh the channels by what their means and, as published, their maxima say to the same two convolutions."""
    channels = x.shape[-1]
    options = {"use_bias": False, "kernel_initializer": "he_normal"}
    narrow = layers.Conv2D(channels // min(squeeze, channels), 1, activation="relu", name=f"{name}_fc1", **options)
    widen = layers.Conv2D(channels, 1, name=f"{name}_fc2", **options)
    gate = widen(narrow(layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)))
    if not ships:
        largest = widen(narrow(layers.GlobalMaxPooling2D(keepdims=True, name=f"{name}_max")(x)))
        gate = layers.Add(name=f"{name}_sum")([gate, largest])
    gate = layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    return layers.Multiply(name=f"{name}_gate")([x, gate])


def _enlarged_relu(x: Tensor, *, ships: bool, name: str) -> Tensor:
    if ships:
        return Upsample(name=f"{name}_resize")(layers.ReLU(name=f"{name}_relu")(x))
    return layers.ReLU(name=f"{name}_relu")(Upsample(name=f"{name}_resize")(x))


def _gated(skip: Tensor, x: Tensor, *, name: str) -> Tensor:
    """Weigh the pixels of a skip by what it and the features from below say together (a grouped attention gate)."""
    groups = skip.shape[-1] // 2
    parts = [
        norm(conv(y, groups, groups=groups, name=f"{name}_{role}_conv"), name=f"{name}_{role}_norm")
        for role, y in (("below", x), ("across", skip))
    ]
    gate = layers.ReLU(name=f"{name}_relu")(layers.Add(name=f"{name}_sum")(parts))
    gate = norm(conv(gate, 1, 1, name=f"{name}_gate_conv"), name=f"{name}_gate_norm")
    gate = layers.Activation("sigmoid", name=f"{name}_sigmoid")(gate)
    return layers.Multiply(name=f"{name}_gate")([skip, gate])
