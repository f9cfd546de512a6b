"""8-bit integers for the weights and activations of a float .tflite file.

Weights are symmetric with a scale for each output channel, biases are 32-bit, activations have one scale and zero point
each (the scheme of Jacob et al., CVPR 2018, arXiv:1712.05877, as TensorFlow Lite specifies it). What stays float lies
between DEQUANTIZE and QUANTIZE, which XNNPACK runs in the same partition.

TensorFlow's own quantizer gives all inputs of a concatenation the scale of its result, and so the skip connection of a
U-Net, down to the layers that the encoder computes with it, the range of the decoder. Here an input of another scale is
converted on its way into the concatenation, and keeps its own everywhere else.
"""

import dataclasses
from collections.abc import Callable, Collection, Mapping

import numpy as np
from ai_edge_litert import schema_py_generated as schema

from tfseg.lite.flatbuffer import FLOAT32, INT8, File, quantization

# operator -> where its data, weights and bias are among its inputs, and the axis of the weights' output channels
_WEIGHTED = {"CONV_2D": (0, 1, 2, 0), "DEPTHWISE_CONV_2D": (0, 1, 2, 3), "TRANSPOSE_CONV": (2, 1, 3, 0)}
_SAME_SCALE = frozenset(  # what goes in comes out
    (
        "AVERAGE_POOL_2D", "DEPTH_TO_SPACE", "MAX_POOL_2D", "PAD", "RESHAPE", "RESIZE_BILINEAR", "SPACE_TO_DEPTH",
        "TRANSPOSE",
    )
)  # fmt: skip
_OWN_SCALE = frozenset(("ADD", "CONCATENATION", "MEAN", "MUL", "SUB"))  # XNNPACK has no 8-bit ReLU by itself
_VERSIONS = {  # of the operators' 8-bit forms; of all others 2
    "CONV_2D": 3, "DEPTHWISE_CONV_2D": 3, "RESHAPE": 1, "TRANSPOSE_CONV": 3,
}  # fmt: skip
_LOWEST, _HIGHEST = -128, 127
_COARSEST_PRODUCT = 2**7  # steps of the result: XNNPACK refuses a file where a product of steps is 2**8 of them
_FINEST_PRODUCT = 2**-31  # steps of the result: XNNPACK refuses a convolution where a channel's is finer than 2**-32
_COARSEST_TERM = 2**7  # steps of a sum: TensorFlow Lite aborts where that of a term is very many of them
_FINEST_TERM = 2**-9  # of the step of a sum: XNNPACK leaves sums to others where a term is finer than 2**-10


@dataclasses.dataclass(frozen=True)
class Scale:
    """What 8-bit integers stand for: step * (q - zero)."""

    step: float
    zero: int

    @classmethod
    def of(cls, low: float, high: float) -> "Scale":
        """Spread -128 to 127 over [low, high], which is widened to include 0, so that 0 is exact."""
        low, high = min(low, 0.0), max(high, 0.0)
        step = float(np.float32((high - low) / (_HIGHEST - _LOWEST))) or 1.0
        return cls(step, int(np.clip(round(_LOWEST - low / step), _LOWEST, _HIGHEST)))

    def at_least(self, step: float) -> "Scale":
        """Return this scale, or where its step is smaller one with that step and the same zero."""
        return self if self.step >= step else Scale(step, self.zero)

    def parameters(self) -> schema.QuantizationParametersT:
        """Write it as a file has it."""
        return quantization(self.step, self.zero)


PIXELS = Scale.of(0.0, 1.0)  # of the image: one step for each value of a byte


def measured(content: bytes, stays_float: Callable[[str], bool]) -> list[str]:
    """Return the names of the tensors whose ranges `quantize` needs; `stays_float` tells it by an operator's result."""
    work = _open(content, stays_float)
    return [work.file.name(tensor) for tensor in _measured(work.file, work.eight_bit)]


def quantize(content: bytes, ranges: Mapping[str, tuple[float, float]], stays_float: Callable[[str], bool]) -> bytes:
    """Return the file with 8-bit weights and activations; its input and output stay float.

    Args:
        content: of a float file whose input is an image in [0, 1].
        ranges: (low, high) of every tensor that `measured` names.
        stays_float: tells by the name of its result whether an operator is computed in float.
    """
    work = _open(content, stays_float)
    file = work.file
    _set_scales(work, ranges)
    operators, file.operators = file.operators, []
    for op in operators:
        if int(op.outputs[0]) not in work.eight_bit:
            op.inputs = [i if i < 0 or file.is_constant(i) else work.as_float(i) for i in map(int, op.inputs)]
        elif file.kind(op) in _WEIGHTED:
            _quantize_weighted(work, op)
        else:
            _quantize_plain(work, op)
        file.operators.append(op)
    file.subgraph.outputs = [work.as_float(int(output)) for output in file.subgraph.outputs]
    return file.content()


