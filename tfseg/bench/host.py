"""Files on this computer: LiteRT in fresh processes, on the CPU or on a GPU; a software GPU gives no latency."""

import contextlib
import dataclasses
import hashlib
import json
import platform
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.bench import machine, numerics, result
from tfseg.bench.result import Cell, Figures
from tfseg.bench.task import Task, outcome
from tfseg.errors import InputError, WorkError
from tfseg.lite import gpu
from tfseg.lite import inspect as inspecting
from tfseg.progress import Watch

LIMIT_S = 600.0  # for one process of a cell
BLOCK = 5  # timed inferences before the other series has its turn: what disturbs the machine for long hits both
AGREE = 0.05  # of the smaller median, that two series may differ by: most of 51 files' did so on a quiet machine
SPREAD = 0.25  # of the median, that the middle half of the inferences may span: more hides what one compares files for


@dataclasses.dataclass(frozen=True, kw_only=True)
class Series:
    """What one process measured; `latencies_ms` are its timed inferences, in order, all else as in result.Figures."""

    init_ms: float
    first_ms: float
    warmup_runs: int
    latencies_ms: tuple[float, ...]
    memory_init_mb: float
    memory_overall_mb: float
    memory_peak_mb: float

    @property
    def median_ms(self) -> float:
        """The median of its timed inferences."""
        return float(np.median(self.latencies_ms))


def run_matrix(tasks: Sequence[Task], folder: Path, watch: Watch) -> list[Cell]:
    """Make the measurements that `folder` does not hold yet, write each as soon as it is made, return the new ones."""
    done = result.held(result.read_all(folder))
    cells = []
    for number, task in enumerate(tasks, 1):
        if _cell(task, status=result.FAILED, reason="not measured").key not in done:
            cells.append(measure(task))
            result.write(folder, cells[-1])
        watch("measuring", number, len(tasks), f"{task.name} {task.delegate}")
    return cells


def measure(task: Task) -> Cell:
    """Measure one file; the cell says in its status whether its number counts."""
    try:
        return _cell(task, **(_on_cpu(task) if task.delegate == "cpu" else _on_gpu(task)))
    except (WorkError, InputError) as error:  # of this cell: the others may go well
        return _cell(task, status=result.FAILED, reason=str(error))


def judge(first: Series, second: Series) -> dict[str, Any]:
    """Say what two series of one task, measured in turn, are worth together.

    They agree when their medians are nearly the same (AGREE: on a quiet machine series may be so narrow that neither
    reaches the other), or each lies between the 5th and the 95th percentile of the other; and what agrees only because
    it is spread so widely (SPREAD) is unsteady as well.

    Returns:
        Fields of a Cell: status, reason, and the figures; loading and memory are the first series'.
    """
    together = [*first.latencies_ms, *second.latencies_ms]
    p5, p25, median, p75, p90, p95 = np.percentile(together, [5, 25, 50, 75, 90, 95]).tolist()
    figures = Figures(
        runs=len(together),
        warmup_runs=first.warmup_runs + second.warmup_runs,
        init_ms=first.init_ms,
        first_ms=first.first_ms,
        median_ms=median,
        mean_ms=float(np.mean(together)),
        p5_ms=p5,
        p90_ms=p90,
        p95_ms=p95,
        sd_ms=float(np.std(together)),
        min_ms=min(together),
        max_ms=max(together),
        memory_init_mb=first.memory_init_mb,
        memory_overall_mb=first.memory_overall_mb,
        memory_peak_mb=first.memory_peak_mb,
    )
    reason = ""
    low, high = sorted((first.median_ms, second.median_ms))
    if high > (1 + AGREE) * low and not (_within(first, second) and _within(second, first)):
        reason = f"two series disagree: medians of {first.median_ms:.4g} and {second.median_ms:.4g} ms"
    elif p75 - p25 > SPREAD * median:
        reason = f"the machine was busy: half of the inferences took {p25:.4g} to {p75:.4g} ms"
    return {"status": result.UNSTEADY if reason else result.OK, "reason": reason} | dataclasses.asdict(figures)


def _within(series: Series, other: Series) -> bool:
    low, high = np.percentile(other.latencies_ms, [5, 95])
    return bool(low <= series.median_ms <= high)


def _on_cpu(task: Task) -> dict[str, Any]:
    assert task.threads is not None
    found = inspecting.inspect(task.file.path)
    extent = "partial" if found.partitions else "none"
    cpus = machine.this().cpus
    crowded = (f"{task.threads} threads on {cpus} CPUs",) if task.threads > cpus else ()
    return judge(*_two_series(task)) | {
        "delegate_ran": "xnnpack" if found.partitions else "cpu",
        "coverage": extent if found.outside else "complete",
        "kernels": found.partitions,
        "unsupported_operations": tuple(f"{operation} ({layer})" for operation, layer in found.outside),
        "notes": crowded,
    }


