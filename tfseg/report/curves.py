"""Charts as SVG: curves of the training per fold, and how Dice spreads over images; equal numbers, equal bytes."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfseg.errors import InputError

History = Mapping[str, np.ndarray]  # column of history.csv -> (epochs,) float64

CURVES = {"loss": "Loss", "accuracy": "Pixel accuracy", "iou": "IoU", "dice": "Dice"}
BIN_WIDTH = 0.05

# Everything a chart draws has one of these colours: a page may replace them by its own (see tfseg.report.page).
INK, FAINT, GRID, GROUND = "#22303a", "#5b6b76", "#dde3e7", "#fefefe"
BAR, MISSED, RIGHT = "#2f6f9f", "#c4541a", "#0b7d69"
FOLDS = ("#1f6fb2", "#c8510a", "#0a8466", "#9a4fa3", "#8a6d10", "#c23b6e", "#3f8fc4")
MARK = "#ffd400"

STYLE: Any = {  # matplotlib's type for it lists every key
    "svg.hashsalt": "tfseg",
    "svg.fonttype": "none",  # text stays text: to be searched, read aloud, and set in the page's own face
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib, so that the layout does not hang on the machine
    "font.size": 9.5,
    "axes.edgecolor": FAINT,
    "axes.labelcolor": FAINT,
    "axes.titlecolor": INK,
    "axes.titlelocation": "left",
    "axes.titlesize": 10.5,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.axisbelow": True,
    "axes.facecolor": "none",
    "figure.facecolor": GROUND,
    "grid.color": GRID,
    "grid.linewidth": 0.8,
    "text.color": INK,
    "xtick.color": FAINT,
    "ytick.color": FAINT,
    "ytick.major.size": 0,
}


def read_history(path: Path) -> dict[str, np.ndarray]:
    """Read history.csv: column -> (epochs,) float64; InputError names the file when it is damaged."""
    try:
        with path.open(newline="", encoding="utf-8") as file:
            header, *lines = csv.reader(file, strict=True)
        values = np.array([[float(value) for value in line] for line in lines]).reshape(-1, len(header))
        columns = {name: values[:, header.index(name)] for name in ("epoch", *_columns())}
    except OSError as error:
        raise InputError(f"{path}: cannot read it ({error.strerror})") from error
    except (csv.Error, ValueError) as error:
        raise InputError(f"{path}: damaged ({error}); remove it, and the report leaves its curves out") from error
    return columns


def curves(histories: Mapping[str, History], *, names: Sequence[str] = tuple(CURVES), mark: str = "") -> str:
    """Draw training (dashed, pale) and validation (solid) over epochs, one colour per fold.

    Args:
        histories: name of a fold, such as "fold 0", -> its history.
        names: which of CURVES to draw; several stand in two columns, with a legend below.
        mark: a word to stand in the corner, such as PHANTOM.

    Returns:
        The text of an SVG file.
    """
    columns = min(2, len(names))
    rows = math.ceil(len(names) / columns)
    legend = 0.45 if len(names) > 1 else 0.0  # inches
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6 * columns, 2.9 * rows + legend), layout="constrained")
        charts = figure.subplots(rows, columns, squeeze=False).flat
        for axes, name in zip(charts, names, strict=False):
            _draw_curve(axes, histories, name)
        if legend:
            figure.legend(
                *charts[0].get_legend_handles_labels(),
                loc="outside lower center",
                ncols=min(len(histories), 6),
                frameon=False,
                title="solid: validation · dashed: training",
                title_fontsize="medium",
            )
        return to_svg(figure, mark)


def fold_colour(place: int) -> str:
    """Return the colour of the fold at that place in a chart; colours begin again after the last."""
    return FOLDS[place % len(FOLDS)]


def dice_distribution(
    found: Sequence[float], *, missed: int, rightly_empty: int = 0, false_alarms: int = 0, title: str, mark: str = ""
) -> str:
    """Draw how the Dice of single images spreads; images whose truth is empty stand apart, as right or wrong.

    Args:
        found: Dice of each image whose truth is not empty and in which the network drew something.
        missed: images whose truth is not empty and in which it drew nothing: Dice 0, stacked on the first bar.
        rightly_empty: images whose truth is empty and in which it drew nothing.
        false_alarms: images whose truth is empty and in which it drew something.
        title: what the chart is of.
        mark: a word to stand in the corner, such as PHANTOM.

    Returns:
        The text of an SVG file.
    """
    empties = rightly_empty + false_alarms
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(4.6, 2.9), layout="constrained")
        ratios = [3.4, 1] if empties else [1]
        charts = figure.subplots(1, len(ratios), squeeze=False, width_ratios=ratios)[0]
        _draw_histogram(charts[0], found, missed)
        charts[0].set_title(title, parse_math=False)  # a class may be named with a dollar sign
        if empties:
            _draw_empties(charts[1], rightly_empty, false_alarms)
        return to_svg(figure, mark)


def _columns() -> tuple[str, ...]:
    return (*CURVES, *(f"val_{name}" for name in CURVES))


def _draw_curve(axes: Axes, histories: Mapping[str, History], name: str) -> None:
    for place, (fold, history) in enumerate(histories.items()):
        colour = fold_colour(place)
        point = "o" if len(history["epoch"]) == 1 else ""  # a line of one epoch has no length
        axes.plot(history["epoch"], history[name], "--", marker=point, color=colour, alpha=0.55, linewidth=1)
        axes.plot(history["epoch"], history[f"val_{name}"], marker=point, color=colour, linewidth=1.5, label=fold)
    if name in ("iou", "dice"):
        axes.set_ylim(0, 1)
    elif name == "accuracy":
        axes.set_ylim(top=1)
    else:
        axes.set_ylim(bottom=min(0, axes.get_ylim()[0]))
    axes.set_title(CURVES[name])
    axes.set_xlabel("epoch")
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))


def _draw_histogram(axes: Axes, found: Sequence[float], missed: int) -> None:
    bins = round(1 / BIN_WIDTH)
    places = np.minimum(np.floor(np.asarray(found) * bins), bins - 1).astype(int)  # a bin holds its lower edge
    counts = np.bincount(places, minlength=bins)
    left = np.arange(bins) * BIN_WIDTH
    axes.bar(left, counts, width=BIN_WIDTH * 0.88, align="edge", color=BAR)
    if missed:
        axes.bar(0, missed, bottom=counts[0], width=BIN_WIDTH * 0.88, align="edge", color=MISSED)
    axes.set_xlim(0, 1)
    axes.set_xlabel("Dice of an image with something to find")
    axes.set_ylabel("images")
    axes.yaxis.set_major_locator(MaxNLocator(5, integer=True, steps=[1, 2, 5, 10]))
    if len(found) + missed:
        median = float(np.median([*found, *[0.0] * missed]))
        axes.set_ylim(0, max(counts[0] + missed, *counts) * 1.22)
        axes.axvline(median, color=INK, linewidth=1.2, ymax=0.9)
        beside = {"ha": "right", "x": median - 0.012} if median > 0.5 else {"ha": "left", "x": median + 0.012}
        axes.text(**beside, y=axes.get_ylim()[1] * 0.92, s=f"median {median:.2f}", va="center", fontsize=9)


def _draw_empties(axes: Axes, rightly_empty: int, false_alarms: int) -> None:
    axes.bar([0, 1], [rightly_empty, false_alarms], color=[RIGHT, MISSED], width=0.72)
    for place, count in enumerate((rightly_empty, false_alarms)):
        axes.annotate(str(count), (place, count), (0, 2), textcoords="offset points", ha="center", fontsize=9)
    axes.set_xticks([0, 1], ["left\nempty", "false\nalarm"], fontsize=8.5)
    axes.tick_params(axis="x", length=0)
    axes.set_xlim(-0.6, 1.6)
    axes.set_ylim(0, 1.22 * max(rightly_empty, false_alarms))  # of its own: often there are far more empty images
    axes.yaxis.set_visible(False)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("nothing to find")


def to_svg(figure: Figure, mark: str) -> str:
    """Return a figure as an SVG file's text, with `mark` in its corner unless that is empty."""
    if mark:
        box = {"facecolor": MARK, "edgecolor": "none", "pad": 2.5}
        figure.text(0.99, 0.985, mark, ha="right", va="top", color="#000000", weight="bold", fontsize=8.5, bbox=box)
    text = io.StringIO()
    no_metadata = dict.fromkeys(("Date", "Creator", "Format", "Type"))
    FigureCanvasSVG(figure).print_svg(text, metadata=no_metadata)
    return text.getvalue()
