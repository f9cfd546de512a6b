"""From a run's networks to the files that ship, and the proof of what these are worth on patients they never saw."""

import dataclasses
import math
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras

from tfseg import losses, runs, unseen
from tfseg.config import Recipe
from tfseg.data import folds, frames
from tfseg.data.images import network_input, read_image
from tfseg.data.pipeline import training_batches
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.inference import Masking, Opened, with_flips
from tfseg.job import (
    CONFUSION,
    KERAS,
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
from tfseg.lite import finetune, interpret, metadata
from tfseg.lite.calibration import Calibration, choose
from tfseg.lite.convert import Options, convert, one_by_one
from tfseg.metrics import HOLDOUT, Row, read_rows
from tfseg.models.files import Card, open_file
from tfseg.predict import expand
from tfseg.progress import Watch

_WINDOW = ("window_low_hu", "window_high_hu")
_TUNING_STEPS = 500  # that fine-tuning takes at least, but for runs that were shorter themselves
REFERENCE = "fp32"  # is converted whenever another file is: what it loses, the conversion loses


def convert_network(job: Job, folder: Path, training: Sequence[str], fold: int | None) -> dict[str, Opened]:
    """Convert the network in `folder` to the files that the recipe names, and open them.

    Args:
        job: the run.
        folder: holds the network; a file that it holds already is not made again.
        training: the images that the network learned from: int8 files are calibrated on some of them.
        fold: of the network; None for the final one.
    """
    paths = _paths(job, folder)
    if lacking := [path for path in paths.values() if not path.exists()]:
        opened = open_file(folder / runs.MODEL)
        for path in lacking:
            runs.write_whole(path, _converted(job, opened, Options.of(path.stem), training, fold))
    return {file: interpret.open_file(path) for file, path in paths.items()}


def missing(job: Job, folder: Path) -> list[Path]:
    """Return what `folder` lacks of its network and the files that the recipe names."""
    wanted = [folder / runs.MODEL, *_paths(job, folder).values()]
    return [path for path in wanted if not path.exists()]


def ship(job: Job, options: Options, out: Path) -> dict[str, Any]:
    """Convert a finished run: each fold's network, scored on the images that it never saw, and the one that ships.

    That one is the final network where the run has trained it, else the first fold's. Files of the default form stay in
    the folds' folders, and their scores in the run's metrics, summary and report.

    Args:
        job: the run, locked by the caller.
        options: what kind of file.
        out: where the file that ships goes; its metadata hold the proof.

    Returns:
        A summary like that of the run, of the networks and this kind of file alone.

    Raises:
        InputError: the run holds no trained network or no scores of it.
    """
    split = folds.load(job.run / runs.FOLDS, list(job.source.samples.values()), job.source.root)
    done = [fold for fold in range(job.recipe.folds) if (job.folder(fold) / runs.METRICS).exists()]
    if not done:
        raise InputError(f"{job.run}: no fold has been trained and scored yet; go on with it: --resume")
    rows: list[Row] = []
    counts: dict[str, Counts] = {}
    kept = options == Options.of(options.kind)
    for fold in done:
        folder, training = job.folder(fold), training_part(job, split, fold)[0]
        content = _converted(job, open_file(folder / runs.MODEL), options, training, fold)
        opened = interpret.open_content(content, str(folder))
        new_rows, new_counts = score(job, opened, split[str(fold)], str(fold), file=options.kind)
        old_rows = [row for row in read_rows(folder / runs.METRICS) if row.file != options.kind]
        old_counts = [entry for entry in runs.read_json(folder / CONFUSION) if entry["file"] != options.kind]
        rows += [row for row in old_rows if row.file == KERAS] + new_rows
        counts[str(fold)] = [entry for entry in old_counts if entry["file"] == KERAS] + new_counts
        if kept:
            runs.write_whole(folder / f"{options.kind}.tflite", content)
            write_scores(folder, old_rows + new_rows, old_counts + new_counts)
    if kept:
        collect(job)
    summary = summarise_job(job, rows, counts)
    final = job.run / runs.FINAL / runs.MODEL
    fold = None if final.exists() else done[0]
    path = final if fold is None else job.folder(fold) / runs.MODEL
    content = _converted(job, open_file(path), options, training_part(job, split, fold)[0], fold)
    about = dataclasses.replace(metadata.parse(content, str(out)), proof=summary["comparisons"][options.kind])
    runs.write_whole(out, metadata.attach(content, about))
    (job.run / PIXELS).unlink(missing_ok=True)
    return summary


def sensitivity(job: Job) -> dict[str, dict[str, float]]:
    """Return what 8 bits in each layer alone do to the Dice of the first fold's network, on images it never saw.

    Returns:
        layer -> class -> mean Dice with that layer in 8 bits less the mean Dice in float; the worst layer comes first.

    Raises:
        InputError: the run holds no trained network or no scores of it.
    """
    split = folds.load(job.run / runs.FOLDS, list(job.source.samples.values()), job.source.root)
    fold = next((fold for fold in range(job.recipe.folds) if (job.folder(fold) / runs.METRICS).exists()), None)
    if fold is None:
        raise InputError(f"{job.run}: no fold has been trained and scored yet; go on with it: --resume")
    network, card = open_file(job.folder(fold) / runs.MODEL)
    calibration = _run_calibration(job, training_part(job, split, fold)[0], fold, Options())

    def dice(content: bytes, file: str) -> dict[str, float]:
        rows, _ = score(job, interpret.open_content(content, file), split[str(fold)], str(fold), file=file)
        return {name: statistics.mean(row.dice for row in rows if row.class_name == name) for name in job.classes}

    whole = dice(convert(network, card, Options(precision=REFERENCE), watch=job.watch), REFERENCE)
    changes = {}
    for layer, content in one_by_one(network, card, calibration=calibration, watch=job.watch):
        changes[layer] = {name: value - whole[name] for name, value in dice(content, layer).items()}
    return dict(sorted(changes.items(), key=lambda item: min(item[1].values())))


def convert_file(path: Path, options: Options, out: Path, *, images: Path | None, watch: Watch) -> None:
    """Convert one network file, calibrated on a folder of images where the options ask for int8; nothing is scored."""
    network, card = open_file(path)
    calibration = None
    if options.precision == "int8":
        if images is None:
            raise InputError(f"{path}: an int8 file needs images to calibrate on: name a folder with --calibration DIR")
        calibration = _folder_calibration(images, network.input_shape[-1], options.image_size or network.input_shape[1])
    content = convert(network, card, options, calibration=calibration, watch=watch)
    runs.write_whole(out, content)


def drops(summary: Mapping[str, Any], kind: str) -> dict[str, float]:
    """Return by how much the mean Dice of each class is lower in the file than in the network."""
    return {name: -paired["dice"]["mean"] for name, paired in summary["comparisons"][kind].items()}


def score_file(path: Path, source: Source, *, flips: bool = False, watch: Watch) -> dict[str, Any]:
    """Score a .tflite file on images that it never saw, with flips where asked for, and return a summary.

    On the data that it learned from these are the images of its fold; on other data, as fold "holdout", all that are
    like none that it learned from, nor of their patients. The summary's "unseen" is that of tfseg.rescore.

    Raises:
        InputError: `path` is no file of tfseg, or it has learned from all of these images.
    """
    about = metadata.read(path)
    predict, masking = interpret.open_file(path)
    names, fold = list(source.samples), HOLDOUT
    note: dict[str, Any] = {}
    tables = [folder / runs.FOLDS for folder in path.resolve().parents[:2]]
    table = next((table for table in tables if table.exists()), None)
    if about.fingerprint == source.fingerprint and about.fold is not None and table is not None:
        fold = str(about.fold)
        names = folds.load(table, list(source.samples.values()), source.root)[fold]
    elif about.seen is not None:
        found = unseen.of_file(about.seen, source, HOLDOUT, path)
        names, note = found.folds[HOLDOUT], {"unseen": found.about()}
    elif about.fingerprint == source.fingerprint:
        raise InputError(f"{path}: learned from these very images; what it is worth, its run says: tfseg report RUN")
    else:
        note = {"unseen": {"scored": len(names), "left_out": None}}
    job = Job(recipe=_recipe_of(masking, source), source=source, run=path.parent, watch=watch)
    rows, counts = score(job, (with_flips(predict) if flips else predict, masking), names, fold, file=about.precision)
    return summarise_job(job, rows, {fold: counts}) | note


def _paths(job: Job, folder: Path) -> dict[str, Path]:
    """Return where the files that the recipe names lie, by their kind."""
    kinds = dict.fromkeys((REFERENCE, *job.recipe.deploy)) if job.recipe.deploy else {}
    return {kind: folder / f"{kind}.tflite" for kind in kinds}


def _recipe_of(masking: Masking, source: Source) -> Recipe:
    return Recipe.from_mapping(
        {
            "dataset": source.dataset.name,
            "classes": masking.classes,
            "image_size": masking.image_size,
            "channels": masking.channels,
            "threshold": masking.threshold,
            "largest_component": masking.largest_component,
            "region": masking.region,
            "region_margin_mm": masking.margin_mm,
            **({} if masking.window is None else dict(zip(_WINDOW, masking.window, strict=True))),
        }
    )


def _converted(
    job: Job, opened: tuple[keras.Model, Card], options: Options, training: Sequence[str], fold: int | None
) -> bytes:
    """Convert a network of the run; an int8 file is calibrated on some of the images that the network learned from."""
    network, card = opened
    calibration = _run_calibration(job, training, fold, options) if options.precision == "int8" else None
    course = _course(job, training, fold, options) if options.learns else None
    return convert(
        network, card, options, calibration=calibration, course=course, training=job.run.name, watch=job.watch
    )


def _course(job: Job, training: Sequence[str], fold: int | None, options: Options) -> finetune.Course:
    """Fine-tune on the images that the network learned from, for a tenth of the epochs at a tenth of the rate.

    Rounding is undone by small steps: at half of the rate, Adam moved the weights farther away than 8 bits had. It
    takes some hundred, however few images there are: on usgra 174 won at most 0.002 of the 0.005 of Dice back that
    SegResNet had lost, 522 won 0.003. Where weights become zero, the others must take over their work: a quarter of the
    epochs, at a third of the rate.
    """
    recipe = job.recipe
    if options.image_size not in (None, recipe.image_size):
        raise InputError(f"a network is fine-tuned at the size of its training, {recipe.image_size} pixels")
    place = {name: index for index, name in enumerate(job.source.samples)}
    pixels = decode_pixels(job)
    records = pixels.records(place[name] for name in training)
    passes = recipe.training_epochs(len(records))
    batches = training_batches(
        pixels,
        records,
        batch_size=recipe.batch_size,
        augment=recipe.augment,
        seed=recipe.seed + (recipe.folds if fold is None else fold),
        first_epoch=passes,
    )
    steps = max(1, len(records) // recipe.batch_size)
    epochs = max(passes * (0.25 if options.sparsity else 0.1), min(_TUNING_STEPS / steps, passes))
    return finetune.Course(
        batches=batches.map(lambda image, mask: image),
        activation=losses.loss(recipe.loss).activation,
        epochs=math.ceil(epochs),
        steps=steps,
        learning_rate=recipe.learning_rate * (0.3 if options.sparsity else 0.1),
        watch=job.watch,
    )


def _run_calibration(job: Job, training: Sequence[str], fold: int | None, options: Options) -> Calibration:
    recipe = job.recipe
    seed = recipe.seed + (recipe.folds if fold is None else fold)
    names = choose(training, [job.source.labels[name] for name in training], seed=seed)
    size = options.image_size or recipe.image_size
    samples = [job.source.samples[name] for name in names]
    images = [network_input(image, size) for image in frames.images(samples, job.source.dataset, job.view, seed=seed)]
    return Calibration(names=tuple(names), images=images)


def _folder_calibration(folder: Path, channels: int, size: int) -> Calibration:

    found = expand([folder])
    names = choose(list(found), [()] * len(found), seed=0)
    images = [network_input(read_image(found[name], channels=channels), size) for name in names]
    return Calibration(names=tuple(names), images=images)
