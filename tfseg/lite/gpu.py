"""What the GPU delegates of phones and browsers take, and a .tflite file run on the real accelerator of this machine.

The rules were read in LiteRT's sources (google-ai-edge/LiteRT: tflite/tools/versioning/gpu_compatibility.cc,
tflite/delegates/gpu/common/model_builder.cc, tflite/delegates/gpu/gl/kernels, ml_drift_delegate/tflite), and those of
"webgpu" tried on the accelerator of ai-edge-litert 2.3.0, which is also the browser's. They name what is known to fail:
a file that breaks none of them is proved only by running it.
"""

import ctypes
import dataclasses
import functools
import json
import math
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfseg.errors import InputError, WorkError

if TYPE_CHECKING:
    from tfseg.lite.inspect import Operation, Tensor

DELEGATES = ("opencl", "opengl", "webgpu")

_FOLDERS = ("/usr/lib/chromium", "/opt/google/chrome")  # where Debian's and Google's packages put SwiftShader
_ADAPTER = re.compile(r"Selected adapter: (.+?), arch=.*adapterType=(.+)")  # its name and its kind
_REFUSED = re.compile(r"^([A-Z][A-Z0-9_]*: .*\S)\s*$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Rule:
    """A row of RULES: what a delegate cannot take.

    Attributes:
        delegates: whose rule it is, of DELEGATES.
        breaks: whether an operation breaks it for a delegate.
        reason: what is wrong with the operation.
        remedy: what to do.
        remedies: of single operations, by name, where there is a better one.
    """

    delegates: tuple[str, ...]
    breaks: "Callable[[Operation, str], bool]"
    reason: str
    remedy: str
    remedies: Mapping[str, str] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breach:
    """An operation that breaks a rule.

    Attributes:
        delegates: those that refuse the operation, or spoil it.
        operation: its name.
        layer: name of the tensor that it computes.
        reason: of the rule.
        remedy: of the rule.
    """

    delegates: tuple[str, ...]
    operation: str
    layer: str
    reason: str
    remedy: str


@dataclasses.dataclass(frozen=True, kw_only=True)
class Device:
    """The adapter that the accelerator chose.

    Attributes:
        name: as the driver says it.
        software: a CPU does its work: outputs count, times do not.
        folder: where its driver was found; None for the system's own.
    """

    name: str
    software: bool
    folder: Path | None


@dataclasses.dataclass(frozen=True, kw_only=True)
class GpuResult:
    """How a file fared on the GPU.

    Attributes:
        device: the name of the adapter.
        software: as in Device.
        fully_accelerated: the GPU takes every operation.
        refused: what it does not take: operation and reason, in the runtime's words.
        fault: why there are no numbers although nothing was refused: a process that died, commands that the driver
            refused in the middle of the run; None where all went well.
        largest_difference: between the outputs of GPU and CPU on the same image, quantized outputs as the numbers they
            stand for; None where it did not run.
        mean_difference: the mean of the same.
    """

    device: str
    software: bool
    fully_accelerated: bool
    refused: tuple[str, ...]
    fault: str | None
    largest_difference: float | None
    mean_difference: float | None


def breaches(operations: "Sequence[Operation]") -> tuple[Breach, ...]:
    """Return the rules that operations break: for each operation and delegate the first of RULES."""
    found = []
    for operation in operations:
        broken: dict[int, list[str]] = {}
        for delegate in DELEGATES:
            rules = (
                i for i, rule in enumerate(RULES) if delegate in rule.delegates and rule.breaks(operation, delegate)
            )
            if (first := next(rules, None)) is not None:
                broken.setdefault(first, []).append(delegate)
        for i, delegates in broken.items():
            found.append(
                Breach(
                    delegates=tuple(delegates),
                    operation=operation.name,
                    layer=operation.layer,
                    reason=RULES[i].reason,
                    remedy=RULES[i].remedies.get(operation.name, RULES[i].remedy),
                )
            )
    return tuple(found)


def run(
    path: Path,
    image: np.ndarray | None = None,
    *,
    seed: int = 0,
    seconds: int = 600,
    exact: bool = False,
    keep: Path | None = None,
) -> GpuResult:
    """Run a file on the GPU and on the CPU, in a process of its own that a driver may take down.

    Args:
        path: a .tflite file of one input, an image, and static sizes.
        image: (H, W, C) in [0, 1], scaled here to what the file takes; random without it.
        seed: of the random image.
        seconds: after which the run is given up.
        exact: whether the GPU must compute in float32; else the runtime chooses, and takes float16 where there is it.
        keep: where to write the bytes of the GPU's outputs, as it stores them; not written where there are none.

    Raises:
        InputError: the CPU cannot run the file either.
        WorkError: there is no GPU, not even a software one; or the time is over.
    """
    adapter = device()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "image.npy"
        if image is not None:
            np.save(file, np.asarray(image, np.float32))
        given = None if image is None else file
        answer, log = _compare(path, given, folder=adapter.folder, seed=seed, seconds=seconds, exact=exact, keep=keep)
    if "error" in answer:
        raise InputError(f"{path}: {answer['error']}")
    fault = answer.get("fault")
    if commands := log.count("Validation error"):
        fault = f"the driver refused {commands} commands: what it returned is no result"
    listed = log.partition("not supported by GPU delegate:")[2].partition("operations will run")[0]
    refused = tuple(_REFUSED.findall(listed))
    return GpuResult(
        device=adapter.name,
        software=adapter.software,
        fully_accelerated=answer.get("fully_accelerated", False),
        refused=refused,
        fault=None if refused else fault,
        largest_difference=answer["largest_difference"] if fault is None else None,
        mean_difference=answer["mean_difference"] if fault is None else None,
    )


@functools.cache
def device() -> Device:
    """Return the adapter that the accelerator takes here, found by running a network of one addition.

    The system's drivers come first, then SwiftShader, which does a GPU's work on the CPU and comes with Chromium.

    Raises:
        WorkError: neither is there; it says what to install.
    """
    software = [Path(folder) for folder in _FOLDERS if (Path(folder) / "vk_swiftshader_icd.json").exists()]
    with tempfile.TemporaryDirectory() as folder:
        probe = Path(folder) / "probe.tflite"
        probe.write_bytes(_one_addition())
        for drivers in (None, *software):
            answer, log = _compare(probe, None, folder=drivers, seed=0, seconds=120)
            if "largest_difference" in answer:
                found = _ADAPTER.search(log)
                name, kind = found.groups() if found else ("a GPU that does not say its name", "")
                return Device(name=name, software="CPU" in kind, folder=drivers)
    raise WorkError(
        "no GPU that Vulkan can use, and no software one: install the GPU's driver, or on Debian and Ubuntu "
        "`apt install chromium`, which brings SwiftShader"
    )


def run_child(module: str, *arguments: object, path: Path, seconds: int) -> "subprocess.CompletedProcess[str]":
    """Run a module of ours in a process of its own, which native code may take down with it.

    Raises:
        WorkError: `path`, the file that it works on, takes longer than `seconds`.
        RuntimeError: it ended with a traceback, which is a bug; the message holds it.
    """
    command = [sys.executable, "-P", "-m", module, *map(str, arguments)]
    try:
        process = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=seconds)
    except subprocess.TimeoutExpired as error:
        raise WorkError(f"{path}: not done after {seconds} s; try a smaller image size") from error
    if "Traceback (most recent call last)" in process.stderr:
        raise RuntimeError(process.stderr)
    return process


