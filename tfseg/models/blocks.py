"""What networks share: convolutions with their norm and activation, and the first and last steps of a network.

Every block takes the name of its place in the network and gives its layers that name and a suffix: `down2a` becomes
`down2a_conv`, `down2a_norm`, `down2a_relu`. Batch norm has PyTorch's constants, since these networks come from there.
"""

from typing import Any

from keras import initializers, layers

from tfseg.models.layers import BatchNorm, DepthwiseConv2D, GroupedConv2D

Tensor = Any


def require_divisible(input_shape: tuple[int | None, int | None, int], stride: int) -> None:
    """Raise ValueError unless height and width, where they are given, are multiples of `stride`."""
    if any(side is not None and side % stride for side in input_shape[:2]):
        raise ValueError(f"height and width must be multiples of {stride}, got input_shape={tuple(input_shape)}")


def conv(x: Tensor, width: int, size: int = 3, *, name: str, groups: int = 1, **options: Any) -> Tensor:
    """Convolve with "same" padding and He initialization; `options` go to the layer."""
    options |= {"padding": "same", "kernel_initializer": "he_normal", "name": name}
    if groups > 1:
        return GroupedConv2D(width, size, groups=groups, **options)(x)
    return layers.Conv2D(width, size, **options)(x)


def depthwise(x: Tensor, size: int, *, name: str, use_bias: bool = True) -> Tensor:
    """Convolve each channel by itself with "same" padding and He initialization over the `size` x `size` taps.

    Keras' own He initialization counts the taps of all channels, as if each result saw them.
    """
    initializer = initializers.RandomNormal(stddev=(2 / size**2) ** 0.5)
    return DepthwiseConv2D(
        size, padding="same", use_bias=use_bias, depthwise_initializer=initializer, name=name
    )(x)  # fmt: skip


def norm(x: Tensor, *, name: str) -> Tensor:
    """Batch norm: epsilon 1e-5, and a tenth of each batch goes into the moving averages."""
    return BatchNorm(momentum=0.9, epsilon=1e-5, name=name)(x)


def norm_relu(x: Tensor, *, name: str) -> Tensor:
    """Batch norm and ReLU."""
    return layers.ReLU(name=f"{name}_relu")(norm(x, name=f"{name}_norm"))


def conv_norm_relu(
    x: Tensor, width: int, size: int = 3, *, name: str, group_size: int | None = None, **options: Any
) -> Tensor:
    """Convolution, batch norm, ReLU.

    Args:
        x: (B, H, W, C).
        width: channels of the result.
        size: of the kernel, in pixels.
        name: of the place in the network.
        group_size: None for a regular convolution. Otherwise a grouped one of C to C channels with that many channels
            in each group (all C in one group where they do not divide evenly), then a 1x1 convolution.
        **options: of the regular convolution.
    """
    if group_size is None:
        x = conv(x, width, size, name=f"{name}_conv", **options)
    else:
        channels = x.shape[-1]
        groups = 1 if channels % group_size else channels // group_size
        x = conv(x, channels, size, groups=groups, name=f"{name}_group")
        x = conv(x, width, 1, name=f"{name}_point")
    return norm_relu(x, name=name)


def to_logits(x: Tensor, classes: int) -> Tensor:
    """Map features to (B, H, W, classes) logits, in float32 under every policy of precision: losses add up pixels."""
    return layers.Conv2D(classes, 1, dtype="float32", name="logits")(x)
