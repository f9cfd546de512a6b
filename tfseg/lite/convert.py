"""From a trained Keras network to the .tflite file that ships: `convert(model, card, options, ...) -> bytes`."""

import dataclasses
import math
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from importlib.metadata import version
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from ai_edge_litert import schema_py_generated as schema
from keras import layers
from tensorflow.lite.python.convert_phase import ConverterError
from tensorflow.python.framework.convert_to_constants import convert_variables_to_constants_v2

from tfseg import models
from tfseg.activation import activate, with_background
from tfseg.errors import InputError
from tfseg.lite import calibration as calibrating
from tfseg.lite import finetune, lanes, metadata, quantize
from tfseg.lite.equalize import equalize
from tfseg.lite.flatbuffer import UINT8, File, quantization
from tfseg.lite.fuse import fuse
from tfseg.lite.graph import Graph
from tfseg.models.files import Card
from tfseg.models.mobilevitv2 import DepthToSpace, SpaceToDepth
from tfseg.models.presence import presence_source
from tfseg.postprocess import exclusive
from tfseg.progress import Watch, silent
from tfseg.quiet import silent_stderr

PRECISIONS = ("fp32", "fp16", "dynamic", "int8")
INPUTS = ("uint8", "float32")
HEADS = ("probability", "mask", "logits")

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
        head: "probability", float32 in [0, 1], in an int8 file too: it computes in float from the 8-bit logits on,
            which costs next to nothing and leaves one format for all files; "mask", uint8, see Metadata.activation; or
            "logits", float32.
        image_size: of the input, in pixels, where it is not the network's own.
        keep_float: regular expression; in an int8 file, layers in whose name it is found are computed in float.
        qat: of an int8 file; the network is first fine-tuned as it computes in 8 bits (tfseg.lite.finetune).
        sparsity: the share of the weights that become zero, while the rest is fine-tuned; 0 for none.
    """

    precision: str = "int8"
    input: str = "uint8"
    head: str = "probability"
    image_size: int | None = None
    keep_float: str = ""
    qat: bool = False
    sparsity: float = 0.0

    def __post_init__(self) -> None:
        for name, known in (("precision", PRECISIONS), ("input", INPUTS), ("head", HEADS)):
            if getattr(self, name) not in known:
                raise InputError(f"{name} = {getattr(self, name)!r} is none of {', '.join(known)}")
        try:
            re.compile(self.keep_float)
        except re.error as error:
            raise InputError(f"keep_float = {self.keep_float!r} is no regular expression: {error}") from error
        if self.precision != "int8" and (self.keep_float or self.qat):
            raise InputError(f"keep_float and qat go with int8, not with {self.precision}")
        if not 0 <= self.sparsity < 1:
            raise InputError(f"sparsity = {self.sparsity:g} is no share of the weights: give 0 to less than 1")

    @classmethod
    def of(cls, kind: str, **more: Any) -> "Options":
        """Return the options of a kind of file; `more` sets others.

        >>> Options.of("int8-qat").qat, Options.of("int8-pruned-0.5").sparsity
        (True, 0.5)
        """
        match kind.split("-"):
            case [precision]:
                return cls(precision=precision, **more)
            case [precision, "qat"]:
                return cls(precision=precision, qat=True, **more)
            case [precision, "pruned", share] if re.fullmatch(r"0?\.\d+", share):
                return cls(precision=precision, sparsity=float(share), **more)
        raise InputError(
            f"{kind!r} is no kind of file: {', '.join(PRECISIONS)}, int8-qat or, for example, int8-pruned-0.5"
        )

    @property
    def kind(self) -> str:
        """The precision, and how the network was fine-tuned for it: "int8-qat", "int8-pruned-0.5"."""
        pruned = f"-pruned-{self.sparsity:g}" if self.sparsity else ""
        return f"{self.precision}{pruned}{'-qat' if self.qat else ''}"

    @property
    def learns(self) -> bool:
        """Whether the network is fine-tuned."""
        return self.qat or self.sparsity > 0


def convert(
    model: keras.Model,
    card: Card,
    options: Options,
    *,
    calibration: calibrating.Calibration | None = None,
    course: finetune.Course | None = None,
    training: str = "",
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
        course: what the network is fine-tuned on; not used where it is not.
        training: name of the run that trained the network.
        watch: told how far the work is.

    Raises:
        InputError: the network has no fixed or no possible size, weights that are no finite numbers, an operation
            without a TensorFlow Lite operator, or int8 was asked for without images.
    """
    network = _sized(model, card, options.image_size)
    for layer in network.layers:
        if not all(np.isfinite(value).all() for value in layer.get_weights()):
            raise InputError(
                f"{card.model}: weights of the layer {layer.name!r} are no finite numbers: it has not learned"
            )
    size, channels = network.input_shape[1], network.input_shape[-1]
    graph = Graph(fuse(network))
    if options.learns and course is None:
        raise InputError(f"{card.model}: a network is fine-tuned on the images of its run: convert the run")
    if options.learns:
        graph = _copy(graph)  # layers that learn must not be the caller's
    if options.sparsity and course:
        finetune.prune(graph, options.sparsity, course)
    names: tuple[str, ...] = ()
    if options.precision == "int8":
        images = _checked(calibration, (size, size, channels))
        names = images.names
        graph = Graph(equalize(graph.model(), images.images))
        content = _int8(graph, card, options, images, course, watch)
    else:
        content, _ = _float_file(graph, card, options)
    return _finished(content, network, card, options, names, training)


