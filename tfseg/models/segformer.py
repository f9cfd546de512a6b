"""SegFormer-B0: a transformer of four stages, whose attention looks at few keys, and a head of 1x1 convolutions.

The feature maps stay four-dimensional, (B, H, W, C), from end to end, also inside the attention: a linear layer is a
1x1 convolution, so that a converted file needs neither five dimensions nor a change of layout.
"""

from typing import Any, NamedTuple

import keras
from keras import layers

from tfseg.models.blocks import require_divisible
from tfseg.models.layers import Activation, BatchNorm, LayerNorm, Upsample

Tensor = Any


class Stage(NamedTuple):
    """A stage of the Mix Transformer: its patches, channels, heads, and how much smaller keys and values are."""

    patch: int
    stride: int
    width: int
    heads: int
    reduction: int
    blocks: int = 2


# Table 6 of the paper, column B0.
STAGES = (Stage(7, 4, 32, 1, 8), Stage(3, 2, 64, 2, 4), Stage(3, 2, 160, 5, 2), Stage(3, 2, 256, 8, 1))
_DROP_PATH = 0.1  # of the last block; it grows linearly from 0


def segformer_b0(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    norm: str = "layer",
    activation: str = "gelu",
    head_width: int = 256,
) -> keras.Model:
    """Build SegFormer-B0 (Xie et al., NeurIPS 2021, arXiv:2105.15203), as Hugging Face Transformers builds it.

    Departures from both: the logits, of a quarter of the resolution, are upsampled bilinearly inside the network; He
    initialization of the head. Hugging Face's own weights load (tfseg.models.import_torch).

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of 32.
        classes: channels of the logits; 1 means foreground against background.
        norm: "layer" as published, or "batch" inside the encoder.
        activation: between the layers of a block's perceptron.
        head_width: channels of the head.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 3,714,401 trainable parameters for
        three input channels and one class, whatever the norm.
    """
    if norm not in ("layer", "batch"):
        raise ValueError(f'norm = {norm!r}: "layer" or "batch"')
    require_divisible(input_shape, 32)
    x = image = keras.Input(input_shape, name="image")
    features, number, total = [], 0, sum(stage.blocks for stage in STAGES)
    for index, stage in enumerate(STAGES):
        name = f"stage{index}"
        x = layers.ZeroPadding2D(stage.patch // 2, name=f"{name}_patch_pad")(x)
        x = layers.Conv2D(
            stage.width, stage.patch, stage.stride, kernel_initializer="he_normal", name=f"{name}_patch"
        )(x)  # fmt: skip
        x = _norm(x, norm, name=f"{name}_patch_norm")
        for block in range(stage.blocks):
            drop = _DROP_PATH * number / (total - 1)
            x = _block(x, stage, norm, activation, drop, name=f"{name}_block{block}")
            number += 1
        x = _norm(x, norm, name=f"{name}_norm")
        features.append(x)  # (H, W) / 4, 8, 16, 32
    x = _head(features, head_width)
    x = layers.Conv2D(classes, 1, name="head_classifier")(x)
    logits = Upsample(4, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="segformer_b0" if norm == "layer" else "segformer_b0_bn")


def segformer_b0_bn(input_shape: tuple[int, int, int], classes: int) -> keras.Model:
    """Build the SegFormer that ships: batch norm in place of layer norm and ReLU in place of GELU, else `segformer_b0`.

    Layer norm takes means and roots while the network runs, which int8 does badly and in float islands; batch norm is a
    constant by then. The softmax of the attention remains: it cuts an int8 file into nine partitions (of XNNPACK); a
    float file is one.
    """
    return segformer_b0(input_shape, classes, norm="batch", activation="relu")


def _block(x: Tensor, stage: Stage, norm: str, activation: str, drop: float, *, name: str) -> Tensor:
    y = _attention(_norm(x, norm, name=f"{name}_norm1"), stage, norm, name=f"{name}_attention")
    x = _add(x, y, drop, name=f"{name}_attention")
    y = _linear(_norm(x, norm, name=f"{name}_norm2"), 4 * stage.width, name=f"{name}_mlp_fc1")
    y = layers.DepthwiseConv2D(3, padding="same", name=f"{name}_mlp_depthwise")(y)  # it tells where a token stands
    y = Activation(activation, name=f"{name}_mlp_{activation}")(y)
    y = _linear(y, stage.width, name=f"{name}_mlp_fc2")
    return _add(x, y, drop, name=f"{name}_mlp")


def _attention(x: Tensor, stage: Stage, norm: str, *, name: str) -> Tensor:
    height, width, channels = x.shape[1:]
    depth = channels // stage.heads
    reduced = x
    if stage.reduction > 1:
        reduced = layers.Conv2D(channels, stage.reduction, stage.reduction, name=f"{name}_reduction")(x)
        reduced = _norm(reduced, norm, name=f"{name}_reduction_norm")
    query, key, value = (
        _split_heads(_linear(tokens, channels, name=f"{name}_{part}"), stage.heads, name=f"{name}_{part}")
        for part, tokens in (("query", x), ("key", reduced), ("value", reduced))
    )
    query = layers.Rescaling(depth**-0.5, name=f"{name}_scale")(query)  # before the product: there it is smaller
    scores = BatchMatmul(transpose_second=True, name=f"{name}_scores")([query, key])  # (B, heads, HW, hw)
    weights = layers.Softmax(name=f"{name}_softmax")(scores)
    y = BatchMatmul(name=f"{name}_context")([weights, value])  # (B, heads, HW, depth)
    if stage.heads > 1:
        y = layers.Permute((2, 1, 3), name=f"{name}_join_permute")(y)
    y = layers.Reshape((height, width, channels), name=f"{name}_join")(y)
    return _linear(y, channels, name=f"{name}_output")


def _split_heads(x: Tensor, heads: int, *, name: str) -> Tensor:
    """(B, H, W, C) to (B, heads, HW, C / heads)."""
    height, width, channels = x.shape[1:]
    if heads == 1:
        return layers.Reshape((1, height * width, channels), name=f"{name}_split")(x)
    x = layers.Reshape((height * width, heads, channels // heads), name=f"{name}_split")(x)
    return layers.Permute((2, 1, 3), name=f"{name}_split_permute")(x)


@keras.saving.register_keras_serializable(package="tfseg")
class BatchMatmul(layers.Layer):
    """The matrix product of two tensors (B, heads, M, N), (B, heads, N, K), the second one transposed if so wished."""

    def __init__(self, *, transpose_second: bool = False, **options: Any) -> None:
        super().__init__(**options)
        self.transpose_second = transpose_second

    def call(self, inputs: Any) -> Tensor:
        """Multiply."""
        first, second = inputs
        return keras.ops.matmul(first, keras.ops.swapaxes(second, -1, -2) if self.transpose_second else second)

    def get_config(self) -> dict[str, Any]:
        """Return what the constructor takes."""
        return {**super().get_config(), "transpose_second": self.transpose_second}


def _head(features: list[Tensor], width: int) -> Tensor:
    maps = []
    for index, x in enumerate(features):
        x = _linear(x, width, name=f"head_linear{index}")
        maps.append(Upsample(2**index, name=f"head_upsample{index}")(x) if index else x)
    x = layers.Concatenate(name="head_concat")(maps[::-1])
    x = layers.Conv2D(width, 1, use_bias=False, kernel_initializer="he_normal", name="head_fuse")(x)
    x = BatchNorm(epsilon=1e-5, momentum=0.9, name="head_norm")(x)
    x = layers.ReLU(name="head_relu")(x)
    return layers.Dropout(0.1, name="head_dropout")(x)


def _linear(x: Tensor, width: int, *, name: str) -> Tensor:
    initializer = keras.initializers.TruncatedNormal(stddev=0.02)
    return layers.Conv2D(width, 1, kernel_initializer=initializer, name=name)(x)


def _norm(x: Tensor, norm: str, *, name: str) -> Tensor:
    if norm == "batch":
        return BatchNorm(epsilon=1e-5, momentum=0.9, name=name)(x)
    return LayerNorm(epsilon=1e-5, name=name)(x)


def _add(x: Tensor, y: Tensor, drop: float, *, name: str) -> Tensor:
    if drop:  # leaves a whole branch out, for a share of the images in training (stochastic depth)
        y = layers.Dropout(drop, noise_shape=(None, 1, 1, 1), name=f"{name}_drop")(y)
    return layers.Add(name=f"{name}_add")([x, y])
