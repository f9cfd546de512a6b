"""SimpleUNet: one convolution a level, all of one width, and skips of half of it."""

import keras
from keras import layers

from tfseg.models.blocks import conv_norm_relu, require_divisible, to_logits
from tfseg.models.layers import Upsample


def simple_unet(input_shape: tuple[int, int, int], classes: int, *, width: int = 32, levels: int = 5) -> keras.Model:
    """Build a SimpleUNet (Yu et al., 2025, arXiv:2506.13415): W channels on the way down, W / 2 up and across.

    Departures from the published code: logits where it ends in batch norm and ReLU, so that the last convolution has a
    bias in place of scale and shift; no factors of the skips and of what comes from below, which stay at 1 there and
    which the convolution after them can hold; He initialization.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (levels - 1).
        classes: channels of the logits; 1 means foreground against background.
        width: channels on the way down, even.
        levels: how many, full resolution included.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; for one input channel and one class
        15,945, 62,865 or 249,633 trainable parameters with width 16, 32 or 64: 4 W + 1 less than published, which are
        the factors and one of the two numbers that a bias replaces.

    Raises:
        ValueError: height or width is no such multiple, or `width` is odd.
    """
    require_divisible(input_shape, 2 ** (levels - 1))
    if width % 2:
        raise ValueError(f"width = {width}: the skips have half of it, so it must be even")
    x = image = keras.Input(input_shape, name="image")
    skips = []
    for level in range(levels):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = conv_norm_relu(x, width, use_bias=False, name=f"down{level}")
        skips.append(x)  # (H, W) / 2**level
    x = conv_norm_relu(x, width // 2, use_bias=False, name="bottom")
    for level in reversed(range(levels - 1)):
        skip = conv_norm_relu(skips[level], width // 2, 1, use_bias=False, name=f"skip{level}")
        x = Upsample(align_corners=True, name=f"up{level}_resize")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skip, x])
        x = conv_norm_relu(x, width // 2, use_bias=False, name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name="simple_unet")
