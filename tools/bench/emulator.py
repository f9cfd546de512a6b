"""An Arm phone's CPU without the phone: QEMU runs LiteRT and ONNX Runtime as a Cortex-A76 and counts instructions.

What they need, a Debian for aarch64 with Python and their wheels, is prepared once, in a folder: `prepare`. The
versions are those of constraints.txt.
"""

import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

HERE = Path(__file__).parent / "arm"
CONSTRAINTS = Path(__file__).parents[2] / "constraints.txt"
RELEASE, PYTHON = "bookworm", "3.11"
PACKAGES = (  # LiteRT, and what it and ONNX Runtime need
    "ai-edge-litert", "backports.strenum", "flatbuffers", "ml_dtypes", "numpy", "packaging", "protobuf", "tqdm",
    "typing_extensions",
)  # fmt: skip
ONNXRUNTIME = "onnxruntime==1.31.1"  # constraints.txt has none
GLIBC = range(17, 37)  # wheels for glibc 2.17 to bookworm's 2.36
TOOLS = {
    "qemu-aarch64": "qemu-user",
    "debootstrap": "debootstrap",
    "dpkg": "dpkg",
    "gcc": "gcc",
    "setarch": "util-linux",
}
STAMP = "tfseg.txt"  # is written last: a folder that holds it is whole, and ours
CPU = "cortex-a76"
CPUINFO = """processor\t: 0
BogoMIPS\t: 48.00
Features\t: fp asimd evtstrm aes pmull sha1 sha2 crc32 atomics fphp asimdhp cpuid asimdrdm lrcpc dcpop asimddp
CPU implementer\t: 0x41
CPU architecture: 8
CPU variant\t: 0x4
CPU part\t: 0xd0b
CPU revision\t: 1

"""
ENVIRONMENT = {"PYTHONPATH": "/wheels", "PYTHONHASHSEED": "0", "ORT_DISABLE_TELEMETRY": "1"}


@dataclass(frozen=True, kw_only=True)
class Run:
    """What a file did.

    Attributes:
        instructions: of an inference that is not the first; 0 where they were not counted.
        outputs: by name; see run_file.py.
    """

    instructions: int
    outputs: dict[str, np.ndarray]


def default_root() -> Path:
    """Return where the prepared folder is if nobody says otherwise."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tfseg/arm"


def obstacle(root: Path) -> str:
    """Say what is missing before anything can run; "" if nothing is."""
    if missing := _missing("qemu-aarch64", "setarch"):
        return missing
    if not (root / STAMP).is_file():
        return f"{root}: not prepared; run `python tools/bench/arm.py prepare`"
    if (root / STAMP).read_text() != _stamp():
        return f"{root}: prepared for other versions; run `python tools/bench/arm.py prepare`"
    return ""


def prepare(root: Path) -> None:
    """Prepare the folder, unless that is done; what an interrupted preparation left is thrown away.

    Raises:
        SystemExit: a program is missing or fails, or the folder holds something else.
    """
    if not obstacle(root):
        return
    if root.exists() and not (root / STAMP).is_file() and any(root.iterdir()):
        raise SystemExit(f"{root}: holds something else; name an empty folder or none")
    if missing := _missing(*TOOLS, *(["fakeroot"] if os.geteuid() else [])):
        raise SystemExit(missing)
    part = root.with_name(f"{root.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    _system(part)
    _wheels(part / "wheels")
    _call(["gcc", "-shared", "-fPIC", "-O2", HERE / "instructions.c", "-o", part / "instructions.so"])
    (part / STAMP).write_text(_stamp())
    if root.exists():
        shutil.rmtree(root)
    part.rename(root)


def run(root: Path, path: Path, *, every: bool = False) -> Run:
    """Run a .tflite or .onnx file on the emulated CPU.

    Everything that could make two runs differ is the same in both: the names of files, the environment, and where
    memory lies, since copying costs more where it is less aligned.
    """
    root = root.absolute()
    plugin = f"{root}/instructions.so,out=counts"
    command = [_program("setarch"), "-R", _program("qemu-aarch64"), "-cpu", CPU, "-L", root, "-plugin", plugin]
    return _run([*command, root / f"usr/bin/python{PYTHON}"], path, ENVIRONMENT, every)


def run_here(path: Path, *, every: bool = False) -> Run:
    """Run a .tflite file on this host's CPU, without counting."""
    return _run([sys.executable], path, dict(os.environ), every)


