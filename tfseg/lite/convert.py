"""From a trained Keras network to the .tflite file that ships: `convert(model, card, options, ...) -> bytes`."""

import contextlib
import dataclasses
import math
import os
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from keras import layers
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfseg import models
from tfseg.activation import activate, with_background
from tfseg.errors import InputError
from tfseg.lite import calibration as calibrating
from tfseg.lite import metadata, quantize
from tfseg.lite.flatbuffer import UINT8, File, quantization
from tfseg.lite.fuse import fuse
from tfseg.lite.graph import Graph
from tfseg.models.files import Card
from tfseg.models.mobilevitv2 import DepthToSpace, SpaceToDepth
from tfseg.progress import Watch, silent

PRECISIONS = ("fp32", "fp16", "dynamic", "int8")
INPUTS = ("uint8", "float32")
HEADS = ("probability", "mask", "logits")

_HEAD = "head"  # the name of everything between logits and output
_EIGHT_BIT_LAYERS = (  # all others normalize, attend or bend, which 8 bits do badly: they stay float in an int8 file
    layers.Conv2D, layers.DepthwiseConv2D, layers.Conv2DTranspose, layers.MaxPooling2D, layers.AveragePooling2D,
    layers.GlobalAveragePooling2D, layers.UpSampling2D, layers.ZeroPadding2D, layers.Concatenate, layers.Add,
    layers.Multiply, layers.ReLU, layers.Activation, layers.Reshape, layers.Permute, SpaceToDepth, DepthToSpace,
)  # fmt: skip
_ROLES = {  # of an operator's inputs
    "CONV_2D": ("", "weights", "bias"),
    "DEPTHWISE_CONV_2D": ("", "weights", "bias"),
    "TRANSPOSE_CONV": ("size", "weights", "", "bias"),
}
_PACKAGES = ("tfseg", "tensorflow", "keras", "ai-edge-litert")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options:
    """What kind of file is made.

    Attributes:
        precision: "fp32"; "fp16", half of the size; "dynamic", 8-bit weights and float activations; or "int8".
        input: "uint8", what a camera gives, or "float32" in [0, 1].
        head: "probability", float32 in [0, 1] (in an int8 file too: after the 8-bit logits it computes in float, which
            costs a thousandth of the time, keeps every step near the threshold, and leaves one format for all files);
            "mask", uint8, see Metadata.activation; or "logits", float32.
        image_size: of the input, in pixels, where it is not the network's own.
        keep_float: regular expression; in an int8 file, layers in whose name it is found are computed in float.
    """

    precision: str = "int8"
    input: str = "uint8"
    head: str = "probability"
    image_size: int | None = None
    keep_float: str = ""

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("input", INPUTS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} = {getattr(self, name)!r} is none of {', '.join(known)}")
        try:
            re.compile(self.keep_float)
        except re.error as error:
            raise InputError(f"keep_float = {self.keep_float!r} is no regular expression: {error}") from error
        if self.keep_float and self.precision != "int8":
            raise InputError(f"keep_float goes with int8: a {self.precision} file has nothing to keep in float")


