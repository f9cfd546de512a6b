"""One run at work: its recipe, data and folder, and how its images are scored and summed up."""

import dataclasses
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfseg import models, runs
from tfseg.config import Recipe
from tfseg.data import folds
from tfseg.data.frames import View
from tfseg.data.pixels import Pixels, decode
from tfseg.data.sample import Sample
from tfseg.data.source import Source
from tfseg.errors import InputError
from tfseg.evaluate import Scored, evaluate
from tfseg.inference import Opened, write_masks
from tfseg.measures import Shape
from tfseg.metrics import COLUMNS, HOLDOUT, Row, read_rows, row_values
from tfseg.progress import Watch
from tfseg.stacks import write_volume_masks
from tfseg.summary import summarise

CONFUSION = "confusion.json"
PIXELS = "pixels.bin"  # of `decode_pixels`, while a run is at work
KERAS = "keras"  # in the column `file`: the network as it was trained
COUNTS = ("tp", "fp", "fn", "tn")
Counts = list[dict[str, Any]]  # of one image and class each: "file", "class" and COUNTS in pixels


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

    @property
    def fold_classes(self) -> tuple[str, ...]:
        """The classes that every fold must have to learn from.

        Of volumes these are all that anything shows, so that the networks of a cascade, which learn different ones,
        never see the same patients.
        """
        if not self.source.volumes:
            return self.classes
        shown = frozenset[str]().union(*self.source.labels.values())
        return tuple(name for name in self.source.dataset.classes if name in shown or name in self.classes)

    @property
    def view(self) -> View:
        """How its images are looked at."""
        return view(self.recipe, self.source)

    def folder(self, fold: int) -> Path:
        """Return where a fold's files are."""
        return runs.fold_folder(self.run, fold)


def view(recipe: Recipe, source: Source) -> View:
    """Return how a recipe looks at these data: pictures have neither a window nor a region.

    Raises:
        InputError: the recipe names a region that these data do not have.
    """
    if recipe.region:
        if not source.volumes:
            raise InputError(
                f"region = {recipe.region!r}: {source.dataset.name} has pictures, and only volumes have regions"
            )
        source.dataset.select((recipe.region,))
    if not source.volumes:
        return View(channels=recipe.channels)
    return View(
        channels=recipe.channels,
        window=(recipe.window_low_hu, recipe.window_high_hu),
        region=recipe.region,
        margin_mm=recipe.region_margin_mm,
    )


def settled(recipe: Recipe, source: Source) -> Recipe:
    """Return a recipe with what these data and its network's row decide: the weights, a presence head, decisions.

    Raises:
        InputError: the recipe asks for a presence head, and every mask shows something, or the images are volumes.
    """
    recipe = dataclasses.replace(recipe, weights=recipe.weights or models.network(recipe.model)[0].weights)
    if source.volumes:
        if "yes" in (recipe.presence, recipe.decide):
            raise InputError("presence and decide are for pictures, and these are volumes: set both to 'no'")
        recipe = dataclasses.replace(recipe, presence="no")
        return recipe.for_empties(0, 1)
    learned = source.dataset.select(recipe.classes)
    empty = [len(files) for name, files in source.report.empties.items() if name in learned]
    return recipe.for_empties(max(empty, default=0), len(source.samples))


def decode_pixels(job: Job) -> Pixels:
    """Decode all images to the network's size, in the order of the source, or open what is decoded already."""
    return decode(
        job.run / PIXELS,
        list(job.source.samples.values()),
        job.source.dataset,
        classes=job.classes,
        size=job.recipe.image_size,
        view=job.view,
        watch=lambda done, total: job.watch("decoding images", done, total),
    )


def training_part(job: Job, split: dict[str, list[str]], fold: int | None) -> tuple[list[str], list[str]]:
    """Return the images that a fold's network, or the final one, learns from, and those behind its validation curves.

    Images whose near-duplicate has a contradicting mask are in neither: a network cannot learn both. They are scored
    like all others. Where the recipe sets no share aside, a fold watches the images that it is scored on, and the final
    network those of the first fold, which it learns from, too.
    """
    contradicting = job.source.contradicting(job.classes)
    rest = [name for other in range(job.recipe.folds) if other != fold for name in split[str(other)]]
    rest = [name for name in rest if name not in contradicting]
    if not job.recipe.validation:
        return rest, split[str(fold or 0)]
    groups, labels = [job.source.groups[name] for name in rest], [job.source.labels[name] for name in rest]
    seed = job.recipe.seed + (job.recipe.folds if fold is None else fold)
    return folds.validation_split(rest, groups, labels, share=job.recipe.validation, seed=seed)


