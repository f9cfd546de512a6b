"""What a .tflite file holds and what it costs, read from the file itself, and what XNNPACK and GPUs make of it."""

import collections
import dataclasses
import json
import math
import re
import struct
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfseg.errors import InputError
from tfseg.lite import gpu
from tfseg.lite.flatbuffer import IDENTIFIER

_TYPES = {number: name.lower() for name, number in vars(schema.TensorType).items() if isinstance(number, int)}
_OPERATIONS = {number: name for name, number in vars(schema.BuiltinOperator).items() if isinstance(number, int)}
_BITS = {name: int(found[0]) for name in _TYPES.values() if (found := re.search(r"\d+", name))} | {"bool": 8}
_LOST = (struct.error, ValueError, IndexError, TypeError, AttributeError, OverflowError)  # on the way to a wrong offset
_ANY = (0, 9)
_INPUT_RANKS = {  # least and most axes of the inputs that are read here and in tfseg.lite.gpu
    "CONV_2D": ((4, 4), (4, 4)),
    "DEPTHWISE_CONV_2D": ((4, 4), (4, 4)),
    "TRANSPOSE_CONV": (_ANY, (4, 4), (4, 4)),
    "FULLY_CONNECTED": (_ANY, (2, 2)),
    "BATCH_MATMUL": ((2, 9), (2, 9)),
    "MEAN": (_ANY, _ANY),
    **dict.fromkeys(("RESIZE_BILINEAR", "RESIZE_NEAREST_NEIGHBOR"), ((4, 4),)),
    **dict.fromkeys(("PAD", "PADV2", "MIRROR_PAD", "SLICE", "STRIDED_SLICE", "DEQUANTIZE", "DENSIFY"), (_ANY,)),
}
_KERNELS = ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED")  # their second input
_UNPACKS = ("DEQUANTIZE", "DENSIFY")
_INTEGERS_KEPT = 16  # values of a constant that says axes or sizes


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """A tensor of the file.

    Attributes:
        index: its number in the file, and in the interpreter.
        name: as the converter wrote it.
        shape: with 1 where a size is left open.
        signature: the same, with -1 there.
        type: "float32", "int8", ...
        stored: of a constant the type in the file, which an operation may unpack; else as `type`.
        scale: empty if not quantized; one number, or one for each channel.
        zero_point: as many.
        constant: known before there is an image.
        integers: the values of a short constant of integers; empty for all else.
    """

    index: int
    name: str
    shape: tuple[int, ...]
    signature: tuple[int, ...]
    type: str
    stored: str
    scale: tuple[float, ...]
    zero_point: tuple[int, ...]
    constant: bool
    integers: tuple[int, ...]

    @property
    def open(self) -> bool:
        """Whether a size is left open."""
        return -1 in self.signature

    @property
    def elements(self) -> int:
        """How many numbers it holds."""
        return math.prod(self.shape)

    @property
    def bytes(self) -> int:
        """What it takes in memory."""
        return -(-self.elements * _BITS.get(self.type, 0) // 8)

    def to_json(self) -> dict[str, Any]:
        """Return what is told of an input or an output."""
        scale, zero_point = (*self.scale, None)[0], (*self.zero_point, None)[0]
        about = {"name": self.name, "shape": list(self.signature), "type": self.type}
        return about | {"scale": scale, "zero_point": zero_point}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Operation:
    """A step of the file.

    Attributes:
        name: "CONV_2D", ...; of a custom operation its own name.
        custom: it is none of TFLite's own.
        version: of its format.
        inputs: None for one left out.
        outputs: what it computes.
        options: of the flatbuffer's table, such as {"strideW": 1}.
    """

    name: str
    custom: bool
    version: int
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: Mapping[str, Any]

    @property
    def layer(self) -> str:
        """The name of its first output; of fused layers that of the last."""
        return self.outputs[0].name.split(";")[0] if self.outputs else ""

    @property
    def tensors(self) -> tuple[Tensor, ...]:
        """Inputs, then outputs."""
        return (*(tensor for tensor in self.inputs if tensor is not None), *self.outputs)

    @property
    def activations(self) -> tuple[Tensor, ...]:
        """Those of its tensors that depend on the image."""
        return tuple(tensor for tensor in self.tensors if not tensor.constant)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Contents:
    """The first subgraph of a file, which is what interpreters run; operations are in their order of execution."""

    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Operation, ...]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Kind:
    """Operations of one kind: their name, the type that they compute, that of their weights (or None), how many."""

    name: str
    type: str
    weights: str | None
    count: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Layer:
    """An operation with weights or products: multiplications, each with its addition, and weights stored for it."""

    name: str
    operation: str
    macs: int
    parameters: int


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspection:
    """What is known of a file.

    Attributes:
        path: the file.
        size_bytes: its size.
        inputs: in order.
        outputs: in order.
        operations: the kinds, in order of their first appearance.
        layers: the operations that multiply or hold weights, in order.
        peak_bytes: of `peak`.
        partitions: pieces that XNNPACK runs; None where the interpreter cannot run the file.
        outside: (operation, layer) of what XNNPACK leaves to the interpreter's own kernels.
        refusal: what the interpreter says when it cannot run the file, else None.
        breaches: rules of GPU delegates that the file breaks.
        run: on the accelerator, if there was one.
    """

    path: Path
    size_bytes: int
    inputs: tuple[Tensor, ...]
    outputs: tuple[Tensor, ...]
    operations: tuple[Kind, ...]
    layers: tuple[Layer, ...]
    peak_bytes: int
    partitions: int | None
    outside: tuple[tuple[str, str], ...]
    refusal: str | None
    breaches: tuple[gpu.Breach, ...]
    run: gpu.GpuResult | None = None

    @property
    def gmac(self) -> float:
        """Multiplications, each with its addition, of one image, in thousand millions, as tfseg.models.cost counts."""
        return sum(layer.macs for layer in self.layers) / 1e9

    @property
    def parameters(self) -> int:
        """Numbers stored as weights and biases; what batch norm learned is folded into them."""
        return sum(layer.parameters for layer in self.layers)

    @property
    def flex_ops(self) -> tuple[str, ...]:
        """The operations that need TensorFlow itself on the phone."""
        return tuple(kind.name for kind in self.operations if kind.name.startswith("Flex"))

    def to_json(self) -> dict[str, Any]:
        """Return what `tfseg inspect --json` prints; the numbers of a GPU run are None where there was none."""
        fields = [field.name for field in dataclasses.fields(gpu.GpuResult)]
        run = dict.fromkeys(fields) if self.run is None else dataclasses.asdict(self.run)
        return {
            "path": str(self.path),
            "size_bytes": self.size_bytes,
            "inputs": [tensor.to_json() for tensor in self.inputs],
            "outputs": [tensor.to_json() for tensor in self.outputs],
            "operations": [dataclasses.asdict(kind) for kind in self.operations],
            "layers": [dataclasses.asdict(layer) | {"gmac": layer.macs / 1e9} for layer in self.layers],
            "gmac": self.gmac,
            "parameters": self.parameters,
            "peak_bytes": self.peak_bytes,
            "partitions": self.partitions,
            "outside": [{"operation": operation, "layer": layer} for operation, layer in self.outside],
            "refusal": self.refusal,
            "gpu": {"breaches": [dataclasses.asdict(breach) for breach in self.breaches], **run},
        }


