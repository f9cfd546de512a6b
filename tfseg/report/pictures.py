"""The part of the report that one looks at: the spread of Dice, single cases, and the curves of the training."""

import re
from pathlib import Path

import numpy as np

from tfseg import runs
from tfseg.overlays import PREDICTION_COLOURS, TRUTH_COLOURS, Colour, colour_of
from tfseg.report import curves
from tfseg.report.cases import BEST, MEDIAN, WORST, Drawn, choose, draw
from tfseg.report.markup import Html, chart, element, join, picture
from tfseg.report.record import Record
from tfseg.report.results import confusion, findings

_KINDS = {BEST: "Best", MEDIAN: "Around the median", WORST: "Worst"}
COLOURS = {
    curves.INK: "var(--ink)",
    curves.FAINT: "var(--faint)",
    curves.GRID: "var(--rule)",
    curves.GROUND: "none",
    curves.BAR: "var(--bar)",
    curves.MISSED: "var(--wrong)",
    curves.RIGHT: "var(--right)",
    **{colour: f"var(--fold-{place})" for place, colour in enumerate(curves.FOLDS)},
}


def distribution(record: Record) -> Html:
    """Chart the Dice of single images beside what was found and missed, per file and class."""
    parts = []
    for file in record.files if record.rows else ():
        for name in record.summary["classes"] if record.summary else ():
            rows = [row for row in record.out_of_fold if (row.file, row.class_name) == (file, name)]
            count = findings(rows, file=file, class_name=name)
            drawn = [row.dice for row in rows if not row.truth_empty and not row.prediction_empty]
            svg = curves.dice_distribution(
                drawn,
                missed=count.missed,
                rightly_empty=count.rightly_empty,
                false_alarms=count.false_alarms,
                title=f"{name}, {file}",
                mark=record.mark,
            )
            scored = [*drawn, *[0.0] * count.missed]
            label = f"Histogram of the Dice of {len(scored)} images that show {name}, as {file}"
            label += f": median {np.median(scored):.2f}" if scored else ""
            label += f", {count.missed} of them missed" if count.missed else ""
            label += (
                f". Of {count.absent} images without {name}, {count.rightly_empty} were left empty."
                if count.absent
                else "."
            )
            figure = _figure(record.run, re.sub(r"\W+", "-", f"dice-{name}-{file}"), svg, label)
            counts = element("div", confusion(record, file=file, class_name=name))
            parts.append(element("div", figure, counts, class_="pair"))
    return join(parts)


def training(record: Record) -> Html:
    """Chart the curves of every fold; written into the run's figures as well."""
    if not record.histories:
        return Html()
    runs.write_whole(record.run / runs.FIGURES / "curves.svg", curves.curves(record.histories, mark=record.mark))
    charts = []
    for name, title in curves.CURVES.items():
        last = [history[f"val_{name}"][-1] for history in record.histories.values() if len(history["epoch"])]
        label = f"{title} over the epochs, training and validation of {', '.join(record.histories)}"
        label += f"; validation ends between {min(last):.3f} and {max(last):.3f}." if last else "."
        svg = curves.curves(record.histories, names=[name], mark=record.mark)
        charts.append(element("figure", chart(svg, label, name=f"curve-{name}", colours=COLOURS)))
    legend = [
        element("li", _line(f"var(--fold-{place % len(curves.FOLDS)})"), fold)
        for place, fold in enumerate(record.histories)
    ]
    legend.append(element("li", _line("var(--faint)"), "validation"))
    legend.append(element("li", _line("var(--faint)", dashes="3 3"), "training"))
    size, share = record.recipe.image_size, record.recipe.validation
    whose = "patients" if record.patients_known else "images"
    watched = (
        f"Validation is {share:.0%} of the training {whose}, kept out of the training to steer it."
        if share
        else "Validation is the held-out fold itself: it was watched and nothing was chosen by it."
    )
    note = f"{watched} Curves are over batches of {size} by {size} pixel inputs; the scores above are per image at the "
    return join(
        [
            element("ul", *legend, class_="legend"),
            element("div", *charts, class_="pair"),
            element("p", f"{note}original resolution.", class_="note"),
        ]
    )


def cases(record: Record) -> Html:
    """Show the best, middle and worst images, alone and with both outlines."""
    if not record.files:
        return Html()
    chosen = choose(record.rows, file=record.files[0])
    drawn = draw(
        chosen, record.run, dataset=record.data["name"], root=Path(record.data.get("root") or ""), mark=record.mark
    )
    if not drawn:
        return Html()
    classes = [row.class_name for row in drawn[0].case.rows]
    legend = []
    for k, name in enumerate(classes):
        legend.append(element("li", _line(_css(colour_of(TRUTH_COLOURS, k)), on_dark=True), f"{name}: annotator"))
        colour = _css(colour_of(PREDICTION_COLOURS, k))
        legend.append(element("li", _line(colour, dashes="5 4", on_dark=True), f"{name}: network"))
    parts = [
        element(
            "p",
            "Images in which the annotator drew something, ranked by Dice",
            f" (mean of {', '.join(classes)})" if len(classes) > 1 else "",
            ". Pixels are tinted where the two disagree.",
        ),
        element("ul", *legend, class_="legend"),
    ]
    if any(one.earlier for one in drawn):
        parts.append(
            element(
                "p",
                f"The images are not at {record.data.get('root')} any more, or are not those that were scored: these "
                "pictures were drawn by an earlier report of this run.",
                class_="note",
            )
        )
    for kind, title in _KINDS.items():
        shown = [_card(one, patients_known=record.patients_known) for one in drawn if one.case.kind == kind]
        if shown:
            parts += [element("h3", title), element("div", *shown, class_="cases")]
    return join(parts)


def _card(drawn: Drawn, *, patients_known: bool) -> Html:
    case, of = drawn.case, drawn.case.rows[0]
    worth = ", ".join(
        f"{row.class_name} {_dice_in_words(row.truth_empty, row.prediction_empty, row.dice)}" for row in case.rows
    )
    outlined = f"{case.image} with both outlines: {worth}"
    return element(
        "figure",
        picture(drawn.plain, f"{case.image}, without outlines"),
        picture(drawn.outlined, outlined),
        element(
            "figcaption",
            element("strong", f"Dice {case.dice:.3f}"),
            element("span", worth) if len(case.rows) > 1 else "",
            element("span", case.image, class_="path"),
            element("span", f"{'patient ' if patients_known else ''}{of.patient}, fold {of.fold}"),
        ),
    )


def _dice_in_words(truth_empty: bool, prediction_empty: bool, dice: float) -> str:
    if truth_empty:
        return "absent and left empty" if prediction_empty else "absent, false alarm"
    return "missed" if prediction_empty else f"Dice {dice:.3f}"


def _figure(run: Path, name: str, svg: str, label: str) -> Html:
    runs.write_whole(run / runs.FIGURES / f"{name}.svg", svg)
    return element("figure", chart(svg, label, name=name, colours=COLOURS))


def _line(colour: str, *, dashes: str = "", on_dark: bool = False) -> Html:
    """A short line for a legend; a colour made for ultrasound needs its dark ground."""
    ground = element("rect", width=30, height=12, rx=2, fill="#15191c") if on_dark else ""
    stroke = element("path", d="M3 6H27", stroke=colour, stroke_width=2, stroke_dasharray=dashes or None)
    return element("svg", ground, stroke, class_="swatch", viewBox="0 0 30 12", aria_hidden="true")


def _css(colour: Colour) -> str:
    return "#" + bytes(colour).hex()
