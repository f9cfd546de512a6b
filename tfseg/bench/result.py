"""One measurement: which file ran where and with what, how fast, and whether the number counts; one JSON file each."""

import dataclasses
import math
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.errors import InputError

SCHEMA = 2  # 2: model, dataset, phantom, dice, cpu_flags; a host's cells
TARGETS = ("host", "android")
DELEGATES = ("cpu", "gpu", "gpu-fp32")
COVERAGES = ("complete", "partial", "none", "unknown")
OK, UNSTEADY, ON_CPU, FAILED = STATUSES = ("ok", "unsteady", "ran on CPU", "failed")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Figures:
    """What a harness reports of one run of it; what it did not say is None.

    Attributes:
        runs: timed inferences.
        warmup_runs: inferences before them, which no figure but `first_ms` counts.
        init_ms: from nothing to a network that is ready to run.
        first_ms: the first inference of all.
        median_ms: of the timed inferences, like all that follow.
        mean_ms: likewise.
        p5_ms: the 5th percentile.
        p90_ms: the 90th; Google's harness does not print it.
        p95_ms: the 95th.
        sd_ms: standard deviation.
        min_ms: the fastest.
        max_ms: the slowest.
        memory_init_mb: growth of the process by the end of the initialization, in MiB, as a high-water mark.
        memory_overall_mb: growth of the process by its end, likewise.
        memory_peak_mb: the most that the whole process held.
    """

    runs: int | None = None
    warmup_runs: int | None = None
    init_ms: float | None = None
    first_ms: float | None = None
    median_ms: float | None = None
    mean_ms: float | None = None
    p5_ms: float | None = None
    p90_ms: float | None = None
    p95_ms: float | None = None
    sd_ms: float | None = None
    min_ms: float | None = None
    max_ms: float | None = None
    memory_init_mb: float | None = None
    memory_overall_mb: float | None = None
    memory_peak_mb: float | None = None

    def __post_init__(self) -> None:
        """Raise ValueError where a figure cannot be true."""
        for field in dataclasses.fields(Figures):
            value = getattr(self, field.name)
            if value is None:
                continue
            kinds = (int,) if field.name in ("runs", "warmup_runs") else (int, float)
            if isinstance(value, bool) or not isinstance(value, kinds) or not math.isfinite(value) or value < 0:
                raise ValueError(f"{field.name} is {value!r}")
        ranked = [self.min_ms, self.p5_ms, self.median_ms, self.p90_ms, self.p95_ms, self.max_ms]
        known = [value for value in ranked if value is not None]
        if known != sorted(known):
            raise ValueError(f"fastest, percentiles and slowest are not in order: {known}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Cell(Figures):
    """One file on one device with one delegate and one number of threads.

    The attributes are the keys of its JSON file, beside "schema". A later schema may add keys, never change one; what
    an older file does not hold takes the default. Only a cell whose status is "ok" or "unsteady" holds figures.

    Attributes:
        file: what the file is called: RUN/FOLD/PRECISION.tflite where it comes from a run.
        file_sha256: of the file.
        precision: "fp32", "fp16", "dynamic" or "int8".
        model: name of the network, where the file is one of tfseg.
        dataset: what that learned from.
        phantom: whether those were simulated images.
        dice: mean over images and classes on patients it never saw, as the file's own proof has it.
        target: "host" or "android".
        device: maker and model of the phone, or the host's CPU.
        device_id: eight hex digits that tell devices of one model apart and give no serial number or name away.
        soc: maker and model of the phone's chip; of a host how many CPUs of what kind.
        cpu_flags: the vector instructions of a host's CPU.
        android: version and API level; of a host its system.
        harness: what measured, such as "benchmark_model v1" or "ai-edge-litert 2.1.0".
        harness_sha256: of that program; on a host of the runtime's name and version.
        delegate: asked for: "cpu", "gpu" (which may compute in half precision) or "gpu-fp32".
        delegate_ran: what the log says ran: "cpu", "xnnpack" or "gpu".
        gpu_api: "OpenCL", "OpenGL" or another.
        coverage: how much of the graph the delegate took: "complete", "partial", "none" or "unknown".
        kernels: pieces of the graph that the delegate took, where they are known.
        unsupported_operations: what the delegate refused, in its words; on a host's CPU what XNNPACK left over.
        threads: of the CPU; None for a GPU.
        runs_asked: the least number of timed inferences.
        battery_before_c: the battery's temperature before the measurement.
        battery_after_c: and after it.
        zone_before_c: the hottest thermal zone's, where the phone lets them be read.
        zone_after_c: and after it.
        largest_difference: between the device's output and the host's for the same random image, as probability (or
            as values, where the file ends in a mask).
        flipped_pixels: mask pixels that differ between the two.
        output_pixels: mask pixels of one image.
        status: "ok"; "unsteady": measured, but not under steady conditions; "ran on CPU": a GPU was asked for, and no
            log says that it ran the whole graph; "failed".
        reason: why it is not "ok"; else empty.
        notes: what else a reader must know.
        measured_at: when, UTC, ISO 8601.
    """

    file: str
    file_sha256: str
    precision: str
    model: str = ""
    dataset: str = ""
    phantom: bool = False
    dice: float | None = None
    target: str
    device: str
    device_id: str
    soc: str
    cpu_flags: tuple[str, ...] = ()
    android: str
    harness: str
    harness_sha256: str
    delegate: str
    delegate_ran: str | None = None
    gpu_api: str | None = None
    coverage: str = "unknown"
    kernels: int | None = None
    unsupported_operations: tuple[str, ...] = ()
    threads: int | None = None
    runs_asked: int
    battery_before_c: float | None = None
    battery_after_c: float | None = None
    zone_before_c: float | None = None
    zone_after_c: float | None = None
    largest_difference: float | None = None
    flipped_pixels: int | None = None
    output_pixels: int | None = None
    status: str
    reason: str = ""
    notes: tuple[str, ...] = ()
    measured_at: str

    def __post_init__(self) -> None:
        """Raise ValueError where the fields contradict each other."""
        super().__post_init__()
        for name, choices in (
            ("target", TARGETS),
            ("delegate", DELEGATES),
            ("coverage", COVERAGES),
            ("status", STATUSES),
        ):
            if getattr(self, name) not in choices:
                raise ValueError(f"{name} is {getattr(self, name)!r}: it must be one of {', '.join(choices)}")
        figures = {field.name for field in dataclasses.fields(Figures) if getattr(self, field.name) is not None}
        if self.counts and self.mean_ms is None and self.median_ms is None:
            raise ValueError(f'status is "{self.status}", and there is no latency')
        if not self.counts and figures:
            raise ValueError(f'status is "{self.status}", and there are figures: {", ".join(sorted(figures))}')
        if self.counts and self.delegate != "cpu" and (self.delegate_ran, self.coverage) != ("gpu", "complete"):
            raise ValueError(f"a latency of delegate {self.delegate}, and no word that a GPU ran the whole graph")
        if (self.status == OK) == bool(self.reason):
            raise ValueError(f'status is "{self.status}" and the reason "{self.reason}"')

    @property
    def counts(self) -> bool:
        """Whether the latency is one of what was asked for."""
        return self.status in (OK, UNSTEADY)

    @property
    def latency_ms(self) -> float | None:
        """The median, or the mean where an old harness says no more; None where no latency counts."""
        return self.mean_ms if self.median_ms is None else self.median_ms

    @property
    def key(self) -> tuple[Any, ...]:
        """What must be the same for a measurement to be the same one."""
        return (self.device_id, self.harness_sha256, self.file_sha256, self.delegate, self.threads, self.runs_asked)


def write(folder: Path, cell: Cell) -> Path:
    """Write a cell as FOLDER/DEVICE/FILE-DELEGATE-KEY.json, whole or not at all; return the path."""
    threads = f"-{cell.threads}" if cell.threads else ""
    tell_apart = f"{cell.harness_sha256[:4]}{cell.file_sha256[:4]}{cell.runs_asked}"
    name = f"{_slug(cell.file.removesuffix('.tflite'))}-{cell.delegate}{threads}-{tell_apart}.json"
    path = folder / f"{_slug(cell.device)}-{cell.device_id}" / name
    runs.write_json(path, {"schema": SCHEMA} | dataclasses.asdict(cell))
    return path


def read(path: Path) -> Cell:
    """Read a cell of this schema or an older one.

    Raises:
        InputError: the file is missing, damaged, no cell, or of a newer schema.
    """
    table = runs.read_json(path)
    schema = table.get("schema") if isinstance(table, dict) else None
    if not isinstance(schema, int):
        raise InputError(f"{path}: not a benchmark result of tfseg (it names no schema)")
    if schema > SCHEMA:
        raise InputError(f"{path}: of schema {schema}, and this version reads up to {SCHEMA}: use a newer tfseg")
    del table["schema"]
    try:
        for name in ("cpu_flags", "unsupported_operations", "notes"):
            table[name] = tuple(table.get(name, ()))
        return Cell(**table)
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: a damaged benchmark result ({error}); delete it to measure again") from error


def read_all(folder: Path) -> list[Cell]:
    """Read every cell below `folder`, in the order of the paths; none where it does not exist."""
    return [read(path) for path in sorted(folder.rglob("*.json"))]


def headline(cell: Cell) -> str:
    """Say in one line what a cell found."""
    threads = f" x{cell.threads}" if cell.threads else ""
    latency = f"{milliseconds(cell.latency_ms)} ms, " if cell.counts else ""
    return f"{cell.file} {cell.delegate}{threads}: {latency}{verdict(cell)}"


def verdict(cell: Cell) -> str:
    """Say in words whether the latency counts, why not, and what the device's output differs by."""
    words = [f"{cell.status}: {cell.reason}" if cell.reason else cell.status]
    if cell.flipped_pixels is not None:
        words.append(
            f"{cell.flipped_pixels} of {cell.output_pixels} pixels differ from the host's CPU, "
            f"probabilities by {cell.largest_difference:.2g} at most"
        )
    return "; ".join([*words, *cell.notes])


def milliseconds(value: float | None) -> str:
    """Write a time with four digits, and what was not measured as nothing.

    >>> milliseconds(0.0017853), milliseconds(12.3456), milliseconds(1234.567), milliseconds(None)
    ('0.001785', '12.35', '1235', '')
    """
    if value is None:
        return ""
    return f"{value:.0f}" if value >= 1000 else f"{value:.4g}"


def held(cells: Iterable[Cell]) -> set[tuple[Any, ...]]:
    """Return the keys of the measurements that need no other try: all but those that failed."""
    return {cell.key for cell in cells if cell.status != FAILED}


def _slug(text: str) -> str:
    """Return a part of a file name.

    >>> _slug("runs/lighter_unet@16/final")
    'runs-lighter_unet_16-final'
    """
    return re.sub(r"[^\w.-]", "_", text.replace("/", "-").replace(" ", "-"))
