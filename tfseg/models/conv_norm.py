"""What most published encoders consist of: convolution, batch norm and activation."""

from typing import Any, Literal

from keras import layers

from tfseg.models.layers import Activation, BatchNorm, DepthwiseConv2D, DilatedConv2D

Tensor = Any


def conv_norm(
    x: Tensor,
    width: int,
    size: int,
    *,
    stride: int = 1,
    dilation: int = 1,
    depthwise: bool = False,
    pad: Literal["even", "same", "none"] = "even",
    activation: str | None = "relu",
    epsilon: float = 1e-5,
    momentum: float = 0.9,
    name: str,
) -> Tensor:
    """Return activation(norm(conv(x))): (B, H / stride, W / stride, width).

    The layers are called NAME_conv, NAME_norm and NAME_ACTIVATION.

    Args:
        x: (B, H, W, C) features.
        width: channels of the result; that of `x` if `depthwise`.
        size: of the kernel, odd.
        stride: steps of the kernel.
        dilation: distance between the kernel's taps.
        depthwise: whether each channel is convolved by itself.
        pad: zeros round `x`, so that only `stride` makes the result smaller: "even" on all four sides alike, as
            PyTorch's strided convolutions pad and most published weights expect; "same" as Keras and TensorFlow do,
            where a stride of 2 pads even sizes on the right and below only; or "none".
        activation: what Keras calls it; None for none.
        epsilon: of the batch norm.
        momentum: of the batch norm's moving averages, in Keras' sense: 1 - PyTorch's.
        name: what the layers' names begin with.
    """
    if depthwise and width != x.shape[-1]:
        raise ValueError(f"{name}: a depthwise convolution of {x.shape[-1]} channels cannot give {width}")
    if pad == "even" and stride > 1 and size > 1:
        x = layers.ZeroPadding2D(size // 2 * dilation, name=f"{name}_pad")(x)
    options: dict[str, Any] = {
        "kernel_size": size,
        "strides": stride,
        "padding": "same" if pad == "same" or (pad == "even" and stride == 1) else "valid",
        "dilation_rate": dilation,
        "use_bias": False,
        "name": f"{name}_conv",
    }
    if depthwise:
        x = DepthwiseConv2D(depthwise_initializer="he_normal", **options)(x)
    else:
        convolution = DilatedConv2D if dilation > 1 else layers.Conv2D
        x = convolution(width, kernel_initializer="he_normal", **options)(x)
    x = BatchNorm(epsilon=epsilon, momentum=momentum, name=f"{name}_norm")(x)
    return Activation(activation, name=f"{name}_{activation}")(x) if activation else x
