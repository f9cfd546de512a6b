"""Training a network a little more for the form in which it ships: in 8 bits, or with most of its weights zero.

Both run on tensorflow-model-optimization (the extra `qat`), which works on networks of tf_keras, Keras 2. `bridge`
rebuilds a network there: each layer becomes one of tf_keras that holds its weights and computes what it computes.

Batch norm is folded into the convolutions before, and dropout is gone: what learns is exactly what ships. It learns
from the network as it was (distillation: Hinton et al., 2015, arXiv:1503.02531), on images that this one learned from:
what is asked for is the same function in another form, and the masks would teach it another one. The loss is the
squared difference of the probabilities.
"""

import dataclasses
import functools
import os
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers

from tfseg.activation import activate
from tfseg.errors import InputError
from tfseg.lite.graph import Graph
from tfseg.lite.kernels import CONVOLUTIONS
from tfseg.progress import Watch

Tensor = Any
Range = tuple[float, float]
Wrap = Callable[[str, Any], Any]

_HIGHEST = 127  # of a weight


@dataclasses.dataclass(frozen=True, kw_only=True)
class Course:
    """What a network learns from, and how long.

    Attributes:
        batches: endless, of (B, S, S, C) float32 images in [0, 1].
        activation: "sigmoid" or "softmax", from logits to probabilities (tfseg.activation).
        epochs: how many.
        steps: of an epoch.
        learning_rate: of Adam at the start; it falls to 0 as a cosine does.
        watch: told how far the work is.
    """

    batches: tf.data.Dataset
    activation: str
    epochs: int
    steps: int
    learning_rate: float
    watch: Watch


def quantization_aware(graph: Graph, ranges: Mapping[str, Range], eight_bit: set[str], course: Course) -> None:
    """Train the network of `graph`, in place, while it computes as its 8-bit file will.

    Weights are rounded to 8 bits, with a scale for each output channel, and results to 256 steps of their range; the
    gradients pass through the rounding as if it were not there, and stop where a range ends (Jacob et al., CVPR 2018,
    arXiv:1712.05877). Departure: the ranges stay those of the calibration, with which the file is then written.

    Args:
        graph: the network.
        ranges: (low, high) of the results that are 8-bit, by layer.
        eight_bit: the layers that are computed in 8 bits.
        course: what it learns from.
    """
    tfmot = _packages().tfmot

    def wrap(name: str, twin: Any) -> Any:
        layer = graph.nodes[name].layer
        convolution = name in eight_bit and isinstance(layer, CONVOLUTIONS) and bool(layer.trainable_variables)
        if not convolution and name not in ranges:
            return twin
        config = _classes().EightBit(_axes(layer) if convolution else None, ranges.get(name))
        return tfmot.quantization.keras.QuantizeWrapperV2(twin, config, name=f"{name}_8bit")

    _train(graph, wrap, course, "fine-tuning in 8 bits", [])


