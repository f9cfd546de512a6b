"""What a worker of a Ray cluster does with a piece of work; it runs on another machine and knows nothing of home.

It works in a folder of its own below the machine's temporary one, and sends home what changes in it after every epoch
and at the end. Images that it does not see at their place come with the piece. The folder goes when the piece is done;
one that a killed worker left is removed by the next on that machine.
"""

import contextlib
import dataclasses
import os
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.engine.piece import LOG, Files, Where, logged
from tfseg.errors import InputError, WorkError
from tfseg.progress import Watch, sparing

Content = list[tuple[str, bytes]]  # names relative to a folder, in the order in which they were written


@dataclasses.dataclass(frozen=True, kw_only=True)
class Parcel:
    """A piece on its way to a worker.

    Attributes:
        run: the name of the run folder, which goes into files that ship.
        folder: see `Piece`.
        work: see `Piece`.
        files: see `Piece`.
        copies: of each of `files`, names and references to what they hold; None until a worker did not see them.
        left: what an earlier worker, or an earlier process, left in the folder.
    """

    run: str
    folder: str
    work: Callable[[Path, Where, Watch], None]
    files: tuple[Files, ...]
    copies: Sequence[Sequence[tuple[str, Any]] | None]
    left: Content


@dataclasses.dataclass(frozen=True)
class Unseen:
    """The answer of a worker that misses the files with that number."""

    number: int


class Mailbox:
    """An actor beside the process that sent the pieces out: it keeps what workers say until that process asks."""

    def __init__(self) -> None:
        self._letters: list[Any] = []

    def put(self, letter: Any) -> None:
        """Keep a letter."""
        self._letters.append(letter)

    def take(self) -> list[Any]:
        """Hand all letters over."""
        letters, self._letters = self._letters, []
        return letters


def do(
    parcel: Sequence[Any], settings: Mapping[str, str], versions: Mapping[str, str], tell: Callable[..., None]
) -> Unseen | InputError | WorkError | None:
    """Do a piece on this machine.

    Args:
        parcel: one reference to a `Parcel`; in a list, so that it is opened here and not before this is called.
        settings: variables of the environment that libraries read when they are imported.
        versions: of the packages at home; another one would give other numbers.
        tell: sends home "files" with their `Content`, or "watch" with what a Watch is told.

    Returns:
        None when all is done and sent, what is missing, or what a user has to know.
    """
    import ray

    os.environ |= settings
    with _scratch() as scratch:
        try:
            _check_versions(versions)
            content: Any = ray.get(parcel[0])
            folder = scratch / content.run / content.folder
            write(folder, content.left)
            with logged(folder / LOG):
                return _do(content, scratch, tell)
        except (InputError, WorkError) as error:
            return error
        except ImportError as error:
            return WorkError(f"worker on {os.uname().nodename}: {error}; install tfseg there as it is here")
        except OSError as error:
            if error.errno is None:
                raise
            return WorkError(f"worker on {os.uname().nodename}: {error.filename or scratch}: {error.strerror}")


def read(folder: Path, sent: dict[str, tuple[int, int]]) -> Content:
    """Return what is new or has changed in a folder since `sent` was noted, the oldest first, and note it there."""
    content = []
    for path in folder.rglob("*"):
        name = path.relative_to(folder).as_posix()
        if path.is_file() and ".tmp" not in path.name:
            status = path.stat()
            if sent.get(name) != (status.st_mtime_ns, status.st_size):
                sent[name] = status.st_mtime_ns, status.st_size
                content.append((name, path.read_bytes()))
    return sorted(content, key=lambda item: sent[item[0]])


def write(folder: Path, content: Content) -> None:
    """Write files into a folder, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, data in content:
        runs.write_whole(folder / name, data)


def _do(parcel: Parcel, scratch: Path, tell: Callable[..., None]) -> Unseen | None:
    places = {}
    for number, (files, copies) in enumerate(zip(parcel.files, parcel.copies, strict=True)):
        if files.seen():
            places[files.root] = files.root
        elif copies is not None:
            places[files.root] = _unpack(scratch / ".files" / str(number), copies)
        else:
            return Unseen(number)
    folder = scratch / parcel.run / parcel.folder
    sent: dict[str, tuple[int, int]] = {}
    read(folder, sent)
    seen = sparing(lambda words: tell("watch", words))

    def watch(stage: str, done: int, total: int, detail: str = "") -> None:
        if detail:
            tell("files", read(folder, sent))
        seen(stage, done, total, detail)

    try:
        parcel.work(scratch / parcel.run, places.__getitem__, watch)
    finally:
        sys.stderr.flush()
        tell("files", read(folder, sent))
    return None


def _unpack(folder: Path, copies: Sequence[tuple[str, Any]]) -> Path:
    import ray

    for name, reference in copies:  # one by one: memory stays flat
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(ray.get(reference))
    return folder


def _check_versions(wanted: Mapping[str, str]) -> None:
    for package, version in runs.versions().items():
        if wanted.get(package, version) != version:
            raise WorkError(
                f"worker on {os.uname().nodename}: has {package} {version}, and here it is {wanted[package]}: "
                "install the same version on every machine"
            )


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """Make a folder for this process' work, and remove it afterwards, with those that killed workers left."""
    parent = Path(tempfile.gettempdir()) / f"tfseg-ray-{os.getuid()}"
    parent.mkdir(mode=0o700, exist_ok=True)
    for left in parent.iterdir():
        if not _alive(int(left.name.partition("-")[0])):
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"{os.getpid()}-", dir=parent))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    return True
