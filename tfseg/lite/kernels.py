"""Convolution layers as numbers: what a kernel is, how it is scaled and multiplied out, and the layer that it makes.

Of a layer from C to D channels, `kernel` is what Keras stores: (k, k, C / groups, D), depthwise (k, k, C, D / C),
transposed (k, k, D, C). The bias (D,) is zero where the layer has none.
"""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from keras import layers

CONVOLUTIONS = (layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose)


def weights(layer: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return kernel and bias in float64."""
    kernel = np.asarray(layer.kernel, np.float64)
    return kernel, np.asarray(layer.bias, np.float64) if layer.use_bias else np.zeros(_outputs(layer, kernel))


def is_linear(layer: keras.Layer) -> bool:
    """Return whether a layer is a convolution, of any kind, without activation."""
    return isinstance(layer, CONVOLUTIONS) and layer.activation is keras.activations.linear


def is_point(layer: keras.Layer) -> bool:
    """Return whether a layer is a 1x1 convolution of all channels that visits every pixel."""
    return (
        isinstance(layer, layers.Conv2D)
        and tuple(layer.kernel_size) == (1, 1)
        and tuple(layer.strides) == (1, 1)
        and layer.groups == 1
    )


def sees_no_border(layer: keras.Layer) -> bool:
    """Return whether a layer is a convolution that never meets a padded zero."""
    forward = isinstance(layer, layers.Conv2D | layers.DepthwiseConv2D)
    return forward and (layer.padding == "valid" or tuple(layer.kernel_size) == (1, 1))


def scaled_outputs(layer: keras.Layer, shape: tuple[int, ...], scale: np.ndarray, shift: np.ndarray) -> keras.Layer:
    """Return the layer whose outputs are those of `layer` times `scale` (D,) plus `shift` (D,)."""
    kernel, bias = weights(layer)
    if isinstance(layer, layers.DepthwiseConv2D):
        kernel = kernel * scale.reshape(kernel.shape[2:])
    else:
        kernel = kernel * (scale[:, None] if isinstance(layer, layers.Conv2DTranspose) else scale)
    return _same(layer, shape, kernel, bias * scale + shift)


def scaled_inputs(layer: keras.Layer, shape: tuple[int, ...], scale: np.ndarray, shift: np.ndarray) -> keras.Layer:
    """Return the layer that does to x what `layer` does to x times `scale` (C,) plus `shift`.

    A shift other than 0 asks for a layer that sees no border.
    """
    kernel, bias = weights(layer)
    if isinstance(layer, layers.Conv2DTranspose):
        return _same(layer, shape, kernel * scale, bias)
    if shift.any():
        bias = bias + np.einsum("yxcd,c->d", dense(layer), shift)
    if isinstance(layer, layers.DepthwiseConv2D):
        return _same(layer, shape, kernel * scale[:, None], bias)
    size = kernel.shape[2]
    per_group = kernel.shape[3] // layer.groups
    groups = [slice(g * per_group, (g + 1) * per_group) for g in range(layer.groups)]
    kernel = np.concatenate(
        [kernel[..., group] * scale[g * size : (g + 1) * size, None] for g, group in enumerate(groups)], axis=-1
    )
    return _same(layer, shape, kernel, bias)


def dense(layer: keras.Layer) -> np.ndarray:
    """Return the kernel (k, k, C, D) that a convolution without groups would need for the same results."""
    kernel, _ = weights(layer)
    if isinstance(layer, layers.DepthwiseConv2D):
        channels, multiplier = kernel.shape[2:]
        full = np.zeros((*kernel.shape[:2], channels, channels, multiplier))
        full[:, :, np.arange(channels), np.arange(channels)] = kernel
        return full.reshape(*kernel.shape[:2], channels, -1)
    if layer.groups == 1:
        return kernel
    size, per_group = kernel.shape[2], kernel.shape[3] // layer.groups
    full = np.zeros((*kernel.shape[:2], size * layer.groups, kernel.shape[3]))
    for g in range(layer.groups):
        outputs = slice(g * per_group, (g + 1) * per_group)
        full[:, :, g * size : (g + 1) * size, outputs] = kernel[..., outputs]
    return full


def regrouped(layer: keras.Layer, shape: tuple[int, ...], groups: int) -> keras.Layer:
    """Return the convolution by fewer groups that does what `layer` does: several of its groups in each, and zeros."""
    full, (_, bias) = dense(layer), weights(layer)
    inputs, outputs = (side // groups for side in full.shape[2:])
    places = [(slice(g * inputs, (g + 1) * inputs), slice(g * outputs, (g + 1) * outputs)) for g in range(groups)]
    kernel = np.concatenate([full[:, :, rows, columns] for rows, columns in places], -1)
    new = type(layer).from_config(layer.get_config() | {"groups": groups, "use_bias": True})
    return _filled(new, shape, kernel, bias)


def dense_shape(layer: keras.Layer) -> tuple[int, int, int, int]:
    """Return the shape of `dense(layer)`."""
    height, width, channels, outputs = layer.kernel.shape
    if isinstance(layer, layers.DepthwiseConv2D):
        return height, width, channels, channels * outputs
    return height, width, channels * layer.groups, outputs


def product(first: keras.Layer, second: keras.Layer, shape: tuple[int, ...]) -> keras.Layer:
    """Return the one convolution that does what `first` and then the 1x1 convolution `second` do to inputs `shape`."""
    (point, bias), (_, passed) = weights(second), weights(first)
    kernel, bias = dense(first) @ point[0, 0], passed @ point[0, 0] + bias
    return _conv2d(first, shape, kernel, bias, name=second.name, activation=second.activation)


def adds_up(first: keras.Layer, second: keras.Layer) -> bool:
    """Return whether two convolutions of one map can be one: linear, of a kind, with their taps around each pixel."""
    if type(first) is not type(second) or isinstance(first, layers.Conv2DTranspose):
        return False
    if first.kernel.shape[2:] != second.kernel.shape[2:] or getattr(first, "groups", 1) != getattr(second, "groups", 1):
        return False
    return all(
        is_linear(layer)
        and layer.padding == "same"
        and tuple(layer.strides) == tuple(layer.dilation_rate) == (1, 1)
        and all(side % 2 for side in layer.kernel_size)
        for layer in (first, second)
    )


def total(convolutions: Sequence[keras.Layer], shape: tuple[int, ...]) -> keras.Layer:
    """Return the one convolution that gives the sum of what `convolutions`, which add up, give for inputs `shape`."""
    size = np.max([layer.kernel_size for layer in convolutions], axis=0)
    kernels, biases = [], []
    for layer in convolutions:
        taps, shift = weights(layer)
        edges = [(int(side) // 2,) * 2 for side in size - layer.kernel_size]
        kernels.append(np.pad(taps, [*edges, (0, 0), (0, 0)]))
        biases.append(shift)
    widest = convolutions[0].get_config() | {"kernel_size": tuple(map(int, size)), "name": convolutions[-1].name}
    return _same(type(convolutions[0]).from_config(widest), shape, np.sum(kernels, axis=0), np.sum(biases, axis=0))


def multiplications(layer: keras.Layer) -> int:
    """Return the multiplications of a convolution for each pixel of its result."""
    return int(np.prod(layer.kernel.shape))


def part(layer: keras.Layer, shape: tuple[int, ...], channels: np.ndarray, *, bias: bool, name: str) -> keras.Layer:
    """Return the 1x1 convolution that sees some input channels of `layer`, with its bias or none."""
    kernel, shift = weights(layer)
    return _conv2d(layer, shape, kernel[:, :, channels], shift if bias else 0 * shift, name=name)


def depthwise(scale: np.ndarray, shift: np.ndarray, shape: tuple[int, ...], name: str) -> keras.Layer:
    """Return the 1x1 depthwise convolution that multiplies by `scale` (C,) and adds `shift` (C,)."""
    layer = layers.DepthwiseConv2D(1, depthwise_initializer="zeros", name=name)
    return _filled(layer, shape, scale[None, None, :, None], shift)


def _same(layer: keras.Layer, shape: tuple[int, ...], kernel: np.ndarray, bias: np.ndarray) -> keras.Layer:
    """Make a layer like `layer` for inputs (H, W, C) = `shape` with other numbers, without drawing any."""
    initializer = "depthwise_initializer" if isinstance(layer, layers.DepthwiseConv2D) else "kernel_initializer"
    new = type(layer).from_config(layer.get_config() | {"use_bias": True, initializer: "zeros"})
    return _filled(new, shape, kernel, bias)


def _conv2d(
    layer: keras.Layer,
    shape: tuple[int, ...],
    kernel: np.ndarray,
    bias: np.ndarray,
    *,
    name: str,
    activation: Any = None,
) -> keras.Layer:
    """Make a Conv2D without groups that visits the pixels that `layer` visits."""
    new = layers.Conv2D(
        kernel.shape[-1],
        kernel.shape[:2],
        strides=layer.strides,
        padding=layer.padding,
        dilation_rate=layer.dilation_rate,
        activation=activation,
        kernel_initializer="zeros",
        name=name,
    )
    return _filled(new, shape, kernel, bias)


def _filled(layer: keras.Layer, shape: tuple[int, ...], kernel: np.ndarray, bias: np.ndarray) -> keras.Layer:
    layer.build((None, *shape))
    layer.set_weights([kernel, bias])
    return layer


def _outputs(layer: keras.Layer, kernel: np.ndarray) -> int:
    if isinstance(layer, layers.DepthwiseConv2D):
        return kernel.shape[2] * kernel.shape[3]
    return kernel.shape[2 if isinstance(layer, layers.Conv2DTranspose) else 3]
