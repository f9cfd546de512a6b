"""A .tflite file seen from outside, and whether a device computes what this host computes from the same image."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.errors import InputError
from tfseg.lite import interpret, metadata
from tfseg.lite.metadata import Metadata
from tfseg.postprocess import binarize
from tfseg.quiet import silent_stderr
from tfseg.runs import sha256

THRESHOLD = 0.5  # probability from which a pixel counts in a file of another tool, which does not say


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
        about: what a file of tfseg says of itself; None for another tool's.
    """

    path: Path
    sha256: str
    precision: str
    input: Tensor
    output: Tensor
    about: Metadata | None


def open_file(path: Path) -> File:
    """Read what one must know of a .tflite file to measure it.

    Raises:
        InputError: it is missing, damaged, or not a network with one input and one output of fixed shape.
    """
    digest = sha256(path)
    content = metadata.read_bytes(path)
    about = metadata.parse(content, str(path)) if metadata.BUFFER in content else None
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
    return File(
        path=path,
        sha256=digest,
        precision=about.precision if about else precision,
        input=tensors[0][0],
        output=tensors[1][0],
        about=about,
    )


def random_image(file: File) -> np.ndarray:
    """Return the image that every device gets: uniform in [0, 1], as the file's input stores it."""
    tensor, rng = file.input, np.random.default_rng(0)
    if np.issubdtype(tensor.dtype, np.floating):
        return rng.random(tensor.shape).astype(tensor.dtype)
    limits = np.iinfo(tensor.dtype)
    if limits.bits > 16:
        raise InputError(f"{file.path}: takes {tensor.dtype} and no image")
    return rng.integers(limits.min, limits.max, tensor.shape, tensor.dtype, endpoint=True)


def unit_range(file: File, image: np.ndarray) -> np.ndarray:
    """Return the (H, W, C) image in [0, 1] that `image`, as the file's input stores it, stands for."""
    scale = file.input.scale or (1 if np.issubdtype(file.input.dtype, np.floating) else 1 / 255)
    return ((image[0].astype(np.float64) - file.input.zero_point) * scale).astype(np.float32)


def run_here(file: File, image: np.ndarray) -> np.ndarray:
    """Return what the file answers on this host's CPU, as it stores it."""
    interpreter = _interpreter(file.path)
    with silent_stderr():  # LiteRT announces XNNPACK
        interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


@dataclasses.dataclass(frozen=True, kw_only=True)
class Difference:
    """Between two answers: the largest one, and of how many mask pixels how many differ."""

    largest_difference: float
    flipped_pixels: int
    output_pixels: int


def compare(file: File, here: np.ndarray, there: bytes) -> Difference:
    """Compare this host's answer with the bytes of a device's.

    Raises:
        ValueError: they are not as many bytes as the output has, or not numbers.
    """
    if len(there) != file.output.size_bytes:
        raise ValueError(f"the device's output has {len(there)} bytes instead of {file.output.size_bytes}")
    other = np.frombuffer(there, file.output.dtype).reshape(file.output.shape)
    if not np.isfinite(other).all():
        raise ValueError("the device's output holds values that are no numbers")
    one, two = _answer(file, here), _answer(file, other)
    flipped = _mask(file, one) != _mask(file, two)
    if file.about:
        flipped = flipped.any(axis=-1)  # (H, W): whatever its class
    return Difference(
        largest_difference=float(np.abs(one - two).max()),
        flipped_pixels=int(flipped.sum()),
        output_pixels=flipped.size,
    )


def remarks(here: np.ndarray) -> tuple[str, ...]:
    """Return what a reader of a comparison must know of this host's answer."""
    if here.min() < here.max():
        return ()
    return ("the answer to a random image is the same everywhere: that it agrees says little",)


def _answer(file: File, stored: np.ndarray) -> np.ndarray:
    """Return probabilities, float (H, W, K), or of another tool's file the values that its output stands for."""
    if file.about:
        return interpret.probabilities(stored[0], file.about)
    return (stored.astype(np.float64) - file.output.zero_point) * (file.output.scale or 1)


def _mask(file: File, answer: np.ndarray) -> np.ndarray:
    if file.about:
        masking = interpret.masking(file.about)
        return binarize(answer, masking.threshold, exclusive=masking.exclusive)
    whole_numbers = file.output.scale == 0 and not np.issubdtype(file.output.dtype, np.floating)
    return answer if whole_numbers else answer >= THRESHOLD


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