@dataclasses.dataclass
class _Work:
    """A file on its way to 8 bits.

    Attributes:
        file: what is changed.
        eight_bit: the tensors that are 8-bit, and the image, which can be had so.
        cut: those among them whose lowest value, 0, does a ReLU's work (see `_cut`).
        scales: of the tensors that are 8-bit, and of those that are read so.
        converted: copies of tensors in another form: (tensor, its scale or None for float) -> copy.
    """

    file: File
    eight_bit: set[int]
    cut: set[int]
    scales: dict[int, Scale] = dataclasses.field(default_factory=dict)
    converted: dict[tuple[int, Scale | None], int] = dataclasses.field(default_factory=dict)

    def as_float(self, tensor: int) -> int:
        """Return the tensor that holds this one in float."""
        if tensor not in self.eight_bit or tensor in self.file.subgraph.inputs:
            return tensor
        return self._convert(tensor, None, "DEQUANTIZE", FLOAT32, "float")

    def as_int8(self, tensor: int, scale: Scale) -> int:
        """Return the tensor that holds this one in 8 bits of that scale."""
        if tensor in self.eight_bit and tensor not in self.file.subgraph.inputs and self.scales[tensor] == scale:
            return tensor
        return self._convert(tensor, scale, "QUANTIZE", INT8, "int8")

    def _convert(self, tensor: int, scale: Scale | None, kind: str, dtype: int, suffix: str) -> int:
        if (tensor, scale) not in self.converted:
            file = self.file
            name = f"{file.name(tensor)}/{suffix}"
            parameters = scale.parameters() if scale else None
            copy = file.add_tensor(name, dtype, file.shape(tensor), parameters)
            file.operators.append(file.operator(kind, _VERSIONS.get(kind, 2), [tensor], [copy]))
            self.converted[tensor, scale] = copy
        return self.converted[tensor, scale]


def _open(content: bytes, stays_float: Callable[[str], bool]) -> _Work:
    file = File(content)
    cut = _cut(file, stays_float)
    return _Work(file, _eight_bit(file, stays_float), cut)


def _cut(file: File, stays_float: Callable[[str], bool]) -> set[int]:
    """Take the ReLU after a transposed convolution away, where both are 8-bit, and return what is left of the two.

    XNNPACK refuses it as an operator of its own, and GPU delegates one within the convolution. Neither is needed: a
    range that begins at 0 cuts off what is below.
    """
    cut = set()
    producers = {int(op.outputs[0]): op for op in file.operators}
    for relu in [op for op in file.operators if file.kind(op) == "RELU"]:
        (source,), (result,) = map(int, relu.inputs), map(int, relu.outputs)
        op = producers.get(source)
        readers = sum(source in other.inputs for other in file.operators) + (source in file.subgraph.outputs)
        if op is None or file.kind(op) != "TRANSPOSE_CONV" or readers > 1:
            continue
        if not stays_float(file.name(source)) and not stays_float(file.name(result)):
            op.outputs = [result]
            file.operators.remove(relu)
            cut.add(result)
    return cut


def _eight_bit(file: File, stays_float: Callable[[str], bool]) -> set[int]:
    """Return the tensors that are to be 8-bit."""
    found = {int(image) for image in file.subgraph.inputs}
    for op in file.operators:
        kind, output = file.kind(op), int(op.outputs[0])
        if kind in _WEIGHTED:
            can = file.is_constant(int(op.inputs[_WEIGHTED[kind][1]]))
        elif kind in _SAME_SCALE:
            can = int(op.inputs[0]) in found
        else:
            can = kind in _OWN_SCALE and file.tensors[output].type == FLOAT32
        if can and not stays_float(file.name(output)):
            found.add(output)
    return found


def _measured(file: File, eight_bit: Collection[int]) -> list[int]:
    """Return the tensors that need a range of their own: what 8-bit operators give, and what float ones give them."""
    found = []
    for op in file.operators:
        if int(op.outputs[0]) not in eight_bit:
            continue
        read = [i for i in map(int, op.inputs) if i >= 0 and not file.is_constant(i) and i not in eight_bit]
        found += read if file.kind(op) in _SAME_SCALE else [*read, int(op.outputs[0])]
    return list(dict.fromkeys(found))


