"""MobileViTV2: inverted residuals, attention of linear cost, and the head of DeepLab v3."""

from typing import Any, NamedTuple

import keras
from keras import layers, ops

from tfseg.models.blocks import require_divisible
from tfseg.models.conv_norm import conv_norm
from tfseg.models.deeplabv3plus import aspp
from tfseg.models.layers import Activation, BatchNorm, GroupNorm, Upsample

Tensor = Any


class Stage(NamedTuple):
    """A stage with attention: its channels, those of the attention, how many blocks of it."""

    width: int
    attention: int
    blocks: int


STAGES = (Stage(256, 128, 2), Stage(384, 192, 4), Stage(512, 256, 3))


def mobilevitv2(
    input_shape: tuple[int, int, int],
    classes: int,
    *,
    output_stride: int = 32,
    norm: str = "group",
    activation: str = "silu",
) -> keras.Model:
    """Build MobileViTV2 of width 1.0 (Mehta and Rastegari, TMLR 2023, arXiv:2206.02680) with the head of DeepLab v3.

    It is what Hugging Face's MobileViTV2ForSemanticSegmentation builds, whose weights load (tfseg.models.import_torch).
    Departures from it: the logits are upsampled bilinearly inside the network; He initialization; sizes that do not
    divide into patches are refused, where that code leaves the last pixels out. The four pixels of a patch lie along
    the third axis, (B, patches, 4, C), so that nothing needs more than four dimensions.

    Args:
        input_shape: (H, W, C) of one image; H and W must be multiples of twice `output_stride`.
        classes: channels of the logits; 1 means foreground against background.
        output_stride: 32, 16 or 8: what the encoder divides the resolution by; the last stages dilate instead.
        norm: "group" (one group, as published) or "batch" inside the attention blocks.
        activation: of the encoder.

    Returns:
        A model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits; 13,308,394 trainable parameters for
        three input channels and one class, whatever the options.
    """
    if output_stride not in (8, 16, 32):
        raise ValueError(f"output_stride = {output_stride}: 8, 16 or 32")
    require_divisible(input_shape, 2 * output_stride)
    x = image = keras.Input(input_shape, name="image")
    x = conv_norm(x, 32, 3, stride=2, activation=activation, name="stem")
    x = _inverted_residual(x, 64, activation, name="layer0_block0")
    x = _inverted_residual(x, 128, activation, stride=2, name="layer1_block0")
    x = _inverted_residual(x, 128, activation, name="layer1_block1")
    reached, dilation = 4, 1
    for index, stage in enumerate(STAGES, start=2):
        stride = 2 if reached < output_stride else 1
        x = _inverted_residual(x, stage.width, activation, stride, dilation, name=f"layer{index}_down")
        x = _transformer(x, stage, norm, activation, name=f"layer{index}")
        reached, dilation = reached * stride, dilation * 2 // stride
    x = aspp(x, 512, (6, 12, 18), name="aspp")
    x = layers.Dropout(0.1, name="aspp_dropout")(x)
    x = layers.SpatialDropout2D(0.1, name="head_dropout")(x)
    x = layers.Conv2D(classes, 1, name="head_classifier")(x)
    logits = Upsample(output_stride, dtype="float32", name="logits")(x)
    return keras.Model(image, logits, name="mobilevitv2" if norm == "group" else "mobilevitv2_relu")


def mobilevitv2_relu(input_shape: tuple[int, int, int], classes: int, *, output_stride: int = 32) -> keras.Model:
    """Build the MobileViTV2 that ships: batch norm for group norm and ReLU for SiLU, all else as in `mobilevitv2`.

    The group norm takes means over each image while the network runs, and SiLU is two operations and a float island in
    an int8 file. The softmax of the attention, over one number for each patch, remains such an island.

    Attention multiplies values by keys. Group norm keeps both small in every image; batch norm, with averages from
    training, does not, and nine products of ever larger numbers overflow on an image that is a little unlike those. So
    the values end at 6 (ReLU6).
    """
    return mobilevitv2(input_shape, classes, output_stride=output_stride, norm="batch", activation="relu")


def _inverted_residual(
    x: Tensor, width: int, activation: str, stride: int = 1, dilation: int = 1, *, name: str
) -> Tensor:
    channels = x.shape[-1]
    y = conv_norm(x, 2 * channels, 1, activation=activation, name=f"{name}_expand")
    y = conv_norm(
        y, 2 * channels, 3, stride=stride, dilation=dilation, depthwise=True, activation=activation,
        name=f"{name}_depthwise",
    )  # fmt: skip
    y = conv_norm(y, width, 1, activation=None, name=f"{name}_reduce")
    return layers.Add(name=f"{name}_add")([x, y]) if stride == 1 and channels == width else y


