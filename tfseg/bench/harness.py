"""Google's benchmark_model, as a program: which of its two tools it is, what it understands, and how it is called."""

import dataclasses
import re
import struct
from collections.abc import Mapping, Sequence
from pathlib import Path

from tfseg.bench import adb
from tfseg.bench.adb import Device
from tfseg.bench.logs import V1, V2
from tfseg.errors import InputError
from tfseg.runs import sha256

_ABIS = {183: "arm64-v8a", 40: "armeabi-v7a", 62: "x86_64", 3: "x86", 243: "riscv64"}  # ELF's e_machine


@dataclasses.dataclass(frozen=True, kw_only=True)
class Harness:
    """A benchmark_model.

    Attributes:
        path: on this computer.
        sha256: of its bytes.
        abi: the instruction set that it is for, as Android calls it.
        version: "v1" or "v2"; "" until the phone was asked.
        flags: that it understands; none until the phone was asked.
    """

    path: Path
    sha256: str
    abi: str
    version: str = ""
    flags: frozenset[str] = frozenset()


def open_harness(path: Path, abis: Sequence[str]) -> Harness:
    """Read a harness and see that the phone can run it.

    Raises:
        InputError: it is missing, no program for Android, or for other instruction sets than `abis`.
    """
    try:
        with path.open("rb") as file:
            head = file.read(20)
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); tflite/README.md says how to get one") from error
    if len(head) < 20 or head[:4] != b"\x7fELF":
        raise InputError(f"{path}: no program for Android (no ELF file); tflite/README.md says how to get one")
    order = "<" if head[5] == 1 else ">"
    abi = _ABIS.get(struct.unpack(f"{order}H", head[18:20])[0], "unknown")
    if abi not in abis:
        raise InputError(f"{path}: a program for {abi}, and the phone runs {', '.join(abis)}: get the one for that")
    return Harness(path=path, sha256=sha256(path), abi=abi)


def asked(harness: Harness, device: Device, remote: str) -> Harness:
    """Return the harness with what its --help, on the phone, says about it.

    Raises:
        InputError: it is another program.
    """
    answer = adb.shell(device, [remote, "--help"])
    flags = frozenset(re.findall(r"^\s*--([a-z][\w-]*)", answer.stdout + "\n" + answer.stderr, re.MULTILINE))
    if not {"graph", "num_runs"} <= flags:
        raise InputError(f"{harness.path}: no benchmark_model (its --help on the phone knows no --graph)")
    version = V2 if "use_npu" in flags or "use_cpu" in flags else V1
    return dataclasses.replace(harness, version=version, flags=flags)


def delegate_flags(harness: Harness, delegate: str) -> dict[str, str]:
    """Return the flags that choose what runs the graph.

    Raises:
        InputError: this harness has none for it.
    """
    gpu, exact = str(delegate != "cpu").lower(), delegate == "gpu-fp32"
    if delegate == "cpu" and harness.version == V1:  # said, since it is applied in silence when it is not
        return _known(harness, {"use_xnnpack": "true"})
    if delegate == "cpu":
        return _known(harness, {"use_cpu": "true"})
    if "use_gpu" not in harness.flags:
        raise InputError(f"{harness.path}: was built without --use_gpu: get another for delegate {delegate}")
    given = {"use_gpu": gpu} | _known(harness, {"use_cpu": "false"})
    precisions = {
        "gpu_precision_loss_allowed": str(not exact).lower(),
        "gpu-precision": "fp32" if exact else "auto",
        "gpu_precision": "fp32" if exact else "auto",
        "allow_fp16": str(not exact).lower(),
    }
    known = _known(harness, precisions)
    if exact and not known:
        raise InputError(f"{harness.path}: cannot ask a GPU for single precision: get another for delegate {delegate}")
    return given | dict(list(known.items())[:1])


def numeric_flags(harness: Harness, tensor: str, shape: Sequence[int], given: str, taken: str) -> dict[str, str] | None:
    """Return the flags that give the network our image and keep its answer, or None where there are none.

    Args:
        harness: what is called.
        tensor: the input's name; a comma in it would end it.
        shape: of the input.
        given: the file on the phone that holds the image.
        taken: the file on the phone to write the answer to.
    """
    wanted = {
        "input_layer": tensor,
        "input_layer_shape": ",".join(map(str, shape)),
        "input_layer_value_files": f"{tensor.replace(':', '::')}:{given}",
        "output_filepath": taken,
    }
    return wanted if wanted.keys() <= harness.flags and "," not in tensor else None


def words(remote: str, flags: Mapping[str, str]) -> list[str]:
    """Return the words that call the harness with these flags."""
    return [remote, *(f"--{name}={value}" for name, value in flags.items())]


def _known(harness: Harness, flags: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in flags.items() if name in harness.flags}