def death(returncode: int) -> str:
    """Say how a process ended that gave no answer."""
    return f"died of {signal.Signals(-returncode).name}" if returncode < 0 else f"ended with status {returncode}"


def _compare(
    path: Path,
    image: Path | None,
    *,
    folder: Path | None,
    seed: int,
    seconds: int,
    exact: bool = False,
    keep: Path | None = None,
) -> tuple[dict[str, Any], str]:
    """Run `_main` in a process of its own; return what it found, and what the runtime wrote."""
    words = (path, image or "", folder or "", seed, "exact" if exact else "", keep or "")
    process = run_child("tfseg.lite.gpu", *words, path=path, seconds=seconds)
    answer: dict[str, Any] = {}
    for line in process.stdout.splitlines():
        if line.startswith("{"):  # drivers print there too
            answer |= json.loads(line)
    if process.returncode and "error" not in answer:
        end = death(process.returncode)
        answer |= {"fault": f"the driver's process {end}"} if "cpu" in answer else {"error": f"the interpreter {end}"}
    return answer, process.stderr


def _main(path: str, image: str, folder: str, seed: str, exact: str, keep: str) -> None:
    """Print what there is to say as lines of JSON, each as soon as it is known: the next step may be the last."""
    from ai_edge_litert.interpreter import Interpreter

    try:
        cpu = Interpreter(model_path=path)
        cpu.allocate_tensors()
        sources, targets = cpu.get_input_details(), cpu.get_output_details()
        if len(sources) != 1:
            raise ValueError(f"it has {len(sources)} inputs, not one image")
        x = _to_input(_image(image, tuple(sources[0]["shape"].tolist()), int(seed)), sources[0])
        cpu.set_tensor(sources[0]["index"], x)
        cpu.invoke()
    except (RuntimeError, ValueError) as error:
        _tell(error=f"the CPU cannot run it on an image: {' '.join(str(error).split())}")
        return
    _tell(cpu=True)
    if folder:
        _use_swiftshader(Path(folder))
    try:
        gpu = open_compiled(path, exact=bool(exact))
        _tell(fully_accelerated=gpu.is_fully_accelerated())
        inputs, outputs = gpu.create_input_buffers(0), gpu.create_output_buffers(0)
        inputs[0].write(x)
        gpu.run_by_index(0, inputs, outputs)
        pairs = list(zip(outputs, targets, strict=True))
        found = [buffer.read(math.prod(target["shape"].tolist()), target["dtype"]) for buffer, target in pairs]
    except RuntimeError as error:
        _tell(fault=str(error).splitlines()[-1].lstrip("└ "))
        return
    if keep:
        Path(keep).write_bytes(b"".join(output.tobytes() for output in found))
    expected = [cpu.get_tensor(target["index"]) for target in targets]
    difference = np.abs(_numbers(found, targets) - _numbers(expected, targets))
    if not np.isfinite(difference).all():
        _tell(fault="its outputs are infinite, or no numbers")
        return
    _tell(largest_difference=float(difference.max()), mean_difference=float(difference.mean()))


