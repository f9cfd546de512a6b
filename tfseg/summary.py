"""What many scored images say together: means, their spread over folds, and intervals over patients."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from tfseg.cautions import cautions
from tfseg.intervals import bootstrap_interval
from tfseg.measures import MEASURES, agreement
from tfseg.metrics import HOLDOUT, METRICS, Row
from tfseg.runs import SCHEMA

RULE = "shown"  # in summary.json: sensitivity and distances are means over images that show the class
INTERVAL = "bootstrap-t"  # in summary.json: how intervals were made; without it, as percentiles
OF_SHOWN = ("sensitivity", "hausdorff95")
Confusion = Mapping[tuple[str, str], Mapping[str, int]]  # (file, class) -> {"tp": , "fp": , "fn": , "tn": } in pixels


def summarise(
    rows: Sequence[Row],
    confusion: Confusion,
    *,
    classes: Sequence[str],
    data: Mapping[str, Any],
    hausdorff_unit: str,
    seed: int = 0,
    resamples: int = 2000,
    holdout_confusion: Confusion | None = None,
    tried_on: Sequence[str] = (),
) -> dict[str, Any]:
    """Return the content of summary.json: every metric of each file and class over all out-of-fold images.

    Each metric is {"mean", "sd_folds", "low", "high", "count", "folds"}: the mean over all images of all folds; the
    sample standard deviation (n - 1) of the folds' means; the 95 % interval of `bootstrap_interval` over patients; how
    many images entered, for an undefined Hausdorff distance stays out; and the mean of each fold. What cannot be said
    is None: the mean of no image, the spread of fewer than two folds, the interval of fewer than two patients.

    Those of `OF_SHOWN` are means over images that show the class; else a network that never draws would have, on data
    with many empty truths, a good distance. "rule" says so: summaries without it hold means over all images, where
    both masks empty counted as sensitivity 1 and distance 0. "interval" says that intervals are those of
    `bootstrap_interval`: without it they are percentiles of bootstrap means, which cover less with few patients.

    "missed" are the images that show the class and in which nothing was drawn, so that they have no distance, and
    "false_alarms" those that do not show it and in which something was drawn: {"count", "of", "folds"}, where "of" are
    the images that could be such, and "folds" gives [count, of] of each fold. The data set "nerve" has "kaggle_score"
    too: the mean Dice, where an empty prediction of an empty truth is worth 1.

    "measures" holds, for each of `MEASURES` that the rows have, the `agreement` of what was drawn with the truth, over
    the images where neither is empty, in `hausdorff_unit`; "listed_circumference" that of the drawn circumference with
    the one that the data set's table lists, and "annotated_error", the mean error of the annotation's own.

    Where the images were scored by more than one file, "comparisons" holds what `paired_difference` says of each later
    file against the first, by file and class.

    "cautions" holds what `cautions` finds in the rows, where that is anything.

    Rows of fold "holdout" never mix with the folds: they are summed up in the same form under "holdout".

    Args:
        rows: of metrics.csv.
        confusion: pixel counts of the out-of-fold images.
        classes: in the order to list them.
        data: what is known of the data set: "name", "phantom" and whatever else summary.json is to hold.
        hausdorff_unit: "mm" or "px".
        seed: of the bootstrap.
        resamples: of the bootstrap.
        holdout_confusion: pixel counts of the hold-out images; without them that part has no "confusion".
        tried_on: folds whose scores chose the recipe's settings.

    Raises:
        ValueError: an image is there twice for one file and class, so that a mean would count it twice.
    """
    pooled = [row for row in rows if row.fold != HOLDOUT]
    kept_apart = [row for row in rows if row.fold == HOLDOUT]

    def files(part: Sequence[Row], counts: Confusion | None) -> dict[str, Any]:
        return {
            file: {name: _of_class(part, file, name, counts, data["name"], seed, resamples) for name in classes}
            for file in dict.fromkeys(row.file for row in part)
        }

    summary = {
        "schema": SCHEMA,
        "data": dict(data),
        "classes": list(classes),
        "hausdorff_unit": hausdorff_unit,
        "rule": RULE,
        "interval": INTERVAL,
        "files": files(pooled, confusion),
    }
    if len(summary["files"]) > 1:
        first, *others = summary["files"]
        summary["comparisons"] = {
            file: {
                name: paired_difference(pooled, file, first, class_name=name, seed=seed, resamples=resamples)
                for name in classes
            }
            for file in others
        }
    if kept_apart:
        summary[HOLDOUT] = files(kept_apart, holdout_confusion)
    found = cautions(rows, tried_on)
    return summary | ({"cautions": [dataclasses.asdict(caution) for caution in found]} if found else {})


def metric_values(rows: Sequence[Row], metric: str) -> np.ndarray:
    """Return one value a row: (N,); NaN where it is undefined, and, in `OF_SHOWN`, where the class is not shown."""
    values = np.array([getattr(row, metric) for row in rows], float)
    if metric in OF_SHOWN:
        values[[row.truth_empty for row in rows]] = np.nan
    return values


def metric_bounds(metric: str) -> tuple[float, float]:
    """Return the least and the largest value that a metric can have."""
    return (0.0, math.inf) if metric == "hausdorff95" else (0.0, 1.0)


def paired_difference(
    rows: Sequence[Row], file: str, against: str, *, class_name: str, seed: int = 0, resamples: int = 2000
) -> dict[str, Any]:
    """Return how one file's Dice differs from another's on the same images.

    Returns:
        "against"; "images", those that both scored; "score", the mean Dice of `file`; "dice", the mean difference
        (`file` less `against`) with "low" and "high", its 95 % interval over patients (None for fewer than two);
        "worst", the largest loss of one image; "flipped", how many images one file leaves empty and the other does not.
    """
    by_file: dict[str, dict[str, Row]] = {file: {}, against: {}}
    for row in rows:
        if row.class_name == class_name and row.file in by_file:
            by_file[row.file][row.image] = row
    pairs = [(row, by_file[against][image]) for image, row in by_file[file].items() if image in by_file[against]]
    differences = np.array([one.dice - other.dice for one, other in pairs])
    low, high = bootstrap_interval(
        differences,
        np.array([one.patient for one, _ in pairs]),
        bounds=(-1.0, 1.0),
        seed=seed,
        resamples=resamples,
    )
    return {
        "against": against,
        "images": len(pairs),
        "score": _mean(np.array([one.dice for one, _ in pairs])),
        "dice": {
            "mean": _mean(differences),
            "low": None if math.isnan(low) else low,
            "high": None if math.isnan(high) else high,
        },
        "worst": float(differences.min(initial=0.0)),
        "flipped": sum(one.prediction_empty != other.prediction_empty for one, other in pairs),
    }


def _of_class(
    rows: Sequence[Row], file: str, name: str, confusion: Confusion | None, dataset: str, seed: int, resamples: int
) -> dict[str, Any]:
    """Sum up one class of one file."""
    rows = [row for row in rows if row.file == file and row.class_name == name]
    _refuse_repeats(rows)
    patients = np.array([row.patient for row in rows])
    folds = np.array([row.fold for row in rows])
    empty = np.array([row.truth_empty for row in rows], bool)
    metrics = {
        metric: _statistics(metric_values(rows, metric), patients, folds, metric_bounds(metric), seed, resamples)
        for metric in METRICS
    }
    return {
        "images": len(rows),
        "fold_images": {fold: int(np.sum(folds == fold)) for fold in _ordered(folds)},
        "truth_empty": _mean(empty),
        "prediction_empty": _mean(np.array([row.prediction_empty for row in rows])),
        "missed": _counted([row.prediction_empty for row in rows], ~empty, folds),
        "false_alarms": _counted([not row.prediction_empty for row in rows], empty, folds),
        **({} if confusion is None else {"confusion": dict(confusion[file, name])}),
        **metrics,
        **({"kaggle_score": metrics["dice"]} if dataset == "nerve" else {}),
        **({"measures": measures} if (measures := _measures(rows)) else {}),
    }


def _counted(found: Sequence[bool], of: np.ndarray, folds: np.ndarray) -> dict[str, Any]:
    """Count images that have something, `found`, among those that can have it, `of`: (N,) each."""
    found_there = np.array(found, bool) & of
    by_fold = {fold: [int(part[folds == fold].sum()) for part in (found_there, of)] for fold in _ordered(folds)}
    return {"count": int(found_there.sum()), "of": int(of.sum()), "folds": by_fold}


def _measures(rows: Sequence[Row]) -> dict[str, Any]:
    """How far the measures of what was drawn are from those of the truth; of none where truths were not measured."""
    shown = [row for row in rows if not row.truth_empty]
    drawn = [row for row in shown if not row.prediction_empty]

    def measured(prefix: str, name: str) -> list[float]:
        return [getattr(row, f"{prefix}_{name}") for row in drawn]

    found = {
        name: agreement(measured("predicted", name), measured("true", name))
        for name in MEASURES
        if any(not math.isnan(getattr(row, f"true_{name}")) for row in shown)
    }
    if any(not math.isnan(row.listed_circumference) for row in shown):
        listed = measured("listed", "circumference")
        found["listed_circumference"] = agreement(measured("predicted", "circumference"), listed) | {
            "annotated_error": agreement(measured("true", "circumference"), listed)["error"]
        }
    return found


def _refuse_repeats(rows: Sequence[Row]) -> None:
    seen = set()
    for row in rows:
        if row.image in seen:
            raise ValueError(f"{row.image} is there twice for file {row.file} and class {row.class_name}")
        seen.add(row.image)


def _statistics(
    values: np.ndarray,
    patients: np.ndarray,
    folds: np.ndarray,
    bounds: tuple[float, float],
    seed: int,
    resamples: int,
) -> dict[str, Any]:
    """Sum up one metric: values, patients and folds are (N,), one an image."""
    low, high = bootstrap_interval(values, patients, bounds=bounds, seed=seed, resamples=resamples)
    by_fold = {fold: _mean(values[folds == fold]) for fold in _ordered(folds)}
    means = [mean for mean in by_fold.values() if mean is not None]
    return {
        "mean": _mean(values),
        "sd_folds": float(np.std(means, ddof=1)) if len(means) > 1 else None,
        "low": None if math.isnan(low) else low,
        "high": None if math.isnan(high) else high,
        "count": int(np.count_nonzero(~np.isnan(values))),
        "folds": by_fold,
    }


def _mean(values: np.ndarray) -> float | None:
    values = values[~np.isnan(values)]
    return float(values.mean()) if len(values) else None


def _ordered(folds: np.ndarray) -> list[str]:
    """The folds that occur, "10" after "9"; "holdout" occurs alone."""
    return sorted(set(folds.tolist()), key=lambda fold: (len(fold), fold))