def convert(
    model: keras.Model,
    card: Card,
    options: Options,
    *,
    calibration: calibrating.Calibration | None = None,
    training: str = "",
    proof: Mapping[str, Any] | None = None,
    watch: Watch = silent,
) -> bytes:
    """Turn a trained network into the content of a .tflite file.

    The network is first rewritten exactly (tfseg.lite.fuse). The file has built-in operators only, static shapes, batch
    1, and tensors named after the layer that they come from.

    Args:
        model: from (B, H, W, C) images in [0, 1] to (B, H, W, K) logits.
        card: of the network.
        options: what kind of file.
        calibration: the images that set the ranges of an int8 file; not used for others.
        training: name of the run that trained the network.
        proof: what the file was found to be worth (`tfseg.lite.metadata.attach` adds it later).
        watch: told how far the work is.

    Raises:
        InputError: the network has no fixed or no possible size, an operation without a TensorFlow Lite operator, or
            int8 was asked for without images.
    """
    network = _sized(model, card, options.image_size)
    size, channels = network.input_shape[1], network.input_shape[-1]
    graph = Graph(fuse(network))
    frozen = _trace(graph, lambda logits: _head(logits, card, options.head))
    content, origin = _named(_tflite(frozen, options.precision, card.model), frozen)
    names: tuple[str, ...] = ()
    if options.precision == "int8":
        images = _checked(calibration, (size, size, channels))
        names = images.names
        content = _int8(content, origin, graph, card, options.keep_float, images, watch)
    if options.input == "uint8":
        content = _take_bytes(content)
    _check(content, card.model)
    return metadata.attach(
        content,
        metadata.Metadata(
            model=card.model,
            image_size=size,
            channels=channels,
            classes=card.classes,
            input=options.input,
            head=options.head,
            activation=card.activation,
            threshold=card.threshold,
            largest_component=card.largest_component,
            precision=options.precision,
            keep_float=options.keep_float,
            training=training,
            dataset=card.dataset,
            fingerprint=card.fingerprint,
            phantom=card.phantom,
            fold=card.fold,
            calibration=names,
            versions={package: version(package) for package in _PACKAGES},
            proof=proof or {},
        ),
    )


def _sized(model: keras.Model, card: Card, image_size: int | None) -> keras.Model:
    """Return the network for that size."""
    _, height, width, channels = model.input_shape
    size = image_size or height
    if size is None or (image_size is None and height != width):
        raise InputError(f"{card.model}: its size, {height}x{width}, is no fixed square; give an image size")
    if size == height == width:
        return model
    models.network(card.model, image_size=size)
    network = models.build(card.model, (size, size, channels), model.output_shape[-1])
    network.set_weights(model.get_weights())
    return network


def _checked(calibration: calibrating.Calibration | None, shape: tuple[int, ...]) -> calibrating.Calibration:
    if calibration is None or not calibration.names:
        raise InputError("an int8 file needs images to calibrate on, and there are none")
    for name, image in zip(calibration.names, calibration.images, strict=True):
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"{name}: calibration images are uint8 {shape}, not {image.dtype} {image.shape}")
    return calibration


def _trace(graph: Graph, head: Callable[[Any], Any]) -> Any:
    """Return a function with constants for weights, from images (1, H, W, C) to what `head` makes of the logits."""

    def call(name: str, layer: keras.Layer, inputs: Any) -> Any:
        with tf.name_scope(name):  # the layer's __call__ would number the scope
            return layer.call(inputs)

    def network(image: Any) -> Any:
        logits = graph.call(image, call)
        with tf.name_scope(_HEAD):
            return head(logits)

    shape = (1, *graph.nodes[graph.input].shape)
    function = tf.function(network, autograph=False)
    return convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, tf.float32, "image")))


def _head(logits: Any, card: Card, head: str) -> Any:
    if head == "logits":
        return tf.identity(logits)
    if head == "probability":
        return activate(logits, card.activation)
    if card.activation == "softmax" and len(card.classes) > 1:
        best = tf.argmax(with_background(logits), axis=-1, output_type=tf.int32)
        return tf.cast(tf.expand_dims(best, -1), tf.uint8)
    return tf.cast(logits >= math.log(card.threshold / (1 - card.threshold)), tf.uint8)


def _tflite(frozen: Any, precision: str, model: str) -> bytes:
    with _silent_stderr():  # TensorFlow prints advice and, for what it refuses, pages
        converter = tf.lite.TFLiteConverter.from_concrete_functions([frozen])
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        if precision in ("fp16", "dynamic"):
            converter.optimizations = [tf.lite.Optimize.DEFAULT]
        if precision == "fp16":
            converter.target_spec.supported_types = [tf.float16]
        try:
            return converter.convert()
        except ConverterError as error:
            raise InputError(f"{model}: cannot become a .tflite file: {_reason(error)}") from error


def _reason(error: ConverterError) -> str:
    """Say which operation of which layer has no TensorFlow Lite operator."""
    for found in error.errors:
        for call in found.location.call:
            layer, slash, _ = call.name.partition("/")
            if slash:
                return f"{found.operator.name} in the layer {layer!r} has no TensorFlow Lite operator"
    return str(error).partition("\n")[0]


