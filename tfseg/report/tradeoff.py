"""What speed costs: the latency of files against their Dice as SVG, with the Pareto front of each device."""

import dataclasses
from collections.abc import Sequence

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

from tfseg.report.curves import FAINT, STYLE, fold_colour, to_svg

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


def tradeoff(points: Sequence[Point], *, mark: str = "") -> str:
    """Draw latency against Dice: one mark for each file and device, and the front of each device as a line.

    Args:
        points: not empty; one of each file and device.
        mark: a word to stand in the corner, such as PHANTOM.

    Returns:
        The text of an SVG file.
    """
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(6.4, 4.4), layout="constrained")
        axes = figure.subplots()
        for place, device in enumerate(dict.fromkeys(point.device for point in points)):
            _draw_device(axes, [point for point in points if point.device == device], device, place)
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


def _draw_device(axes: Axes, points: Sequence[Point], device: str, place: int) -> None:
    colour, front = fold_colour(place), pareto(points)
    axes.plot(*_columns(front), color=colour, linewidth=1.2, alpha=0.6)
    axes.plot(*_columns(points), linestyle="", marker=MARKERS[place % len(MARKERS)], color=colour, label=_plain(device))
    for point in front:
        axes.annotate(
            point.file,
            (point.latency_ms, point.dice),
            (5, -10),
            textcoords="offset points",
            color=FAINT,
            fontsize=8,
            parse_math=False,
        )


def _columns(points: Sequence[Point]) -> tuple[list[float], list[float]]:
    return [point.latency_ms for point in points], [point.dice for point in points]


def _plain(name: str) -> str:
    """Keep matplotlib from reading a name as a formula, or as one that no legend shows."""
    return name.replace("$", r"\$").lstrip("_")