def versions() -> dict[str, str]:
    """Return what runs in the emulation, and QEMU's version."""
    pins = dict(pin.split("==") for pin in _pins())
    text = subprocess.run(["qemu-aarch64", "--version"], check=True, capture_output=True, text=True).stdout
    return {name: pins[name] for name in ("ai-edge-litert", "onnxruntime")} | {"qemu": text.split()[2]}


def _run(python: Sequence[Any], path: Path, environment: dict[str, str], every: bool) -> Run:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        file = folder / f"file{path.suffix}"
        file.symlink_to(path.resolve())
        shutil.copy(HERE / "run_file.py", folder)
        command = [*python, "run_file.py", file.name, "out.npz", *(["every"] if every else [])]
        process = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        if process.returncode:
            reason = (process.stderr.splitlines() or [f"it ended with {process.returncode}"])[-1]
            raise SystemExit(f"{path}: cannot be run with {python[-1]}: {reason}")
        with np.load(folder / "out.npz") as archive:
            outputs = dict(archive)
        counts = folder / "counts"
        _, before, after = map(int, counts.read_text().split()) if counts.exists() else (0, 0, 0)
    return Run(instructions=after - before, outputs=outputs)


def _system(root: Path) -> None:
    """Unpack what Python needs of Debian, and say what CPU this is."""
    options = ["--arch=arm64", "--foreign", "--variant=minbase", "--include=python3,libstdc++6"]
    _call([*(["fakeroot"] if os.geteuid() else []), _program("debootstrap"), *options, RELEASE, root])
    for package in sorted((root / "var/cache/apt/archives").glob("*.deb")):
        _call(["dpkg", "-x", package, root])
        package.unlink()
    (root / "proc").mkdir(exist_ok=True)
    (root / "proc/cpuinfo").write_text(CPUINFO)  # without it, XNNPACK's library for this crashes
    processors = root / "sys/devices/system/cpu"
    processors.mkdir(parents=True)
    for name in ("possible", "present", "online"):
        (processors / name).write_text("0\n")


def _wheels(folder: Path) -> None:
    platforms = [f"--platform=manylinux_2_{minor}_aarch64" for minor in GLIBC] + ["--platform=manylinux2014_aarch64"]
    options = ["--only-binary=:all:", "--implementation=cp", f"--python-version={PYTHON}", *platforms]
    _call([sys.executable, "-m", "pip", "install", "--no-deps", "--target", folder, *options, *_pins()])


def _pins() -> list[str]:
    """Return the wheels with their versions."""
    lines = CONSTRAINTS.read_text().splitlines()
    return [*(line for line in lines if line.partition("==")[0] in PACKAGES), ONNXRUNTIME]


def _stamp() -> str:
    return "\n".join([RELEASE, *_pins(), (HERE / "instructions.c").read_text()])


def _missing(*programs: str) -> str:
    """Say which of the programs are missing and what to do about it."""
    if platform.system() != "Linux":
        return f"this is {platform.system()}, and qemu-user runs on Linux only"
    absent = [program for program in programs if _program(program) is None]
    packages = " ".join(TOOLS.get(program, program) for program in absent)
    return f"missing {', '.join(absent)}: apt install {packages}" if absent else ""


def _program(name: str) -> str | None:
    """Return where a program is; debootstrap is where only root looks for programs."""
    return shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")


def _call(command: Sequence[Any]) -> None:
    process = subprocess.run(command, capture_output=True, text=True, check=False)
    if process.returncode:
        raise SystemExit(f"{' '.join(map(str, command))}\n{process.stdout[-2000:]}{process.stderr[-2000:]}")
