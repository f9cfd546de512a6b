"""Scores of one class apart for each stratum, and for images that show the class and those that do not."""

import math
from collections.abc import Mapping, Sequence

import numpy as np

from tfseg.intervals import bootstrap_interval
from tfseg.metrics import Row
from tfseg.report.results import number
from tfseg.summary import metric_bounds, metric_values
from tfseg.tables import Table

_MEASURES = {"dice": "Dice", "iou": "IoU", "sensitivity": "Sensitivity", "hausdorff95": "HD95"}


def strata_table(
    rows: Sequence[Row], strata: Mapping[str, Sequence[str]], *, class_name: str, unit: str, seed: int, mark: str = ""
) -> Table:
    """Return one row for each file and part of the out-of-fold images: mean [95 % interval over patients].

    Args:
        rows: of metrics.csv, without the hold-out.
        strata: stratum -> its images.
        class_name: whose scores.
        unit: of distances, "mm" or "px".
        seed: of the bootstrap; the run's own gives the intervals of its summary.
        mark: stands before the title.
    """
    rows = [row for row in rows if row.class_name == class_name]
    lines = []
    for file in dict.fromkeys(row.file for row in rows):
        for name, part in _parts([row for row in rows if row.file == file], strata, class_name).items():
            patients = len({row.patient for row in part})
            scores = (_score(part, measure, seed) for measure in _MEASURES)
            lines.append((file, name, str(len(part)), str(patients), *scores))
    headings = [f"{text} ({unit})" if measure == "hausdorff95" else text for measure, text in _MEASURES.items()]
    return Table(
        title=f"{mark} {class_name}, by stratum".strip(),
        note="Mean over images [95 % interval over patients]; a part with fewer than two patients has no interval. "
        f"Sensitivity and HD95 are over images that show {class_name}.",
        header=("file", "images", "n", "patients", *headings),
        rows=tuple(lines),
    )


def _parts(rows: Sequence[Row], strata: Mapping[str, Sequence[str]], class_name: str) -> dict[str, list[Row]]:
    """The parts that are neither empty nor the whole over again."""
    parts = {stratum: [row for row in rows if row.image in set(images)] for stratum, images in strata.items()}
    parts[f"showing {class_name}"] = [row for row in rows if not row.truth_empty]
    parts[f"without {class_name}"] = [row for row in rows if row.truth_empty]
    return {"all": list(rows)} | {name: part for name, part in parts.items() if 0 < len(part) < len(rows)}


def _score(rows: Sequence[Row], measure: str, seed: int) -> str:
    values = metric_values(rows, measure)
    defined = values[~np.isnan(values)]
    mean = number(float(defined.mean()) if len(defined) else None, measure)
    patients = np.array([row.patient for row in rows])
    low, high = bootstrap_interval(values, patients, bounds=metric_bounds(measure), seed=seed)
    return mean if math.isnan(low) else f"{mean} [{number(low, measure)}, {number(high, measure)}]"
