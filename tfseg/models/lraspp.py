"""LR-ASPP on MobileNetV3-Large: a light head on a light encoder."""

import functools
from typing import Any, NamedTuple

import keras
from keras import layers

from tfseg.models.blocks import require_divisible
from tfseg.models.conv_norm import conv_norm
from tfseg.models.layers import Upsample

Tensor = Any


class Block(NamedTuple):
    """A row of the MobileNetV3 table: kernel size, expanded and output channels, and what the block has."""

    size: int
    expanded: int
    out: int
    squeeze: bool
    activation: str
    stride: int = 1
    dilation: int = 1


# Table 1 of the paper. Its last stage keeps the resolution and dilates, for segmentation.
BLOCKS = (
    Block(3, 16, 16, False, "relu"),
    Block(3, 64, 24, False, "relu", stride=2),
    Block(3, 72, 24, False, "relu"),
    Block(5, 72, 40, True, "relu", stride=2),
    Block(5, 120, 40, True, "relu"),
    Block(5, 120, 40, True, "relu"),
    Block(3, 240, 80, False, "hard_swish", stride=2),
    Block(3, 200, 80, False, "hard_swish"),
    Block(3, 184, 80, False, "hard_swish"),
    Block(3, 184, 80, False, "hard_swish"),
    Block(3, 480, 112, True, "hard_swish"),
    Block(3, 672, 112, True, "hard_swish"),
    Block(5, 672, 160, True, "hard_swish", dilation=2),
    Block(5, 960, 160, True, "hard_swish", dilation=2),
    Block(5, 960, 160, True, "hard_swish", dilation=2),
)
_conv_norm = functools.partial(conv_norm, epsilon=1e-3, momentum=0.99)  # the encoder's constants, not the head's
_LOW = 4  # the block whose output, at an eighth of the resolution, goes straight to the logits


def lraspp_mobilenetv3(
    input_shape: tuple[int, int, int], classes: int, *, activation: str = "hard_swish"
) -> keras.Model:
    """Build LR-ASPP on MobileNetV3-Large (Howard et al., ICCV 2019, arXiv:1905.02244), as torchvision builds it.

    Departures from the paper, shared with torchvision: the head pools the whole map instead of windows of 49x49, and
    the encoder's last stage has all its channels. Departure from torchvision: He initialization over the inputs of a
    layer instead of its outputs. torchvision's own weights load (tfseg.models.import_torch).

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.
        activation: what stands where the paper has hard-swish; "relu" for the network that ships.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 3,218,138 trainable parameters for
        three input channels and one class.
    """
    require_divisible(input_shape, 16)
    image = keras.Input(input_shape, name="image")
    x = low = _conv_norm(image, 16, 3, stride=2, activation=activation, name="stem")
    for number, block in enumerate(BLOCKS, start=1):
        if block.activation == "hard_swish":
            block = block._replace(activation=activation)
        x = _inverted_residual(x, block, name=f"block{number}")
        if number == _LOW:
            low = x
    x = _conv_norm(x, 960, 1, activation=activation, name="last")  # (H, W) / 16
    gate = layers.GlobalAveragePooling2D(keepdims=True, name="head_pool")(x)
    gate = layers.Conv2D(128, 1, use_bias=False, activation="sigmoid", name="head_scale")(gate)
    x = conv_norm(x, 128, 1, name="head")
    x = layers.Multiply(name="head_gate")([x, gate])
    x = Upsample(name="head_upsample")(x)
    x = layers.Add(name="logits_add")(
        [layers.Conv2D(classes, 1, name="low_logits")(low), layers.Conv2D(classes, 1, name="high_logits")(x)]
    )
    logits = Upsample(8, dtype="float32", name="logits")(x)
    name = "lraspp_mobilenetv3" if activation == "hard_swish" else f"lraspp_mobilenetv3_{activation}"
    return keras.Model(image, logits, name=name)


def lraspp_mobilenetv3_relu(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the LR-ASPP that ships: ReLU in place of hard-swish, all else as in `lraspp_mobilenetv3`.

    An int8 file takes hard-swish through a partition of its own; ReLU is part of the convolution before it.
    """
    return lraspp_mobilenetv3(input_shape, classes, activation="relu")


def block_parts(number: int) -> tuple[str, ...]:
    """Return the names of what a block consists of, in order; blocks count from 1.

    >>> block_parts(1), block_parts(4)
    (('depthwise', 'project'), ('expand', 'depthwise', 'squeeze', 'project'))
    """
    block = BLOCKS[number - 1]
    expand = ("expand",) if number > 1 else ()  # the first block's 16 channels are as many as it expands to
    squeeze = ("squeeze",) if block.squeeze else ()
    return (*expand, "depthwise", *squeeze, "project")


def _inverted_residual(x: Tensor, block: Block, *, name: str) -> Tensor:
    identity = x
    if block.expanded != x.shape[-1]:
        x = _conv_norm(x, block.expanded, 1, activation=block.activation, name=f"{name}_expand")
    x = _conv_norm(
        x,
        block.expanded,
        block.size,
        stride=block.stride,
        dilation=block.dilation,
        activation=block.activation,
        depthwise=True,
        name=f"{name}_depthwise",
    )
    if block.squeeze:
        x = _squeeze(x, name=f"{name}_squeeze")
    x = _conv_norm(x, block.out, 1, activation=None, name=f"{name}_project")
    if block.stride == 1 and identity.shape[-1] == block.out:
        x = layers.Add(name=f"{name}_add")([x, identity])
    return x


def _squeeze(x: Tensor, *, name: str) -> Tensor:
    """Weigh the channels by what their means say (squeeze and excitation)."""
    channels = x.shape[-1]
    squeezed = max(8, (channels // 4 + 4) // 8 * 8)  # a quarter, to the nearest multiple of 8
    if squeezed < 0.9 * (channels // 4):
        squeezed += 8
    gate = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_pool")(x)
    gate = layers.Conv2D(squeezed, 1, activation="relu", kernel_initializer="he_normal", name=f"{name}_fc1")(gate)
    gate = layers.Conv2D(channels, 1, activation="hard_sigmoid", name=f"{name}_fc2")(gate)
    return layers.Multiply(name=f"{name}_gate")([x, gate])
