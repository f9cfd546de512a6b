"""What speed costs: the latency of files against their Dice as SVG, with the Pareto front of each device."""

import dataclasses
from collections.abc import Mapping, Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tfseg.bench.result import milliseconds
from tfseg.report.curves import FAINT, STYLE, fold_colour, to_svg
from tfseg.report.markup import Html, chart, element, join
from tfseg.report.pictures import COLOURS

MARKERS = "osD^vPX*"
_WIDE = 4  # slowest over fastest, from which the axis is logarithmic


@dataclasses.dataclass(frozen=True, kw_only=True)
class Point:
    """A file on a device: what it is called there, its latency in ms, and its Dice."""

    file: str
    device: str
    latency_ms: float
    dice: float


def pareto(points: Sequence[Point]) -> list[Point]:
    """Return the points of one device than which no other is at once as fast and as good, the fastest first."""
    front: list[Point] = []
    for point in sorted(points, key=lambda point: (point.latency_ms, -point.dice)):
        if not front or point.dice > front[-1].dice:
            front.append(point)
    return front


def fronts(points: Sequence[Point]) -> dict[str, list[Point]]:
    """Return the front of each device."""
    devices = dict.fromkeys(point.device for point in points)
    return {device: pareto([point for point in points if point.device == device]) for device in devices}


def numbers(points: Sequence[Point]) -> dict[str, int]:
    """Return a number for each file that stands on the front of a device, from the least Dice up."""
    standing = sorted((point.dice, point.file) for front in fronts(points).values() for point in front)
    return {file: number for number, file in enumerate(dict.fromkeys(file for _, file in standing), 1)}


def tradeoff(points: Sequence[Point], *, mark: str = "") -> str:
    """Draw latency against Dice: one mark for each file and device, and the numbered front of each device as a line.

    Args:
        points: not empty; one of each file and device.
        mark: a word to stand in the corner, such as PHANTOM.

    Returns:
        The text of an SVG file.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for place, (device, front) in enumerate(fronts(points).items()):
            colour = fold_colour(place)
            axes.plot(*_columns(front), color=colour, linewidth=1.2, alpha=0.6)
            there = _columns([point for point in points if point.device == device])
            marker = MARKERS[place % len(MARKERS)]
            axes.plot(*there, linestyle="", marker=marker, color=colour, label=_plain(device))
            _number(axes, front, numbers(points))
        times = [point.latency_ms for point in points]
        if max(times) > _WIDE * min(times):
            axes.set_xscale("log")
            axes.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
            axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
            axes.xaxis.set_minor_locator(NullLocator())
        axes.margins(x=0.12, y=0.12)
        axes.set_xlabel("median latency of one image, ms")
        axes.set_ylabel("Dice on patients never seen")
        figure.legend(loc="outside lower center", ncols=2, frameon=False)
        return to_svg(figure, mark)


def captioned(points: Sequence[Point], svg: str) -> Html:
    """Return the picture of `tradeoff` as a figure of a page, and the numbered front of each device in words."""
    number, lines = numbers(points), []
    for device, front in fronts(points).items():
        standing = (
            f"{number[point.file]} {point.file} ({milliseconds(point.latency_ms)} ms, {point.dice:.3f})"
            for point in front
        )
        lines.append(element("li", element("strong", device), f": {'; '.join(standing)}"))
    label = f"Median latency against Dice of {len(points)} pairs of a file and a device."
    return join(
        [
            element("figure", chart(svg, label, name="tradeoff", colours=COLOURS)),
            element("p", "No other file is at once as fast and as good as these, the Pareto front of each device:"),
            element("ul", *lines),
        ]
    )


def _number(axes: Axes, front: Sequence[Point], number: Mapping[str, int]) -> None:
    for point in front:
        place = (point.latency_ms, point.dice)
        axes.annotate(str(number[point.file]), place, (0, 6), textcoords="offset points", ha="center", color=FAINT)


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.latency_ms for point in points], [point.dice for point in points]


def _plain(name: str) -> str:
    """Keep matplotlib from reading a name as a formula, or as one that no legend shows."""
    return name.replace("$", r"\$").lstrip("_")
