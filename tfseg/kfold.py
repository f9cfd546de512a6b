"""k trainings, each scored on the patients that it never saw: the main job."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tfseg import deploy, losses, models, runs
from tfseg.config import Recipe
from tfseg.data import folds
from tfseg.data.pixels import Pixels
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.inference import open_network
from tfseg.job import (
    PIXELS,
    Counts,
    Job,
    collect,
    decode_pixels,
    score,
    summarise_job,
    training_part,
    write_scores,
)
from tfseg.metrics import HOLDOUT, Row
from tfseg.models.files import Card, open_file, save
from tfseg.progress import Watch
from tfseg.train import STATE, Task, check_task, train


def kfold(
    recipe: Recipe, source: Source, run: Path, *, command: Sequence[str], only: int | None = None, watch: Watch
) -> dict[str, Any]:
    """Cross-validate a recipe in the folder `run`, going on from whatever an earlier process left there.

    Args:
        recipe: what to train.
        source: on what.
        run: the run folder, locked by the caller; what is finished in it is not done again.
        command: how to say this again, for provenance.
        only: train and score that fold alone, instead of all.
        watch: told how far the work is.

    Returns:
        The content of summary.json.

    Raises:
        InputError: data and recipe do not fit together, or the run was begun with others.
        WorkError: a training failed.
    """
    job = Job(recipe=recipe, source=source, run=run, watch=watch)
    models.network(recipe.model, image_size=recipe.image_size)
    split = _begin(job, command)
    chosen = list(range(recipe.folds)) if only is None else [only]
    parts = {fold: training_part(job, split, fold) for fold in chosen}
    for training, _ in parts.values():
        check_task(recipe, sum(source.samples[name].slices or 1 for name in training))
    todo = [fold for fold in chosen if not (job.folder(fold) / runs.METRICS).exists()]
    final = run / runs.FINAL if recipe.final and only is None else None
    if todo or (final and not (final / runs.MODEL).exists()):
        pixels = decode_pixels(job)
        for fold in todo:
            _train_part(job, pixels, parts[fold], fold, job.folder(fold), watch=_share(watch, chosen, fold))
            _score_fold(job, fold, parts[fold][0], split[str(fold)])
            (job.folder(fold) / STATE).unlink(missing_ok=True)
        if final:
            _train_part(job, pixels, training_part(job, split, None), None, final, watch=watch)
        pixels.close()
    if final:
        deploy.convert_network(job, final, training_part(job, split, None)[0], None)
        (final / STATE).unlink(missing_ok=True)
    if split.get(HOLDOUT) and not (run / HOLDOUT / runs.METRICS).exists():
        draw = run / HOLDOUT / runs.PREDICTIONS
        write_scores(run / HOLDOUT, *score(job, open_network(run)[0], split[HOLDOUT], HOLDOUT, draw=draw))
    (run / PIXELS).unlink(missing_ok=True)
    return collect(job)


def rescore(run: Path, source: Source, *, watch: Watch) -> dict[str, Any]:
    """Score a run's networks again and return a summary; nothing is written.

    On the run's own data every fold's network meets the images that it never saw. On any other data, all images are
    scored by the mean of the folds' networks, and count as fold "holdout".
    """
    job = Job(recipe=runs.read_recipe(run), source=source, run=run, watch=watch)
    if source.fingerprint == runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"]:
        split = folds.load(run / runs.FOLDS, list(source.samples.values()), source.root)
        done = [fold for fold in range(job.recipe.folds) if (job.folder(fold) / runs.MODEL).exists()]
    else:
        split, done = {HOLDOUT: list(source.samples)}, []
    jobs = [(str(fold), fold) for fold in done] + ([(HOLDOUT, None)] if split.get(HOLDOUT) else [])
    rows: list[Row] = []
    counts: dict[str, Counts] = {}
    for name, fold in jobs:
        scored, counts[name] = score(job, open_network(run, fold=fold)[0], split[name], name)
        rows += scored
    return summarise_job(job, rows, counts)


def _begin(job: Job, command: Sequence[str]) -> dict[str, list[str]]:
    """Write what a run folder starts with, or check that it was begun with the same; return the folds."""
    run, source = job.run, job.source
    samples = list(source.samples.values())
    if (
        job.recipe.weights.endswith(".keras")
        and open_file(Path(job.recipe.weights))[1].fingerprint == source.fingerprint
    ):
        raise InputError(
            f"{job.recipe.weights}: learned from these same images, so that no fold would be unseen; "
            "start from weights of other data"
        )
    if (run / runs.FOLDS).exists():
        if runs.read_recipe(run) != job.recipe:
            raise InputError(
                f"{run}: was begun with another recipe ({run / runs.RECIPE}); give the same, or another --out"
            )
        if runs.read_json(run / runs.PROVENANCE)["data"]["fingerprint"] != source.fingerprint:
            raise InputError(f"{run}: was begun on other data than {source.root} holds now; choose another --out")
        return folds.load(run / runs.FOLDS, samples, source.root)
    split = folds.draw(
        samples,
        list(source.groups.values()),
        source.root,
        folds=job.recipe.folds,
        seed=job.recipe.seed,
        holdout=job.recipe.holdout,
        labels=list(source.labels.values()),
        classes=job.fold_classes,
    )
    runs.write_json(run / runs.PROVENANCE, runs.provenance(command, data=source.about()))
    runs.write_whole(run / runs.RECIPE, job.recipe.to_toml())
    runs.write_json(run / runs.DATA_CHECK, source.report.to_json())
    runs.write_json(run / runs.FOLDS, split)  # last: its presence says that the run has begun
    return split


def _train_part(
    job: Job, pixels: Pixels, part: tuple[list[str], list[str]], fold: int | None, folder: Path, *, watch: Watch
) -> None:
    """Train a network on images `part[0]`, watched on `part[1]`, and save it; `fold` is None for the final one."""
    path = folder / runs.MODEL
    if path.exists():
        return
    place = {name: index for index, name in enumerate(job.source.samples)}
    training = pixels.records(place[name] for name in part[0])
    validation = pixels.records((place[name] for name in part[1]), shown=job.source.volumes)
    check_task(job.recipe, len(training))
    number = job.recipe.folds if fold is None else fold
    task = Task(fold=number, training=training, validation=validation, folder=folder)
    network = train(job.recipe, pixels, task, watch=watch)
    card = Card(
        model=job.recipe.model,
        classes=job.classes,
        activation=losses.loss(job.recipe.loss).activation,
        threshold=job.recipe.threshold,
        largest_component=job.recipe.largest_component,
        dataset=job.source.dataset.name,
        fingerprint=job.source.fingerprint,
        phantom=job.source.phantom,
        fold=fold,
        window=job.view.window,
        region=job.view.region,
        margin_mm=job.view.margin_mm,
    )
    save(network, path, card)


def _score_fold(job: Job, fold: int, training: Sequence[str], unseen: Sequence[str]) -> None:
    """Score a fold's network, and the files that it is converted to, on the images that it never saw."""
    folder = job.folder(fold)
    rows, counts = score(job, open_network(job.run, fold=fold)[0], unseen, str(fold), draw=folder / runs.PREDICTIONS)
    for file, predict in deploy.convert_network(job, folder, training, fold).items():
        more_rows, more_counts = score(job, predict, unseen, str(fold), file=file)
        rows, counts = rows + more_rows, counts + more_counts
    write_scores(folder, rows, counts)


def _share(watch: Watch, chosen: Sequence[int], fold: int) -> Watch:
    """Turn the progress of one training into that of all."""
    place = chosen.index(fold)

    def share(stage: str, done: int, total: int, detail: str = "") -> None:
        note = f"fold {place + 1}/{len(chosen)} {detail}" if detail else ""
        watch(stage, place * total + done, len(chosen) * total, note)

    return share
