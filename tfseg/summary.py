"""What many scored images say together: means, their spread over folds, intervals over patients, and tables."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from tfseg.metrics import HOLDOUT, METRICS, Row
from tfseg.runs import SCHEMA

Confusion = Mapping[tuple[str, str], Mapping[str, int]]  # (file, class) -> {"tp": , "fp": , "fn": , "tn": } in pixels


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to be printed: one text a cell, as many in each row as in the header."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


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
) -> dict[str, Any]:
    """Return the content of summary.json: every metric of each file and class over all out-of-fold images.

    Each metric is {"mean", "sd_folds", "low", "high", "count", "folds"}: the mean over all images of all folds; the
    sample standard deviation (n - 1) of the folds' means; the 95 % interval of `bootstrap_interval` over patients; how
    many images entered, for an undefined Hausdorff distance stays out; and the mean of each fold. What cannot be said
    is None: the mean of no image, the spread of fewer than two folds, the interval of fewer than two patients. The
    data set "nerve" has "kaggle_score" too: the mean Dice, where an empty prediction of an empty truth is worth 1.

    Where the images were scored by more than one file, "comparisons" holds what `paired_difference` says of each later
    file against the first, by file and class.

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
    return summary


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
        differences, np.array([one.patient for one, _ in pairs]), seed=seed, resamples=resamples
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


def comparison_table(summary: Mapping[str, Any]) -> Table | None:
    """Return one table of all files side by side, with their paired differences; None where only one was scored."""
    if "comparisons" not in summary:
        return None
    rows = []
    for name in summary["classes"]:
        for file, by_class in summary["files"].items():
            entry = by_class[name]
            scores = (_with_spread(entry[metric], metric) for metric in ("dice", "hausdorff95"))
            paired = summary["comparisons"].get(file, {}).get(name)
            rows.append((name, file, *scores, *(_paired(paired) if paired else ("", "", ""))))
    first = next(iter(summary["files"]))
    return Table(
        title=f"{'PHANTOM ' if summary['data']['phantom'] else ''}{summary['data']['name']}: the files that ship",
        note=(
            f"Difference: Dice less that of {first} on the same images, with its 95 % interval over patients. "
            "Flipped: images that one of the two leaves empty and the other does not."
        ),
        header=("class", "file", "Dice", f"HD95 ({summary['hausdorff_unit']})", "difference", "worst image", "flipped"),
        rows=tuple(rows),
    )


def _paired(paired: Mapping[str, Any]) -> tuple[str, str, str]:
    dice = paired["dice"]
    interval = "" if dice["low"] is None else f" [{dice['low']:+.4f}, {dice['high']:+.4f}]"
    mean = _UNDEFINED if dice["mean"] is None else f"{dice['mean']:+.4f}"
    return f"{mean}{interval}", f"{paired['worst']:+.3f}", f"{paired['flipped']} of {paired['images']}"