def one_by_one(
    model: keras.Model, card: Card, *, calibration: calibrating.Calibration, watch: Watch = silent
) -> Iterator[tuple[str, bytes]]:
    """Convert a network once for each layer that an int8 file computes in 8 bits, with that layer alone in 8 bits.

    Args:
        model: as for `convert`.
        card: of the network.
        calibration: the images that set the ranges.
        watch: told how far the calibration is.

    Yields:
        A layer's name and the content of a .tflite file.
    """
    network = _sized(model, card, None)
    images = _checked(calibration, network.input_shape[1:])
    graph = Graph(equalize(fuse(network), images.images))
    options = Options(precision="fp32")
    content, origin = _float_file(graph, card, options)
    tensors = {
        layer: quantize.measured(content, lambda tensor, layer=layer: layer_of(tensor) != layer)
        for layer in graph.nodes
        if layer in _eight_bit_layers(graph, "")
    }
    every = list(dict.fromkeys(name for names in tensors.values() for name in names))
    found = _ranges(graph, card, [origin[name] for name in every], images, watch)
    ranges = {name: found[origin[name]] for name in every}
    for layer, names in tensors.items():
        if names:  # else the file has no operator of that layer, or one that hands on what comes in
            single = quantize.quantize(content, ranges, lambda tensor, layer=layer: layer_of(tensor) != layer)
            yield layer, _finished(single, network, card, options, images.names, "")


def _finished(
    content: bytes, network: keras.Model, card: Card, options: Options, calibration: tuple[str, ...], training: str
) -> bytes:
    """Let a file take bytes where it should, check it, and add its metadata."""
    file = File(content)
    if options.input == "uint8":
        _take_bytes(file)
    _check(file, card.model)
    return metadata.sealed(
        file,
        metadata.Metadata(
            model=card.model,
            image_size=network.input_shape[1],
            channels=network.input_shape[-1],
            classes=card.classes,
            input=options.input,
            head=options.head,
            activation=card.activation,
            threshold=card.threshold,
            largest_component=card.largest_component,
            smallest_area=card.smallest_area,
            presence=card.presence,
            weights=card.weights,
            window=card.window,
            region=card.region,
            margin_mm=card.margin_mm,
            precision=options.kind,
            keep_float=options.keep_float,
            training=training,
            dataset=card.dataset,
            fingerprint=card.fingerprint,
            phantom=card.phantom,
            fold=card.fold,
            seen=card.seen,
            calibration=calibration,
            versions={package: version(package) for package in _PACKAGES},
        ),
    )


def _sized(model: keras.Model, card: Card, image_size: int | None) -> keras.Model:
    """Return the network for that size."""
    _, height, width, channels = model.input_shape
    size = image_size or height
    if size is None or (image_size is None and height != width):
        raise InputError(
            f"{card.model}: the network has no fixed square size, but {height}x{width}; give an image size"
        )
    if size == height == width:
        return model
    models.network(card.model, image_size=size)
    network = models.build(card.model, (size, size, channels), model.output_shape[-1], presence=presence_source(model))
    try:
        network.set_weights(model.get_weights())
    except ValueError as error:
        message = (
            f"{card.model}: was built by another version of tfseg; it converts at its own size only, {height} pixels"
        )
        raise InputError(message) from error
    return network


