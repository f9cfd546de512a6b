"""benchmark.html, .svg and .csv: what files cost on devices, and what they are worth, from the cells of benchmarks."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

from tfseg import runs
from tfseg.bench import result
from tfseg.bench.result import Cell, milliseconds
from tfseg.errors import InputError
from tfseg.report.html import page
from tfseg.report.markup import Html, element, join, table
from tfseg.report.tradeoff import Point, captioned, tradeoff

NAME = "benchmark"
_HEADER = ("file", "device", "delegate", "threads", "median", "p90", "p95", "SD", "load", "first", "memory", "Dice")
_PHANTOM = (
    "PHANTOM: files marked so learned from simulated images and were scored on such. Their latencies are real; "
    "their Dice says nothing about patients."
)


def write_benchmark_report(folders: Sequence[Path]) -> Path:
    """Write one table and one picture of all cells below these folders into the first; return the path of the page.

    Equal files give equal bytes.

    Raises:
        InputError: a folder is missing or holds no cell, or a cell is damaged.
    """
    cells = [cell for folder in folders for cell in _read(folder)]
    svg = tradeoff(points, mark="PHANTOM" if _phantom(cells) else "") if (points := fastest(cells)) else ""
    folder = folders[0]
    if svg:
        runs.write_whole(folder / f"{NAME}.svg", svg)
    columns = [field.name for field in dataclasses.fields(Cell)]
    rows = [[_flat(getattr(cell, column)) for column in columns] for cell in cells]
    runs.write_csv(folder / f"{NAME}.csv", columns, rows)
    runs.write_whole(folder / f"{NAME}.html", _page(cells, points, svg))
    return folder / f"{NAME}.html"


def fastest(cells: Sequence[Cell]) -> list[Point]:
    """Return one point for each file with a Dice and each device: that of the delegate and threads that are fastest.

    Files of several data sets are not compared with each other: the device's name then says the data set too.
    """
    best: dict[tuple[str, str], Point] = {}
    several = len({cell.dataset for cell in cells if cell.dice is not None}) > 1
    for cell in cells:
        if cell.latency_ms is None or cell.dice is None:
            continue
        device = f"{_device(cell)}, {cell.dataset}" if several else _device(cell)
        point = Point(file=cell.file, device=device, latency_ms=cell.latency_ms, dice=cell.dice)
        key = (cell.file_sha256, point.device)
        if key not in best or point.latency_ms < best[key].latency_ms:
            best[key] = point
    return list(best.values())


def _read(folder: Path) -> list[Cell]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; `tfseg benchmark FILE --json {folder}` writes results there")
    cells = result.read_all(folder)
    if not cells:
        raise InputError(f"{folder}: holds no results; `tfseg benchmark FILE --json {folder}` writes some")
    return cells


def _page(cells: Sequence[Cell], points: Sequence[Point], svg: str) -> Html:
    devices, files = {_device(cell) for cell in cells}, {cell.file_sha256 for cell in cells}
    counted = sum(cell.counts for cell in cells)
    lead = (
        f"{len(cells)} measurements of {_count(len(files), 'file')} on {_count(len(devices), 'device')}; "
        f"the latency of {counted} counts."
    )
    sections = [
        ("Latency against Dice", _picture(points, svg)),
        ("Every measurement", _measurements(cells)),
        ("How to read it", _reading()),
    ]
    return page("Benchmarks", element("p", lead, class_="lead"), sections, caution=_PHANTOM if _phantom(cells) else "")


def _picture(points: Sequence[Point], svg: str) -> Html:
    if not svg:
        return element(
            "p", "No file here brings a proof of its Dice, or none has a latency: `tfseg convert RUN` makes such files."
        )
    return captioned(points, svg)


def _measurements(cells: Sequence[Cell]) -> Html:
    rows = []
    for cell in sorted(cells, key=lambda cell: (_device(cell), cell.file, cell.delegate, cell.threads or 0)):
        times = (cell.median_ms, cell.p90_ms, cell.p95_ms, cell.sd_ms, cell.init_ms, cell.first_ms)
        memory = "" if cell.memory_overall_mb is None else f"{cell.memory_overall_mb:.1f}"
        dice = "" if cell.dice is None else f"{'PHANTOM ' if cell.phantom else ''}{cell.dice:.3f}"
        verdict = result.verdict(cell)
        name = join([cell.file, element("small", verdict) if verdict != result.OK else ""])
        threads = "" if cell.threads is None else str(cell.threads)
        rows.append([name, _device(cell), cell.delegate, threads, *map(milliseconds, times), memory, dice])
    return table("Milliseconds; memory in MiB", _HEADER, rows, class_="measures")


def _reading() -> Html:
    lines = (
        "A mark in the picture is a file on a device, with the delegate and the threads that are fastest there.",
        "Latency is that of the inference alone; no image is read, scaled or copied in it.",
        "Memory is what the process grew by from before the file was loaded, as a high-water mark.",
        '"ran on CPU": a GPU was asked for, and did not run the whole graph, or is none; it has no latency.',
        '"unsteady": measured, but the phone began too warm, or two series in turn on a host disagree.',
        "Dice is the mean over images of patients that the networks never saw, from the proof inside the file.",
    )
    return element("ul", *(element("li", line) for line in lines))


def _device(cell: Cell) -> str:
    return f"{cell.device} {cell.device_id}"


def _phantom(cells: Sequence[Cell]) -> bool:
    return any(cell.phantom for cell in cells)


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _flat(value: object) -> object:
    return "; ".join(value) if isinstance(value, tuple) else value