def bootstrap_interval(
    values: np.ndarray, patients: np.ndarray, *, seed: int = 0, resamples: int = 2000
) -> tuple[float, float]:
    """Return the 95 % percentile interval of the mean of `values`, over patients drawn with replacement.

    Images of one patient resemble each other, so that patients are drawn and not images (the cluster bootstrap of
    Davison and Hinkley, Bootstrap Methods and their Application, 1997, section 3.8). A draw takes as many patients as
    there are; its mean is that of all their images. A patient without any defined value takes no part.

    Args:
        values: (N,) one number an image; NaN where undefined.
        patients: (N,) whose image it is.
        seed: of the draws; equal seeds give equal intervals.
        resamples: how many draws.

    Returns:
        The lower and the upper end; NaN for both where fewer than two patients have a value, since one patient says
        nothing of how patients differ.
    """
    defined = ~np.isnan(values)
    names, owner = np.unique(patients[defined], return_inverse=True)
    if len(names) < 2:
        return math.nan, math.nan
    sums, counts = np.bincount(owner, weights=values[defined]), np.bincount(owner)  # (P,) each
    draws = np.random.default_rng(seed).integers(len(names), size=(resamples, len(names)))
    means = sums[draws].sum(axis=1) / counts[draws].sum(axis=1)  # (resamples,)
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def fold_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return one table a file and class from the content of summary.json: a row a fold, and one for all.

    The last row gives mean ± standard deviation over folds [95 % interval over patients]. A title starts with
    "PHANTOM" where the data are generated.
    """
    unit = summary["hausdorff_unit"]
    mark = "PHANTOM " if summary["data"]["phantom"] else ""
    parts = [(summary["files"], ""), (summary.get(HOLDOUT, {}), ", hold-out")]
    return [
        _table(f"{mark}{summary['data']['name']}: {name}, {file}{where}", entry, unit)
        for files, where in parts
        for file, by_class in files.items()
        for name, entry in by_class.items()
    ]


_HEADINGS = {
    "dice": "Dice",
    "iou": "IoU",
    "sensitivity": "Sensitivity",
    "specificity": "Specificity",
    "accuracy": "Accuracy",
    "precision": "Precision",
    "efficiency": "Efficiency",
    "hausdorff95": "HD95",
}
_UNDEFINED = "n/a"


def _of_class(
    rows: Sequence[Row], file: str, name: str, confusion: Confusion | None, dataset: str, seed: int, resamples: int
) -> dict[str, Any]:
    """Sum up one class of one file."""
    rows = [row for row in rows if row.file == file and row.class_name == name]
    _refuse_repeats(rows)
    patients = np.array([row.patient for row in rows])
    folds = np.array([row.fold for row in rows])
    metrics = {
        metric: _statistics(np.array([getattr(row, metric) for row in rows]), patients, folds, seed, resamples)
        for metric in METRICS
    }
    return {
        "images": len(rows),
        "fold_images": {fold: int(np.sum(folds == fold)) for fold in _ordered(folds)},
        "truth_empty": _mean(np.array([row.truth_empty for row in rows])),
        "prediction_empty": _mean(np.array([row.prediction_empty for row in rows])),
        **({} if confusion is None else {"confusion": dict(confusion[file, name])}),
        **metrics,
        **({"kaggle_score": metrics["dice"]} if dataset == "nerve" else {}),
    }


def _refuse_repeats(rows: Sequence[Row]) -> None:
    seen = set()
    for row in rows:
        if row.image in seen:
            raise ValueError(f"{row.image} is there twice for file {row.file} and class {row.class_name}")
        seen.add(row.image)


def _statistics(
    values: np.ndarray, patients: np.ndarray, folds: np.ndarray, seed: int, resamples: int
) -> dict[str, Any]:
    """Sum up one metric: values, patients and folds are (N,), one an image."""
    low, high = bootstrap_interval(values, patients, seed=seed, resamples=resamples)
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


def _table(title: str, entry: Mapping[str, Any], unit: str) -> Table:
    measured = entry["hausdorff95"]["count"]
    note = (
        f"{entry['truth_empty']:.0%} of the true and {entry['prediction_empty']:.0%} of the predicted masks are empty. "
        f"HD95 is over {measured} of {entry['images']} images: where exactly one of the two is empty there is none."
    )
    folds = [
        (fold, str(images), *(_number(entry[metric]["folds"][fold], metric) for metric in _HEADINGS))
        for fold, images in entry["fold_images"].items()
    ]
    total = ("all", str(entry["images"]), *(_with_spread(entry[metric], metric) for metric in _HEADINGS))
    headings = [f"{text} ({unit})" if metric == "hausdorff95" else text for metric, text in _HEADINGS.items()]
    return Table(title=title, note=note, header=("fold", "n", *headings), rows=(*folds, total))


def _with_spread(statistics: Mapping[str, Any], metric: str) -> str:
    mean, spread, low, high = (_number(statistics[key], metric) for key in ("mean", "sd_folds", "low", "high"))
    text = mean if statistics["sd_folds"] is None else f"{mean} ± {spread}"
    return text if statistics["low"] is None else f"{text} [{low}, {high}]"


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return _UNDEFINED
    return f"{value:.1f}" if metric == "hausdorff95" else f"{value:.3f}"