def _checked(calibration: calibrating.Calibration | None, shape: tuple[int, ...]) -> calibrating.Calibration:
    if calibration is None or not calibration.names:
        raise InputError("an int8 file needs images to calibrate on, and there are none")
    for name, image in zip(calibration.names, calibration.images, strict=True):
        if image.shape != shape or image.dtype != np.uint8:
            raise ValueError(f"{name}: calibration images are uint8 {shape}, not {image.dtype} {image.shape}")
    return calibration


def _trace(graph: Graph, head: Callable[[Any], Any], name: str) -> Any:
    """Return a function with constants for weights, from images (1, H, W, C) to what `head` makes of the logits.

    Operations are named after their layers, those of the head `name`.
    """

    def call(name: str, layer: keras.Layer, inputs: Any) -> Any:
        with tf.name_scope(name):  # the layer's __call__ would number the scope
            return layer.call(inputs)

    def network(image: Any) -> Any:
        logits = graph.call(image, call)
        with tf.name_scope(name):
            return head(logits)

    shape = (1, *graph.nodes[graph.input].shape)
    function = tf.function(network, autograph=False)
    return convert_variables_to_constants_v2(function.get_concrete_function(tf.TensorSpec(shape, tf.float32, "image")))


def _head(logits: Any, card: Card, head: str) -> Any:
    if head == "logits":
        return tf.identity(logits)
    if head == "probability":
        return activate(logits, card.activation)
    if exclusive(card.activation, len(card.classes)):
        return tf.cast(tf.expand_dims(tf.argmax(with_background(logits), -1, tf.int32), -1), tf.uint8)
    return tf.cast(logits >= math.log(card.threshold / (1 - card.threshold)), tf.uint8)


def _tflite(frozen: Any, precision: str, model: str) -> bytes:
    with silent_stderr():  # TensorFlow prints advice and, for what it refuses, pages
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


def _part_cuts(file: File) -> None:
    """Make the ReLU that TensorFlow's converter puts into a transposed convolution with bias an operator of its own.

    That is version 4 of the operator, which GPU delegates refuse.
    """
    for place, op in reversed(list(enumerate(file.operators))):
        relu = schema.ActivationFunctionType.RELU
        if file.kind(op) != "TRANSPOSE_CONV" or op.builtinOptions.fusedActivationFunction != relu:
            continue
        (output,) = map(int, op.outputs)
        last, _, before = file.name(output).partition(";")  # the names of all that it does, the last one first
        file.tensors[output].name = last.encode()
        whole = file.add_tensor(before, file.tensors[output].type, file.shape(output), None)
        op.outputs, op.builtinOptions.fusedActivationFunction = [whole], schema.ActivationFunctionType.NONE
        file.operators.insert(place + 1, file.operator("RELU", 1, [whole], [output]))
        file.model.operatorCodes[op.opcodeIndex].version = 3  # with bias


def _keep_axes(file: File) -> None:
    """Add one pixel to a map as it is; TensorFlow's converter makes a vector of it first.

    The shader that WebGPU gets for the 8-bit form of that mixes integers and floats, and does not compile.
    """
    for op in [op for op in file.operators if file.kind(op) == "RESHAPE"]:
        source, (result,) = int(op.inputs[0]), map(int, op.outputs)
        users = [user for user in file.operators if result in user.inputs]
        if file.shape(source) != (1, 1, 1, *file.shape(result)) or result in file.subgraph.outputs:
            continue
        if all(file.kind(user) in ("ADD", "MUL", "SUB") for user in users):
            for user in users:
                user.inputs = [source if tensor == result else tensor for tensor in map(int, user.inputs)]
            file.operators.remove(op)


def _named(content: bytes, frozen: Any) -> tuple[bytes, dict[str, str]]:
    """Name every result after the layer that it comes from, and say which operation of `frozen` it is.

    An operator that does the work of several operations, such as a convolution with its ReLU, is its first layer's; the
    value is that of the last operation. Where a layer has several operators, they are LAYER, LAYER/2, ...
    """
    file = File(content)
    _part_cuts(file)
    _keep_axes(file)
    operations = {operation.name: operation for operation in frozen.graph.get_operations()}
    origin: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for op in file.operators:
        (output,) = map(int, op.outputs)
        found = list(filter(None, (_operation(part, operations) for part in file.name(output).split(";"))))
        # A bias comes squeezed, and one that two layers have in common bears the name of either.
        found = [name for name in found if operations[name].type != "Squeeze"] or found
        if not found:  # the converter's own, such as what turns 16-bit weights into 32-bit ones
            continue
        layer = layer_of(found[-1])
        counts[layer] += 1
        name = layer if counts[layer] == 1 else f"{layer}/{counts[layer]}"
        file.tensors[output].name = name.encode()
        origin[name] = found[0]
        for role, tensor in zip(_ROLES.get(file.kind(op), ()), map(int, op.inputs), strict=False):
            if role and file.is_constant(tensor):
                file.tensors[tensor].name = f"{name}/{role}".encode()
    return file.content(), origin


