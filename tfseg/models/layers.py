"""Layers of Keras made fast on a CPU: the same options, weights, names and numbers, other TensorFlow operations.

A layer here that has a stock parent loads the parent's weights and gives its weights back to it. On another backend
than TensorFlow, and for options that have no faster form, the parent's own code runs.
"""

import functools
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import ops

Tensor = Any

_TENSORFLOW = keras.config.backend() == "tensorflow"


@keras.saving.register_keras_serializable(package="tfseg")
class GroupedConv2D(keras.layers.Conv2D):
    """keras.layers.Conv2D without the forced XLA compilation that makes `groups` some 40 times slower on a CPU.

    One channel per group runs as a depthwise convolution, which is as fast forward and backward, and which phones have
    kernels for.
    """

    def convolution_op(self, inputs: Tensor, kernel: Tensor) -> Tensor:
        """Convolve (B, H, W, C) with (k, k, C / groups, filters)."""
        if self.groups == 1 or not _TENSORFLOW or self.data_format == "channels_first":
            return super().convolution_op(inputs, kernel)
        padding = self.padding.upper()
        if self.groups == inputs.shape[-1] and self.strides[0] == self.strides[1]:
            kernel = ops.reshape(kernel, (*self.kernel_size, self.groups, -1))  # (k, k, C, filters / C)
            return ops.depthwise_conv(inputs, kernel, self.strides, padding, dilation_rate=self.dilation_rate)
        return _grouped_conv(
            inputs, kernel, self.groups, strides=self.strides, padding=padding, dilations=self.dilation_rate
        )


def _grouped_conv(x: Tensor, kernel: Tensor, groups: int, **options: Any) -> Tensor:
    conv = functools.partial(tf.nn.conv2d, **options)
    if _grouped_conv_trains(x.dtype.name):
        return conv(x, kernel)
    parts = zip(tf.split(x, groups, axis=-1), tf.split(kernel, groups, axis=-1), strict=True)
    return tf.concat([conv(*part) for part in parts], axis=-1)


@functools.cache
def _grouped_conv_trains(dtype: str) -> bool:
    """Try it: on a CPU only oneDNN has the gradient of a grouped convolution, and there is no way to ask."""
    with tf.init_scope():  # eager, even while a training step is traced
        x, kernel = tf.ones((1, 3, 3, 4), dtype), tf.ones((3, 3, 2, 4), dtype)  # two channels in each of two groups
        try:
            tf.raw_ops.Conv2DBackpropInput(
                input_sizes=x.shape, filter=kernel, out_backprop=x, strides=[1] * 4, padding="SAME"
            )
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            return False
    return True


@keras.saving.register_keras_serializable(package="tfseg")
class BatchNorm(keras.layers.BatchNormalization):
    """keras.layers.BatchNormalization with one fused operation for a training step.

    Forward and backward of 4 x 128 x 128 x 64 numbers: 36 ms became 9 on one core of an AMD EPYC. Inference is the
    parent's: multiplications and additions that converters fold into the convolution before.
    """

    def call(self, inputs: Tensor, training: bool | None = None, mask: Tensor | None = None) -> Tensor:
        """Normalize (B, H, W, C) over all but the channels; update the moving averages when `training`."""
        learns = training and self.trainable
        special = mask is not None or self.renorm or self.synchronized or self.compute_dtype == "float64"
        if not (learns and _fusible(self, inputs)) or special:
            return super().call(inputs, training=training, mask=mask)
        channels = inputs.shape[-1]
        y, mean, variance, *_ = tf.raw_ops.FusedBatchNormV3(
            x=inputs,
            scale=tf.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels),
            offset=tf.convert_to_tensor(self.beta) if self.center else tf.zeros(channels),
            mean=[],
            variance=[],
            epsilon=self.epsilon,
            is_training=True,
        )
        count = tf.cast(tf.size(inputs) // channels, variance.dtype)
        variance *= (count - 1) / count  # the operation divides by count - 1, Keras by count
        for average, batch in ((self.moving_mean, mean), (self.moving_variance, variance)):
            average.assign(average * self.momentum + tf.stop_gradient(batch) * (1 - self.momentum))
        return y


@keras.saving.register_keras_serializable(package="tfseg")
class GroupNorm(keras.layers.GroupNormalization):
    """keras.layers.GroupNormalization in fewer passes over memory, and in operations that phones have.

    Forward and backward of 8 x 128 x 128 x 8 numbers in 8 groups: 8.2 ms became 3.7 on one core of an AMD EPYC. Outside
    training nothing has more than four dimensions and no shape is computed, so that a converted network stays in one
    piece; the stock layer's reshapes cut it into some hundred.
    """

    def call(self, inputs: Tensor, training: bool | None = None) -> Tensor:
        """Normalize (B, H, W, C) over the pixels and channels of each group."""
        if not _fusible(self, inputs) or inputs.dtype == "float64":
            return super().call(inputs)
        channels = inputs.shape[-1]
        normalize = _group_norm if training else _plain_group_norm
        y = normalize(
            tf.cast(inputs, "float32"),
            tf.convert_to_tensor(self.gamma) if self.scale else tf.ones(channels),
            tf.convert_to_tensor(self.beta) if self.center else tf.zeros(channels),
            groups=self.groups,
            epsilon=self.epsilon,
        )
        return tf.cast(y, self.compute_dtype)


def _plain_group_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int, epsilon: float) -> Tensor:
    size = x.shape[-1] // groups
    averaging = np.kron(np.eye(groups), np.full((size, size), 1 / size)).astype("float32")  # (C, C), block by block

    def group_mean(x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, 1, 1, C), equal within a group
        return tf.nn.conv2d(tf.reduce_mean(x, axis=(1, 2), keepdims=True), averaging[None, None], 1, "VALID")

    centred = x - group_mean(x)
    return centred * (tf.math.rsqrt(group_mean(tf.square(centred)) + epsilon) * gamma) + beta


