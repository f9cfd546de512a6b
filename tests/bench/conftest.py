"""A phone to test with: the stand-in of device.py behind the real `adb`, a server of our own, and networks to run."""

import contextlib
import dataclasses
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from tfseg.lite import metadata
from tfseg.lite.metadata import Metadata

HERE = Path(__file__).parent
AARCH64, X86_64 = 183, 62  # ELF's e_machine
SIZE = 16  # of the networks' images


@dataclasses.dataclass(frozen=True)
class StandIn:
    """A stand-in that runs: its folder, its name for adb, its process."""

    root: Path
    serial: str
    process: "subprocess.Popen[str]"

    def faults(self, **faults: Any) -> None:
        """Say what is wrong with it from now on: see Faults in device.py, and benchmark_model.py for `run`."""
        part = self.root / "faults.part"
        part.write_text(json.dumps(faults))
        part.replace(self.root / "faults.json")  # it may be reading

    def state(self, name: str, value: object = None) -> str:
        """Return what a file of its state holds, after writing `value` to it where one is given."""
        path = self.root / "state" / name
        if value is not None:
            path.write_text(f"{value}\n")
        return path.read_text().strip()

    def files(self) -> list[str]:
        """What lies in /data/local/tmp."""
        folder = self.root / "data/local/tmp"
        return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@pytest.fixture(scope="session")
def adb(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., str]]:
    """Run the real adb with a server on a port of its own, which ends with the tests."""
    program = shutil.which("adb")
    if program is None:
        pytest.skip("no adb: apt-get install adb")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    home = tmp_path_factory.mktemp("adb")

    def run(*arguments: str) -> str:
        done = subprocess.run(
            [program, *arguments], env=os.environ | {"HOME": str(home)}, capture_output=True, text=True, timeout=60
        )
        return done.stdout + done.stderr

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ANDROID_ADB_SERVER_PORT", str(port))
        run("start-server")
        yield run
        run("kill-server")


@pytest.fixture
def plug(adb: Callable[..., str], tmp_path: Path) -> Iterator[Callable[..., StandIn]]:
    """Start a stand-in and connect it; keywords are its faults from the start."""
    with contextlib.ExitStack() as stack:

        def start(**faults: Any) -> StandIn:
            root = Path(tmp_path, "phone")
            while root.exists():
                root = root.with_name(root.name + "x")
            root.mkdir()
            (root / "faults.json").write_text(json.dumps(faults))
            command = [sys.executable, "-I", str(HERE / "device.py"), str(root)]
            process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
            stack.callback(process.communicate)
            stack.callback(process.send_signal, signal.SIGKILL)
            assert process.stdout
            serial = f"127.0.0.1:{process.stdout.readline().split()[1]}"
            stack.callback(adb, "disconnect", serial)
            adb("connect", serial)
            return StandIn(root, serial, process)

        yield start


@pytest.fixture
def phone(plug: Callable[..., StandIn]) -> StandIn:
    """One healthy stand-in."""
    return plug()


@pytest.fixture
def write_harness(tmp_path: Path) -> Callable[..., Path]:
    """Write a harness that benchmark_model.py understands: an ELF head, and the dialect's name at the end."""

    def write(dialect: str = "v1", machine: int = AARCH64) -> Path:
        head = b"\x7fELF\x02\x01\x01" + bytes(9) + struct.pack("<HH", 3, machine)
        path = tmp_path / f"benchmark_model_{dialect}_{machine}"
        path.write_bytes(head.ljust(64, b"\0") + b"\n" + dialect.encode() + b"\n")
        return path

    return write


@pytest.fixture(scope="session")
def write_network() -> Callable[..., Path]:
    """Write a .tflite file: a 1x1 convolution and a sigmoid over (1, 16, 16, 3), in any precision."""

    def write(path: Path, precision: str = "fp32", *, name: str = "serving_default_image:0", seed: int = 0) -> Path:
        kernel = np.random.default_rng(seed).normal(0, 2, (1, 1, 1, 3)).astype("float32")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(pack(_quantized(kernel, name) if precision == "int8" else _float(kernel, name, precision)))
        return path

    return write


