"""Tables to be printed, and those that say what summary.json holds."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tfseg.metrics import HOLDOUT

EARLIER_RULE = (
    "An earlier version of tfseg summed this run up: where truth and prediction are both empty, sensitivity counts as "
    "1 and HD95 as 0, so that both flatter a network that rarely draws; --resume sums it up by the present rule."
)


@dataclass(frozen=True, kw_only=True)
class Table:
    """A table to be printed: one text a cell, as many in each row as in the header."""

    title: str
    note: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def fold_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return one table a file and class from the content of summary.json: a row a fold, and one for all.

    Where the summary counts them, the last columns are images that were missed and false alarms. The last row gives
    mean ± standard deviation over folds [95 % interval over patients]. A title starts with
    "PHANTOM" where the data are generated.
    """
    unit = summary["hausdorff_unit"]
    mark = "PHANTOM " if summary["data"]["phantom"] else ""
    parts = [(summary["files"], ""), (summary.get(HOLDOUT, {}), ", hold-out")]
    return [
        _table(f"{mark}{summary['data']['name']}: {name}, {file}{where}", entry, unit, _about(summary, file, name))
        for files, where in parts
        for file, by_class in files.items()
        for name, entry in by_class.items()
    ]


def measure_tables(summary: Mapping[str, Any]) -> list[Table]:
    """Return one table for the folds and one for the hold-out of how far areas, diameters and circumferences are off.

    None where no mask was measured: of volumes, and in summaries of versions that did not measure.
    """
    unit = summary["hausdorff_unit"]
    mark = "PHANTOM " if summary["data"]["phantom"] else ""
    found = []
    for files, where in ((summary["files"], ""), (summary.get(HOLDOUT, {}), ", hold-out")):
        entries = [
            (name, file, measure, entry)
            for file, by_class in files.items()
            for name, scores in by_class.items()
            for measure, entry in scores.get("measures", {}).items()
        ]
        if entries:
            annotated = [entry["annotated_error"] for *_, entry in entries if "annotated_error" in entry]
            found.append(
                Table(
                    title=f"{mark}{summary['data']['name']}: measures{where}",
                    note=_measure_note(annotated, unit),
                    header=("class", "file", "measure", "n", "true mean", "mean error", "absolute", "95 % limits"),
                    rows=tuple(_measure_row(*entry, unit) for entry in entries),
                )
            )
    return found


def _measure_row(name: str, file: str, measure: str, entry: Mapping[str, Any], unit: str) -> tuple[str, ...]:
    label, power = _MEASURES[measure]
    digits = 2 if unit == "mm" and not power else 1

    def text(value: float | None, sign: str = "") -> str:
        return _UNDEFINED if value is None else f"{value:{sign}.{digits}f}"

    limits = _UNDEFINED if entry["low"] is None else f"{text(entry['low'], '+')} to {text(entry['high'], '+')}"
    errors = text(entry["error"], "+"), text(entry["absolute_error"]), limits
    return (name, file, f"{label} ({unit}{power})", str(entry["count"]), text(entry["reference"]), *errors)


def _measure_note(annotated: list[float | None], unit: str) -> str:
    note = (
        "Over the n images in which the class is both annotated and drawn. Mean error: drawn less true; absolute: its "
        "mean size; 95 % limits of agreement: mean error ± 1.96 standard deviations (Bland and Altman). Diameters and "
        "circumference are those of the largest connected area."
    )
    if not annotated or annotated[0] is None:
        return note
    return (
        f"{note} Against the table: the circumference that the data set lists; that of the annotated masks themselves "
        f"is {annotated[0]:+.2f} {unit} off it."
    )


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


def caution_texts(summary: Mapping[str, Any]) -> list[str]:
    """Return what a reader of a summary must know first, a sentence each."""
    return [f"CAUTION: {caution['text']}" for caution in summary.get("cautions", [])]


def _about(summary: Mapping[str, Any], file: str, class_name: str) -> list[str]:
    """The cautions about one file and class."""
    named = [caution for caution in summary.get("cautions", []) if caution["file"]]
    mine = [caution for caution in named if (caution["file"], caution["class_name"]) == (file, class_name)]
    return caution_texts({"cautions": mine})


_COUNTS = {"missed": "missed", "false_alarms": "false alarms"}
_MEASURES = {  # name in summary.json -> label, and power of the unit
    "area": ("area", "²"),
    "longest_diameter": ("longest diameter", ""),
    "diameter_across": ("diameter across it", ""),
    "circumference": ("circumference of the ellipse", ""),
    "listed_circumference": ("circumference, against the table", ""),
}
_UNDEFINED = "n/a"


def _paired(paired: Mapping[str, Any]) -> tuple[str, str, str]:
    dice = paired["dice"]
    interval = "" if dice["low"] is None else f" [{dice['low']:+.4f}, {dice['high']:+.4f}]"
    mean = _UNDEFINED if dice["mean"] is None else f"{dice['mean']:+.4f}"
    return f"{mean}{interval}", f"{paired['worst']:+.3f}", f"{paired['flipped']} of {paired['images']}"


def _table(title: str, entry: Mapping[str, Any], unit: str, known: Sequence[str]) -> Table:
    counts = [name for name in _COUNTS if name in entry]
    folds = [
        (
            fold,
            str(images),
            *(_number(entry[metric]["folds"][fold], metric) for metric in _HEADINGS),
            *("{} of {}".format(*entry[name]["folds"][fold]) for name in counts),
        )
        for fold, images in entry["fold_images"].items()
    ]
    total = (
        "all",
        str(entry["images"]),
        *(_with_spread(entry[metric], metric) for metric in _HEADINGS),
        *(f"{entry[name]['count']} of {entry[name]['of']}" for name in counts),
    )
    headings = [f"{text} ({unit})" if metric == "hausdorff95" else text for metric, text in _HEADINGS.items()]
    header = ("fold", "n", *headings, *(_COUNTS[name] for name in counts))
    return Table(title=title, note=" ".join([*known, _fold_note(entry)]), header=header, rows=(*folds, total))


def _fold_note(entry: Mapping[str, Any]) -> str:
    """How many masks are empty, and over which images sensitivity and distances are means."""
    empty = (
        f"{entry['truth_empty']:.0%} of the true and {entry['prediction_empty']:.0%} of the predicted masks are empty."
    )
    if "missed" not in entry:
        return (
            f"{empty} HD95 is over {entry['hausdorff95']['count']} of {entry['images']} images: where exactly one of "
            f"the two is empty there is none. {EARLIER_RULE}"
        )
    return (
        f"{empty} Sensitivity and HD95 are over images that show the class; missed: nothing was drawn in them, and "
        "they have no HD95; false alarms: something was drawn in an image that does not show it."
    )


def _with_spread(statistics: Mapping[str, Any], metric: str) -> str:
    mean, spread, low, high = (_number(statistics[key], metric) for key in ("mean", "sd_folds", "low", "high"))
    text = mean if statistics["sd_folds"] is None else f"{mean} ± {spread}"
    return text if statistics["low"] is None else f"{text} [{low}, {high}]"


def _number(value: float | None, metric: str) -> str:
    if value is None:
        return _UNDEFINED
    return f"{value:.1f}" if metric == "hausdorff95" else f"{value:.3f}"
