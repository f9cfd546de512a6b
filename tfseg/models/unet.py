"""U-Net as the Light U-Net paper draws it, and the paper's lighter forms: one assembly, other 3x3 convolutions."""

from collections.abc import Sequence

import keras
from keras import layers

from tfseg.models.blocks import conv_norm_relu, require_divisible, to_logits
from tfseg.models.layers import Upsample


def unet(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    widths: Sequence[int] = (64, 128, 256, 512, 512),
    group_sizes: tuple[int | None, int | None] = (None, None),
    name: str = "unet",
) -> keras.Model:
    """Build a U-Net (Ronneberger et al., MICCAI 2015, arXiv:1505.04597) as Li et al. (ISBI 2021, hal-03140737) have it.

    Their departures from the original: "same" padding, batch norm, bilinear upsampling with aligned corners in place of
    transposed convolutions, 512 channels at the bottom, and dropout of 0.5 there. They keep the biases that batch norm
    makes idle, and so do we. Ours: logits where they end in a sigmoid, He initialization, and odd sizes are refused
    where they pad.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 2 ** (len(widths) - 1).
        classes: channels of the logits; 1 means foreground against background.
        widths: channels of each level, from full resolution down.
        group_sizes: channels in each group of the first and of the second convolution of every pair, or None for a
            regular one.
        name: of the model.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 17,267,393 parameters for three input
        channels and one class.

    Raises:
        ValueError: height or width is no such multiple.
    """
    require_divisible(input_shape, 2 ** (len(widths) - 1))

    def double_conv(x, middle: int, width: int, *, name: str):
        x = conv_norm_relu(x, middle, group_size=group_sizes[0], name=f"{name}a")
        return conv_norm_relu(x, width, group_size=group_sizes[1], name=f"{name}b")

    x = image = keras.Input(input_shape, name="image")
    skips = []
    for level, width in enumerate(widths):
        if level:
            x = layers.MaxPooling2D(name=f"pool{level}")(x)
        x = double_conv(x, width, width, name=f"down{level}")
        skips.append(x)  # (H, W) / 2**level
    x = layers.Dropout(0.5, name="dropout")(x)
    for level in reversed(range(len(widths) - 1)):
        x = Upsample(align_corners=True, name=f"up{level}_resize")(x)
        x = layers.Concatenate(name=f"up{level}_concat")([skips[level], x])
        x = double_conv(x, x.shape[-1] // 2, widths[max(level - 1, 0)], name=f"up{level}")
    return keras.Model(image, to_logits(x, classes), name=name)


def light_unet(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build a Light U-Net (Li et al., ISBI 2021, hal-03140737): `unet` with each pair's second convolution separable.

    Departures: those of `unet`. 11,000,257 parameters for three input channels and one class.
    """
    return unet(input_shape, classes, group_sizes=(None, 1), name="light_unet")


def lighter_unet(input_shape: tuple[int, int, int], classes: int, *, group_size: int = 128) -> keras.Model:
    """Build a Lighter U-Net @C (Li et al., ISBI 2021, hal-03140737): `unet` with every 3x3 convolution grouped.

    Departures: those of `unet`.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 16.
        classes: channels of the logits; 1 means foreground against background.
        group_size: the paper's C, channels in each group. A layer with fewer channels is one group, and so is the first
            layer where C does not divide its channels.

    Returns:
        As `unet`; 7,944,661 parameters with C = 128, 1,983,583 with C = 1.
    """
    return unet(input_shape, classes, group_sizes=(group_size, group_size), name="lighter_unet")