def _transformer(x: Tensor, stage: Stage, norm: str, activation: str, *, name: str) -> Tensor:
    height, width, channels = x.shape[1:]
    x = conv_norm(x, channels, 3, depthwise=True, activation=activation, name=f"{name}_local")
    x = layers.Conv2D(stage.attention, 1, use_bias=False, name=f"{name}_enter")(x)
    x = SpaceToDepth(name=f"{name}_unfold")(x)  # (B, H/2, W/2, 4A)
    x = layers.Reshape((height * width // 4, 4, stage.attention), name=f"{name}_patches")(x)
    for block in range(stage.blocks):
        x = _attention(x, norm, name=f"{name}_block{block}")
        x = _perceptron(x, norm, activation, name=f"{name}_block{block}")
    x = _norm(x, norm, name=f"{name}_norm")
    x = layers.Reshape((height // 2, width // 2, 4 * stage.attention), name=f"{name}_unpatch")(x)
    x = DepthToSpace(name=f"{name}_fold")(x)
    return conv_norm(x, channels, 1, activation=None, name=f"{name}_leave")


def _attention(x: Tensor, norm: str, *, name: str) -> Tensor:
    channels = x.shape[-1]
    y = _norm(x, norm, name=f"{name}_norm1")
    query, key, value = (
        layers.Conv2D(width, 1, name=f"{name}_attention_{part}")(y)
        for part, width in (("query", 1), ("key", channels), ("value", channels))
    )
    gate = {"group": "relu", "batch": "relu6"}[norm]
    y = LinearAttention(gate, name=f"{name}_attention")([query, key, value])
    y = layers.Conv2D(channels, 1, name=f"{name}_attention_output")(y)
    return layers.Add(name=f"{name}_attention_add")([x, y])


def _perceptron(x: Tensor, norm: str, activation: str, *, name: str) -> Tensor:
    channels = x.shape[-1]
    y = _norm(x, norm, name=f"{name}_norm2")
    y = layers.Conv2D(2 * channels, 1, kernel_initializer="he_normal", name=f"{name}_ffn_conv1")(y)
    y = Activation(activation, name=f"{name}_ffn_{activation}")(y)
    y = layers.Conv2D(channels, 1, name=f"{name}_ffn_conv2")(y)
    return layers.Add(name=f"{name}_ffn_add")([x, y])


def _norm(x: Tensor, norm: str, *, name: str) -> Tensor:
    if norm not in ("group", "batch"):
        raise ValueError(f'norm = {norm!r}: "group" or "batch"')
    if norm == "batch":
        return BatchNorm(epsilon=1e-5, momentum=0.9, name=name)(x)
    return GroupNorm(groups=1, epsilon=1e-5, name=name)(x)


@keras.saving.register_keras_serializable(package="tfseg")
class LinearAttention(layers.Layer):
    """Let each pixel of the patches ask all patches one question: (B, N, 4, 1), (B, N, 4, A), (B, N, 4, A) to the last.

    The softmax of the queries weighs the keys; their sum, one vector for each of the four places in a patch, gates the
    values (section 3.2 of the paper), which end at 6 if `gate` is "relu6".
    """

    def __init__(self, gate: str = "relu", **options: Any) -> None:
        """Build with a gate of "relu", as published, or "relu6"."""
        super().__init__(**options)
        self.gate = gate

    def get_config(self) -> dict[str, Any]:
        """Return what builds it again."""
        return super().get_config() | {"gate": self.gate}

    def call(self, inputs: Any) -> Tensor:
        """Return gate(value) * sum(softmax(query) * key), softmax and sum over the patches."""
        query, key, value = inputs
        if query.shape[1] > 1:  # Keras warns of a softmax over one number, which is 1
            weights = ops.softmax(ops.transpose(query, (0, 3, 2, 1)))  # TFLite's has the last axis only
            key = ops.sum(ops.transpose(weights, (0, 3, 2, 1)) * key, axis=1, keepdims=True)
        return keras.activations.get(self.gate)(value) * key


@keras.saving.register_keras_serializable(package="tfseg")
class SpaceToDepth(layers.Layer):
    """Stack each 2x2 pixels, row by row: (B, H, W, C) to (B, H/2, W/2, 4C)."""

    def call(self, inputs: Tensor) -> Tensor:
        """Stack; with TensorFlow it is one operation, which converts to one, too."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.nn.space_to_depth(inputs, 2)
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height // 2, 2, width // 2, 2, channels))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, height // 2, width // 2, 4 * channels))


@keras.saving.register_keras_serializable(package="tfseg")
class DepthToSpace(layers.Layer):
    """Undo SpaceToDepth: (B, H, W, 4C) to (B, 2H, 2W, C)."""

    def call(self, inputs: Tensor) -> Tensor:
        """Lay out; with TensorFlow it is one operation, which converts to one, too."""
        if keras.backend.backend() == "tensorflow":
            import tensorflow as tf

            return tf.nn.depth_to_space(inputs, 2)
        _, height, width, channels = inputs.shape
        x = ops.reshape(inputs, (-1, height, width, 2, 2, channels // 4))
        return ops.reshape(ops.transpose(x, (0, 1, 3, 2, 4, 5)), (-1, 2 * height, 2 * width, channels // 4))
