"""The images, folds and masks of a tfseg run in the peers' formats, and the peers' masks scored as our own are.

The formats are nnU-Net's (version 2): imagesTr, labelsTr and dataset.json of the raw data set, and splits_final.json of
the preprocessed one. Images are grey. Every image is a case, numbered in the order of the data set.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import peer_job
from PIL import Image

from tfseg import runs
from tfseg.data import DATASETS, folds
from tfseg.data.images import read_image
from tfseg.data.source import Source, open_source
from tfseg.metrics import HOLDOUT, Row, read_rows, score
from tfseg.summary import bootstrap_interval, paired_difference

CONTENT = "content.json"  # of the folder with a data set in the peers' formats
PRECISIONS = ("int8", "fp16", "dynamic", "fp32")  # which file of a run ships: the first of these that it has


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What all are compared on.

    Attributes:
        run: our run folder.
        source: its data.
        split: fold -> images by their path relative to the data's folder; without a hold-out.
        scored: the folds that are trained and scored.
        class_name: the one class that is learned.
        file: which file of ours ships, as in metrics.csv.
        largest_component: whether our masks keep the largest component alone.
        minutes: how long our training of a fold took, at most; 0 where it had no limit.
        seed: of the intervals.
    """

    run: Path
    source: Source
    split: dict[str, list[str]]
    scored: tuple[str, ...]
    class_name: str
    file: str
    largest_component: bool
    minutes: float
    seed: int

    @property
    def cases(self) -> dict[str, str]:
        """Return the case of each image of any fold."""
        return case_names(self.source.samples, [name for names in self.split.values() for name in names])


def open_trial(run: Path, *, count: int | None = None) -> Trial:
    """Open a finished run of `tfseg kfold`, of which the first `count` folds are compared, or all.

    Raises:
        SystemExit: it cannot be compared: it learns several classes, is not of pictures, or has no .tflite files.
        InputError: it is damaged, or its images are gone.
    """
    recipe = runs.read_recipe(run)
    about = runs.read_json(run / runs.PROVENANCE)["data"]
    dataset = DATASETS[recipe.dataset]
    source = open_source(dataset, Path(about["root"]), channels=recipe.channels, watch=lambda done, total: None)
    if source.fingerprint != about["fingerprint"]:
        raise SystemExit(f"{run}: learned from other data than {source.root} holds now: restore them, or run it again")
    classes = dataset.select(recipe.classes)
    if len(classes) != 1 or source.volumes:
        what = "volumes" if source.volumes else f"{len(classes)} classes"
        raise SystemExit(f"{run}: is of {what}: the peers' formats here hold one class of pictures: name another run")
    file = next((kind for kind in PRECISIONS if (runs.fold_folder(run, 0) / f"{kind}.tflite").exists()), None)
    if file is None:
        raise SystemExit(f"{run}: has no .tflite file of its folds: run it with --deploy int8")
    split = folds.load(run / runs.FOLDS, list(source.samples.values()), source.root)
    split.pop(HOLDOUT, None)
    return Trial(
        run=run,
        source=source,
        split=split,
        scored=tuple(split)[:count],
        class_name=classes[0],
        file=file,
        largest_component=recipe.largest_component,
        minutes=recipe.minutes,
        seed=recipe.seed,
    )


def case_names(listed: Sequence[str] | Mapping[str, Any], wanted: Sequence[str]) -> dict[str, str]:
    """Return the case of each wanted image: its number in the order in which the data set lists them.

    >>> case_names(["images/7.png", "images/8.png", "test/7.png"], ["test/7.png", "images/7.png"])
    {'images/7.png': '0000', 'test/7.png': '0002'}
    """
    return {name: f"{number:04}" for number, name in enumerate(listed) if name in set(wanted)}


def splits(split: Mapping[str, Sequence[str]], cases: Mapping[str, str]) -> list[dict[str, list[str]]]:
    """Return the content of splits_final.json: of each fold, the cases to learn from ("train") and to predict ("val").

    >>> splits({"0": ["a.png"], "1": ["b.png"]}, {"a.png": "0000", "b.png": "0001"})
    [{'train': ['0001'], 'val': ['0000']}, {'train': ['0000'], 'val': ['0001']}]
    """
    return [
        {
            "train": [cases[name] for other, names in split.items() if other != fold for name in names],
            "val": [cases[name] for name in split[fold]],
        }
        for fold in split
    ]


def dataset_json(class_name: str, count: int) -> dict[str, Any]:
    """Return the content of dataset.json for so many grey images with one class."""
    return {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, class_name: 1},
        "numTraining": count,
        "file_ending": ".png",
    }