def score(
    job: Job, opened: Opened, names: Sequence[str], fold: str, *, file: str = KERAS, draw: Path | None = None
) -> tuple[list[Row], Counts]:
    """Score images by an open network or file, and write what was predicted, as PNG or NIfTI files, below `draw`."""
    rows: list[Row] = []
    counts: Counts = []
    if draw:
        shutil.rmtree(draw, ignore_errors=True)
    for name, scored in _scored(job, opened, names, file):
        if draw:
            if scored.sample.slices:
                stem = (draw / name).with_name(scored.sample.image.name.partition(".nii")[0])
                write_volume_masks(scored.prediction, scored.sample.image, stem, job.classes)
            else:
                write_masks(scored.prediction, (draw / name).with_suffix(""), job.classes)
        for class_name, scores, shapes in zip(job.classes, scored.scores, scored.shapes, strict=True):
            measured = dataclasses.asdict(scores)
            counts.append({"file": file, "class": class_name} | {key: measured.pop(key) for key in COUNTS})
            patient = job.source.groups[name]
            measured |= _measured(job, scored.sample, class_name, *shapes)
            rows.append(Row(image=name, patient=patient, fold=fold, file=file, class_name=class_name, **measured))
    return rows, counts


def _measured(job: Job, sample: Sample, class_name: str, truth: Shape, prediction: Shape) -> dict[str, Any]:
    """The columns of metrics.csv that hold what the masks of one class measure."""
    columns = {f"true_{name}": value for name, value in dataclasses.asdict(truth).items()}
    columns |= {f"predicted_{name}": value for name, value in dataclasses.asdict(prediction).items()}
    if sample.circumference_mm and sample.spacing_mm and class_name in job.source.dataset.ellipses:
        columns["listed_circumference"] = sample.circumference_mm
    return columns


def _scored(job: Job, opened: Opened, names: Sequence[str], file: str) -> Iterator[tuple[str, Scored]]:
    samples = [job.source.samples[name] for name in names]
    stage = "scoring unseen images" if file == KERAS else f"scoring unseen images, {file}"
    predict, masking = opened
    for done, (name, scored) in enumerate(
        zip(names, evaluate(predict, samples, job.source.dataset, masking), strict=True), 1
    ):
        job.watch(stage, done, len(names))
        yield name, scored


def write_scores(folder: Path, rows: Iterable[Row], counts: Iterable[Mapping[str, Any]]) -> None:
    """Write confusion counts and metrics of one fold; metrics come last and say that it is done."""
    totals = [{"file": file, "class": name} | total for (file, name), total in total_counts(counts).items()]
    runs.write_json(folder / CONFUSION, totals)
    runs.write_csv(folder / runs.METRICS, COLUMNS, map(row_values, rows))


def collect(job: Job) -> dict[str, Any]:
    """Write metrics.csv and summary.json from what the folds left, and return the summary."""
    done = [folder for folder in [*runs.fold_folders(job.run), job.run / HOLDOUT] if (folder / runs.METRICS).exists()]
    rows = [row for folder in done for row in read_rows(folder / runs.METRICS)]
    summary = summarise_job(job, rows, {folder.name: runs.read_json(folder / CONFUSION) for folder in done})
    runs.write_csv(job.run / runs.METRICS, COLUMNS, map(row_values, rows))
    runs.write_json(job.run / runs.SUMMARY, summary)
    return summary


def summarise_job(job: Job, rows: list[Row], counts: Mapping[str, Counts]) -> dict[str, Any]:
    """Summarise rows and the pixel counts of each fold, the hold-out's apart."""
    return summarise(
        rows,
        total_counts(entry for name, entries in counts.items() if name != HOLDOUT for entry in entries),
        classes=job.classes,
        data=job.source.about(),
        hausdorff_unit=job.source.unit,
        seed=job.recipe.seed,
        holdout_confusion=total_counts(counts.get(HOLDOUT, [])),
        tried_on=() if job.source.phantom else job.recipe.tried_on,
    )


def total_counts(entries: Iterable[Mapping[str, Any]]) -> dict[tuple[str, str], dict[str, int]]:
    """Add up counts by file and class."""
    totals: dict[tuple[str, str], dict[str, int]] = {}
    for entry in entries:
        total = totals.setdefault((entry["file"], entry["class"]), dict.fromkeys(COUNTS, 0))
        for key in COUNTS:
            total[key] += entry[key]
    return totals