def _operation(name: str, operations: Mapping[str, tf.Operation]) -> str | None:
    """Return the operation of the network that the converter means by a name, which it may have numbered, if any."""
    operation = operations.get(name) or operations.get(name.rstrip("0123456789"))
    if operation is None:
        return None
    while operation.type == "Identity":
        operation = operation.inputs[0].op
    return operation.name


def _copy(graph: Graph) -> Graph:
    """Return the same network with layers of its own; what decides on presence does not learn."""
    model = graph.model()
    copy = keras.models.clone_model(model)
    copy.set_weights(model.get_weights())
    for layer in copy.layers:
        if layer.name.startswith("presence"):
            layer.trainable = False
    return Graph(copy)


def _float_file(graph: Graph, card: Card, options: Options) -> tuple[bytes, dict[str, str]]:
    """Convert without 8 bits, and say which operation of the network each of the file's operators does last."""
    frozen = _trace(graph, lambda logits: _head(logits, card, options.head), options.head)
    return _named(_tflite(frozen, options.precision, card.model), frozen)


def _int8(
    graph: Graph,
    card: Card,
    options: Options,
    images: calibrating.Calibration,
    course: finetune.Course | None,
    watch: Watch,
) -> bytes:
    content, origin = _float_file(graph, card, options)
    eight_bit = _eight_bit_layers(graph, options.keep_float)

    def stays_float(tensor: str) -> bool:  # so does the head, which is no layer
        return layer_of(tensor) not in eight_bit

    tensors = quantize.measured(content, stays_float)
    ranges = _ranges(graph, card, [origin[name] for name in tensors], images, watch)
    if options.qat and course:
        finetune.quantization_aware(graph, {layer_of(name): span for name, span in ranges.items()}, eight_bit, course)
        content, origin = _float_file(graph, card, options)
        tensors = quantize.measured(content, stays_float)
        # A bias that is no longer zero may have become an operation.
        new = [origin[name] for name in tensors if origin[name] not in ranges]
        ranges |= _ranges(graph, card, new, images, watch) if new else {}
    return lanes.fill(quantize.quantize(content, {name: ranges[origin[name]] for name in tensors}, stays_float))


def _eight_bit_layers(graph: Graph, keep_float: str) -> set[str]:
    return {
        name
        for name, node in graph.nodes.items()
        if isinstance(node.layer, _EIGHT_BIT_LAYERS) and not (keep_float and re.search(keep_float, name))
    }


def _ranges(
    graph: Graph, card: Card, operations: Sequence[str], images: calibrating.Calibration, watch: Watch
) -> dict[str, tuple[float, float]]:
    """Find the ranges of results of the network, by operation."""
    return calibrating.find_ranges(
        _trace(graph, tf.identity, "logits"), operations, images, card.activation, watch=watch
    )


def layer_of(tensor: str) -> str:
    """Return the layer that a tensor of a converted file comes from.

    >>> layer_of("down0a_conv"), layer_of("down0a_conv/weights"), layer_of("stage0_norm/3/float")
    ('down0a_conv', 'down0a_conv', 'stage0_norm')
    """
    return tensor.partition("/")[0]


def _take_bytes(file: File) -> None:
    """Let a file that takes [0, 1] take bytes: 8-bit integers that stand for 1/255 each."""
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


def _check(file: File, model: str) -> None:
    """Assure that a file has built-in operators only, and static shapes."""
    for op in file.operators:
        name, kind = file.name(int(op.outputs[0])), file.kind(op)
        if kind in ("CUSTOM", "VAR_HANDLE"):
            raise InputError(f"{model}: cannot become a .tflite file: {kind} in the layer {layer_of(name)!r}")
        if any(side < 1 for output in op.outputs for side in file.shape(int(output))):
            raise InputError(f"{model}: cannot become a .tflite file: the layer {layer_of(name)!r} has no fixed size")