def export(trial: Trial, work: Path) -> Path:
    """Write images, masks and folds below `work`, where they are missing, and return the folder of the raw data."""
    name = f"Dataset001_{trial.source.dataset.name}"
    data, cases = work / "raw" / name, trial.cases
    content = {"fingerprint": trial.source.fingerprint, "cases": cases, "splits": splits(trial.split, cases)}
    if not (work / CONTENT).exists():
        channel = trial.source.dataset.classes.index(trial.class_name)
        for image, case in cases.items():
            sample = trial.source.samples[image]
            pixels = np.rint(read_image(sample.image, channels=1)[..., 0] * 255).astype(np.uint8)
            mask = trial.source.dataset.read_mask(sample, pixels.shape)[..., channel]
            _write_png(peer_job.image_path(data, case), pixels)
            _write_png(peer_job.label_path(data, case), mask)
        runs.write_json(data / "dataset.json", dataset_json(trial.class_name, len(cases)))
        runs.write_json(work / "preprocessed" / name / "splits_final.json", content["splits"])
        runs.write_json(work / CONTENT, content)  # last: it says that all the others are there
    if runs.read_json(work / CONTENT) != content:
        raise SystemExit(f"{work}: holds the images or folds of another run: name another folder with --work")
    return data


def _write_png(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def read_prediction(path: Path, shape: tuple[int, int]) -> np.ndarray:
    """Read a peer's mask: uint8 (H, W), 0 or 1.

    Raises:
        SystemExit: it is missing, not as large as the image, or holds other values.
    """
    if not path.exists():
        raise SystemExit(f"{path}: missing: remove {path.parents[1]} and run this again")
    mask = peer_job.read(path)
    if mask.shape != shape or mask.dtype != np.uint8 or mask.max() > 1:
        raise SystemExit(
            f"{path}: {mask.dtype} {mask.shape} with values up to {mask.max()}, expected uint8 {shape} of 0 and 1: "
            f"remove {path.parents[1]} and run this again"
        )
    return mask


def score_fold(trial: Trial, row: str, fold: str, predictions: Path) -> list[Row]:
    """Score a peer's masks of one fold at the original resolution, as rows of metrics.csv with its name as the file."""
    scored = []
    channel = trial.source.dataset.classes.index(trial.class_name)
    for name in trial.split[fold]:
        sample = trial.source.samples[name]
        with Image.open(sample.image) as image:
            width, height = image.size
        truth = trial.source.dataset.read_mask(sample, (height, width))[..., channel]
        prediction = read_prediction(predictions / f"{trial.cases[name]}.png", (height, width))
        scores = vars(score(truth, prediction, spacing_mm=sample.spacing_mm))
        measured = {key: value for key, value in scores.items() if key not in ("tp", "fp", "fn", "tn")}
        patient = trial.source.groups[name]
        scored.append(Row(image=name, patient=patient, fold=fold, file=row, class_name=trial.class_name, **measured))
    return scored


def our_rows(trial: Trial) -> list[Row]:
    """Return what our run says of the file that ships, on the images of the folds that are scored."""
    names = {name for fold in trial.scored for name in trial.split[fold]}
    found = [row for row in read_rows(trial.run / runs.METRICS) if row.file == trial.file and row.image in names]
    if len(found) != len(names):
        raise SystemExit(f"{trial.run}: {len(found)} of {len(names)} images are scored: finish it with --resume")
    return found


def summary(rows: Sequence[Row], file: str, ours: str, *, seed: int) -> dict[str, Any]:
    """Return what the rows of a file say: Dice with its interval and folds, HD95, and the paired difference to ours.

    Means are over images, intervals are 95 % over patients or groups of near-duplicates; HD95 is over the images where
    it is defined, whose count is given.
    """
    own = [row for row in rows if row.file == file]
    patients = np.array([row.patient for row in own])
    dice = np.array([row.dice for row in own])
    distance = np.array([row.hausdorff95 for row in own])
    low, high = bootstrap_interval(dice, patients, seed=seed)
    in_folds = {
        fold: float(np.mean([row.dice for row in own if row.fold == fold]))
        for fold in dict.fromkeys(row.fold for row in own)
    }
    measured = {
        "images": len(own),
        "dice": {"mean": float(dice.mean()), "low": low, "high": high, "folds": in_folds},
        "hausdorff95": {"mean": _mean(distance), "count": int(np.count_nonzero(~np.isnan(distance)))},
        "empty": int(sum(row.prediction_empty for row in own)),
    }
    if file != ours:
        paired = paired_difference(rows, file, ours, class_name=own[0].class_name, seed=seed)
        measured["less_ours"] = paired["dice"]
    return measured


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def our_parameters(trial: Trial) -> int:
    """Return the trainable parameters of our network."""
    from tfseg.models.files import open_file

    network = open_file(runs.fold_folder(trial.run, 0) / runs.MODEL)[0]
    return sum(int(np.prod(weight.shape)) for weight in network.trainable_weights)


def our_command(trial: Trial) -> list[str]:
    """Return the words of the command that made our run."""
    return runs.read_json(trial.run / runs.PROVENANCE)["command"]
