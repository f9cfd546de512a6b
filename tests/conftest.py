"""What all tests share: quiet libraries, no access to the user's own settings and caches, and the real data."""

import functools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
from PIL import Image

# Read when TensorFlow, Keras, matplotlib or albumentations are imported, here or in a process that a test starts.
_settings = tempfile.TemporaryDirectory(prefix="tfseg-tests-")
os.environ |= {
    "KERAS_BACKEND": "tensorflow",
    "KERAS_HOME": _settings.name,  # ~/.keras/keras.json would change float types
    "MPLBACKEND": "agg",
    "MPLCONFIGDIR": _settings.name,
    "NO_ALBUMENTATIONS_UPDATE": "1",  # it asks the network for a newer version
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "1",  # as tfseg asks, which many tests import after TensorFlow
}

# A busy machine is no failure, and the same commit gives the same result; no examples are kept beside the sources.
hypothesis.settings.register_profile("tfseg", deadline=None, derandomize=True, database=None)
hypothesis.settings.load_profile("tfseg")


def pytest_unconfigure() -> None:
    """Remove the libraries' settings."""
    _settings.cleanup()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add --update-golden, which writes the golden numbers instead of comparing with them."""
    parser.addoption("--update-golden", action="store_true", help="write tests/models/goldens/*.json anew")


@pytest.fixture(autouse=True)
def _no_user_state(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the test, and the processes it starts, an empty home: no data, no cache, no Kaggle credentials."""
    for name in [name for name in os.environ if name.startswith(("TFSEG_", "KAGGLE"))]:
        monkeypatch.delenv(name)
    home = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CACHE_HOME", str(home / ".cache"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real data beside the checkout (usgra, hc18); the test is skipped where it is absent."""
    folder = Path(__file__).parents[2] / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"no real data at {folder}")
    return folder


@pytest.fixture(scope="session")
def start_tfseg() -> Iterator[Callable[..., "subprocess.Popen[str]"]]:
    """Start `tfseg ARGUMENTS` as a user's shell would, behind the words of `prefix`, and return the process."""

    started: list[subprocess.Popen[str]] = []

    def start(*arguments: object, prefix: Sequence[str] = ()) -> "subprocess.Popen[str]":
        command = [*prefix, sys.executable, "-m", "tfseg", *map(str, arguments)]
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "stdin": subprocess.DEVNULL}
        heed = functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL)  # a background shell ignores Ctrl-C
        process = subprocess.Popen(command, text=True, cwd=Path(__file__).parents[1], preexec_fn=heed, **pipes)
        started.append(process)
        return process

    yield start
    for process in started:  # of tests that failed
        if process.poll() is None:
            process.kill()
            process.communicate()


@pytest.fixture(scope="session")
def tfseg(start_tfseg: Callable[..., "subprocess.Popen[str]"]) -> Callable[..., "subprocess.CompletedProcess[str]"]:
    """Run `tfseg ARGUMENTS` to its end, assert its exit status, and return what it printed."""

    def run(*arguments: object, status: int = 0, **options: object) -> "subprocess.CompletedProcess[str]":
        process = start_tfseg(*arguments, **options)
        stdout, stderr = process.communicate()
        assert process.returncode == status, f"exit status {process.returncode}\n{stdout}\n{stderr}"
        return subprocess.CompletedProcess(process.args, process.returncode, stdout, stderr)

    return run


@pytest.fixture(scope="session")
def write_folder() -> Callable[..., Path]:
    """Write small data sets in the `folder` layout."""

    def write(root: Path, *, subjects: int = 6, seed: int = 7) -> Path:
        """Write a data set in the `folder` layout: noise with a bright disk, two images a subject."""
        rng = np.random.default_rng(seed)
        row, column = np.mgrid[:40, :48]
        lines = ["image,patient"]
        for subject in range(subjects):
            for frame in range(2):
                center = rng.integers(12, 28, 2)
                disk = (row - center[0]) ** 2 + (column - center[1]) ** 2 < 64
                image = rng.integers(0, 100, (40, 48)) + 120 * disk
                name = f"{subject}_{frame}.png"
                for folder, array in (("images", image), ("masks", 255 * disk)):
                    (root / folder).mkdir(parents=True, exist_ok=True)
                    Image.fromarray(array.astype(np.uint8)).save(root / folder / name)
                lines.append(f"{name},{subject}")
        (root / "samples.csv").write_text("\n".join(lines) + "\n")
        return root

    return write


@pytest.fixture(scope="session")
def write_dicom() -> Callable[..., Path]:
    """Write DICOM files as scanners do, with a patient who must not be found again."""
    from pydicom import Dataset
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    def write(path: Path, pixels: np.ndarray, *, sop_class: str = CTImageStorage, **more: Any) -> Path:
        """Write `pixels`, (H, W), (H, W, 3) or, with NumberOfFrames, (D, H, W) or (D, H, W, 3)."""
        colour = pixels.shape[-1] == 3
        file = Dataset()
        file.file_meta = FileMetaDataset()
        file.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        file.SOPClassUID, file.SOPInstanceUID = sop_class, generate_uid()
        file.StudyInstanceUID, file.SeriesInstanceUID = (
            generate_uid(entropy_srcs=["1"]),
            generate_uid(entropy_srcs=["2"]),
        )
        file.PatientName, file.PatientID, file.PatientBirthDate = "Doelittle^Jane", "4711-0815", "19700101"
        file.ReferringPhysicianName, file.InstitutionName, file.StudyDate = "Housing^Greg", "Plainsboro", "20260102"
        file.AccessionNumber, file.PatientSex, file.Modality = "ACC99", "F", "CT"
        file.Rows, file.Columns = pixels.shape[-3:-1] if colour else pixels.shape[-2:]
        file.SamplesPerPixel, file.PhotometricInterpretation = (3, "RGB") if colour else (1, "MONOCHROME2")
        if colour:
            file.PlanarConfiguration = 0
        file.BitsAllocated = file.BitsStored = 8 * pixels.itemsize
        file.HighBit, file.PixelRepresentation = file.BitsStored - 1, int(pixels.dtype.kind == "i")
        for name, value in more.items():
            setattr(file, name, value)
        file.PixelData = pixels.tobytes()
        path.parent.mkdir(parents=True, exist_ok=True)
        file.save_as(path, enforce_file_format=True)
        return path

    return write


@pytest.fixture(scope="module")
def nerve(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of simulated nerves: 8 patients, 16 images."""
    from tfseg.data.phantom import generate

    root = tmp_path_factory.mktemp("data") / "nerve"
    generate("nerve", root, subjects=8, frames=2)
    return root


@pytest.fixture(scope="module")
def cluster() -> Iterator[Any]:
    """A Ray cluster of two nodes on this machine's network, each with as many CPUs, by its own account, as it has."""
    pytest.importorskip("ray", reason="needs Ray: pip install 'tfseg[ray]'")
    from ray.cluster_utils import Cluster

    heed = {"worker_niceness": 0}  # else all that a busy machine does beside these tests comes first
    room = {"num_cpus": len(os.sched_getaffinity(0))}
    head = room | {"include_dashboard": False, "_system_config": heed}
    nodes = Cluster(initialize_head=True, head_node_args=head)
    nodes.add_node(**room)
    yield nodes
    nodes.shutdown()


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of a few megabytes."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = shutil.which("mount")
    if mount is None or subprocess.run([mount, "-t", "tmpfs", "-o", "size=4m", "tmpfs", disk], check=False).returncode:
        pytest.skip("a small disk needs the right to mount a tmpfs (root)")
    yield disk
    subprocess.run([shutil.which("umount") or "umount", disk], check=True)
