"""A piece of work that needs no other, and leaves all that it does in a folder of its own."""

import contextlib
import dataclasses
import os
import sys
from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Protocol

from tfseg.progress import Watch

LOG = "worker.log"  # in the folder of a piece: what the process printed that did it, where that is another one
THREADS = "TF_NUM_INTRAOP_THREADS"  # TensorFlow's own variable
Where = Callable[[Path], Path]  # from the root of `Files` to where these lie on the machine at work


@dataclasses.dataclass(frozen=True, kw_only=True)
class Files:
    """What a piece of work reads and does not change.

    Attributes:
        root: the folder that the names are relative to.
        names: of the files, POSIX, relative to `root`.
        seen: called on the machine at work: whether the very same files lie at `root` there, too.
    """

    root: Path
    names: tuple[str, ...]
    seen: Callable[[], bool]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Piece:
    """One piece of work; whoever does it again goes on from what its folder holds.

    Attributes:
        name: for people: "fold 2/5".
        run: the run folder that it belongs to.
        folder: the name of its own folder in `run`, where all that it leaves goes.
        work: does it, in a run folder, reading its files where they are said to be.
        files: what it reads; another machine gets copies of what it does not see.
        share: turns the progress of this piece into that of its run, where pieces are done one after the other.
    """

    name: str
    run: Path
    folder: str
    work: Callable[[Path, Where, Watch], None]
    files: tuple[Files, ...]
    share: Callable[[Watch], Watch]


class Engine(Protocol):
    """Whoever does the work."""

    def run(self, pieces: Sequence[Piece], *, watch: Watch) -> Generator[Piece]:
        """Do all pieces, and yield each as soon as its folder in its run holds all that it leaves."""
        ...


def cpus_here() -> int:
    """Return how many threads TensorFlow computes with in this process; the last digits of its sums depend on it."""
    if os.environ.get(THREADS):
        return int(os.environ[THREADS])
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def logged(path: Path) -> Iterator[None]:
    """Append what is printed, by whatever language, to a file."""
    kept = os.dup(1), os.dup(2)
    try:
        with path.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        yield
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        for stream, copy in enumerate(kept, 1):
            os.dup2(copy, stream)
            os.close(copy)
