"""What tfseg needs and what this machine has of it: tried, not guessed, with the line that mends what is missing."""

import dataclasses
import json
import os
import platform
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from tfseg.places import device_side, npm_command
from tfseg.probe import SIGN

OK, MISSING, BROKEN = "ok", "missing", "broken"
PROBE_S, PROGRAM_S = 300, 20  # against hanging alone: idle, all takes some 8 s; busy tenfold, TensorFlow took 120
SPACE_GB = 2  # five folds of the largest U-Net with their states, and the decoded images
MEMORY_GB = 4  # a U-Net of 17 million parameters learns at 256 pixels in batches of 8 with some 3 GB

_MODULES = {  # of packages whose module has another name
    "ai-edge-litert": "ai_edge_litert.interpreter",
    "opencv-python-headless": "cv2",
    "pillow": "PIL",
    "scikit-learn": "sklearn",
}
_ON_TENSORFLOW = ("tensorflow-model-optimization", "tf-keras", "keras-cv")  # they load it: tried where it is loaded
_EXTRAS = {  # extra -> what does not work without it; those of tests are nobody's concern
    "ray": "tfseg kfold --engine ray",
    "qat": "tfseg convert --int8-qat and --prune",
    "keras-cv": "--weights mit_b0_imagenet and mobilenet_v3_large_imagenet",
}
_PROGRAMS = (  # names, how to ask for the version, what does not work without, Debian's package, Homebrew's
    (("adb",), "version", "tfseg benchmark --target android, tfseg demo --android", "adb", "android-platform-tools"),
    (("node",), "--version", "make demo-web", "nodejs", "node"),
    (("npm",), "--version", "make demo-web", "npm", "node"),
    (
        ("chromium", "chromium-browser", "google-chrome"),
        "--version",
        "the tests of the demo's page",
        "chromium",
        "--cask chromium",
    ),
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """One thing that tfseg uses.

    Attributes:
        name: what it is.
        state: "ok", "missing" or "broken".
        detail: its version, or what is wrong.
        needed_for: the commands that do not work, or not well, without it; "" for all.
        remedy: the line that mends it; "" where nothing is to be done.
    """

    name: str
    state: str
    detail: str
    needed_for: str = ""
    remedy: str = ""

    @property
    def fatal(self) -> bool:
        """Whether nothing can be relied on."""
        return self.state != OK and not self.needed_for


def examine() -> list[Part]:
    """Try everything; what needs TensorFlow, what does not, and the accelerator each in a process beside the others."""
    wanted = list(_requirements())
    heavy = [name for _, name, _ in wanted if name in _ON_TENSORFLOW and _installed(name)]
    light = [name for _, name, _ in wanted if name not in (*_ON_TENSORFLOW, "tensorflow", "keras") and _installed(name)]
    with ThreadPoolExecutor(4) as pool:
        tensorflow = pool.submit(_probe, "tensorflow", [_module(name) for name in heavy])
        packages = pool.submit(_probe, "packages", [_module(name) for name in light])
        accelerator = pool.submit(_probe, "accelerator")
        kaggle = pool.submit(_probe, "kaggle")
        programs = list(pool.map(_program, _PROGRAMS))
        found = tensorflow.result() | packages.result() | accelerator.result() | kaggle.result()
    parts = [_python(), *(_package(*one, found) for one in wanted), _writable(Path()), _space(Path())]
    return [*parts, _machine(), *_powers(found), *programs, _web(), _harness()]


def _requirements() -> Iterator[tuple[str, str, str]]:
    """The requirements of tfseg itself and of its optional parts: as written, the package's name, what it is for."""
    for line in metadata.requires("tfseg") or ():
        requirement, _, marker = line.partition(";")
        extra = re.search(r"extra == ['\"]([\w-]+)['\"]", marker)
        name = re.match(r"[\w.-]+", requirement)
        if name and (extra is None or extra[1] in _EXTRAS):
            yield requirement.strip(), _plain(name[0]), _EXTRAS[extra[1]] if extra else ""


def _plain(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _module(name: str) -> str:
    return _MODULES.get(name, name.replace("-", "_"))


def _installed(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _package(requirement: str, name: str, needed_for: str, found: dict[str, Any]) -> Part:
    version, tried = _installed(name), found.get(_module(name), {})
    told = {"name": name, "needed_for": needed_for, "remedy": f"pip install '{requirement}'"}
    if version is None:
        return Part(state=MISSING, detail="not installed", **told)
    if not _fits(requirement, version):
        return Part(state=BROKEN, detail=f"{version} is installed, and {requirement} is wanted", **told)
    if "found" not in tried:
        again = f"pip install --force-reinstall '{requirement}'"
        fault = tried.get("error", "it was not tried: what is tried before it ended the process")
        return Part(state=BROKEN, detail=f"{version}: {fault}", **told | {"remedy": again})
    return Part(state=OK, detail=version, name=name, needed_for=needed_for)


def _fits(requirement: str, version: str) -> bool:
    try:
        from packaging.requirements import Requirement
    except ImportError:  # of TensorFlow's own needs: its part then says that it is broken
        return True
    return Requirement(requirement).specifier.contains(version, prereleases=True)


def _probe(kind: str, modules: Sequence[str] = ()) -> dict[str, Any]:
    """Run tfseg.probe; name -> {"found": ...} or {"error": ...}. What it was at when it ended has an error."""
    command = [sys.executable, "-P", "-m", "tfseg.probe", kind, *modules]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=PROBE_S, check=False)
        stdout, status = done.stdout, done.returncode
        end = f"its process died of {signal.Signals(-status).name}" if status < 0 else f"its process ended ({status})"
    except subprocess.TimeoutExpired as error:
        stdout, status, end = error.stdout or b"", 1, f"not done after {PROBE_S} s: it hangs, or the machine is busy"
        stdout = stdout.decode(errors="replace") if isinstance(stdout, bytes) else stdout
    found: dict[str, Any] = {}
    for line in stdout.splitlines():
        if line.startswith(SIGN):
            told = json.loads(line.removeprefix(SIGN))
            found[told.get("trying") or told.pop("name")] = {"error": end} if "trying" in told else told
    return found


def _python() -> Part:
    version = platform.python_version()
    fits = (3, 11) <= sys.version_info < (3, 14)
    remedy = "" if fits else "install Python 3.11, 3.12 or 3.13"
    return Part(name="python", state=OK if fits else BROKEN, detail=f"{version} in {sys.prefix}", remedy=remedy)


def _writable(folder: Path) -> Part:
    told = {"name": "this folder", "needed_for": "what writes into runs/ here; name another place with --out"}
    try:
        with tempfile.TemporaryFile(dir=folder):
            return Part(state=OK, detail=f"{folder.resolve()} can be written to", **told)
    except OSError as error:
        remedy = f"chmod u+w {folder.resolve()}, or change to a folder of yours"
        return Part(state=BROKEN, detail=f"{folder.resolve()}: {error.strerror}", remedy=remedy, **told)


def _space(folder: Path) -> Part:
    free = shutil.disk_usage(folder).free / 1e9
    state, remedy = (OK, "") if free >= SPACE_GB else (MISSING, "remove what is not needed, or work on another disk")
    needed_for = "tfseg kfold and train of larger networks"
    return Part(name="disk", state=state, detail=f"{free:.1f} GB free", needed_for=needed_for, remedy=remedy)


def _machine() -> Part:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9
    state, remedy = (OK, "") if memory >= MEMORY_GB else (MISSING, "--image-size 128 --batch-size 2")
    detail = f"{cores} CPU cores, {memory:.1f} GB of memory"
    return Part(name="machine", state=state, detail=detail, needed_for="training at 256 pixels", remedy=remedy)


def _powers(found: dict[str, Any]) -> list[Part]:
    """What TensorFlow, LiteRT and Kaggle can use here."""
    gpus = found.get("tensorflow", {}).get("found", [])
    nvidia = shutil.which("nvidia-smi") is not None
    gpu = Part(
        name="GPU for training",
        state=OK if gpus else MISSING,
        detail=", ".join(gpus) or ("TensorFlow does not see the NVIDIA GPU" if nvidia else "none: the CPU trains"),
        needed_for="training larger networks in reasonable time",
        remedy="pip install 'tensorflow[and-cuda]'" if nvidia and not gpus else "",
    )
    tried = found.get("onednn", {})
    fast = tried.get("found") is True
    slow = "TensorFlow splits convolutions by groups" if "found" in tried else "not tried"
    onednn = Part(
        name="oneDNN",
        state=OK if fast else MISSING,
        detail="trains convolutions by groups" if fast else slow,
        needed_for="training lighter_unet and other networks of grouped convolutions: slow without it",
        remedy="" if fast else "export TF_ENABLE_ONEDNN_OPTS=1",
    )
    return [gpu, onednn, _accelerator(found.get("accelerator", {})), _kaggle(found.get("kaggle", {}))]


def _accelerator(tried: dict[str, Any]) -> Part:
    name, software = tried.get("found", ("", False))
    return Part(
        name="GPU for files",
        state=OK if name else MISSING,
        detail=f"{name}{' (SwiftShader: compares, and times nothing)' if software else ''}" or tried.get("error", ""),
        needed_for="tfseg inspect --gpu, tfseg benchmark --delegate gpu",
        remedy="" if name else _install("chromium", "--cask chromium"),
    )


def _kaggle(tried: dict[str, Any]) -> Part:
    there = tried.get("found") is True
    return Part(
        name="Kaggle credentials",
        state=OK if there else BROKEN if "error" in tried else MISSING,
        detail="found, not tried" if there else tried.get("error", "none"),
        needed_for="tfseg data get",
        remedy="" if there else "create a token on kaggle.com under Settings and save it as ~/.kaggle/kaggle.json",
    )


def _program(row: tuple[Sequence[str], str, str, str, str]) -> Part:
    """A program of _PROGRAMS, asked for its version."""
    names, ask, needed_for, debian, homebrew = row
    told: dict[str, Any] = {"name": names[0], "needed_for": needed_for, "remedy": _install(debian, homebrew)}
    path = next((path for name in names if (path := shutil.which(name))), None)
    if path is None:
        return Part(state=MISSING, detail="not installed", **told)
    try:
        done = subprocess.run(
            [path, ask], capture_output=True, text=True, errors="replace", timeout=PROGRAM_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return Part(state=BROKEN, detail=f"{path}: {error}", **told)
    said = (done.stdout.strip() or done.stderr.strip()).splitlines()
    if done.returncode or not said:
        return Part(state=BROKEN, detail=f"{path} {ask}: status {done.returncode}", **told)
    return Part(state=OK, detail=f"{said[0]} ({path})", name=names[0], needed_for=needed_for)


def _install(debian: str, homebrew: str) -> str:
    return f"brew install {homebrew}" if platform.system() == "Darwin" else f"sudo apt-get install {debian}"


def _web() -> Part:
    """LiteRT for the browser, from npm."""
    about = device_side() / "web" / "node_modules" / "@litertjs" / "core" / "package.json"
    told = {"name": "@litertjs/core", "needed_for": "tfseg demo", "remedy": npm_command()}
    return _read(about, lambda text: json.loads(text)["version"], **told)


def _harness() -> Part:
    """Google's benchmark, where get_harness.sh puts it."""
    script = device_side() / "android" / "get_harness.sh"
    told = {"name": "benchmark_model", "needed_for": "tfseg benchmark --target android", "remedy": f"{script} v1"}
    path = next((path for path in script.parent.glob("benchmark_model_v*") if path.is_file()), None)
    if path is None:
        return Part(state=MISSING, detail="not downloaded; or name one with --harness", **told)
    return Part(state=OK, detail=str(path), name=told["name"], needed_for=told["needed_for"])


def _read(path: Path, version: Callable[[str], str], *, name: str, needed_for: str, remedy: str) -> Part:
    told = {"name": name, "needed_for": needed_for}
    if not path.is_file():
        return Part(state=MISSING, detail="not installed", remedy=remedy, **told)
    try:
        return Part(state=OK, detail=version(path.read_text(encoding="utf-8")), **told)
    except (OSError, ValueError, KeyError) as error:
        return Part(state=BROKEN, detail=f"{path}: {error}", remedy=remedy, **told)
