"""DeepLab v3+: an encoder down to a sixteenth of the resolution, a pyramid of dilated convolutions, a small decoder."""

from typing import Any

import keras
from keras import layers

from tfseg.models.blocks import require_divisible
from tfseg.models.conv_norm import conv_norm
from tfseg.models.layers import Upsample

Tensor = Any

# MobileNetV2 (Sandler et al., CVPR 2018, arXiv:1801.04381), table 2: expansion, channels, blocks, stride. The sixth row
# keeps the resolution instead of halving it; the row after it dilates.
_MOBILENET = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 1), (6, 320, 1, 1))
_MOBILENET_LOW = 1  # the row whose output, at a quarter of the resolution, the decoder takes
# ResNet-101 (He et al., CVPR 2016, arXiv:1512.03385): channels, stride, and the dilation of each block.
_RESNET101 = ((64, 1, (1,) * 3), (128, 2, (1,) * 4), (256, 2, (1,) * 23), (512, 1, (2, 4, 8)))
_RATES = (6, 12, 18)


def deeplabv3plus(input_shape: tuple[int, int, int], classes: int, *, backbone: str) -> keras.Model:
    """Build DeepLab v3+ (Chen et al., ECCV 2018, arXiv:1802.02611), as github.com/jfzhang95/pytorch-deeplab-xception.

    Departures from the paper, shared with that code: MobileNetV2 has the pyramid too; the ResNet starts with one
    convolution of 7x7; the convolutions of pyramid and decoder are dense; only the last row of MobileNetV2 dilates, and
    its blocks pad before they expand. Departure from that code: no weights of ImageNet to start with.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.
        backbone: "mobilenet" or "resnet101".

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 5,810,913 trainable parameters
        with MobileNetV2 and 59,339,169 with ResNet-101, for three input channels and one class.
    """
    encoders = {"mobilenet": _mobilenet, "resnet101": _resnet101}
    if backbone not in encoders:
        raise ValueError(f"backbone = {backbone!r}: one of {', '.join(encoders)}")
    require_divisible(input_shape, 16)
    image = keras.Input(input_shape, name="image")
    low, x = encoders[backbone](image)  # (H, W) / 4 and / 16
    x = aspp(x, 256, _RATES, name="aspp")
    x = layers.Dropout(0.5, name="aspp_dropout")(x)
    x = Upsample(4, align_corners=True, name="decoder_upsample")(x)
    low = conv_norm(low, 48, 1, name="decoder_low")
    x = layers.Concatenate(name="decoder_concat")([x, low])
    for number, dropout in ((1, 0.5), (2, 0.1)):
        x = conv_norm(x, 256, 3, name=f"decoder{number}")
        x = layers.Dropout(dropout, name=f"decoder{number}_dropout")(x)
    x = layers.Conv2D(classes, 1, name="decoder_classifier")(x)
    logits = Upsample(4, align_corners=True, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name=f"deeplabv3plus_{backbone}")


def deeplabv3plus_mobilenet(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build `deeplabv3plus` on MobileNetV2."""
    return deeplabv3plus(input_shape, classes, backbone="mobilenet")


def deeplabv3plus_resnet101(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build `deeplabv3plus` on ResNet-101."""
    return deeplabv3plus(input_shape, classes, backbone="resnet101")


def aspp(x: Tensor, width: int, rates: tuple[int, ...], *, name: str) -> Tensor:
    """Look at each place with several reaches, and at the whole map: (B, H, W, C) to (B, H, W, width).

    (Atrous spatial pyramid pooling: Chen et al., 2017, arXiv:1706.05587, section 3.3.)
    """
    height, width_in = x.shape[1:3]
    maps = [conv_norm(x, width, 1, name=f"{name}0")]
    maps += [
        conv_norm(x, width, 3, dilation=rate, name=f"{name}{number}") for number, rate in enumerate(rates, start=1)
    ]
    pooled = layers.GlobalAveragePooling2D(keepdims=True, name=f"{name}_mean")(x)
    pooled = conv_norm(pooled, width, 1, name=f"{name}_pool")
    maps.append(Upsample((height, width_in), name=f"{name}_pool_upsample")(pooled))
    x = layers.Concatenate(name=f"{name}_concat")(maps)
    return conv_norm(x, width, 1, name=f"{name}_project")


def _mobilenet(x: Tensor) -> tuple[Tensor, Tensor]:
    """MobileNetV2's features at a quarter and at a sixteenth of the resolution."""
    x = low = conv_norm(x, 32, 3, stride=2, activation="relu6", name="stem")
    number = 1
    for row, (expansion, width, blocks, stride) in enumerate(_MOBILENET):
        for block in range(blocks):
            x = _inverted_residual(
                x, width, expansion, 1 if block else stride, 2 if row == 6 else 1, name=f"block{number}"
            )
            number += 1
        if row == _MOBILENET_LOW:
            low = x
    return low, x


def _inverted_residual(x: Tensor, width: int, expansion: int, stride: int, dilation: int, *, name: str) -> Tensor:
    channels = expansion * x.shape[-1]
    y = layers.ZeroPadding2D(dilation, name=f"{name}_pad")(x)
    if expansion > 1:
        y = conv_norm(y, channels, 1, activation="relu6", name=f"{name}_expand")
    y = conv_norm(
        y, channels, 3, stride=stride, dilation=dilation, depthwise=True, pad="none", activation="relu6",
        name=f"{name}_depthwise",
    )  # fmt: skip
    y = conv_norm(y, width, 1, activation=None, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and x.shape[-1] == width else y


def _resnet101(x: Tensor) -> tuple[Tensor, Tensor]:
    """ResNet-101's features at a quarter and at a sixteenth of the resolution."""
    x = conv_norm(x, 64, 7, stride=2, name="stem")
    x = layers.ZeroPadding2D(1, name="stem_pool_pad")(x)  # nothing is below the zeros that it pads with, after ReLU
    x = low = layers.MaxPooling2D(3, 2, name="stem_pool")(x)
    for index, (width, stride, dilations) in enumerate(_RESNET101, start=1):
        for block, dilation in enumerate(dilations):
            x = _bottleneck(x, width, 1 if block else stride, dilation, name=f"layer{index}_block{block}")
        if index == 1:
            low = x
    return low, x


def _bottleneck(x: Tensor, width: int, stride: int, dilation: int, *, name: str) -> Tensor:
    y = conv_norm(x, width, 1, name=f"{name}_1")
    y = conv_norm(y, width, 3, stride=stride, dilation=dilation, name=f"{name}_2")
    y = conv_norm(y, 4 * width, 1, activation=None, name=f"{name}_3")
    if x.shape[-1] != 4 * width:
        x = conv_norm(x, 4 * width, 1, stride=stride, activation=None, name=f"{name}_downsample")
    x = layers.Add(name=f"{name}_add")([x, y])
    return layers.ReLU(name=f"{name}_relu")(x)