def _on_gpu(task: Task) -> dict[str, Any]:
    image = numerics.random_image(task.file)
    with tempfile.TemporaryDirectory() as folder:
        kept = Path(folder) / "output"
        exact = task.delegate == "gpu-fp32"
        run = gpu.run(task.file.path, numerics.unit_range(task.file, image), exact=exact, keep=kept)
        output = kept.read_bytes() if run.largest_difference is not None else None
    fields: dict[str, Any] = {
        "gpu_api": "WebGPU",
        "coverage": "complete" if run.fully_accelerated else "partial",
        "unsupported_operations": run.refused,
        "notes": (f"GPU: {run.device}",),
    }
    if run.fault is not None:
        return fields | {"status": result.FAILED, "reason": run.fault}
    fields["delegate_ran"] = "gpu" if run.fully_accelerated else "cpu"
    if output is not None:
        here = numerics.run_here(task.file, image)
        try:
            fields |= dataclasses.asdict(numerics.compare(task.file, here, output))
        except ValueError as error:
            return fields | {"status": result.FAILED, "reason": str(error), "delegate_ran": None}
        fields["notes"] += numerics.remarks(here)
    if not run.fully_accelerated:
        refused = "; ".join(run.refused[:3]) or "no operation by name"
        return fields | {
            "status": result.ON_CPU,
            "reason": f"the GPU did not take the whole graph; it refused {refused}",
        }
    if run.software:
        return fields | {"status": result.ON_CPU, "reason": "a software GPU, whose time says nothing about a GPU"}
    return fields | judge(*_two_series(task))


def _two_series(task: Task) -> tuple[Series, Series]:
    """Measure in two processes that take turns."""
    each = -(-task.runs // 2)
    counts = [min(BLOCK, each - done) for done in range(0, each, BLOCK)]
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        image = Path(folder) / "image.npy"
        np.save(image, numerics.random_image(task.file))
        processes, begun = [], []
        for _ in range(2):  # the second starts when the first is warm, so that neither disturbs the other
            processes.append(stack.enter_context(_process(task, image)))
            begun.append(_answer(processes[-1]))
        latencies: tuple[list[float], list[float]] = ([], [])
        for count in counts:
            for process, series in zip(processes, latencies, strict=True):
                _ask(process, count)
                series += _answer(process)["latencies_ms"]
        ended = []
        for process in processes:
            assert process.stdin
            process.stdin.close()
            ended.append(_answer(process))
    first, second = (
        Series(**begin, **end, latencies_ms=tuple(series))
        for begin, end, series in zip(begun, ended, latencies, strict=True)
    )
    return first, second


@contextlib.contextmanager
def _process(task: Task, image: Path) -> Iterator["subprocess.Popen[str]"]:
    words = (task.file.path, image, task.delegate, task.threads or 0)
    command = [sys.executable, "-P", "-m", "tfseg.bench.series", *map(str, words)]
    with subprocess.Popen(
        command,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,  # Ctrl-C is for us, who then end it
    ) as process:
        timer = threading.Timer(LIMIT_S, process.kill)
        timer.start()
        try:
            yield process
        finally:
            timer.cancel()
            process.kill()


def _ask(process: "subprocess.Popen[str]", count: int) -> None:
    assert process.stdin
    with contextlib.suppress(BrokenPipeError):  # it has died, which `_answer` tells
        process.stdin.write(f"{count}\n")
        process.stdin.flush()


def _answer(process: "subprocess.Popen[str]") -> dict[str, Any]:
    """Return the next line of JSON; what the runtime and drivers print between is read over.

    Raises:
        InputError: the runtime does not take the file.
        WorkError: the process is gone.
        RuntimeError: it ended with a traceback, which is a bug; the message holds it.
    """
    assert process.stdout
    said = []
    for line in process.stdout:
        if line.startswith("{"):
            answer = json.loads(line)
            if "error" in answer:
                raise InputError(f"the runtime does not take it: {answer['error']}")
            return answer
        said.append(line)
    if any(line.startswith("Traceback") for line in said):
        raise RuntimeError("".join(said))
    raise WorkError(f"the measuring process {gpu.death(process.wait())} (it is ended after {LIMIT_S:g} s)")


def _cell(task: Task, **fields: Any) -> Cell:
    here = machine.this()
    runtime = f"ai-edge-litert {metadata.version('ai-edge-litert')}"
    identity = f"{runtime} {platform.machine()} {platform.system()}"
    return outcome(
        task,
        target="host",
        device=here.cpu,
        device_id=here.device_id,
        soc=here.soc,
        cpu_flags=here.flags,
        android=here.system,
        harness=runtime,
        harness_sha256=hashlib.sha256(identity.encode()).hexdigest(),
        **fields,
    )
