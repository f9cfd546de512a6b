"""Pieces of work on a Ray cluster."""

import dataclasses
from collections.abc import Generator, Sequence

from tfseg.engine.piece import Piece
from tfseg.errors import WorkError
from tfseg.progress import Watch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Ray:
    """A Ray cluster that is there already.

    Attributes:
        address: HOST:PORT of its head node, or "auto": the cluster that this machine belongs to.
        cpus: of its node, that each piece asks for.
        gpus: the same; a share of one will do.
    """

    address: str = "auto"
    cpus: int = 1
    gpus: float = 0

    def run(self, pieces: Sequence[Piece], *, watch: Watch) -> Generator[Piece]:
        """Do all pieces, and yield each when its files are home."""
        yield from ()
        watch("waiting for Ray", 0, len(pieces))
        raise WorkError(f"{self.address}: nothing runs on Ray yet")
