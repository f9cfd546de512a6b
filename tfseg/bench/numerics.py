"""A .tflite file seen from outside, and whether a device computes what this host computes from the same image."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.errors import InputError
from tfseg.runs import sha256

THRESHOLD = 0.5  # probability from which a pixel counts; the same on both sides, whatever the network was tuned to


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tensor:
    """An input or output: value = scale * (stored - zero_point) where it is quantized; else scale is 0."""

    name: str
    shape: tuple[int, ...]
    dtype: np.dtype
    scale: float
    zero_point: int

    @property
    def size_bytes(self) -> int:
        """How many bytes it takes."""
        return math.prod(self.shape) * self.dtype.itemsize


@dataclasses.dataclass(frozen=True, kw_only=True)
class File:
    """A network file with one image in and one probability, or mask, out.

    Attributes:
        path: of the file.
        sha256: of its bytes.
        precision: "fp32", "fp16" (half precision weights), "dynamic" (int8 weights alone) or "int8".
        input: the image.
        output: the answer.
    """

    path: Path
    sha256: str
    precision: str
    input: Tensor
    output: Tensor


def open_file(path: Path) -> File:
    """Read what one must know of a .tflite file to measure it.

    Raises:
        InputError: it is missing, damaged, or not a network with one input and one output of fixed shape.
    """
    digest = sha256(path)
    interpreter = _interpreter(path)
    tensors = [_tensors(details) for details in (interpreter.get_input_details(), interpreter.get_output_details())]
    if any(len(found) != 1 for found in tensors):
        raise InputError(f"{path}: has {len(tensors[0])} inputs and {len(tensors[1])} outputs: one each is understood")
    kinds = {
        (detail["dtype"], len(detail["quantization_parameters"]["scales"]) > 0)
        for detail in interpreter.get_tensor_details()
    }
    if (np.float16, False) in kinds:
        precision = "fp16"
    elif (np.int32, True) in kinds:  # biases are quantized where the arithmetic is
        precision = "int8"
    else:
        precision = "dynamic" if (np.int8, True) in kinds else "fp32"
    return File(path=path, sha256=digest, precision=precision, input=tensors[0][0], output=tensors[1][0])


def random_image(file: File) -> np.ndarray:
    """Return the image that every device gets: uniform in [0, 1], as the file's input stores it."""
    tensor, rng = file.input, np.random.default_rng(0)
    if np.issubdtype(tensor.dtype, np.floating):
        return rng.random(tensor.shape).astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    if limits.bits > 16:
        raise InputError(f"{file.path}: takes {tensor.dtype} and no image")
    return rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)


def run_here(file: File, image: np.ndarray) -> np.ndarray:
    """Return what the file answers on this host's CPU, as it stores it."""
    interpreter = _interpreter(file.path)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two answers: the largest one, and of how many mask pixels how many differ."""

    largest: float
    flipped_pixels: int
    pixels: int


def compare(file: File, here: np.ndarray, there: bytes) -> Difference:
    """Compare this host's answer with the bytes of a device's.

    Raises:
        ValueError: they are not as many bytes as the output has, or not numbers.
    """
    if len(there) != file.output.size_bytes:
        raise ValueError(f"the device's output has {len(there)} bytes instead of {file.output.size_bytes}")
    other = np.frombuffer(there, file.output.dtype).reshape(file.output.shape)
    one, two = _values(file.output, here), _values(file.output, other)
    if not np.isfinite(two).all():
        raise ValueError("the device's output holds values that are no numbers")
    mask = file.output.scale == 0 and not np.issubdtype(file.output.dtype, np.floating)
    flipped = one != two if mask else (one >= THRESHOLD) != (two >= THRESHOLD)
    return Difference(largest=float(np.abs(one - two).max()), flipped_pixels=int(flipped.sum()), pixels=flipped.size)


def _values(tensor: Tensor, stored: np.ndarray) -> np.ndarray:
    return (stored.astype(np.float64) - tensor.zero_point) * (tensor.scale or 1)


def _interpreter(path: Path) -> Any:
    from ai_edge_litert.interpreter import Interpreter

    try:
        return Interpreter(model_path=str(path))
    except (ValueError, RuntimeError) as error:
        raise InputError(f"{path}: not a .tflite file ({str(error).splitlines()[0]})") from error


def _tensors(details: Sequence[Mapping[str, Any]]) -> list[Tensor]:
    return [
        Tensor(
            name=detail["name"],
            shape=tuple(int(size) for size in detail["shape"]),
            dtype=np.dtype(detail["dtype"]),
            scale=float(detail["quantization"][0]),
            zero_point=int(detail["quantization"][1]),
        )
        for detail in details
    ]
