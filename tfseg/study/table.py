"""The table of a study: our numbers, and clearly apart the published ones, as text, Markdown, CSV and a page."""

import csv
import dataclasses
import io
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.bench.result import milliseconds
from tfseg.report import markup
from tfseg.report.html import page
from tfseg.report.markup import Html, element, join
from tfseg.report.pictures import training
from tfseg.report.record import read_record
from tfseg.report.tradeoff import Point, captioned, tradeoff
from tfseg.tables import Table

STUDY, MARKDOWN, CSV, PAGE, PICTURE = "study.json", "table.md", "table.csv", "study.html", "study.svg"
NOT_PUBLISHED = "–"
CAUTION = (
    "PHANTOM: images of this study were simulated by a computer. The numbers show that the software works; "
    "they say nothing about patients."
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Column:
    """One figure of a row: its heading, and how it is written, ours or a published one."""

    heading: str
    text: Callable[[Any], str]


def _score(digits: int, scale: float = 1) -> Callable[[Any], str]:
    """Write a score with its deviation; published ones come as a number or as [mean, deviation]."""

    def text(value: Any) -> str:
        if isinstance(value, Mapping):
            value = [value["mean"], value["sd"]]
        mean, spread = value if isinstance(value, list) else (value, None)
        if mean is None:
            return "n/a"
        written = f"{mean * scale:.{digits}f}"
        return written if spread is None else f"{written} ± {spread * scale:.{digits}f}"

    return text


def _difference(value: Any) -> str:
    if value["mean"] is None:
        return "n/a"
    interval = "" if value["low"] is None else f" [{value['low']:+.3f}, {value['high']:+.3f}]"
    return f"{value['mean']:+.3f}{interval}"


def _latency(value: Any) -> str:
    if value["median_ms"] is None:
        return value["status"]
    return f"{milliseconds(value['median_ms'])}{'' if value['status'] == 'ok' else '~'}"


def _fps(value: Any) -> str:
    if not isinstance(value, Mapping):
        return str(value)
    if value["median_ms"] is None:
        return value["status"]
    return f"{1000 / value['median_ms']:.0f}{'' if value['status'] == 'ok' else '~'}"


COLUMNS: dict[str, Column] = {
    "parameters": Column(heading="Parameters", text=lambda value: value if isinstance(value, str) else f"{value:,}"),
    "gmac": Column(heading="GMAC", text="{:.2f}".format),
    "dice": Column(heading="Dice", text=_score(3)),
    "iou": Column(heading="IoU", text=_score(3)),
    "accuracy": Column(heading="Accuracy", text=_score(3)),
    "sensitivity": Column(heading="Sensitivity", text=_score(3)),
    "efficiency": Column(heading="Efficiency", text=_score(3)),
    "loss": Column(heading="Loss", text=_score(3)),
    "hausdorff95": Column(heading="HD95", text=_score(2)),
    "difference": Column(heading="Dice less the first row's", text=_difference),
    "int8_dice": Column(heading="Dice, int8", text=_score(3)),
    "int8_loss": Column(heading="int8 less fp32", text=_score(4)),
    "latency": Column(heading="int8, ms", text=_latency),
    "fps": Column(heading="FPS", text=_fps),
    "instructions": Column(heading="int8 on Arm, million instructions", text=lambda value: f"{value / 1e6:,.0f}"),
}


def table(study: Mapping[str, Any]) -> Table:
    """Return the table of a study.json: a figure that was not run is an empty cell, one not published a dash."""
    columns = [name for name in study["columns"] if any(name in row["ours"] for row in study["rows"])]
    theirs = [name for name in study["columns"] if any(name in row["published"] for row in study["rows"])]
    several = len({row["data"] for row in study["rows"]}) > 1
    rows = []
    for row in study["rows"]:
        ours = [COLUMNS[name].text(row["ours"][name]) if name in row["ours"] else "" for name in columns]
        published = [
            COLUMNS[name].text(row["published"][name]) if name in row["published"] else NOT_PUBLISHED for name in theirs
        ]
        mark = " PHANTOM" if row["phantom"] else ""
        rows.append((row["name"], *([row["data"] + mark] if several else []), *ours, *published))
    header = (
        "",
        *(["data"] if several else []),
        *(_heading(name, study) for name in columns),
        *(f"published: {COLUMNS[name].heading}" for name in theirs),
    )
    return Table(title=_title(study), note=_note(study, bool(theirs)), header=header, rows=tuple(rows))


def write(study: Mapping[str, Any], folder: Path) -> Table:
    """Write study.json, table.md, table.csv, study.html and, where files were timed, study.svg; return the table."""
    shown, found = table(study), points(study)
    svg = tradeoff(found, mark="PHANTOM" if study["phantom"] else "") if found else ""
    if svg:
        runs.write_whole(folder / PICTURE, svg)
    runs.write_json(folder / STUDY, study)
    runs.write_whole(folder / MARKDOWN, markdown(shown))
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(
        [("PHANTOM" if study["phantom"] else "", *shown.header[1:]), *shown.rows]
    )
    runs.write_whole(folder / CSV, text.getvalue())
    runs.write_whole(folder / PAGE, _page(study, shown, folder, captioned(found, svg) if svg else join([])))
    return shown


def points(study: Mapping[str, Any]) -> list[Point]:
    """Return the latency and the Dice of each row's int8 file, where it has both."""
    several = len({row["data"] for row in study["rows"]}) > 1
    found = []
    for row in study["rows"]:
        latency, dice = (row["ours"].get(name, {}) for name in ("latency", "int8_dice"))
        if latency.get("median_ms") is not None and dice.get("mean") is not None:
            device = f"{study['cpu']}, {row['data']}" if several else study["cpu"]
            point = Point(file=row["name"], device=device, latency_ms=latency["median_ms"], dice=dice["mean"])
            found.append(point)
    return found


def markdown(shown: Table) -> str:
    """Return a table in Markdown, with its title above and its note below."""
    lines = [shown.header, ["---", *["---:"] * (len(shown.header) - 1)], *shown.rows]
    body = "".join(f"| {' | '.join(cells)} |\n" for cells in lines)
    return f"**{shown.title}**\n\n{body}\n{shown.note}\n"


def _title(study: Mapping[str, Any]) -> str:
    mark = "PHANTOM " if study["phantom"] else ""
    quick = ", quick" if study["quick"] else ""
    return f"{mark}{study['title']}: {', '.join(study['data'])}{quick}"


def _heading(name: str, study: Mapping[str, Any]) -> str:
    heading = COLUMNS[name].heading
    return f"{heading} ({study['hausdorff_unit']})" if name == "hausdorff95" else heading


def _note(study: Mapping[str, Any], published: bool) -> str:
    seeds = len(study["seeds"])
    spread = f"mean ± standard deviation over {seeds} seeds" if seeds > 1 else "one seed"
    size, folds = ("/".join(map(str, study[key])) for key in ("image_size", "folds"))
    words = [f"Ours: {spread}, out-of-fold in {folds} folds, at the original resolution, trained at {size} pixels."]
    if "difference" in study["columns"]:
        words.append("Differences are paired, image by image, with the 95 % interval over patients.")
    if "latency" in study["columns"]:
        words.append(f"Latency: median of one thread of {study['cpu']}; ~: unsteady, the machine was busy.")
    if "instructions" in study["columns"] and any("instructions" in row["ours"] for row in study["rows"]):
        words.append(study["instructions"])
    if published:
        about = study["published"]
        words.append(f"Published: {about['source']}; {about['data']}: compare orders, not values.")
        if study["departures"]:
            words.append(f"Departures: {study['departures']}.")
    if study["phantom"]:
        words.append("PHANTOM: simulated images, no patients.")
    return " ".join(words)


def _page(study: Mapping[str, Any], shown: Table, folder: Path, picture: Html) -> str:
    whole = markup.table(shown.title, shown.header, shown.rows)
    links = (
        element(
            "li", element("a", name, href=f"{name}/{runs.REPORT}") if (folder / name / runs.REPORT).exists() else name
        )
        for row in study["rows"]
        for name in row["runs"]
    )
    curves = training(read_record(folder / study["rows"][0]["runs"][0])) if study["curves"] else ""
    sections = [
        ("Results", join([whole, element("p", shown.note)])),
        ("Latency of the int8 files against their Dice", picture),
        ("Curves of the first run", join([curves])),
        ("Runs", element("ul", *links)),
        ("What was run", element("pre", " ".join(study["command"]))),
    ]
    return page(shown.title, element("p", study["title"]), sections, caution=CAUTION if study["phantom"] else "")