@pytest.fixture(scope="session")
def write_proved(write_network: Callable[..., Path]) -> Callable[..., Path]:
    """Write the same as a file of tfseg, whose metadata hold a proof of `dice` unless that is None."""

    def write(path: Path, kind: str = "fp32", *, dice: float | None = 0.8, seed: int = 0, **about: Any) -> Path:
        known = {
            "model": "tiny",
            "image_size": SIZE,
            "channels": 3,
            "classes": ("nerve",),
            "input": "float32",
            "head": "probability",
            "activation": "sigmoid",
            "threshold": 0.5,
            "largest_component": False,
            "precision": kind,
            "keep_float": "",
            "training": "run-1",
            "dataset": "nerve",
            "fingerprint": "0" * 64,
            "phantom": False,
            "fold": None,
            "calibration": (),
            "versions": {},
            "proof": {} if dice is None else {"nerve": {"against": "keras", "score": dice}},
        }
        content = write_network(path, kind, seed=seed).read_bytes()
        path.write_bytes(metadata.attach(content, Metadata(**known | about)))
        return path

    return write


def pack(model: schema.ModelT) -> bytes:
    """Return the bytes of a model."""
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def _float(kernel: np.ndarray, name: str, precision: str) -> schema.ModelT:
    image, logit, answer, weights, bias = (
        _tensor(name, (1, SIZE, SIZE, 3)),
        _tensor("logit", (1, SIZE, SIZE, 1)),
        _tensor("answer", (1, SIZE, SIZE, 1)),
        _tensor("weights", kernel.shape),
        _tensor("bias", (1,)),
    )
    tensors, contents = [image, logit, answer, weights, bias], [None, None, None, kernel, np.zeros(1, "float32")]
    operators = [_operator(0, [0, 3, 4], [1]), _operator(1, [1], [2])]
    if precision == "fp16":
        tensors.append(_tensor("half", kernel.shape, schema.TensorType.FLOAT16))
        contents[3], contents = None, [*contents, kernel.astype("float16")]
        operators.insert(0, _operator(2, [5], [3]))
    elif precision == "dynamic":
        scale = float(np.abs(kernel).max()) / 127
        tensors[3] = _tensor("weights", kernel.shape, schema.TensorType.INT8, scale)
        contents[3] = np.round(kernel / scale).astype("int8")
    return _model(tensors, contents, operators)


def _quantized(kernel: np.ndarray, name: str) -> schema.ModelT:
    scale = float(np.abs(kernel).max()) / 127
    int8 = schema.TensorType.INT8
    tensors = [
        _tensor(name, (1, SIZE, SIZE, 3), int8, 1 / 255, -128),
        _tensor("logit", (1, SIZE, SIZE, 1), int8, 0.05),
        _tensor("answer", (1, SIZE, SIZE, 1), int8, 1 / 256, -128),
        _tensor("weights", kernel.shape, int8, scale),
        _tensor("bias", (1,), schema.TensorType.INT32, scale / 255),
    ]
    contents = [None, None, None, np.round(kernel / scale).astype("int8"), np.zeros(1, "int32")]
    return _model(tensors, contents, [_operator(0, [0, 3, 4], [1]), _operator(1, [1], [2])])


def _tensor(
    name: str, shape: tuple[int, ...], kind: int = schema.TensorType.FLOAT32, scale: float = 0.0, zero: int = 0
) -> schema.TensorT:
    tensor = schema.TensorT()
    tensor.name, tensor.shape, tensor.type = name, list(shape), kind
    if scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [scale], [zero]
    return tensor


def _operator(code: int, inputs: list[int], outputs: list[int]) -> schema.OperatorT:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = code, inputs, outputs
    if code == 0:
        operator.builtinOptionsType = schema.BuiltinOptions.Conv2DOptions
        operator.builtinOptions = schema.Conv2DOptionsT()
        operator.builtinOptions.strideW = operator.builtinOptions.strideH = 1
    return operator


def _model(tensors: list, contents: list, operators: list) -> schema.ModelT:
    model, graph = schema.ModelT(), schema.SubGraphT()
    model.version, model.subgraphs, model.operatorCodes = 3, [graph], []
    for code in (schema.BuiltinOperator.CONV_2D, schema.BuiltinOperator.LOGISTIC, schema.BuiltinOperator.DEQUANTIZE):
        entry = schema.OperatorCodeT()
        entry.deprecatedBuiltinCode = entry.builtinCode = code
        entry.version = 3 if code == schema.BuiltinOperator.CONV_2D else 2
        model.operatorCodes.append(entry)
    model.buffers = [schema.BufferT()]
    for number, content in enumerate(contents, 1):
        buffer = schema.BufferT()
        buffer.data = None if content is None else np.frombuffer(content.tobytes(), "uint8")
        model.buffers.append(buffer)
        tensors[number - 1].buffer = number
    graph.tensors, graph.inputs, graph.outputs, graph.operators = tensors, [0], [2], operators
    return model