def prune(graph: Graph, sparsity: float, course: Course) -> None:
    """Train the network of `graph`, in place, while its smallest weights become zero.

    In each convolution that learns but the depthwise ones and the last, the share `sparsity` of the weights, 0 <
    sparsity < 1, chosen again while the share rises as in Zhu and Gupta, 2017, arXiv:1710.01878, through two thirds of
    the course.
    """
    tfmot = _packages().tfmot
    steps = course.epochs * course.steps
    every = max(1, min(100, steps // 20))
    end = max(2, steps * 2 // 3)
    schedule = tfmot.sparsity.keras.PolynomialDecay(0.0, sparsity, begin_step=0, end_step=end, frequency=every)
    convolutions = [
        name
        for name, node in graph.nodes.items()
        if isinstance(node.layer, CONVOLUTIONS) and node.layer.trainable_variables
    ]
    pruned = {name for name in convolutions[:-1] if not isinstance(graph.nodes[name].layer, layers.DepthwiseConv2D)}

    def wrap(name: str, twin: Any) -> Any:
        if name not in pruned:
            return twin
        return tfmot.sparsity.keras.prune_low_magnitude(twin, pruning_schedule=schedule, name=f"{name}_pruned")

    _train(graph, wrap, course, "pruning", [tfmot.sparsity.keras.UpdatePruningStep()])


def bridge(graph: Graph, wrap: Wrap = lambda name, twin: twin) -> Any:
    """Rebuild a network in tf_keras: the same layers by the same names, the same weights, the same logits to 1e-5.

    Args:
        graph: the network.
        wrap: from a layer's name and its twin in tf_keras to what is built in its place.

    Raises:
        InputError: tensorflow-model-optimization is not installed.
    """
    tf_keras = _packages().tf_keras
    image = tf_keras.Input(graph.nodes[graph.input].shape, name=graph.input)
    result = graph.call(image, lambda name, layer, inputs: wrap(name, _classes().Twin(layer))(inputs))
    return tf_keras.Model(image, result, name=graph.model_name)


def take_back(graph: Graph, twins: Any) -> None:
    """Give the layers of `graph` the weights of their twins in a network that `bridge` made."""
    for twin in twins.layers:
        twin = getattr(twin, "layer", twin)  # wrapped
        if isinstance(twin, _classes().Twin):
            for variable, value in zip(graph.nodes[twin.name].layer.trainable_variables, twin.learned, strict=True):
                variable.assign(value)


def _train(graph: Graph, wrap: Wrap, course: Course, stage: str, callbacks: list[Any]) -> None:
    tf_keras = _packages().tf_keras
    teacher, model = bridge(graph), bridge(graph, wrap)
    rate = tf_keras.optimizers.schedules.CosineDecay(course.learning_rate, course.epochs * course.steps)
    model.compile(
        tf_keras.optimizers.Adam(rate),
        lambda expected, logits: tf.math.squared_difference(expected, activate(logits, course.activation)),
    )
    told = tf_keras.callbacks.LambdaCallback(
        on_batch_end=lambda batch, logs: course.watch(
            stage, int(model.optimizer.iterations), course.epochs * course.steps, f"loss {logs['loss']:.2g}"
        )
    )
    model.fit(
        course.batches.map(lambda image: (image, activate(teacher(image), course.activation))),
        steps_per_epoch=course.steps,
        epochs=course.epochs,
        callbacks=[*callbacks, told],
        verbose=0,
    )
    take_back(graph, model)


def _axes(layer: keras.Layer) -> tuple[int, ...]:
    """Return the axes of a convolution's kernel over which one output channel's weights lie."""
    if isinstance(layer, layers.DepthwiseConv2D):
        return (0, 1)
    return (0, 1, 3) if isinstance(layer, layers.Conv2DTranspose) else (0, 1, 2)


@tf.autograph.experimental.do_not_convert
def _call(layer: keras.Layer, weights: list[Tensor], inputs: Tensor) -> Tensor:
    """Call a layer with other weights than its own."""
    return layer.stateless_call(weights, layer.non_trainable_variables, inputs)[0]


@dataclasses.dataclass(frozen=True)
class _Packages:
    tf_keras: Any
    tfmot: Any


@functools.cache
def _packages() -> _Packages:
    legacy = os.environ.get("TF_USE_LEGACY_KERAS")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # it compares versions by distutils
            import tensorflow_model_optimization as tfmot  # sets TF_USE_LEGACY_KERAS, for itself
        import tf_keras
    except ModuleNotFoundError as error:
        raise InputError(
            f"fine-tuning takes tensorflow-model-optimization and tf_keras (there is no {error.name}): "
            "pip install 'tfseg[qat]'"
        ) from error
    finally:
        if legacy is None:
            os.environ.pop("TF_USE_LEGACY_KERAS", None)
    return _Packages(tf_keras, tfmot)


@dataclasses.dataclass(frozen=True)
class _Classes:
    Twin: Any
    EightBit: Any


@functools.cache
def _classes() -> _Classes:
    """Define what derives from classes of packages that may be missing."""
    tf_keras, tfmot = _packages().tf_keras, _packages().tfmot

    class Twin(tf_keras.layers.Layer, tfmot.sparsity.keras.PrunableLayer):
        """A layer of tf_keras that computes what a layer of Keras 3 computes, with weights of its own.

        Attributes:
            kernel: the first weight, or what stands for it while the network computes in 8 bits.
            learned: all weights, in the order of the layer's own.
        """

        def __init__(self, layer: keras.Layer) -> None:
            super().__init__(name=layer.name)
            self._layer = lambda: layer  # tf_keras looks into attributes, and a layer of Keras 3 confuses it
            self.learned = tuple(
                self.add_weight(variable.name, variable.shape, initializer=tf.constant_initializer(variable.numpy()))
                for variable in layer.trainable_variables
            )
            self.kernel = self.learned[0] if self.learned else None

        def call(self, inputs: Tensor) -> Tensor:
            layer = self._layer()
            weights = [self.kernel, *self.learned[1:]] if self.learned else []
            return _call(layer, weights, inputs)

        def get_prunable_weights(self) -> list[Any]:
            return list(self.learned[:1])

    class WeightRounding(tfmot.quantization.keras.quantizers.Quantizer):
        """Round weights as tfseg.lite.quantize does; `axes` are those of one output channel."""

        def __init__(self, axes: tuple[int, ...]) -> None:
            self.axes = axes

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            return {}

        def __call__(self, inputs: Tensor, training: bool, weights: Any, **kwargs: Any) -> Tensor:
            largest = tf.reduce_max(tf.abs(inputs), self.axes, keepdims=True)
            step = tf.stop_gradient(tf.maximum(largest, np.finfo(np.float32).tiny) / _HIGHEST)
            return inputs + tf.stop_gradient(tf.round(inputs / step) * step - inputs)

        def get_config(self) -> dict[str, Any]:
            return {"axes": self.axes}

    class FixedRange(tfmot.quantization.keras.quantizers.Quantizer):
        """Round a result to 256 steps of a range; the gradient is 0 outside."""

        def __init__(self, low: float, high: float) -> None:
            self.low, self.high = min(low, 0.0), max(high, 0.0)

        def build(self, tensor_shape: Any, name: str, layer: Any) -> dict[str, Any]:
            return {}

        def __call__(self, inputs: Tensor, training: bool, weights: Any, **kwargs: Any) -> Tensor:
            if self.high - self.low < np.finfo(np.float32).tiny:  # a gate that was open on all images
                return inputs
            return tf.quantization.fake_quant_with_min_max_args(inputs, self.low, self.high, num_bits=8)

        def get_config(self) -> dict[str, Any]:
            return {"low": self.low, "high": self.high}

    class EightBit(tfmot.quantization.keras.QuantizeConfig):
        """Which numbers of a twin are rounded: its kernel, its result, or both."""

        def __init__(self, axes: tuple[int, ...] | None, span: Range | None) -> None:
            self.axes, self.span = axes, span

        def get_weights_and_quantizers(self, layer: Any) -> list[Any]:
            return [(layer.learned[0], WeightRounding(self.axes))] if self.axes else []

        def get_activations_and_quantizers(self, layer: Any) -> list[Any]:
            return []

        def get_output_quantizers(self, layer: Any) -> list[Any]:
            return [FixedRange(*self.span)] if self.span else []

        def set_quantize_weights(self, layer: Any, quantize_weights: list[Any]) -> None:
            if quantize_weights:
                layer.kernel = quantize_weights[0]

        def set_quantize_activations(self, layer: Any, quantize_activations: list[Any]) -> None:
            pass

        def get_config(self) -> dict[str, Any]:
            return {"axes": self.axes, "span": self.span}

    return _Classes(Twin, EightBit)
