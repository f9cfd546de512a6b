"""Several cross-validations one after the other, until tfseg.kfold has them."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.config import Recipe
from tfseg.data.source import Source
from tfseg.kfold import kfold
from tfseg.progress import Watch


@dataclasses.dataclass(frozen=True, kw_only=True)
class Plan:
    """A run to do."""

    recipe: Recipe
    source: Source
    run: Path


def run_plans(plans: Sequence[Plan], *, engine: Any, command: Sequence[str], watch: Watch) -> list[dict[str, Any]]:
    """Do what is missing of every run."""
    assert engine is None
    summaries = []
    for plan in plans:
        with runs.locked(plan.run):
            runs.sweep(plan.run)
            summaries.append(kfold(plan.recipe, plan.source, plan.run, command=command, watch=watch))
    return summaries