def inspect(path: Path) -> Inspection:
    """Read a .tflite file and ask XNNPACK what it runs of it.

    Raises:
        InputError: there is no such file, or it is no TFLite model, or a damaged one.
    """
    contents = read(path)
    partitions, refusal = _ask_xnnpack(path)
    if refusal is not None and not any(operation.custom for operation in contents.operations):
        raise InputError(f"{path}: damaged, or made by a newer converter: {refusal}")
    return Inspection(
        path=path,
        size_bytes=path.stat().st_size,
        inputs=contents.inputs,
        outputs=contents.outputs,
        operations=tuple(_kinds(contents.operations)),
        layers=tuple(_layers(contents.operations)),
        peak_bytes=peak(contents),
        partitions=None if refusal else len(partitions),
        outside=() if refusal else tuple(_outside(contents.operations, partitions)),
        refusal=refusal,
        breaches=gpu.breaches(contents.operations),
    )


def read(path: Path) -> Contents:
    """Read a file's first subgraph.

    Raises:
        InputError: there is no such file, or it is no TFLite model, or a damaged one.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except IsADirectoryError as error:
        raise InputError(f"{path}: a folder; name a .tflite file") from error
    if data[4:8] != IDENTIFIER:
        what = "not a TFLite model" if data else "an empty file"
        raise InputError(f"{path}: {what}; make one with `tfseg convert`")
    again = "copy it or convert it again"
    try:
        model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(data))
    except _LOST as error:
        raise InputError(f"{path}: a damaged TFLite model, cut short or overwritten; {again}") from error
    try:
        return _contents(model)
    except ValueError as error:
        raise InputError(f"{path}: a damaged TFLite model ({error}); {again}") from error


def peak(contents: Contents) -> int:
    """Return the largest sum of bytes of the activations that are alive during one operation.

    A tensor lives from the operation that computes it (an input from the beginning) to the last one that reads it (an
    output to the end). Weights do not count, nor what kernels need for themselves; and the arena of a runtime, which
    packs tensors without moving them, may be larger, or smaller where an operation works in place.
    """
    operations = contents.operations
    last = {tensor.index: -1 for tensor in contents.inputs}
    last |= {tensor.index: step for step, operation in enumerate(operations) for tensor in operation.tensors}
    last |= {tensor.index: len(operations) for tensor in contents.outputs}
    alive = {tensor.index: tensor.bytes for tensor in contents.inputs}
    largest = sum(alive.values())
    for step, operation in enumerate(operations):
        alive |= {tensor.index: tensor.bytes for tensor in operation.outputs if not tensor.constant}
        largest = max(largest, sum(alive.values()))
        alive = {index: size for index, size in alive.items() if last[index] > step}
    return largest


def lines(inspection: Inspection) -> list[str]:
    """Return the inspection as text; rules broken are listed once for all their layers."""
    summary = (
        f"{inspection.path}: {inspection.size_bytes:,} bytes, {inspection.gmac:.3f} GMAC, "
        f"{inspection.parameters:,} weights, at most {inspection.peak_bytes:,} bytes of activations"
    )
    text = [summary]
    for title, tensors in (("input", inspection.inputs), ("output", inspection.outputs)):
        text += [f"{title}: {_described(tensor)}" for tensor in tensors]
    text.append("operations:")
    for kind in inspection.operations:
        weights = f" (weights {kind.weights})" if kind.weights not in (None, kind.type) else ""
        text.append(f"    {kind.name} {kind.type}{weights} x {kind.count}")
    text.append("layers (GMAC, weights):")
    for layer in inspection.layers:
        text.append(f"    {layer.macs / 1e9:8.4f} {layer.parameters:>11,}  {layer.operation} {layer.name}")
    outside = ", ".join(f"{operation} ({layer})" for operation, layer in inspection.outside) or "nothing"
    pieces = "1 partition" if inspection.partitions == 1 else f"{inspection.partitions} partitions"
    text.append(f"XNNPACK: {inspection.refusal or f'{pieces}, outside: {outside}'}")
    return text + _gpu_lines(inspection)


def _described(tensor: Tensor) -> str:
    told = tensor.to_json()
    quantized = f", scale {told['scale']:.6g}, zero point {told['zero_point']}" if tensor.scale else ""
    return f"{tensor.name} {tensor.type} {'x'.join(map(str, tensor.signature))}{quantized}"


def _gpu_lines(inspection: Inspection) -> list[str]:
    layers = collections.defaultdict(list)
    for breach in inspection.breaches:
        layers[dataclasses.replace(breach, layer="")].append(breach.layer)
    text = ["GPU rules broken:" if layers else "GPU rules broken: none"]
    for breach, names in layers.items():
        where = names[0] if len(names) == 1 else f"{names[0]} and {len(names) - 1} more"
        text.append(
            f"    {', '.join(breach.delegates)}: {breach.operation} ({where}): {breach.reason}; {breach.remedy}"
        )
    if (run := inspection.run) is None:
        return text
    verdict = "fully accelerated" if run.fully_accelerated else "not fully accelerated"
    text.append(f"GPU run on {run.device}{' (software)' if run.software else ''}: {verdict}")
    text += [f"    refused: {refused}" for refused in run.refused]
    if run.fault is not None:
        text.append(f"    {run.fault}")
    if run.largest_difference is not None:
        text.append(
            f"    differs from the CPU by {run.largest_difference:.2g} at most, {run.mean_difference:.2g} on average"
        )
    return text


def _contents(model: Any) -> Contents:
    if model.version != 3:
        raise ValueError(f"version {model.version} of the format")
    graph, buffers, codes = _at(_list(model.subgraphs), 0), _list(model.buffers), _list(model.operatorCodes)
    tensors = [_tensor(index, tensor, buffers) for index, tensor in enumerate(_list(graph.tensors))]
    operations = []
    for operator in _list(graph.operators):
        code = _at(codes, operator.opcodeIndex)
        number = max(code.builtinCode, code.deprecatedBuiltinCode)  # the older field ends at 127
        custom = number == schema.BuiltinOperator.CUSTOM
        name = _text(code.customCode) if custom else _at(_OPERATIONS, number)
        inputs = tuple(None if index == -1 else _at(tensors, index) for index in _list(operator.inputs))
        outputs = [_at(tensors, index) for index in _list(operator.outputs)]
        _check(name, inputs, outputs)
        packed = inputs[0] if name in _UNPACKS else None
        if packed is not None and packed.constant:  # weights: as good as stored unpacked
            outputs = [dataclasses.replace(outputs[0], constant=True, stored=packed.type)]
            tensors[outputs[0].index] = outputs[0]
        options = vars(operator.builtinOptions) if operator.builtinOptions is not None else {}
        operations.append(
            Operation(
                name=name,
                custom=custom,
                version=code.version,
                inputs=inputs,
                outputs=tuple(outputs),
                options=options,
            )
        )
    return Contents(
        inputs=tuple(_at(tensors, index) for index in _list(graph.inputs)),
        outputs=tuple(_at(tensors, index) for index in _list(graph.outputs)),
        operations=tuple(operations),
    )


def _tensor(index: int, tensor: Any, buffers: Sequence[Any]) -> Tensor:
    shape = tuple(map(int, _list(tensor.shape)))
    if any(side < 0 for side in shape):
        raise ValueError(f"a tensor of shape {shape}")
    buffer = _at(buffers, tensor.buffer)
    data = np.zeros(0, np.uint8) if buffer.data is None else np.asarray(buffer.data, np.uint8)
    kind = _at(_TYPES, tensor.type)
    short = kind in ("int32", "int64") and math.prod(shape) <= _INTEGERS_KEPT
    quantization = tensor.quantization
    return Tensor(
        index=index,
        name=_text(tensor.name),
        shape=shape,
        signature=shape if tensor.shapeSignature is None else tuple(map(int, tensor.shapeSignature)),
        type=kind,
        stored=kind,
        scale=tuple(map(float, _list(quantization and quantization.scale))),
        zero_point=tuple(map(int, _list(quantization and quantization.zeroPoint))),
        constant=data.size > 0 or buffer.offset > 1,  # large files keep the data behind the flatbuffer
        integers=tuple(np.frombuffer(data.tobytes(), kind).tolist()) if short else (),
    )


def _check(name: str, inputs: Sequence[Tensor | None], outputs: Sequence[Tensor]) -> None:
    """Refuse an operation that lacks what is read of it."""
    ranks = _INPUT_RANKS.get(name, ())
    if ranks and (len(inputs) < len(ranks) or not outputs):
        raise ValueError(f"{name} with {len(inputs)} inputs")
    for tensor, (least, most) in zip(inputs, ranks, strict=False):
        if tensor is None or not least <= len(tensor.shape) <= most or 0 in tensor.shape:
            raise ValueError(f"{name} of {'nothing' if tensor is None else tensor.shape}")


def _at(items: Any, index: int) -> Any:
    """items[index], or ValueError: an index below zero counts from the end only in Python."""
    if not 0 <= index < len(items):
        raise ValueError(f"it names part {index} of {len(items)}")
    return items[index]


def _list(values: Any) -> list[Any]:
    return [] if values is None else list(values)


def _text(name: bytes | None) -> str:
    return (name or b"").decode(errors="replace")


def _kinds(operations: Sequence[Operation]) -> Iterator[Kind]:
    counts = collections.Counter(
        (operation.name, operation.outputs[0].type if operation.outputs else "", _weights_type(operation))
        for operation in operations
    )
    for (name, kind, weights), count in counts.items():
        yield Kind(name=name, type=kind, weights=weights, count=count)


def _weights_type(operation: Operation) -> str | None:
    kernel = operation.inputs[1] if operation.name in _KERNELS else None
    return kernel.stored if kernel is not None and kernel.constant else None


def _layers(operations: Sequence[Operation]) -> Iterator[Layer]:
    seen: set[int] = set()
    for operation in operations:
        weights = {tensor.index: tensor.elements for tensor in _weights(operation) if tensor.index not in seen}
        seen |= weights.keys()
        macs = _macs(operation)
        if macs or weights:
            parameters = sum(weights.values())
            yield Layer(name=operation.layer, operation=operation.name, macs=macs, parameters=parameters)


def _macs(operation: Operation) -> int:
    if operation.name == "BATCH_MATMUL":  # (..., n, d) x (..., d, m)
        inner = -2 if operation.options.get("adjX") else -1
        return operation.outputs[0].elements * operation.tensors[0].shape[inner]
    if operation.name not in _KERNELS:
        return 0
    kernel = operation.tensors[1]
    if operation.name == "FULLY_CONNECTED":  # (..., n) x (m, n)
        return operation.tensors[0].elements * kernel.shape[0]
    # A convolution uses each weight once for each pixel of its result, a transposed one for each of its input.
    pixels = operation.tensors[2] if operation.name == "TRANSPOSE_CONV" else operation.outputs[0]
    return kernel.elements * math.prod(pixels.shape[:-1])


def _weights(operation: Operation) -> list[Tensor]:
    """Return the constants that were learned: not axes and sizes, nor single numbers such as an epsilon."""
    if operation.name in _UNPACKS:
        return []
    if operation.name in _KERNELS:
        return [tensor for tensor in operation.inputs[1:] if tensor is not None and tensor.constant]
    numbers = [tensor for tensor in operation.inputs if tensor is not None and tensor.constant and tensor.elements > 1]
    return [tensor for tensor in numbers if tensor.type not in ("int32", "int64", "bool")]


def _ask_xnnpack(path: Path) -> tuple[list[tuple[list[int], list[int]]], str | None]:
    """Return the tensors that each partition takes and gives, and why the interpreter refuses the file if it does."""
    process = gpu.run_child("tfseg.lite.inspect", path, path=path, seconds=300)
    if process.returncode:
        raise InputError(f"{path}: a damaged TFLite model (the interpreter {gpu.death(process.returncode)})")
    answer = json.loads(process.stdout)
    return answer["partitions"], answer["refusal"]


def _outside(
    operations: Sequence[Operation], partitions: Sequence[tuple[list[int], list[int]]]
) -> list[tuple[str, str]]:
    """Return (operation, layer) of what is in no partition: going back from its results to what it takes covers one."""
    makers = {tensor.index: step for step, operation in enumerate(operations) for tensor in operation.outputs}
    inside: set[int] = set()
    for takes, gives in partitions:
        waiting = list(gives)
        while waiting:
            tensor = waiting.pop()
            step = makers.get(tensor)
            if step is not None and step not in inside and tensor not in takes:
                inside.add(step)
                waiting += [source.index for source in operations[step].inputs if source is not None]
    return [(operation.name, operation.layer) for step, operation in enumerate(operations) if step not in inside]


def _main(path: str) -> None:
    """Print what XNNPACK takes of a file, which the interpreter hands to it unasked."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        interpreter = Interpreter(model_path=path)
        interpreter.allocate_tensors()
        steps = interpreter._get_ops_details()  # there is no public way
    except (RuntimeError, ValueError) as error:
        print(json.dumps({"partitions": [], "refusal": " ".join(str(error).split())}))
        return
    delegates = [step for step in steps if step["op_name"] == "DELEGATE"]
    partitions = [(step["inputs"].tolist(), step["outputs"].tolist()) for step in delegates]
    print(json.dumps({"partitions": partitions, "refusal": None}))


if __name__ == "__main__":
    _main(sys.argv[1])
