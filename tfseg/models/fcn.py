"""Fully convolutional networks on the features of VGG16."""

import keras
from keras import layers

from tfseg.models.blocks import conv, norm, require_divisible, to_logits

_VGG16 = ((64, 2), (128, 2), (256, 3), (512, 3), (512, 3))  # width and convolutions of each block
_DECODER = (512, 256, 128, 64, 32)


def fcn32s(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build FCN-32s (Long et al., CVPR 2015, arXiv:1411.4038): VGG16's features, enlarged step by step.

    The decoder is that of the PyTorch implementation that Li et al. (ISBI 2021, hal-03140737) compare with, and departs
    from the paper's: five 3x3 transposed convolutions of stride 2, each with ReLU and batch norm, and a 1x1 classifier,
    where the paper scores VGG's fully connected layers and enlarges the scores in one step.

    Our departure: "same" padding puts a transposed convolution's kernel one pixel lower and further right than
    PyTorch's padding=1, output_padding=1 does, and needs no cropping.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 32.
        classes: channels of the logits; 1 means foreground against background.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 18,643,713 parameters for three input
        channels and one class. Layers of the encoder are named as in keras.applications.VGG16.

    Raises:
        ValueError: height or width is no multiple of 32.
    """
    return _fcn(input_shape, classes, skips=0, name="fcn32s")


def fcn16s(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build FCN-16s: `fcn32s` with the features at 1/16 added on the way up, before batch norm."""
    return _fcn(input_shape, classes, skips=1, name="fcn16s")


def fcn8s(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build FCN-8s: `fcn32s` with the features at 1/16 and at 1/8 added on the way up, before batch norm."""
    return _fcn(input_shape, classes, skips=2, name="fcn8s")


def _fcn(input_shape: tuple[int, int, int], classes: int, *, skips: int, name: str) -> keras.Model:
    require_divisible(input_shape, 2 ** len(_VGG16))
    x = image = keras.Input(input_shape, name="image")
    pooled = []
    for block, (width, convolutions) in enumerate(_VGG16, 1):
        for i in range(1, convolutions + 1):
            x = conv(x, width, activation="relu", name=f"block{block}_conv{i}")
        x = layers.MaxPooling2D(name=f"block{block}_pool")(x)
        pooled.append(x)  # (H, W) / 2**block
    for step, width in enumerate(_DECODER, 1):
        x = layers.Conv2DTranspose(
            width,
            3,
            strides=2,
            padding="same",
            activation="relu",
            kernel_initializer="he_normal",
            name=f"up{step}_transpose",
        )(x)
        if step <= skips:
            x = layers.Add(name=f"up{step}_add")([x, pooled[-1 - step]])
        x = norm(x, name=f"up{step}_norm")
    return keras.Model(image, to_logits(x, classes), name=name)
