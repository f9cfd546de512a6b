"""k trainings, each scored on the patients that it never saw: the main job."""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tfseg import losses, models, runs
from tfseg.config import Recipe
from tfseg.data import folds
from tfseg.data.pixels import Pixels, decode
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.evaluate import Scored, evaluate
from tfseg.inference import Masking, Predict, open_network, write_masks
from tfseg.metrics import COLUMNS, HOLDOUT, Row, read_rows, row_values
from tfseg.models.files import Card, save
from tfseg.progress import Watch
from tfseg.summary import summarise
from tfseg.train import STATE, Task, check_task, train

CONFUSION = "confusion.json"
PIXELS = "pixels.bin"
KERAS = "keras"  # in the column `file`: the network as it was trained
COUNTS = ("tp", "fp", "fn", "tn")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Job:
    """What is trained, on what, and where it goes."""

    recipe: Recipe
    source: Source
    run: Path
    watch: Watch

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes to learn, in the order of the network's channels."""
        return self.source.dataset.select(self.recipe.classes)

    def folder(self, fold: int) -> Path:
        """Return where a fold's files are."""
        return runs.fold_folder(self.run, fold)


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
    parts = {fold: _training_part(job, split, fold) for fold in chosen}
    for training, _ in parts.values():
        check_task(recipe, len(training))
    todo = [fold for fold in chosen if not (job.folder(fold) / runs.METRICS).exists()]
    if todo:
        pixels = _decode(job)
        for fold in todo:
            _train_fold(job, pixels, parts[fold], fold, watch=_share(watch, chosen, fold))
            predict, _ = open_network(run, fold=fold)
            _score(job, predict, split[str(fold)], job.folder(fold), str(fold))
            (job.folder(fold) / STATE).unlink(missing_ok=True)
        pixels.close()
    if split.get(HOLDOUT) and not (run / HOLDOUT / runs.METRICS).exists():
        _score(job, open_network(run)[0], split[HOLDOUT], run / HOLDOUT, HOLDOUT)
    (run / PIXELS).unlink(missing_ok=True)
    return _collect(job)


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
    counts: dict[str, list[dict[str, Any]]] = {}
    for name, fold in jobs:
        for image, scored in _scored(job, open_network(run, fold=fold)[0], split[name]):
            rows += _rows(job, image, name, scored)
            counts.setdefault(name, []).extend(_counts(job, scored))
    return _summary(job, rows, counts)


def _begin(job: Job, command: Sequence[str]) -> dict[str, list[str]]:
    """Write what a run folder starts with, or check that it was begun with the same; return the folds."""
    run, source = job.run, job.source
    samples = list(source.samples.values())
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
        classes=job.classes,
    )
    runs.write_json(run / runs.PROVENANCE, runs.provenance(command, data=source.about()))
    runs.write_whole(run / runs.RECIPE, job.recipe.to_toml())
    runs.write_json(run / runs.DATA_CHECK, source.report.to_json())
    runs.write_json(run / runs.FOLDS, split)  # last: its presence says that the run has begun
    return split


def _training_part(job: Job, split: dict[str, list[str]], fold: int) -> tuple[list[str], list[str]]:
    """Return the images a fold learns from, and those behind its validation curves."""
    rest = [name for other in range(job.recipe.folds) if other != fold for name in split[str(other)]]
    if not job.recipe.validation:
        return rest, split[str(fold)]
    groups, labels = [job.source.groups[name] for name in rest], [job.source.labels[name] for name in rest]
    return folds.validation_split(rest, groups, labels, share=job.recipe.validation, seed=job.recipe.seed + fold)


def _decode(job: Job) -> Pixels:
    return decode(
        job.run / PIXELS,
        list(job.source.samples.values()),
        job.source.dataset,
        classes=job.classes,
        size=job.recipe.image_size,
        channels=job.recipe.channels,
        watch=lambda done, total: job.watch("decoding images", done, total),
    )


def _train_fold(job: Job, pixels: Pixels, part: tuple[list[str], list[str]], fold: int, *, watch: Watch) -> None:
    path = job.folder(fold) / runs.MODEL
    if path.exists():
        return
    place = {name: index for index, name in enumerate(job.source.samples)}
    training, validation = ([place[name] for name in names] for names in part)
    task = Task(fold=fold, training=training, validation=validation, folder=job.folder(fold))
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
    )
    save(network, path, card)


