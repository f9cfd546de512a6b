"""Pieces of work on this computer: one after the other, or several at a time, each in a process of its own."""

import dataclasses
import multiprocessing
import os
import signal
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from pathlib import Path

from tfseg.engine.board import Board
from tfseg.engine.piece import LOG, THREADS, Piece, Where, cpus_here, logged
from tfseg.errors import InputError, WorkError
from tfseg.progress import Watch, sparing
from tfseg.quiet import silent_stderr


@dataclasses.dataclass(frozen=True, kw_only=True)
class Local:
    """This computer; all files are used where they are.

    Attributes:
        workers: how many pieces at a time. One is done in this process; more are done in as many processes, each of
            which computes with its share of the CPUs: more is done in the same time where a piece cannot keep all of
            them busy, and the last digits of sums may differ.
    """

    workers: int = 1

    def __post_init__(self) -> None:
        if self.workers < 1:
            raise InputError(f"--workers {self.workers}: at least 1")

    def run(self, pieces: Sequence[Piece], *, watch: Watch) -> Generator[Piece]:
        """Do all pieces and yield each when it is done; one by one in the order given.

        Raises:
            WorkError: a process that did a piece was killed.
            Whatever a piece raises; the others are stopped then.
        """
        if min(self.workers, len(pieces)) < 2:
            for piece in pieces:
                piece.work(piece.run, lambda root: root, piece.share(watch))
                yield piece
        else:
            yield from _at_once(pieces, min(self.workers, len(pieces)), watch)


def _at_once(pieces: Sequence[Piece], workers: int, watch: Watch) -> Generator[Piece]:
    board = Board([piece.name for piece in pieces], watch)
    waiting = deque(range(len(pieces)))
    processes: list[SpawnProcess] = []
    at_work: dict[Connection, int] = {}  # pipe to a process -> index of its piece
    try:
        for _ in range(workers):
            pipe, process = _start(threads=max(1, cpus_here() // workers))
            processes.append(process)
            at_work[pipe] = _hand_out(pipe, pieces, waiting)
        while at_work:
            for pipe in wait(list(at_work)):
                assert isinstance(pipe, Connection)
                index = at_work[pipe]
                try:
                    kind, content = pipe.recv()
                except (EOFError, OSError) as error:
                    raise WorkError(
                        f"{pieces[index].name}: its process was ended from outside (out of memory?); what is finished "
                        f"is kept: go on with --resume. {pieces[index].run / pieces[index].folder / LOG}"
                    ) from error
                if kind == "watch":
                    board.note(index, *content)
                    continue
                if kind == "failed":
                    raise content
                board.finish(index)
                del at_work[pipe]
                if waiting:
                    at_work[pipe] = _hand_out(pipe, pieces, waiting)
                yield pieces[index]
    finally:
        for process in processes:
            process.kill()  # whatever it does can be ended at any instant
        for process in processes:
            process.join()


def _start(*, threads: int) -> tuple[Connection, SpawnProcess]:
    context = multiprocessing.get_context("spawn")  # a forked one would inherit locks of TensorFlow's threads
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, threads), daemon=True)
    process.start()
    theirs.close()
    return ours, process


def _hand_out(pipe: Connection, pieces: Sequence[Piece], waiting: deque[int]) -> int:
    index = waiting.popleft()
    piece = pieces[index]
    pipe.send((piece.work, piece.run, piece.folder))
    return index


def _serve(pipe: Connection, threads: int) -> None:
    """Do the pieces that come through a pipe, and tell through it how far they are; ends with the process at home."""
    os.environ[THREADS] = str(threads)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the process at home, too, which ends this one
    threading.Thread(target=_end_with_parent, daemon=True).start()
    tell = sparing(lambda words: pipe.send(("watch", words)))
    while True:
        with silent_stderr():  # what TensorFlow says when it is imported, with the first piece
            work, run, folder = pipe.recv()
        (run / folder).mkdir(parents=True, exist_ok=True)
        with logged(run / folder / LOG):
            answer = _do(work, run, tell)
        pipe.send(answer)


def _do(work: Callable[[Path, Where, Watch], None], run: Path, tell: Watch) -> tuple[str, Exception | None]:
    try:
        work(run, lambda root: root, tell)
    except Exception as error:
        if not isinstance(error, InputError | WorkError | OSError):
            error.add_note("".join(traceback.format_exception(error)))
        return "failed", error
    return "done", None


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent
    parent.join()
    os._exit(1)