def open_compiled(path: str, *, exact: bool) -> Any:
    """Return a file as LiteRT's CompiledModel on the GPU; in float32 if `exact`, else as the runtime chooses."""
    from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, GpuOptions, HardwareAccelerator, Options

    # Never GPU | CPU: is_fully_accelerated() is then true of a file that runs on the CPU alone.
    options = Options(
        hardware_accelerators=HardwareAccelerator.GPU,
        cpu_options=CpuOptions(num_threads=1),
        gpu_options=GpuOptions(enforce_f32=exact),
    )
    return CompiledModel.from_file(path, options=options)


def _tell(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


def _image(image: str, shape: tuple[int, ...], seed: int) -> np.ndarray:
    x = np.load(image) if image else np.random.default_rng(seed).random(shape, np.float32)
    if x.size != math.prod(shape):
        raise ValueError(f"it takes {shape[1:]}, and the image is {x.shape}")
    return x.reshape(shape)


def _to_input(image: np.ndarray, details: Mapping[str, Any]) -> np.ndarray:
    """Scale an image in [0, 1] to the type of an input; integers without a scale hold 0 to 255."""
    scale, zero_point = details["quantization"]
    if np.issubdtype(details["dtype"], np.integer):
        limits = np.iinfo(details["dtype"])
        image = np.clip(np.rint(image / scale + zero_point if scale else image * 255), limits.min, limits.max)
    return image.astype(details["dtype"])


def _numbers(outputs: Sequence[np.ndarray], details: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """All outputs in one row, each as the numbers that it stands for."""
    rows = []
    for output, detail in zip(outputs, details, strict=True):
        scale, zero_point = detail["quantization"]
        rows.append((np.asarray(output, np.float64).ravel() - zero_point) * (scale or 1))
    return np.concatenate(rows)


def _use_swiftshader(folder: Path) -> None:
    """Point Vulkan's loader to SwiftShader, and bring the loader that lies beside it where the system has none."""
    os.environ["VK_ICD_FILENAMES"] = str(folder / "vk_swiftshader_icd.json")
    try:
        ctypes.CDLL("libvulkan.so.1")
    except OSError:
        ctypes.CDLL(str(folder / "libvulkan.so.1"), mode=ctypes.RTLD_GLOBAL)


def _one_addition() -> bytes:
    """Build the smallest file that every delegate takes: an image of one pixel, added to itself."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    image, total = schema.TensorT(), schema.TensorT()
    image.shape, image.name, image.buffer = [1, 1, 1, 1], "image", 0
    total.shape, total.name, total.buffer = [1, 1, 1, 1], "total", 0
    code, operator = schema.OperatorCodeT(), schema.OperatorT()
    code.builtinCode, code.deprecatedBuiltinCode, code.version = (schema.BuiltinOperator.ADD,) * 2 + (1,)
    operator.inputs, operator.outputs, operator.opcodeIndex = [0, 0], [1], 0
    operator.builtinOptionsType, operator.builtinOptions = schema.BuiltinOptions.AddOptions, schema.AddOptionsT()
    graph, model = schema.SubGraphT(), schema.ModelT()
    graph.tensors, graph.inputs, graph.outputs, graph.operators = [image, total], [0], [1], [operator]
    model.version, model.buffers, model.operatorCodes, model.subgraphs = 3, [schema.BufferT()], [code], [graph]
    builder = flatbuffers.Builder()
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _names(text: str) -> frozenset[str]:
    return frozenset(text.split())


_OPENGL_HAS = _names(
    """ABS ADD ADD_N AVERAGE_POOL_2D CONCATENATION CONV_2D COS DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE DIV ELU EXP
    FLOOR FLOOR_DIV FLOOR_MOD FULLY_CONNECTED GELU HARD_SWISH LEAKY_RELU LOG LOGISTIC LSTM MAXIMUM MAX_POOL_2D MEAN
    MINIMUM MIRROR_PAD MUL NEG PACK PAD PADV2 POW PRELU QUANTIZE RELU RELU6 RELU_0_TO_1 RELU_N1_TO_1 RESHAPE
    RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR RSQRT SIN SLICE SOFTMAX SPACE_TO_DEPTH SQRT SQUARE SQUARED_DIFFERENCE
    STRIDED_SLICE SUB TANH TILE TRANSPOSE_CONV"""
)
_OPENCL_HAS = _OPENGL_HAS | _names(
    """BATCH_MATMUL CAST CUMSUM EQUAL GATHER GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND NOT_EQUAL ONE_HOT
    REDUCE_MAX REDUCE_MIN REDUCE_PROD SELECT SELECT_V2 SIGN SPLIT SPLIT_V SUM TRANSPOSE UNPACK"""
)
_WEBGPU_HAS = _OPENCL_HAS | _names(
    """ARG_MAX ATAN2 BITCAST BITWISE_XOR CEIL DYNAMIC_UPDATE_SLICE EMBEDDING_LOOKUP LOGICAL_NOT LOGICAL_OR REDUCE_ALL
    REDUCE_ANY REVERSE_V2 RIGHT_SHIFT ROUND STABLEHLO_BROADCAST_IN_DIM STABLEHLO_CBRT STABLEHLO_CLAMP
    STABLEHLO_COMPOSITE STABLEHLO_REMAINDER STABLEHLO_SHIFT_LEFT TOPK_V2"""
)
_OPERATIONS = {"opencl": _OPENCL_HAS, "opengl": _OPENGL_HAS, "webgpu": _WEBGPU_HAS}
_NEWEST_VERSIONS = {  # those that the three agree on
    **dict.fromkeys(_names("LOGISTIC MAX_POOL_2D QUANTIZE RELU"), 2),
    **dict.fromkeys(_names("DEQUANTIZE RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR TRANSPOSE_CONV"), 3),
    **{"CONV_2D": 6, "DEPTHWISE_CONV_2D": 6, "FULLY_CONNECTED": 9},
}
_PHONE_TYPES = _names("float32 float16 int8 uint8")
_MORE_PHONE_TYPES = {
    **dict.fromkeys(
        _names("EQUAL GREATER GREATER_EQUAL LESS LESS_EQUAL LOGICAL_AND NOT_EQUAL SELECT SELECT_V2"), "bool"
    ),
    **dict.fromkeys(_names("GATHER ONE_HOT"), "int32"),
}
_NO_WEBGPU_TYPES = _names("int16 int64 uint64 float64 complex64 complex128 string")
_TWO_OPERANDS = _names("ADD DIV FLOOR_DIV FLOOR_MOD MAXIMUM MINIMUM MUL POW SQUARED_DIFFERENCE SUB")
_RESIZES = _names("RESIZE_BILINEAR RESIZE_NEAREST_NEIGHBOR")
_SYMMETRIC = 1  # the mode of MIRROR_PAD that repeats the border
_MASKS = ("ellipsisMask", "newAxisMask", "shrinkAxisMask")


def _unknown(operation: "Operation", delegate: str) -> bool:
    return operation.name not in _OPERATIONS[delegate]


def _too_new(operation: "Operation", _: str) -> bool:
    return operation.version > _NEWEST_VERSIONS.get(operation.name, operation.version)


def _open(operation: "Operation", _: str) -> bool:
    return any(tensor.open for tensor in operation.tensors)


def _five_axes(operation: "Operation", _: str) -> bool:
    return any(len(tensor.shape) > 4 for tensor in operation.tensors)


def _other_types(operation: "Operation", delegate: str) -> bool:
    types = {tensor.type for tensor in operation.activations}
    if delegate == "webgpu":
        return bool(types & _NO_WEBGPU_TYPES)
    return operation.name != "CAST" and bool(types - _PHONE_TYPES - {_MORE_PHONE_TYPES.get(operation.name)})


def _casts(operation: "Operation", _: str) -> bool:
    types = {tensor.type for tensor in operation.tensors}
    numbers, truth = types <= {"float32", "int32"}, "bool" in types and types <= {"bool", "float32", "float16"}
    return operation.name == "CAST" and not (numbers or truth)


def _groups(operation: "Operation") -> tuple[int, int, int]:
    """(groups, channels that each takes, channels that each gives) of a convolution, (1, 0, 0) of all else."""
    if operation.name != "CONV_2D":
        return 1, 0, 0
    channels, (filters, *_, takes) = operation.tensors[0].shape[-1], operation.tensors[1].shape
    if takes == 1 and filters == channels:  # runs as a depthwise convolution
        return 1, 0, 0
    groups = max(channels // takes, 1)
    return groups, takes, filters // groups


def _grouped(operation: "Operation", _: str) -> bool:
    return _groups(operation)[0] > 1


def _odd_groups(operation: "Operation", _: str) -> bool:
    groups, takes, gives = _groups(operation)
    return groups > 1 and (takes % 4 > 0 or gives % 4 > 0)


def _two_ways(operation: "Operation", _: str) -> bool:
    options = operation.options
    return operation.name in _RESIZES and bool(options.get("alignCorners") and options.get("halfPixelCenters"))


def _shrinks(operation: "Operation", _: str) -> bool:
    if operation.name not in _RESIZES:
        return False
    before, after = operation.tensors[0].shape, operation.outputs[0].shape
    return any(new < old for new, old in zip(after, before, strict=False))


def _pads_oddly(operation: "Operation", _: str) -> bool:
    if operation.name not in ("PAD", "PADV2", "MIRROR_PAD"):
        return False
    return len(operation.outputs[0].shape) not in (3, 4) or operation.options.get("mode") == _SYMMETRIC


def _cuts_oddly(operation: "Operation", _: str) -> bool:
    if operation.name not in ("SLICE", "STRIDED_SLICE"):
        return False
    return len(operation.tensors[0].shape) not in (3, 4) or any(operation.options.get(mask) for mask in _MASKS)


def _other_means(operation: "Operation", _: str) -> bool:
    if operation.name != "MEAN":
        return False
    rank = len(operation.tensors[0].shape)
    return rank != 4 or {axis % rank for axis in operation.tensors[1].integers} != {1, 2}


def _moves_batch(operation: "Operation", _: str) -> bool:
    return len({_bhwc(tensor)[0] for tensor in operation.activations}) > 1


def _repeats(operation: "Operation", _: str) -> bool:
    """OpenGL takes two operands of one shape, or a second one of 1x1 pixels; of constants numbers and vectors."""
    if operation.name not in _TWO_OPERANDS or len(operation.inputs) != 2 or None in operation.inputs:
        return False
    first, second = operation.tensors[:2]
    if first.constant or second.constant:
        constant = first if first.constant else second
        return operation.name not in ("ADD", "MUL") and constant.elements != max(constant.shape, default=1)
    large, small = _bhwc(first), _bhwc(second)
    if operation.name in ("ADD", "MUL") and first.elements < second.elements:
        large, small = small, large
    if operation.name == "MUL":
        return any(b not in (1, a) for a, b in zip(large, small, strict=True))
    return large != small and not (small[1:3] == (1, 1) and large[3] == small[3])


def _bhwc(tensor: "Tensor") -> tuple[int, ...]:
    """The four axes that a delegate sees: the batch first, the channels last, ones between."""
    batch, *rest = (*tensor.shape, 1) if len(tensor.shape) < 2 else tensor.shape
    return (batch, *(1,) * (3 - len(rest)), *rest)


_OUTSIDE = "give scores (--head probability or logits) and decide outside the file"
RULES: tuple[Rule, ...] = (  # the most basic first: only the first that an operation breaks is told
    Rule(
        DELEGATES,
        _unknown,
        "the delegate has no such operation",
        "build the layer from other operations, or leave the file to the CPU",
        {
            **{"ARG_MAX": _OUTSIDE, "GREATER": _OUTSIDE, "GREATER_EQUAL": _OUTSIDE},
            "BATCH_MATMUL": "choose a network without attention, or another GPU backend",
            "SPLIT": "let two convolutions read the same input, each with half of the filters",
            "SUM": "take MEAN over height and width, and multiply",
            "TRANSPOSE": "keep the layout (1, H, W, C) throughout",
        },
    ),
    Rule(
        DELEGATES,
        _too_new,
        "the delegate knows only an older version of the operation",
        "convert with an older converter",
        {"TRANSPOSE_CONV": "an activation fused into it makes it version 4: enlarge by RESIZE_BILINEAR and convolve"},
    ),
    Rule(("webgpu",), _open, "a size is left open, which the browser refuses", "convert with fixed sizes and batch 1"),
    Rule(DELEGATES, _five_axes, "a tensor has more than four axes", "reshape to (1, H, W, C)"),
    Rule(
        DELEGATES,
        _other_types,
        "the delegate does not compute in the type of its activations",
        "use float32 or int8 between layers, and int32 for the result of ARG_MAX",
    ),
    Rule(
        ("opencl", "opengl"),
        _casts,
        "the delegate casts only between float32 and int32, and between float and bool",
        "take bytes by QUANTIZE or DEQUANTIZE, and give scores (--head probability or logits)",
    ),
    Rule(
        ("opengl",),
        _grouped,
        "OpenGL has no grouped convolutions",
        "use one group, or one for each channel (depthwise)",
    ),
    Rule(
        ("webgpu",),
        _odd_groups,
        "groups that do not take and give multiples of four channels are computed wrongly, without an error",
        "use groups of a multiple of four channels, or of one",
    ),
    Rule(
        ("opencl",),
        _odd_groups,
        "groups that do not take and give multiples of four channels become one convolution each, which is slow",
        "use groups of a multiple of four channels, or of one",
    ),
    Rule(DELEGATES, _two_ways, "align_corners and half_pixel_centers exclude each other", "set one of them"),
    Rule(("opengl",), _shrinks, "OpenGL only enlarges images", "shrink by pooling, or by a convolution with a stride"),
    Rule(
        DELEGATES,
        _pads_oddly,
        "the delegate pads three or four axes, with zeros or by reflection",
        'use padding="same", or REFLECT on (1, H, W, C)',
    ),
    Rule(
        DELEGATES,
        _cuts_oddly,
        "the delegate cuts out of three or four axes, and keeps them all",
        "slice with x[:, a:b], not with x[:, a], and reshape afterwards",
    ),
    Rule(
        ("opengl",),
        _other_means,
        "OpenGL averages over height and width together, over nothing else",
        "average over both axes of (1, H, W, C); over channels with a 1x1 convolution",
    ),
    Rule(
        ("opengl",),
        _moves_batch,
        "OpenGL takes the first axis for the batch, which must stay the same",
        "keep 1 as the first axis when reshaping",
    ),
    Rule(
        ("opengl",),
        _repeats,
        "OpenGL repeats an operand over the pixels only, from 1x1",
        "bring both operands to one shape first",
    ),
)

if __name__ == "__main__":
    _main(*sys.argv[1:])