def _score(job: Job, predict: Predict, names: Sequence[str], folder: Path, fold: str) -> None:
    """Write predictions, confusion counts and metrics of one fold; metrics come last and say that it is done."""
    rows: list[Row] = []
    counts: list[dict[str, Any]] = []
    shutil.rmtree(folder / runs.PREDICTIONS, ignore_errors=True)
    for name, scored in _scored(job, predict, names):
        write_masks(scored.prediction, (folder / runs.PREDICTIONS / name).with_suffix(""), job.classes)
        rows += _rows(job, name, fold, scored)
        counts += _counts(job, scored)
    totals = [{"file": file, "class": name} | total for (file, name), total in _total(counts).items()]
    runs.write_json(folder / CONFUSION, totals)
    runs.write_csv(folder / runs.METRICS, COLUMNS, map(row_values, rows))


def _scored(job: Job, predict: Predict, names: Sequence[str]) -> Iterator[tuple[str, Scored]]:
    recipe = job.recipe
    masking = Masking(
        image_size=recipe.image_size,
        channels=recipe.channels,
        classes=job.classes,
        threshold=recipe.threshold,
        largest_component=recipe.largest_component,
    )
    results = evaluate(predict, [job.source.samples[name] for name in names], job.source.dataset, masking)
    for done, (name, scored) in enumerate(zip(names, results, strict=True), 1):
        job.watch("scoring unseen images", done, len(names))
        yield name, scored


def _rows(job: Job, name: str, fold: str, scored: Scored) -> list[Row]:
    rows = []
    for class_name, scores in zip(job.classes, scored.scores, strict=True):
        measured = {key: value for key, value in dataclasses.asdict(scores).items() if key not in COUNTS}
        patient = job.source.groups[name]
        rows.append(Row(image=name, patient=patient, fold=fold, file=KERAS, class_name=class_name, **measured))
    return rows


def _counts(job: Job, scored: Scored) -> list[dict[str, Any]]:
    pairs = zip(job.classes, scored.scores, strict=True)
    return [{"file": KERAS, "class": name} | {key: getattr(scores, key) for key in COUNTS} for name, scores in pairs]


def _total(entries: Iterable[dict[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """Add up counts by file and class."""
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for entry in entries:
        total = totals.setdefault((entry["file"], entry["class"]), dict.fromkeys(COUNTS, 0))
        for key in COUNTS:
            total[key] += entry[key]
    return totals


def _collect(job: Job) -> dict[str, Any]:
    """Write metrics.csv and summary.json from what the folds left, and return the summary."""
    done = [folder for folder in [*runs.fold_folders(job.run), job.run / HOLDOUT] if (folder / runs.METRICS).exists()]
    rows = [row for folder in done for row in read_rows(folder / runs.METRICS)]
    summary = _summary(job, rows, {folder.name: runs.read_json(folder / CONFUSION) for folder in done})
    runs.write_csv(job.run / runs.METRICS, COLUMNS, map(row_values, rows))
    runs.write_json(job.run / runs.SUMMARY, summary)
    return summary


def _summary(job: Job, rows: list[Row], counts: dict[str, list[dict[str, Any]]]) -> dict[str, Any]:
    """Summarise rows and the pixel counts of each fold, the hold-out's apart."""
    return summarise(
        rows,
        _total(entry for name, entries in counts.items() if name != HOLDOUT for entry in entries),
        classes=job.classes,
        data=job.source.about(),
        hausdorff_unit=job.source.unit,
        seed=job.recipe.seed,
        holdout_confusion=_total(counts.get(HOLDOUT, [])),
    )


def _share(watch: Watch, chosen: Sequence[int], fold: int) -> Watch:
    """Turn the progress of one training into that of all."""
    place = chosen.index(fold)

    def share(stage: str, done: int, total: int, detail: str = "") -> None:
        note = f"fold {place + 1}/{len(chosen)} {detail}" if detail else ""
        watch(stage, place * total + done, len(chosen) * total, note)

    return share
