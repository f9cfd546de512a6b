"""tfseg benchmark: what its words ask for, the measurements, and the table of what came out."""

import argparse
import contextlib
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from tfseg.bench import android, host, matrix, result
from tfseg.bench.matrix import Matrix
from tfseg.bench.result import Cell
from tfseg.bench.task import Task
from tfseg.errors import InputError
from tfseg.progress import progress
from tfseg.tables import Table

HARNESS = Path("tflite/android/benchmark_model_v1")  # where get_harness.sh puts it, in a checkout


def run(arguments: argparse.Namespace, *, tell: Callable[[str], None]) -> list[Cell]:
    """Measure every file; where --json names a folder, write the results there and leave out what it holds already.

    Raises:
        InputError: the words contradict each other, or a file is none that can be measured.
        WorkError: the phone is lost.
    """
    tasks = _tasks(arguments)
    with contextlib.ExitStack() as stack:
        folder = arguments.json or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        if arguments.target == "host":
            cells = host.run_matrix(tasks, folder, stack.enter_context(progress()))
        else:
            at = stack.enter_context(
                android.session(
                    arguments.harness or HARNESS,
                    serial=arguments.serial,
                    prepare=arguments.prepare,
                    limits=android.Limits(),
                    tell=tell,
                )
            )
            cells = android.run_matrix(at, tasks, folder, stack.enter_context(progress()))
    if arguments.json:
        others = ", the others were there already" if len(cells) < len(tasks) else ""
        tell(f"{len(cells)} of {len(tasks)} cells measured{others}; results in {arguments.json}")
    return cells


def table(cells: Sequence[Cell]) -> Table:
    """Return one row for each measurement; milliseconds, and memory in MiB."""
    header = ("file", "delegate", "threads", "median", "p5", "p90", "p95", "SD", "load", "first", "memory", "status")
    rows = []
    for cell in cells:
        times = (cell.median_ms, cell.p5_ms, cell.p90_ms, cell.p95_ms, cell.sd_ms, cell.init_ms, cell.first_ms)
        threads = "" if cell.threads is None else str(cell.threads)
        memory = "" if cell.memory_overall_mb is None else f"{cell.memory_overall_mb:.1f}"
        rows.append((cell.file, cell.delegate, threads, *map(result.milliseconds, times), memory, result.verdict(cell)))
    device = f"{cells[0].device} ({cells[0].soc}), {cells[0].android}, {cells[0].harness}" if cells else ""
    note = "Milliseconds of the inference alone; memory: what the process grew by, in MiB."
    return Table(title=device, note=note, header=header, rows=tuple(rows))


def _tasks(arguments: argparse.Namespace) -> list[Task]:
    android_only = {
        "--serial": arguments.serial is not None,
        "--harness": arguments.harness is not None,
        "--prepare": arguments.prepare,
    }
    if arguments.target == "host" and any(android_only.values()):
        raise InputError(f"{next(name for name in android_only if android_only[name])} goes with --target android")
    if arguments.delegate != "cpu" and arguments.threads is not None:
        raise InputError(f"--threads goes with --delegate cpu: {arguments.delegate} is measured once")
    if arguments.runs < 1:
        raise InputError(f"--runs {arguments.runs}: at least 1")
    asked = Matrix(
        precisions=matrix.PRECISIONS,
        delegates=(arguments.delegate,),
        threads=_threads(arguments.threads or "1"),
        runs=arguments.runs,
    )
    listed = (
        matrix.tasks(asked, [path]) if path.is_dir() else matrix.file_tasks(matrix.called(path), path, asked)
        for path in arguments.files
    )
    return [task for tasks in listed for task in tasks]


def _threads(text: str) -> tuple[int, ...]:
    words = text.split(",")
    if not all(word.isascii() and word.isdigit() and int(word) for word in words):
        raise InputError(f"--threads {text}: whole numbers from 1, such as 1,2,4")
    return tuple(dict.fromkeys(map(int, words)))
