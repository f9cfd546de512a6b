"""Task: one measurement to make, and what its result says whatever comes of it."""

import dataclasses
import datetime
import statistics
from collections.abc import Mapping
from typing import Any

from tfseg.bench.numerics import File
from tfseg.bench.result import Cell
from tfseg.lite.metadata import Metadata


@dataclasses.dataclass(frozen=True, kw_only=True)
class Task:
    """One measurement to make.

    Attributes:
        name: what the file is called in the result.
        file: the network.
        delegate: one of result.DELEGATES.
        threads: of the CPU; None for a GPU.
        runs: the least number of timed inferences.
    """

    name: str
    file: File
    delegate: str
    threads: int | None
    runs: int


def outcome(task: Task, **fields: Any) -> Cell:
    """Return the result of a task; `fields` are those that its target fills in."""
    return Cell(
        file=task.name,
        file_sha256=task.file.sha256,
        precision=task.file.precision,
        delegate=task.delegate,
        threads=task.threads,
        runs_asked=task.runs,
        measured_at=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        **_worth(task.file.about),
        **fields,
    )


def _worth(about: Metadata | None) -> Mapping[str, Any]:
    """Return what a file's own metadata say that it is worth; a file of another tool says nothing."""
    if about is None:
        return {}
    scores = [paired.get("score") for paired in about.proof.values()]
    known = [score for score in scores if score is not None]
    return {
        "model": about.model,
        "dataset": about.dataset,
        "phantom": about.phantom,
        "dice": statistics.mean(known) if known and len(known) == len(scores) else None,
    }
