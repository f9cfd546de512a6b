"""The progress of pieces that are done at the same time, as one."""

from collections.abc import Sequence

from tfseg.progress import Watch

EVERY = "training"  # the stage that each piece goes through, unless an earlier process did


class Board:
    """Adds up, stage by stage, how far every piece is.

    A piece that has not been heard of counts as large as the mean of the others in the stage that all go through, so
    that the time left is that of the whole.
    """

    def __init__(self, names: Sequence[str], watch: Watch) -> None:
        self._names, self._watch = names, watch
        self._stages: dict[str, dict[int, tuple[int, int]]] = {}

    def note(self, index: int, stage: str, done: int, total: int, detail: str = "") -> None:
        """Piece `index` is at `done` of `total` in `stage`."""
        heard = self._stages.setdefault(stage, {})
        heard[index] = done, total
        self._tell(stage, f"{self._names[index]} {detail}" if detail else "")

    def finish(self, index: int) -> None:
        """Piece `index` is done, wherever it was: it may have stopped early."""
        for stage, heard in self._stages.items():
            if index in heard and heard[index][0] < heard[index][1]:
                heard[index] = heard[index][1], heard[index][1]
                self._tell(stage, "")

    def say(self, index: int, text: str) -> None:
        """Show a line about piece `index`."""
        self._stages.setdefault(EVERY, {}).setdefault(index, (0, 0))
        self._tell(EVERY, f"{self._names[index]} {text}")

    def _tell(self, stage: str, detail: str) -> None:
        heard = self._stages[stage].values()
        done, total = (sum(numbers) for numbers in zip(*heard, strict=True))
        if stage == EVERY:
            total = total * len(self._names) // len(heard)
        self._watch(stage, done, total, detail)
