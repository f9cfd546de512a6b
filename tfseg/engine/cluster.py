"""Pieces of work on a Ray cluster: sent out, watched, fetched home, and sent again when their worker was lost."""

import contextlib
import dataclasses
import functools
import importlib.util
import io
import logging
import os
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Sequence
from pathlib import Path
from typing import Any, TextIO, cast

from tfseg import runs
from tfseg.engine import worker
from tfseg.engine.board import Board
from tfseg.engine.piece import LOG, THREADS, Files, Piece, cpus_here
from tfseg.errors import InputError, WorkError
from tfseg.progress import Watch

_POLL_S = 0.2
_ANSWER_S = 10  # a cluster that is up answers in a fraction of one


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster that is there already.

    Every piece is one task. Its files come home after every epoch, so that the same piece on another worker, or in
    another process after this one was killed, goes on from there.

    Attributes:
        address: HOST:PORT of its head node; "auto": the cluster that this machine belongs to; or ray://HOST:PORT: one
            that it does not belong to.
        cpus: of a node, that each piece asks for, and the threads that it computes with; else as many as here, with
            which a deterministic recipe gives the same bytes as here.
        gpus: of a node, that each piece asks for; a share of one will do.
        losses: so many workers may be lost with one piece; at the next, it is given up.
    """

    address: str = "auto"
    cpus: int = dataclasses.field(default_factory=cpus_here)
    gpus: float = 0
    losses: int = 3

    def __post_init__(self) -> None:
        if self.cpus < 1 or self.gpus < 0:
            raise InputError(f"a piece of work needs 1 CPU or more and 0 GPUs or more, not {self.room}")

    @property
    def room(self) -> str:
        """What a piece asks of a node, in words."""
        return f"{self.cpus} CPUs" + (f" and {self.gpus:g} GPUs" if self.gpus else "")

    def check(self) -> None:
        """Raise InputError where Ray is not installed or nothing answers at the address."""
        if importlib.util.find_spec("ray") is None:
            raise InputError("--engine ray needs the package ray: pip install 'tfseg[ray]'")
        if self.address == "auto":
            _require_own_cluster()
        else:
            _check_address(self.address)

    def run(self, pieces: Sequence[Piece], *, watch: Watch) -> Generator[Piece]:
        """Do all pieces at once, as far as the cluster has room, and yield each when its files are home.

        Raises:
            InputError: no cluster, or no node of it is as large as a piece asks for.
            WorkError: a piece failed, or its workers were lost again and again.
        """
        if not pieces:
            return
        with _connected(self.address), _one_line():
            desk = _Desk(self, pieces, watch)
            try:
                yield from desk.work()
            finally:
                desk.cancel()


class _Desk:
    """Sends pieces out and takes what comes back."""

    def __init__(self, engine: Ray, pieces: Sequence[Piece], watch: Watch) -> None:
        import ray
        from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

        self._engine, self._pieces = engine, pieces
        self._board = Board([piece.name for piece in pieces], watch)
        self._out: dict[Any, int] = {}  # reference to a task's answer -> index of its piece
        self._versions = runs.versions()
        self._tries = [0] * len(pieces)
        self._copies: dict[tuple[Path, tuple[str, ...]], list[tuple[str, Any]]] = {}  # by root and names
        here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=False)
        self._mailbox: Any = ray.remote(worker.Mailbox).options(num_cpus=0, scheduling_strategy=here).remote()
        self._do = ray.remote(worker.do).options(num_cpus=engine.cpus, num_gpus=engine.gpus, max_retries=0)

    def work(self) -> Iterator[Piece]:
        """Do all pieces and yield each when it is home."""
        import ray

        if not _has_room(self._engine):
            raise InputError(
                f"{self._engine.address}: no node of the Ray cluster has {self._engine.room}; "
                "ask for less with --ray-cpus or --ray-gpus"
            )
        for index in range(len(self._pieces)):
            self._send(index)
        while self._out:
            answered, _ = ray.wait(list(self._out), timeout=_POLL_S)
            self._read_letters()
            for reference in answered:
                index = self._out.pop(reference)
                if self._answered(index, reference):
                    self._board.finish(index)
                    yield self._pieces[index]

    def cancel(self) -> None:
        """Stop what still runs; what came home stays."""
        import ray
        from ray import exceptions

        with contextlib.suppress(exceptions.RayError):  # the cluster itself may be gone
            for reference in self._out:
                ray.cancel(reference, force=True)
            ray.kill(self._mailbox)

    def _send(self, index: int) -> None:
        import ray

        piece, attempt = self._pieces[index], (index, self._tries[index])
        left = worker.read(piece.run / piece.folder, {}) if (piece.run / piece.folder).exists() else []
        parcel = worker.Parcel(
            run=piece.run.absolute().name,
            folder=piece.folder,
            work=piece.work,
            files=piece.files,
            copies=[self._copies.get((files.root, files.names)) for files in piece.files],
            left=[(name, data) for name, data in left if not name.startswith(runs.PREDICTIONS)],
        )
        tell = functools.partial(_tell, self._mailbox, attempt)
        settings = {THREADS: str(self._engine.cpus)}
        self._out[self._do.remote([ray.put(parcel)], settings, self._versions, tell)] = index

    def _read_letters(self) -> None:
        import ray

        for (index, attempt), kind, content in ray.get(self._mailbox.take.remote()):
            if attempt != self._tries[index]:  # from a worker that was given up
                continue
            if kind == "files":
                worker.write(self._pieces[index].run / self._pieces[index].folder, content)
            else:
                self._board.note(index, *content)

    def _answered(self, index: int, reference: Any) -> bool:
        """Return whether a piece is done; else it was sent out again."""
        import ray
        from ray import exceptions

        lost = (exceptions.WorkerCrashedError, exceptions.NodeDiedError, exceptions.OutOfMemoryError)
        piece = self._pieces[index]
        try:
            answer: Any = ray.get(reference)
        except (*lost, exceptions.ObjectLostError, exceptions.LocalRayletDiedError) as error:
            self._lost(index, type(error).__name__)
            return False
        if isinstance(answer, worker.Unseen):
            self._copy(piece.files[answer.number])
            self._send(index)
            return False
        if answer is not None:
            raise answer
        return True

    def _lost(self, index: int, reason: str) -> None:
        """Send a piece out again, unless too many workers were lost with it or none is left for it."""
        piece, log = self._pieces[index], self._pieces[index].run / self._pieces[index].folder / LOG
        self._tries[index] += 1
        if self._tries[index] > self._engine.losses:
            raise WorkError(f"{piece.name}: {self._tries[index]} workers were lost with it ({reason}; see {log})")
        if not _has_room(self._engine):
            raise WorkError(
                f"{piece.name}: lost its worker ({reason}), and no node that is left has {self._engine.room}; "
                "what came home is kept: start another and go on with --resume"
            )
        self._board.say(index, f"lost its worker ({reason}), and goes on with another from its last epoch")
        self._send(index)

    def _copy(self, files: Files) -> None:
        """Put files where every worker can fetch them, once."""
        import ray

        key = files.root, files.names
        if key not in self._copies:
            self._copies[key] = [(name, ray.put((files.root / name).read_bytes())) for name in files.names]


def _tell(mailbox: Any, attempt: tuple[int, int], kind: str, content: Any) -> None:
    """Put a letter into the mailbox, and wait until it is there."""
    import ray

    ray.get(mailbox.put.remote((attempt, kind, content)))


def _has_room(engine: Ray) -> bool:
    """Tell whether any node could ever take a piece: Ray itself would wait for one in silence."""
    import ray

    for node in ray.nodes():
        has = node["Resources"]
        if node["Alive"] and has.get("CPU", 0) >= engine.cpus and has.get("GPU", 0) >= engine.gpus:
            return True
    return False


@contextlib.contextmanager
def _connected(address: str) -> Iterator[None]:
    """Join the cluster, unless this process has joined one already, and keep its chatter off the terminal."""
    import ray

    if ray.is_initialized():
        yield
        return
    os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")  # silences a warning; tasks without GPU see none
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.CRITICAL)
    except (ConnectionError, RuntimeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise InputError(f"{address}: cannot join a Ray cluster there ({reason}); see `ray start --help`") from error
    try:
        with contextlib.redirect_stdout(cast(TextIO, _Hushed(sys.stdout))):
            yield
    finally:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints what it has held back
            ray.shutdown()


@contextlib.contextmanager
def _one_line() -> Iterator[None]:
    """Turn the loss of the cluster itself into one line; a bug of ours on a worker keeps its traceback."""
    from ray import exceptions

    try:
        yield
    except exceptions.RayTaskError:
        raise
    except exceptions.RayError as error:
        reason = " ".join(str(error).split())[:200]
        raise WorkError(
            f"the Ray cluster was lost ({reason}); what came home is kept: go on with --resume when it is up again"
        ) from error


class _Hushed:
    """A stream that lets through what is printed, except by the thread in which Ray tells of nodes that died."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        """Write text, or drop it."""
        if threading.current_thread().name == "ray_listen_error_messages":
            return len(text)
        return self._stream.write(text)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def _check_address(address: str) -> None:
    """Raise InputError where no Ray cluster answers: joining would wait for a minute, or end this process."""
    host, _, port = address.removeprefix("ray://").rpartition(":")
    if not host or not port.isdecimal():
        raise InputError(f"--ray-address {address}: is not HOST:PORT, as `ray start --head` prints it")
    try:
        with socket.create_connection((host, int(port)), timeout=_ANSWER_S) as connection:
            answers = os.environ.get("RAY_USE_TLS") == "1" or _speaks_http2(connection)
    except (OSError, OverflowError):
        answers = False
    if not answers:
        raise InputError(
            f"{address}: no Ray cluster answers there; start one with `ray start --head`, or name another address"
        )


def _speaks_http2(connection: socket.socket) -> bool:
    """Greet as gRPC does, with the preface and an empty SETTINGS frame (RFC 9113, 3.4), and see SETTINGS come back."""
    connection.sendall(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + b"\0\0\0\4\0\0\0\0\0")
    header = b""
    while len(header) < 9 and (more := connection.recv(9 - len(header))):
        header += more
    return len(header) == 9 and header[3] == 4


def _require_own_cluster() -> None:
    """Raise InputError where this machine belongs to no Ray cluster: Ray looks for it, and may find a dead one.

    In another process, since Ray writes what it misses past Python.
    """
    check = [sys.executable, "-m", "ray.scripts.scripts", "health-check"]
    try:
        healthy = subprocess.run(check, capture_output=True, check=False, timeout=2 * _ANSWER_S).returncode == 0
    except subprocess.TimeoutExpired:
        healthy = False
    if not healthy:
        raise InputError("this machine belongs to no Ray cluster that answers: name one with --ray-address HOST:PORT")
