"""The part of the report that says in words and tables what the network is worth."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from tfseg.cautions import cautions
from tfseg.metrics import HOLDOUT, Row
from tfseg.report.markup import Html, element, join, table
from tfseg.report.record import Record
from tfseg.tables import caution_texts, comparison_table, fold_tables, measure_tables

MEASURES = {
    "dice": ("Dice", "overlap of the two outlines: 1 is the same area, 0 is none shared"),
    "kaggle_score": ("Kaggle score", "mean Dice as the challenge of 2016 counts it"),
    "iou": ("IoU", "area shared, of the area that either covers"),
    "sensitivity": ("Sensitivity", "share of the true area that was found, where the class is to be seen"),
    "precision": ("Precision", "share of the drawn area that is true"),
    "specificity": ("Specificity", "share of the background that was left alone"),
    "accuracy": ("Pixel accuracy", "share of all pixels labelled rightly; high wherever the target is small"),
    "efficiency": ("Efficiency", "mean of sensitivity, specificity and pixel accuracy"),
    "hausdorff95": ("95 % Hausdorff", "how far apart the outlines run, their farthest 5 % left out; less is better"),
}
FINAL = (
    "The network in final/ learned from all images of the folds, so none of them can say what it is worth. "
    "The scores above are those of the folds' networks, trained in the same way on fewer images."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Findings:
    """Counts of images, by whether there was something to draw and whether something was drawn."""

    found: int
    missed: int
    false_alarms: int
    rightly_empty: int

    @property
    def present(self) -> int:
        """Images that show the class."""
        return self.found + self.missed

    @property
    def absent(self) -> int:
        """Images that do not."""
        return self.false_alarms + self.rightly_empty


def findings(rows: Sequence[Row], *, file: str, class_name: str) -> Findings:
    """Count what one file did with one class, image by image."""
    pairs = [
        (row.truth_empty, row.prediction_empty) for row in rows if (row.file, row.class_name) == (file, class_name)
    ]
    return Findings(
        found=pairs.count((False, False)),
        missed=pairs.count((False, True)),
        false_alarms=pairs.count((True, False)),
        rightly_empty=pairs.count((True, True)),
    )


def headline(record: Record) -> Html:
    """Say the result in words, and show the few numbers that one reads first."""
    if not record.summary or not record.files:
        return element("p", "This run has no scores yet.", class_="lead")
    lines = (element("p", line, class_="lead") for line in in_words(record, record.summary))
    known = (element("p", text, class_="caution") for text in known_first(record))
    return join([*known, *lines, element("p", basis(record)), *_tiles(record)])


def known_first(record: Record) -> list[str]:
    """Return what a reader must know first, also of a run that an earlier version summed up."""
    return caution_texts(
        {
            "cautions": [
                dataclasses.asdict(caution)
                for caution in cautions(record.rows, () if record.phantom else record.recipe.tried_on)
            ]
        }
    )


def in_words(record: Record, summary: Mapping[str, Any]) -> list[str]:
    """Say the result of the folds in one sentence, and that of the hold-out in another."""
    if record.phantom:
        unseen = "On simulated subjects the network never saw"
    else:
        unseen = f"On {'patients' if record.patients_known else 'images'} the network never saw"
    lines = [f"{unseen}, {_in_words(summary['files'])}."]
    if summary.get(HOLDOUT):
        lines.append(f"On the hold-out, set aside before the folds were drawn, {_in_words(summary[HOLDOUT])}.")
    return lines


def scores(record: Record) -> Html:
    """Tabulate every measure, a column per file, and then fold by fold."""
    if not record.summary:
        return Html()
    parts = [
        _measures(record.summary["files"], name, record.summary["hausdorff_unit"]) for name in record.summary["classes"]
    ]
    for folds in fold_tables(record.summary):
        *rows, total = folds.rows
        parts.append(
            table(
                f"Fold by fold: {folds.title}", folds.header, [*rows, [_broken(cell) for cell in total]], class_="folds"
            )
        )
        parts.append(element("p", folds.note, class_="note"))
    for measures in measure_tables(record.summary):
        parts += [table(measures.title, measures.header, measures.rows), element("p", measures.note, class_="note")]
    return join(parts)


def deployment(record: Record) -> Html:
    """Put the files that ship beside the network, and say whose score the final network has."""
    parts = []
    comparison = comparison_table(record.summary) if record.summary else None
    if comparison:
        rows = [[_broken(cell) for cell in row] for row in comparison.rows]
        parts += [table(comparison.title, comparison.header, rows), element("p", comparison.note, class_="note")]
    if record.recipe.final:
        parts.append(element("p", FINAL))
    return join(parts)


def confusion(record: Record, *, file: str, class_name: str) -> Html:
    """Tabulate what one file drew against what is there, in images and in pixels."""
    assert record.summary is not None
    count = findings(record.out_of_fold, file=file, class_name=class_name)
    rows = [
        (f"shows {class_name}", _count(count.found), _count(count.missed)),
        (f"shows no {class_name}", _count(count.false_alarms), _count(count.rightly_empty)),
    ]
    tables = [table("Images", ("image", "drawn", "nothing drawn"), rows, class_="counts")]
    pixels = record.summary["files"][file][class_name].get("confusion")
    if pixels:
        rows = [
            (class_name, _count(pixels["tp"]), _count(pixels["fn"])),
            ("background", _count(pixels["fp"]), _count(pixels["tn"])),
        ]
        tables.append(table("Pixels of all images", ("pixel", "drawn", "not drawn"), rows, class_="counts"))
    return join(tables)


def number(value: float | None, measure: str) -> str:
    """Write a measure with three decimals, a distance with one, and what is undefined as n/a."""
    if value is None:
        return "n/a"
    return f"{value:.1f}" if measure == "hausdorff95" else f"{value:.3f}"


def _in_words(files: Mapping[str, Any]) -> str:
    """ "the mean Dice was 0.78 (95 % interval 0.74 to 0.81) for nerve", for every class of every file."""
    results = []
    for file, classes in files.items():
        for name, entry in classes.items():
            dice, whose = entry["dice"], f"{name} as {file}" if len(files) > 1 else name
            interval = "" if dice["low"] is None else f" (95\u00a0% interval {dice['low']:.2f} to {dice['high']:.2f})"
            results.append(f"{'n/a' if dice['mean'] is None else format(dice['mean'], '.2f')}{interval} for {whose}")
    *most, last = results
    return f"the mean Dice was {', '.join(most)}{' and ' if most else ''}{last}"


def basis(record: Record) -> str:
    """How many images the headline rests on, how the empty ones count, and what it is not."""
    rows = record.out_of_fold
    images, patients = len({row.image for row in rows}), len({row.patient for row in rows})
    sentences = []
    if rows and not record.patients_known:
        sentences.append(f"Scored on {images} images; which of them show the same patient is not known.")
    elif rows:
        sentences.append(
            f"Scored on {images} images of {patients} {'simulated subjects' if record.phantom else 'patients'}."
        )
    for name in record.summary["classes"] if record.summary else ():
        absent = findings(rows, file=record.files[0], class_name=name).absent
        if absent:
            sentences.append(
                f"{absent} images show no {name}: such an image counts as Dice 1 when left empty, else as 0."
            )
    return " ".join([*sentences, "A research result, not a medical device."])


def _tiles(record: Record) -> list[Html]:
    """A row of key numbers per class, for the first file."""
    assert record.summary is not None
    rows = []
    for name, entry in record.summary["files"][record.files[0]].items() if record.files else ():
        unit, count = (
            record.summary["hausdorff_unit"],
            findings(record.out_of_fold, file=record.files[0], class_name=name),
        )
        tiles = [
            ("Dice", number(entry["dice"]["mean"], "dice"), _interval(entry["dice"], "dice")),
            ("Sensitivity", number(entry["sensitivity"]["mean"], "dice"), _interval(entry["sensitivity"], "dice")),
            (
                f"95 % Hausdorff, {unit}",
                number(entry["hausdorff95"]["mean"], "hausdorff95"),
                _interval(entry["hausdorff95"], "hausdorff95"),
            ),
        ]
        if count.present:
            tiles.append(("Found", f"{count.found} of {count.present}", f"images that show {name}"))
        if count.absent:
            tiles.append(("False alarms", f"{count.false_alarms} of {count.absent}", f"images without {name}"))
        if len(record.summary["classes"]) > 1 or len(record.files) > 1:
            rows.append(element("h3", f"{name}, {record.files[0]}" if len(record.files) > 1 else name))
        pairs = (
            element("div", element("dt", term), element("dd", value, element("small", detail)))
            for term, value, detail in tiles
        )
        rows.append(element("dl", *pairs, class_="tiles"))
    return rows


def _measures(files: Mapping[str, Any], name: str, unit: str) -> Html:
    """A row per measure and a column per file; one file alone also shows its spread over folds and what was counted."""
    entries = {file: classes[name] for file, classes in files.items() if name in classes}
    rows = []
    for measure, (label, meaning) in MEASURES.items():
        measured = [entry[measure] for entry in entries.values() if measure in entry]
        if not measured:
            continue
        term = f"{label}, {unit}" if measure == "hausdorff95" else label
        cells = [
            join([element("strong", number(one["mean"], measure)), element("small", _interval(one, measure))], " ")
            for one in measured
        ]
        if len(entries) == 1:
            cells += [number(measured[0]["sd_folds"], measure), _count(measured[0]["count"])]
        rows.append([join([term, element("small", meaning)]), *cells])
    spread = ("SD over folds", "images") if len(entries) == 1 else ()
    return table(
        f"Every measure: {name}", ("mean per image (95 % interval)", *entries, *spread), rows, class_="measures"
    )


def _interval(statistics: Mapping[str, Any], measure: str) -> str:
    if statistics["low"] is None:
        return ""
    return f"{number(statistics['low'], measure)} to {number(statistics['high'], measure)}"


def _broken(cell: str) -> Html:
    """Set the interval of "0.785 ± 0.020 [0.744, 0.812]" on a line of its own."""
    mean, bracket, interval = cell.partition(" [")
    return join([mean, element("small", f"[{interval}")] if bracket else [mean])


def _count(count: int) -> str:
    return f"{count:,}".replace(",", "\u202f")  # a narrow space that does not break
