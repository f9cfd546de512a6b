"""The run folder: its names, whole-file writes, provenance and lock; nothing that exists is overwritten."""

import contextlib
import csv
import errno
import fcntl
import hashlib
import io
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from tfseg.config import Recipe
from tfseg.errors import InputError

SCHEMA = 1
RECIPE = "recipe.toml"
PROVENANCE = "provenance.json"
DATA_CHECK = "data_check.json"
FOLDS = "folds.json"
IMAGES = "images.npz"  # what the run knows its images by: names, digests, thumbnails
METRICS = "metrics.csv"
SUMMARY = "summary.json"
REPORT = "report.html"
DECISION = "decision.json"  # of a fold: what its validation patients chose
MODEL = "model.keras"
HISTORY = "history.csv"
FINAL = "final"  # the folder of the network that learned from all images
PREDICTIONS = "predictions"
FIGURES = "figures"
LOCK = "lock"

_PACKAGES = ("tfseg", "tensorflow", "tensorflow-cpu", "keras", "numpy", "albumentations", "opencv-python-headless")


def write_whole(path: Path, content: str | bytes) -> None:
    """Write a file so that a reader, or a crash, sees the old one or the new one and never a part."""
    data = content.encode() if isinstance(content, str) else content
    with replacing(path) as temporary, temporary.open("wb") as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; what was written there takes its place when the block ends well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=f".tmp{path.suffix}")
    os.close(descriptor)
    temporary = Path(name)
    try:
        temporary.chmod(0o666 & ~_umask())
        yield temporary
        with temporary.open("rb+") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_json(path: Path, value: Any) -> None:
    """Write JSON with sorted-by-insertion keys, two spaces and NaN as null."""
    write_whole(path, json.dumps(_finite(value), indent=2, allow_nan=False) + "\n")


def read_json(path: Path) -> Any:
    """Read JSON; InputError names the file when it is missing or damaged."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged JSON ({error})") from error


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Write a CSV with a header; floats keep every digit that distinguishes them."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    write_whole(path, text.getvalue())


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, 64 hex digits; InputError when it cannot be read."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def same_file(path: Path, digest: str) -> bool:
    """Tell whether `path` is a file with that SHA-256."""
    return path.is_file() and sha256(path) == digest


def fold_folder(run: Path, fold: int) -> Path:
    """Return the folder of one fold inside a run."""
    return run / f"fold_{fold}"


def fold_folders(run: Path) -> list[Path]:
    """Return the folders of all folds that a run holds, in order."""
    return sorted(run.glob("fold_[0-9]*"), key=lambda folder: int(folder.name.removeprefix("fold_")))


def new_folder(root: Path, name: str) -> Path:
    """Return the first free folder `root/name-1`, `root/name-2`, ... and do not create it."""
    number = 1
    while (root / f"{name}-{number}").exists():
        number += 1
    return root / f"{name}-{number}"


def newest(root: Path, *, recipe: Recipe | None = None, fingerprint: str | None = None) -> Path | None:
    """Return the run below `root` that was begun last (with that recipe, on data of that fingerprint), or None."""
    begun = [
        path
        for path in root.glob(f"*/{RECIPE}")
        if (recipe is None or _has_recipe(path.parent, recipe))
        and (fingerprint is None or read_json(path.parent / PROVENANCE)["data"]["fingerprint"] == fingerprint)
    ]
    return max(begun, key=lambda path: path.stat().st_mtime_ns).parent if begun else None


def _has_recipe(run: Path, recipe: Recipe) -> bool:
    """Tell whether a run was begun with that recipe; an earlier version's file lacks keys that were added since."""
    try:
        return read_recipe(run) == recipe
    except InputError:
        return False


def begun(run: Path) -> bool:
    """Return whether `run` holds a run that can be resumed; InputError when it holds something else."""
    if (run / FOLDS).exists():
        return True
    early = {
        RECIPE,
        PROVENANCE,
        DATA_CHECK,
        IMAGES,
        LOCK,
    }  # a process killed before it drew its folds leaves no more than these
    foreign = (
        [path for path in run.iterdir() if path.name not in early and ".tmp" not in path.name] if run.exists() else []
    )
    if foreign:
        raise InputError(f"{run}: exists and is not a run folder (it holds {foreign[0].name}); choose another --out")
    return False


def read_recipe(run: Path) -> Recipe:
    """Return the recipe of a run; InputError when `run` is no run folder or of another schema."""
    if not run.is_dir():
        raise InputError(f"{run}: {'a file, not a run folder' if run.exists() else 'no such run folder'}")
    if not (run / RECIPE).is_file():
        raise InputError(f"{run}: not a run folder (it has no {RECIPE})")
    check_schema(run)
    return Recipe.load(run / RECIPE)


def check_schema(run: Path) -> None:
    """Raise InputError when the run was written by a version of tfseg with another layout of files."""
    provenance = read_json(run / PROVENANCE)
    schema = provenance.get("schema") if isinstance(provenance, dict) else None
    if schema != SCHEMA:
        raise InputError(
            f"{run}: a run of schema {schema}, and this version reads schema {SCHEMA}: "
            "use the tfseg version in its provenance.json, or run it again into another --out"
        )


@contextlib.contextmanager
def locked(run: Path) -> Iterator[None]:
    """Hold the run folder's lock; InputError when another process holds it. A killed process frees it.

    A run that ends in an error before it has begun leaves no folder.
    """
    run.mkdir(parents=True, exist_ok=True)
    with (run / LOCK).open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno not in (errno.EAGAIN, errno.EACCES):
                raise
            raise InputError(
                f"{run}: another process is working in this run folder; wait for it or choose --out"
            ) from error
        try:
            yield
        except BaseException:
            if [path.name for path in run.iterdir()] == [LOCK]:
                shutil.rmtree(run)
            raise


def sweep(run: Path) -> None:
    """Remove the temporary files that a killed process left in a run folder; call it under the lock."""
    for path in run.rglob(".*.tmp*"):
        path.unlink()


def provenance(command: Sequence[str], *, data: Mapping[str, Any]) -> dict[str, Any]:
    """Return what one needs to know to run this again: command, versions, git commit, data, host."""
    return {
        "schema": SCHEMA,
        "command": list(command),
        "data": dict(data),
        "versions": {"python": platform.python_version()} | versions(),
        "git_commit": _git_commit(),
        "host": {"system": platform.platform(), "machine": platform.machine(), "cpus": os.cpu_count()},
    }


def versions() -> dict[str, str]:
    """Return the versions of the packages that numbers depend on, as far as they are installed."""
    found = {}
    for package in _PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            found[package] = metadata.version(package)
    return found


def _git_commit() -> str | None:
    """The commit of the checkout tfseg runs from, with "+changes" where files differ; None outside a checkout."""
    git = shutil.which("git")
    root = Path(__file__).parent.parent
    if git is None or not (root / ".git").exists():
        return None
    commit = subprocess.run([git, "-C", root, "rev-parse", "HEAD"], capture_output=True, text=True, check=False)
    changes = subprocess.run(
        [git, "-C", root, "status", "--porcelain", "-uno"], capture_output=True, text=True, check=False
    )
    if commit.returncode or changes.returncode:
        return None
    return commit.stdout.strip() + ("+changes" if changes.stdout.strip() else "")


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    if isinstance(value, float) and (value != value or abs(value) == float("inf")):
        return None
    return value


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def command_line() -> list[str]:
    """The command as it was typed, for provenance and for the line that says how to resume."""
    return ["tfseg", *sys.argv[1:]]
