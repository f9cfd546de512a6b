"""The progress of pieces that are done at the same time, as one."""

from collections.abc import Sequence

from tfseg.progress import Watch


class Board:
    """Adds up, stage by stage, how far every piece is.

    A piece that is not done and has not been heard of in a stage counts as large as the mean of the others, so that the
    time left is that of the whole.
    """

    def __init__(self, names: Sequence[str], watch: Watch) -> None:
        self._names, self._watch = names, watch
        self._stages: dict[str, dict[int, tuple[int, int]]] = {}  # stage -> piece -> done, total
        self._told: dict[str, tuple[int, int]] = {}
        self._finished: set[int] = set()
        self._latest = ""  # stage

    def note(self, index: int, stage: str, done: int, total: int, detail: str = "") -> None:
        """Piece `index` is at `done` of `total` in `stage`."""
        self._latest = stage
        self._stages.setdefault(stage, {})[index] = done, total
        self._tell(stage, f"{self._names[index]} {detail}" if detail else "")

    def finish(self, index: int) -> None:
        """Piece `index` is done, wherever it was: it may have stopped early."""
        self._finished.add(index)
        for stage, heard in self._stages.items():
            if index in heard:
                heard[index] = heard[index][1], heard[index][1]
            if self._sum(stage) != self._told[stage]:
                self._tell(stage, "")

    def say(self, index: int, text: str) -> None:
        """Show a line about piece `index`."""
        text = f"{self._names[index]} {text}"
        if self._latest:
            self._tell(self._latest, text)
        else:
            self._watch("starting", 0, len(self._names), text)

    def _tell(self, stage: str, detail: str) -> None:
        self._told[stage] = self._sum(stage)
        self._watch(stage, *self._told[stage], detail)

    def _sum(self, stage: str) -> tuple[int, int]:
        heard = self._stages[stage]
        done, total = (sum(numbers) for numbers in zip(*heard.values(), strict=True))
        ahead = len(self._names) - len(self._finished | set(heard))
        return done, total + total * ahead // len(heard)
