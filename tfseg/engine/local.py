"""One piece of work after the other, in this process."""

import dataclasses
from collections.abc import Generator, Sequence

from tfseg.engine.piece import Piece
from tfseg.progress import Watch


@dataclasses.dataclass(frozen=True)
class Local:
    """This process; all files are used where they are."""

    def run(self, pieces: Sequence[Piece], *, watch: Watch) -> Generator[Piece]:
        """Do all pieces in the order given, and yield each when it is done."""
        for piece in pieces:
            piece.work(piece.run, lambda root: root, piece.share(watch))
            yield piece
