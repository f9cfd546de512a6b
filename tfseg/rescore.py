"""A run's networks scored again, on the run's own data or on others."""

from pathlib import Path
from typing import Any

from tfseg import runs, unseen
from tfseg.data import folds
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.inference import open_network, with_flips
from tfseg.job import Counts, Job, score, summarise_job
from tfseg.metrics import HOLDOUT, Row
from tfseg.models.files import read_card
from tfseg.progress import Watch


def rescore(run: Path, source: Source, *, flips: bool = False, watch: Watch) -> dict[str, Any]:
    """Score a run's networks again, with flips where asked for, and return a summary; nothing is written.

    The classes of the data set are those of the networks (tfseg.evaluate.pair).

    On the run's own data every fold's network meets the images that it never saw. On any other data, images that are
    like some of the run's count as those; the others are scored by the mean of the folds' networks, as fold "holdout".
    The summary's "unseen" says how many were scored, and which were left out because a network saw them; its
    "left_out" is null where the run was begun by a version that did not note its images.

    Raises:
        InputError: nothing is left to score.
    """
    job = Job(recipe=runs.read_recipe(run), source=source, run=run, watch=watch)
    trained = [fold for fold in range(job.recipe.folds) if (job.folder(fold) / runs.MODEL).exists()]
    about: dict[str, Any] = {}
    if source.fingerprint == runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"]:
        split = folds.load(run / runs.FOLDS, list(source.samples.values()), source.root)
    elif (run / runs.IMAGES).exists():
        weights = (read_card(job.folder(fold) / runs.MODEL).seen or () for fold in trained[:1])
        before = [part for seen in weights for part in seen[1:]]
        found = unseen.of_run(run, runs.read_json(run / runs.FOLDS), trained, before, source)
        split, about = found.folds, {"unseen": found.about()}
    else:
        split, about = {HOLDOUT: list(source.samples)}, {"unseen": {"scored": len(source.samples), "left_out": None}}
    jobs = [(str(fold), fold) for fold in trained if split.get(str(fold))]
    jobs += [(HOLDOUT, None)] if split.get(HOLDOUT) else []
    rows: list[Row] = []
    counts: dict[str, Counts] = {}
    for name, fold in jobs:
        predict, masking = open_network(run, fold=fold)
        if masking.classes != job.classes:
            raise InputError(
                f"{run}: its recipe says {', '.join(job.classes)}, its network {', '.join(masking.classes)}"
            )
        opened = (with_flips(predict) if flips else predict, masking)
        scored, counts[name] = score(job, opened, split[name], name)
        rows += scored
    return summarise_job(job, rows, counts) | about
