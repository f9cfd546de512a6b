"""Two networks in cascade: one finds an organ in the whole volume, the other a lesion in the region round it.

As in Christ et al., MICCAI 2016, arXiv:1610.02177, for livers and their tumours. Both are ordinary cross-validations;
of a patient that no fold has learned from, the cascade of that fold's two networks is scored. The second network learns
in the annotator's region and is scored in the first one's.
"""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from tfseg import runs
from tfseg.data import folds
from tfseg.data.frames import open_volume, region
from tfseg.data.sample import Sample
from tfseg.data.source import Source
from tfseg.engine import Engine
from tfseg.errors import InputError
from tfseg.inference import Masking, Predict, open_network
from tfseg.job import COUNTS, Counts, total_counts
from tfseg.kfold import LOCAL, Plan, run_plans
from tfseg.metrics import COLUMNS, Row, row_values, score
from tfseg.progress import Watch, silent
from tfseg.scans.stack import Stack
from tfseg.stacks import mask_volume, write_volume_masks
from tfseg.summary import summarise

FILE = "cascade"  # in the column `file`

Network = tuple[Predict, Masking]


def predict(organ: Network, lesion: Network, volume: Stack, *, watch: Watch = silent) -> np.ndarray:
    """Return the masks of the organ's and then of the lesion's classes: uint8 (D, H, W, all K), 0 or 1.

    The organ's network sees all slices, and the largest component of its class in three dimensions is kept. The
    lesion's sees the box round it and its margin; where no organ is found there is no lesion.

    Args:
        organ: the first network, and how its output becomes a mask.
        lesion: the second one, whose masking names the region.
        volume: read slice by slice; no more than the masks is kept whole.
        watch: told how many slices are done.

    Raises:
        InputError: the second network sees no region, or the first does not find the one that it sees.
    """
    check(organ[1], lesion[1])
    masking = lesion[1]
    first = len(organ[1].classes)
    mask = np.zeros((*volume.shape, first + len(masking.classes)), np.uint8)
    whole = dataclasses.replace(organ[1], largest_component=True)
    mask_volume(organ[0], whole, volume, into=mask[..., :first], watch=watch)
    box = region(mask[..., organ[1].classes.index(masking.region)], volume.spacing_mm, masking.margin_mm)
    if box is not None:
        mask_volume(lesion[0], masking, volume, box=box, into=mask[..., first:], watch=watch)
    return mask


def check(organ: Masking, lesion: Masking) -> None:
    """Raise InputError unless the second network looks at a region that the first one finds."""
    if not lesion.region:
        raise InputError("the second network of a cascade looks at the whole volume: it was trained without a region")
    if lesion.region not in organ.classes:
        raise InputError(
            f"the second network looks at the region of {lesion.region}, and the first one finds "
            f"{', '.join(organ.classes)}"
        )


def train(
    organ: Plan, lesion: Plan, *, out: Path, command: Sequence[str], engine: Engine = LOCAL, watch: Watch
) -> dict[str, Any]:
    """Cross-validate both networks, then their cascade; what is done already is not done again.

    Args:
        organ: recipe, data and run folder of the first network.
        lesion: the same of the second one, whose recipe names the region.
        out: where the cascade's masks, metrics.csv and summary.json go.
        command: how to say this again, for provenance.
        engine: where folds are trained.
        watch: told how far the work is.

    Returns:
        The content of summary.json: the scores of the cascade, volume by volume.

    Raises:
        InputError, WorkError: as tfseg.kfold.run_plans and `score_runs` do.
    """
    run_plans([organ, lesion], engine=engine, command=command, watch=watch)
    return score_runs(organ.run, lesion.run, organ.source, out=out, watch=watch)


def score_runs(organ: Path, lesion: Path, source: Source, *, out: Path, watch: Watch) -> dict[str, Any]:
    """Score the cascade of two finished runs on the patients that neither network of a fold has seen.

    Args:
        organ: the run of the first network.
        lesion: the run of the second one.
        source: the volumes.
        out: where masks (NIfTI), metrics.csv and summary.json go.
        watch: told how many volumes are done.

    Returns:
        The content of summary.json, of the classes of both runs.

    Raises:
        InputError: the two runs do not have the same folds, or lack a network.
    """
    split = _common_folds(organ, lesion, source)
    rows: list[Row] = []
    counts: Counts = []
    classes: tuple[str, ...] = ()
    done, total = 0, sum(map(len, split.values()))
    for fold, names in split.items():
        networks = open_network(organ, fold=int(fold)), open_network(lesion, fold=int(fold))
        classes = networks[0][1].classes + networks[1][1].classes
        for name in names:
            sample = source.samples[name]
            masks = _predicted(networks, sample)
            write_volume_masks(masks, sample.image, (out / runs.PREDICTIONS / name).with_name(_stem(sample)), classes)
            for row, counted in _scored(masks, classes, name, fold, source):
                rows.append(row)
                counts.append(counted)
            done += 1
            watch("scoring the cascade on unseen volumes", done, total)
    summary = summarise(
        rows,
        total_counts(counts),
        classes=classes,
        data=source.about(),
        hausdorff_unit=source.unit,
        seed=runs.read_recipe(organ).seed,
    )
    runs.write_csv(out / runs.METRICS, COLUMNS, map(row_values, rows))
    runs.write_json(out / runs.SUMMARY, summary)
    return summary


def _common_folds(organ: Path, lesion: Path, source: Source) -> dict[str, list[str]]:
    """Return the folds of both runs without any hold-out."""
    samples = list(source.samples.values())
    first, second = (folds.load(run / runs.FOLDS, samples, source.root) for run in (organ, lesion))
    if first != second:
        raise InputError(
            f"{lesion}: its folds are not those of {organ}: a network would be scored on patients that the other has "
            "seen; train both with the same folds, holdout and seed"
        )
    return {fold: names for fold, names in first.items() if fold.isdecimal()}


def _predicted(networks: tuple[Network, Network], sample: Sample) -> np.ndarray:
    """Return the masks of both networks, (D, H, W, K of both)."""
    volume = open_volume(sample)
    try:
        return predict(*networks, volume)
    finally:
        volume.close()


def _scored(
    masks: np.ndarray, classes: Sequence[str], name: str, fold: str, source: Source
) -> list[tuple[Row, dict[str, Any]]]:
    """Return the row and the counts of each class of one volume."""
    sample = source.samples[name]
    truth = source.dataset.read_mask(sample, masks.shape[:3])
    found = []
    for k, class_name in enumerate(classes):
        scores = score(
            truth[..., source.dataset.classes.index(class_name)], masks[..., k], spacing_mm=sample.spacing_mm
        )
        measured = dataclasses.asdict(scores)
        counted = {"file": FILE, "class": class_name} | {key: measured.pop(key) for key in COUNTS}
        row = Row(image=name, patient=source.groups[name], fold=fold, file=FILE, class_name=class_name, **measured)
        found.append((row, counted))
    return found


def _stem(sample: Sample) -> str:
    return sample.image.name.partition(".nii")[0]
