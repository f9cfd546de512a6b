"""Where data lie: the places we look in, what marks a phantom, the fingerprint, and the download from Kaggle."""

import contextlib
import hashlib
import json
import logging
import os
import shutil
import sys
import zipfile
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tfseg.data import dataset
from tfseg.data.files import is_folder, require_folder
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError, WorkError
from tfseg.runs import sha256

PHANTOM_MARKER = "PHANTOM.json"
_SHARED = {"open_kidney_2": "open_kidney"}  # two sonographers, one folder
_CONNECT_S = 5


def cache_root() -> Path:
    """Return the folder of downloaded data: $XDG_CACHE_HOME/tfseg, or ~/.cache/tfseg."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", ""))
    return (cache if cache.is_absolute() else Path.home() / ".cache") / "tfseg"


def candidates(name: str) -> list[Path]:
    """List the folders where a data set is looked for when none is named, the first choice first."""
    collection = os.environ.get("TFSEG_DATA")
    parents = [Path(collection), cache_root()] if collection else [cache_root()]
    return [parent / folder for parent in parents for folder in dict.fromkeys([name, _SHARED.get(name, name)])]


def find(name: str, data: Path | None) -> Path | None:
    """Return `data`, or else the first candidate that exists, or None; InputError when `data` is no folder."""
    if data is not None:
        require_folder(data)
        return data
    return next((path for path in candidates(name) if is_folder(path)), None)


def is_phantom(root: Path) -> bool:
    """Tell whether the data in `root`, or in the folder it lies in (as nerve's train/ may be named), were simulated."""
    return any((folder / PHANTOM_MARKER).is_file() for folder in (root, root.resolve().parent))


def fingerprint(root: Path, samples: Sequence[Sample], contents: Sequence[Sequence[str]] | None = None) -> str:
    """Return a SHA-256 (64 hex digits) over the samples: names relative to `root`, what is known of them, and contents.

    It depends neither on where `root` lies nor on the order of the samples.

    Args:
        root: the folder of the data.
        samples: all of them.
        contents: of each, the SHA-256 of its image and of its masks in order; read from the files where not given.

    Raises:
        InputError: a file cannot be read.
    """
    if contents is None:
        with ThreadPoolExecutor(4) as pool:  # hashlib releases the interpreter's lock
            contents = list(pool.map(lambda sample: [sha256(path) for path in _files(sample)], samples))
    entries = sorted(_entry(root, sample, sums) for sample, sums in zip(samples, contents, strict=True))
    return hashlib.sha256("\n".join(entries).encode()).hexdigest()


def _files(sample: Sample) -> list[Path]:
    return [sample.image, *sorted(sample.masks)]


def _entry(root: Path, sample: Sample, sums: Sequence[str]) -> str:
    """Return one line that changes with anything that makes up the sample."""
    files = [(path.relative_to(root).as_posix(), total) for path, total in zip(_files(sample), sums, strict=True)]
    polygons = [(polygon.channel, polygon.vertices) for polygon in sample.polygons]
    return json.dumps([files, polygons, sample.patient, sample.stratum, sample.spacing_mm])


def get(name: str) -> Path:
    """Download a data set into the cache folder, with the user's own Kaggle credentials, and return its folder.

    A data set that lies there already is left as it is. An interrupted download leaves nothing that looks whole.

    Raises:
        InputError: Kaggle does not have it, or credentials or the acceptance of its terms are missing.
        WorkError: no connection, or the download failed.
    """
    wanted = dataset(name)
    target = cache_root() / _SHARED.get(name, name)
    if name == "folder":
        raise InputError("folder stands for images of your own: name where they lie with --data")
    by_hand = f"get it from {wanted.source} and unpack it into {target} as {wanted.layout}"
    if is_folder(target):
        return target
    if not wanted.kaggle:
        raise InputError(f"{name} is not on Kaggle: {by_hand}")
    partial = target.with_name(f".{name}.partial")
    with _one_line(wanted, by_hand):
        _download(wanted.kaggle, partial)
        for archive in sorted(partial.glob("*.zip")):  # the competition packs its train and test folders once more
            with zipfile.ZipFile(archive) as file:
                file.extractall(partial)
            archive.unlink()
    try:
        wanted.samples(partial)
    except InputError as error:
        raise WorkError(f"{name}: what Kaggle sent is not as expected: {error}") from error
    partial.rename(target)
    return target


def _download(handle: str, folder: Path) -> None:
    """Download and unpack what Kaggle has under `handle` into `folder`, which is emptied first; progress on stderr."""
    import kagglehub
    import requests

    requests.head("https://api.kaggle.com", timeout=_CONNECT_S)  # kagglehub waits for minutes when nobody answers
    logging.getLogger("kagglehub").setLevel(logging.WARNING)  # it logs to stdout, which may be read as JSON
    folder.parent.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder, ignore_errors=True)
    competition = handle.startswith("competition:")
    download = kagglehub.competition_download if competition else kagglehub.dataset_download
    with contextlib.redirect_stdout(sys.stderr):
        download(handle.removeprefix("competition:"), output_dir=str(folder))


@contextlib.contextmanager
def _one_line(wanted: Dataset, by_hand: str) -> Iterator[None]:
    """Turn what goes wrong between us and Kaggle into one line that says what to do."""
    try:
        import requests
        from kagglehub.exceptions import BackendError, DataCorruptionError, KaggleApiHTTPError, UnauthenticatedError
    except ImportError as error:
        raise InputError(f"the package kagglehub is not installed: install it, or {by_hand}") from error
    try:
        yield
    except UnauthenticatedError as error:
        raise InputError(
            "no Kaggle credentials: create an API token on kaggle.com under Settings and save it as "
            f"~/.kaggle/kaggle.json (or set KAGGLE_USERNAME and KAGGLE_KEY), or {by_hand}"
        ) from error
    except KaggleApiHTTPError as error:
        status = error.response.status_code if error.response is not None else None
        if status in (401, 403):
            raise InputError(
                f"Kaggle refused the download of {wanted.name} ({status}): check your credentials and accept the terms "
                f"at {wanted.source}, then run the same command"
            ) from error
        raise WorkError(f"Kaggle could not send {wanted.name} (status {status}): try later, or {by_hand}") from error
    except requests.RequestException as error:
        raise WorkError(
            f"no connection to Kaggle ({type(error).__name__}): run the same command with a network and your Kaggle "
            f"credentials, or {by_hand}"
        ) from error
    except ValueError as error:  # of kagglehub: a damaged kaggle.json, an unknown kind of archive
        raise InputError(f"kagglehub refuses: {_flat(error)}; put that right, or {by_hand}") from error
    except (BackendError, DataCorruptionError, zipfile.BadZipFile, OSError) as error:
        raise WorkError(f"the download of {wanted.name} failed ({_flat(error)}): try again, or {by_hand}") from error


def _flat(error: Exception) -> str:
    return " ".join(str(error).split())
