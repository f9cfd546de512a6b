"""A .tflite file taken apart: its operators, tensors and constants, to be read, changed and written again."""

from collections.abc import Iterable, Sequence

import flatbuffers
import numpy as np
from ai_edge_litert import schema_py_generated as schema

IDENTIFIER = b"TFL3"  # at bytes 4 to 8 of every file
FLOAT32, INT32, UINT8, INT8 = (
    schema.TensorType.FLOAT32, schema.TensorType.INT32, schema.TensorType.UINT8, schema.TensorType.INT8,
)  # fmt: skip

_DTYPES = {
    schema.TensorType.FLOAT32: np.float32,
    schema.TensorType.FLOAT16: np.float16,
    schema.TensorType.INT32: np.int32,
    schema.TensorType.UINT8: np.uint8,
    schema.TensorType.INT64: np.int64,
    schema.TensorType.BOOL: np.bool_,
    schema.TensorType.INT8: np.int8,
}
_NAMES = {code: name for name, code in vars(schema.BuiltinOperator).items() if isinstance(code, int)}


class File:
    """A file with one subgraph.

    Attributes:
        model: all of it, as the schema's object API has it.
        tensors: of the subgraph; operators name them by their place in this list.
        operators: of the subgraph, in the order in which they run.
    """

    def __init__(self, content: bytes) -> None:
        """Take `content`, which TensorFlow or this module wrote, apart."""
        self.model = schema.ModelT.InitFromPackedBuf(bytearray(content), 0)
        (self.subgraph,) = self.model.subgraphs
        self.tensors: list[schema.TensorT] = self.subgraph.tensors
        self.operators: list[schema.OperatorT] = self.subgraph.operators

    def content(self) -> bytes:
        """Put the file together again, without tensors and constants that nothing uses."""
        self._drop_unused()
        self.subgraph.operators, self.subgraph.tensors = self.operators, self.tensors
        builder = flatbuffers.Builder(sum(len(buffer.data) for buffer in self.model.buffers if buffer.data is not None))
        builder.Finish(self.model.Pack(builder), IDENTIFIER)
        return bytes(builder.Output())

    def kind(self, operator: schema.OperatorT) -> str:
        """Return what an operator does: CONV_2D, ADD, ..., or CUSTOM."""
        return self._code_name(self.model.operatorCodes[operator.opcodeIndex])

    def name(self, tensor: int) -> str:
        """Return the name of a tensor."""
        return self.tensors[tensor].name.decode()

    def shape(self, tensor: int) -> tuple[int, ...]:
        """Return the shape of a tensor."""
        return tuple(int(side) for side in self.tensors[tensor].shape)

    def is_constant(self, tensor: int) -> bool:
        """Return whether the file holds the numbers of a tensor."""
        data = self.model.buffers[self.tensors[tensor].buffer].data
        return data is not None and len(data) > 0

    def constant(self, tensor: int) -> np.ndarray:
        """Return the numbers of a constant."""
        data = np.asarray(self.model.buffers[self.tensors[tensor].buffer].data, np.uint8)
        return np.frombuffer(data.tobytes(), _DTYPES[self.tensors[tensor].type]).reshape(self.shape(tensor))

    def add_constant(self, name: str, values: np.ndarray, quantization: schema.QuantizationParametersT) -> int:
        """Add a constant tensor and return its place."""
        buffer = schema.BufferT()
        buffer.data = np.frombuffer(np.ascontiguousarray(values).tobytes(), np.uint8)
        self.model.buffers.append(buffer)
        kind = next(code for code, dtype in _DTYPES.items() if dtype == values.dtype)
        return self.add_tensor(name, kind, values.shape, quantization, buffer=len(self.model.buffers) - 1)

    def add_tensor(
        self,
        name: str,
        kind: int,
        shape: Sequence[int],
        quantization: schema.QuantizationParametersT | None,
        *,
        buffer: int = 0,
    ) -> int:
        """Add a tensor and return its place; buffer 0 is the empty one."""
        tensor = schema.TensorT()
        tensor.name, tensor.type, tensor.shape, tensor.buffer = name.encode(), kind, list(shape), buffer
        tensor.quantization, tensor.hasRank = quantization, True
        self.tensors.append(tensor)
        return len(self.tensors) - 1

    def operator(self, kind: str, version: int, inputs: Sequence[int], outputs: Sequence[int]) -> schema.OperatorT:
        """Make an operator without options; it is for the caller to put it in its place."""
        operator = schema.OperatorT()
        operator.inputs, operator.outputs = list(inputs), list(outputs)
        operator.opcodeIndex = self.code(kind, version)
        return operator

    def code(self, kind: str, version: int) -> int:
        """Return the place of an operator's code of at least that version, added where there is none."""
        for index, code in enumerate(self.model.operatorCodes):
            if self._code_name(code) == kind:
                code.version = max(code.version, version)
                return index
        code = schema.OperatorCodeT()
        code.builtinCode = getattr(schema.BuiltinOperator, kind)
        code.deprecatedBuiltinCode = min(code.builtinCode, schema.BuiltinOperator.PLACEHOLDER_FOR_GREATER_OP_CODES)
        code.version = version
        self.model.operatorCodes.append(code)
        return len(self.model.operatorCodes) - 1

    def _drop_unused(self) -> None:
        lists = [self.subgraph.inputs, self.subgraph.outputs]
        lists += [numbers for op in self.operators for numbers in (op.inputs, op.outputs)]
        place = _places(int(tensor) for numbers in lists for tensor in numbers if tensor >= 0)
        self.tensors = [self.tensors[tensor] for tensor in place]
        for holder in (self.subgraph, *self.operators):
            holder.inputs = [place.get(int(tensor), -1) for tensor in holder.inputs]
            holder.outputs = [place[int(tensor)] for tensor in holder.outputs]
        owners = [*self.tensors, *(self.model.metadata or [])]
        place = _places([0, *(owner.buffer for owner in owners)])
        self.model.buffers = [self.model.buffers[buffer] for buffer in place]
        for owner in owners:
            owner.buffer = place[owner.buffer]
        self.model.metadataBuffer = None  # the form that `metadata` replaced

    @staticmethod
    def _code_name(code: schema.OperatorCodeT) -> str:
        return _NAMES[max(code.builtinCode, code.deprecatedBuiltinCode)]


def _places(used: Iterable[int]) -> dict[int, int]:
    """Number what is used anew, in its old order: old place -> new place."""
    return {old: new for new, old in enumerate(sorted(set(used)))}


def quantization(scale: float | np.ndarray, zero_point: int = 0, *, axis: int = 0) -> schema.QuantizationParametersT:
    """Say what integers stand for: scale * (q - zero_point), with one scale or one for each channel along `axis`."""
    parameters = schema.QuantizationParametersT()
    parameters.scale = np.atleast_1d(np.asarray(scale, np.float32))
    parameters.zeroPoint = np.full(len(parameters.scale), zero_point, np.int64)
    parameters.quantizedDimension = axis
    return parameters