@contextlib.contextmanager
def _silent_stderr() -> Iterator[None]:
    """Send what is written to stderr, by whatever language, nowhere."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        sys.stderr.flush()
        os.dup2(kept, 2)
        os.close(kept)


def _named(content: bytes, frozen: Any) -> tuple[bytes, dict[str, str]]:
    """Name every result after the layer that it comes from, and say which operation of `frozen` it is.

    An operator that does the work of several operations, such as a convolution with its ReLU, is its first layer's; the
    value is that of the last operation. Where a layer has several operators, they are LAYER, LAYER/2, ...
    """
    file = File(content)
    operations = {operation.name for operation in frozen.graph.get_operations()}
    origin: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for op in file.operators:
        (output,) = map(int, op.outputs)
        parts = file.name(output).split(";")
        operation = parts[0] if parts[0] in operations else parts[0].rstrip("0123456789")  # numbered by the converter
        layer = parts[-1].partition("/")[0]
        counts[layer] += 1
        name = layer if counts[layer] == 1 else f"{layer}/{counts[layer]}"
        file.tensors[output].name = name.encode()
        if operation in operations:
            origin[name] = operation
        for role, tensor in zip(_ROLES.get(file.kind(op), ()), map(int, op.inputs), strict=False):
            if role and file.is_constant(tensor):
                file.tensors[tensor].name = f"{name}/{role}".encode()
    return file.content(), origin


def _int8(
    content: bytes,
    origin: Mapping[str, str],
    graph: Graph,
    card: Card,
    keep_float: str,
    images: calibrating.Calibration,
    watch: Watch,
) -> bytes:
    float_layers = {_HEAD} | {
        name
        for name, node in graph.nodes.items()
        if not isinstance(node.layer, _EIGHT_BIT_LAYERS) or (keep_float and re.search(keep_float, name))
    }

    def stays_float(tensor: str) -> bool:
        return layer_of(tensor) in float_layers

    tensors = quantize.measured(content, stays_float)
    found = calibrating.find_ranges(
        _trace(graph, tf.identity), [origin[name] for name in tensors], images, card.activation, watch=watch
    )
    ranges = {name: found[origin[name]] for name in tensors}
    return quantize.quantize(content, ranges, stays_float)


def layer_of(tensor: str) -> str:
    """Return the layer that a tensor of a converted file comes from.

    >>> layer_of("down0a_conv"), layer_of("down0a_conv/weights"), layer_of("stage0_norm/3/float")
    ('down0a_conv', 'down0a_conv', 'stage0_norm')
    """
    return tensor.partition("/")[0]


def _take_bytes(content: bytes) -> bytes:
    """Let a file that takes [0, 1] take bytes: 8-bit integers that stand for 1/255 each."""
    file = File(content)
    (image,) = map(int, file.subgraph.inputs)
    pixels = file.add_tensor(file.name(image), UINT8, file.shape(image), quantization(1 / 255))
    file.tensors[image].name = f"{file.name(image)}/float".encode()
    readers = [op for op in file.operators if image in op.inputs]
    if all(file.kind(op) == "QUANTIZE" for op in readers):
        for op in readers:
            op.inputs = [pixels]
    else:
        file.operators.insert(0, file.operator("DEQUANTIZE", 2, [pixels], [image]))
    file.subgraph.inputs = [pixels]
    return file.content()


def _check(content: bytes, model: str) -> None:
    """Assure that a file has built-in operators only, and static shapes."""
    file = File(content)
    for op in file.operators:
        name, kind = file.name(int(op.outputs[0])), file.kind(op)
        if kind in ("CUSTOM", "VAR_HANDLE"):
            raise InputError(f"{model}: cannot become a .tflite file: {kind} in the layer {layer_of(name)!r}")
        if any(side < 1 for output in op.outputs for side in file.shape(int(output))):
            raise InputError(f"{model}: cannot become a .tflite file: the layer {layer_of(name)!r} has no fixed size")