def _fusible(layer: keras.Layer, x: Tensor) -> bool:
    return _TENSORFLOW and len(x.shape) == 4 and layer.axis in (-1, 3)


def _group_norm(x: Tensor, gamma: Tensor, beta: Tensor, *, groups: int, epsilon: float) -> Tensor:
    _, height, width, channels = ops.shape(x)

    def rows(x: Tensor) -> Tensor:  # (B, H, W, C) -> (B, H, W * C)
        return tf.reshape(x, (-1, height, width * channels))

    def row(per_channel: Tensor) -> Tensor:
        """(B, C) -> (B, 1, W * C): a whole row is broadcast several times faster than a few channels are."""
        return tf.tile(per_channel, (1, width))[:, None, :]

    def pixel_mean(x: Tensor) -> Tensor:  # (B, H, W * C) -> (B, C)
        return tf.reduce_mean(tf.reshape(x, (-1, height * width, channels)), axis=1)

    def group_mean(per_channel: Tensor) -> Tensor:  # (B, C) -> (B, C), equal within a group
        size = channels // groups
        means = tf.reduce_mean(tf.reshape(per_channel, (-1, groups, size)), axis=2, keepdims=True)
        return tf.reshape(tf.tile(means, (1, 1, size)), (-1, channels))

    @tf.custom_gradient
    def normalize(x: Tensor, gamma: Tensor, beta: Tensor) -> tuple[Tensor, Any]:
        mean = group_mean(pixel_mean(rows(x)))
        variance = group_mean(pixel_mean(tf.math.squared_difference(rows(x), row(mean))))
        inverse = tf.math.rsqrt(variance + epsilon)
        scale = inverse * gamma  # (B, C)
        y = rows(x) * row(scale) + row(beta - mean * scale)

        def gradient(dy: Tensor) -> tuple[Tensor, Tensor, Tensor]:
            # With z = (x - mean) * inverse: dx = inverse * (g - mean of g - z * mean of g * z), g = gamma * dy, means
            # over the group. It is linear in dy and x, so that two sums over the pixels are all it takes.
            mean_dy = pixel_mean(rows(dy))
            mean_dy_z = (pixel_mean(rows(dy) * rows(x)) - mean * mean_dy) * inverse
            slope = -inverse * inverse * group_mean(gamma * mean_dy_z)
            offset = -inverse * group_mean(gamma * mean_dy) - mean * slope
            dx = rows(dy) * row(scale) + rows(x) * row(slope) + row(offset)
            pixels = tf.cast(height * width, x.dtype)
            dgamma, dbeta = tf.reduce_sum(mean_dy_z, axis=0), tf.reduce_sum(mean_dy, axis=0)
            return tf.reshape(dx, tf.shape(x)), dgamma * pixels, dbeta * pixels

        return tf.reshape(y, tf.shape(x)), gradient

    return normalize(x, gamma, beta)


@keras.saving.register_keras_serializable(package="tfseg")
class Upsample(keras.layers.UpSampling2D):
    """keras.layers.UpSampling2D, bilinear by default, that can align corners: one RESIZE_BILINEAR when converted.

    Args:
        size: factor of height and width, or of each.
        interpolation: as the parent has it.
        align_corners: the corner pixels keep their places, as with PyTorch's align_corners=True; otherwise the corners
            of their areas do.
        **options: of the parent.
    """

    def __init__(
        self,
        size: int | tuple[int, int] = 2,
        *,
        interpolation: str = "bilinear",
        align_corners: bool = False,
        **options: Any,
    ) -> None:
        if align_corners and interpolation != "bilinear":
            raise ValueError(f"align_corners goes with interpolation='bilinear', not {interpolation!r}")
        super().__init__(size, interpolation=interpolation, **options)
        self.align_corners = align_corners

    def call(self, inputs: Tensor) -> Tensor:
        """Enlarge (B, H, W, C)."""
        if not self.align_corners:
            return super().call(inputs)
        _, height, width, _ = ops.shape(inputs)
        rows, columns = self.size
        if _TENSORFLOW:
            size = (height * rows, width * columns)
            y = tf.raw_ops.ResizeBilinear(images=inputs, size=size, align_corners=True)
            return tf.cast(y, inputs.dtype)  # it returns float32 whatever it gets
        x = ops.einsum("yh,bhwc->bywc", _aligned_weights(height, rows), inputs)
        return ops.einsum("xw,bywc->byxc", _aligned_weights(width, columns), x)

    def get_config(self) -> dict[str, Any]:
        """Return what `from_config` takes."""
        return {**super().get_config(), "align_corners": self.align_corners}


def _aligned_weights(length: int, factor: int) -> np.ndarray:
    """(factor * length, length): how much each pixel counts for each pixel of the enlarged line."""
    position = np.linspace(0, length - 1, factor * length, dtype="float32")
    return np.maximum(1 - np.abs(position[:, None] - np.arange(length, dtype="float32")), 0)