def _set_scales(work: _Work, ranges: Mapping[str, tuple[float, float]]) -> None:
    file, scales = work.file, work.scales
    scales |= {int(image): PIXELS for image in file.subgraph.inputs}
    for tensor in _measured(file, work.eight_bit):
        low, high = ranges[file.name(tensor)]
        scales[tensor] = Scale.of(0.0 if tensor in work.cut else low, high)
    eight_bit = [op for op in file.operators if int(op.outputs[0]) in work.eight_bit]
    for op in eight_bit:
        output = int(op.outputs[0])
        if file.kind(op) in _SAME_SCALE:
            scales[output] = scales[int(op.inputs[0])]
        elif file.kind(op) in _WEIGHTED:
            data, weights, *_ = _WEIGHTED[file.kind(op)]
            product = scales[int(op.inputs[data])].step * float(np.abs(file.constant(int(op.inputs[weights]))).max())
            scales[output] = scales[output].at_least(product / _HIGHEST / _COARSEST_PRODUCT)
        elif file.kind(op) == "ADD":
            coarsest = max(scales[source].step for source in map(int, op.inputs) if source in scales)
            scales[output] = scales[output].at_least(coarsest / _COARSEST_TERM)
    for op in reversed(eight_bit):
        kind, result = file.kind(op), scales[int(op.outputs[0])]
        for source in map(int, op.inputs) if kind in ("ADD", "CONCATENATION") else ():
            made = _made_for_it(work, source)
            if kind == "ADD":
                scales |= {tensor: scales[tensor].at_least(result.step * _FINEST_TERM) for tensor in made}
            elif work.cut.isdisjoint(made):
                scales |= dict.fromkeys(made, result)


def _made_for_it(work: _Work, tensor: int) -> list[int]:
    """Return an operator's input and what that is enlarged or pooled from, where nothing else uses any of them.

    They can have the scale that the operator wants from the start. [] where they are used elsewhere.
    """
    file, chain = work.file, [tensor]
    producer = {int(output): op for op in file.operators for output in op.outputs}
    while tensor in work.eight_bit and tensor in producer:
        if sum(tensor in op.inputs for op in file.operators) != 1 or tensor in file.subgraph.outputs:
            return []
        kind = file.kind(producer[tensor])
        if kind not in _SAME_SCALE:
            return [] if kind == "CONCATENATION" else chain
        tensor = int(producer[tensor].inputs[0])
        chain.append(tensor)
    return []


def _quantize_weighted(work: _Work, op: schema.OperatorT) -> None:
    file, kind = work.file, work.file.kind(op)
    data, weights, bias, axis = _WEIGHTED[kind]
    inputs = [int(i) for i in op.inputs]
    scale = work.scales[inputs[data]]
    values = file.constant(inputs[weights])
    others = tuple(a for a in range(values.ndim) if a != axis)
    finest = work.scales[int(op.outputs[0])].step / scale.step * _FINEST_PRODUCT
    steps = np.maximum(np.abs(values).max(axis=others) / _HIGHEST, finest)  # one for each channel
    along = [-1 if a == axis else 1 for a in range(values.ndim)]
    integers = np.rint(values / steps.reshape(along)).astype(np.int8)
    name = file.name(inputs[weights])
    inputs[data] = work.as_int8(inputs[data], scale)
    inputs[weights] = file.add_constant(name, integers, quantization(steps, axis=axis))
    if len(inputs) > bias and inputs[bias] >= 0:
        units = np.maximum(steps * np.float64(scale.step), np.finfo(np.float64).tiny)
        sums = np.rint(file.constant(inputs[bias]) / units)
        limits = np.iinfo(np.int32)
        sums = np.clip(sums, limits.min, limits.max).astype(np.int32)
        inputs[bias] = file.add_constant(file.name(inputs[bias]), sums, quantization(steps * scale.step))
    op.inputs = inputs
    _finish(work, op)


def _quantize_plain(work: _Work, op: schema.OperatorT) -> None:
    file, kind = work.file, work.file.kind(op)
    inputs = []
    for tensor in map(int, op.inputs):
        if file.is_constant(tensor):
            inputs.append(_quantized_constant(file, tensor))
        elif kind == "CONCATENATION":
            inputs.append(work.as_int8(tensor, work.scales[int(op.outputs[0])]))
        else:
            inputs.append(work.as_int8(tensor, work.scales[tensor]))
    op.inputs = inputs
    _finish(work, op)


def _finish(work: _Work, op: schema.OperatorT) -> None:
    kind, output = work.file.kind(op), int(op.outputs[0])
    tensor = work.file.tensors[output]
    tensor.type, tensor.quantization = INT8, work.scales[output].parameters()
    op.opcodeIndex = work.file.code(kind, _VERSIONS.get(kind, 2))


def _quantized_constant(file: File, tensor: int) -> int:
    """Return an 8-bit copy of a float constant; sizes and axes, which are integers, stay."""
    if file.tensors[tensor].type != FLOAT32:
        return tensor
    values = file.constant(tensor)
    scale = Scale.of(float(values.min()), float(values.max()))
    integers = np.clip(np.rint(values / scale.step) + scale.zero, _LOWEST, _HIGHEST).astype(np.int8)
    return file.add_constant(f"{file.name(tensor)}/int8", integers, scale.parameters())
