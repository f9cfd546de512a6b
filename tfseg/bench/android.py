"""Files on a phone: each is pushed, run, judged and compared; a matrix of them survives what phones do."""

import contextlib
import dataclasses
import secrets
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from tfseg.bench import adb, harness, logs, numerics, phone, result, wire
from tfseg.bench.harness import Harness
from tfseg.bench.phone import Phone, Temperature
from tfseg.bench.result import Cell, Figures
from tfseg.bench.task import Task, outcome
from tfseg.errors import InputError, WorkError
from tfseg.progress import Watch
from tfseg.runs import write_whole

SPARE_MB = 50  # beside our files, which a phone needs for its own
LOG_KB = 256  # of a log are kept beside its cell: the end, where the results are
_DISAGREE = 0.02  # a share: more than rounding takes from any figure of at least a millisecond


@dataclasses.dataclass(frozen=True, kw_only=True)
class Limits:
    """How long we wait, in seconds: for one measurement, for a cool phone, for a phone that was unplugged."""

    cell_s: float = 600.0
    cool_s: float = 600.0
    return_s: float = 120.0

    @property
    def poll_s(self) -> float:
        """How long we wait between two looks at the thermometer."""
        return min(5.0, self.cool_s / 10)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Session:
    """A phone with our folder on it and a harness in that.

    Attributes:
        phone: the phone.
        harness: what measures, as the phone knows it.
        folder: ours, on the phone.
        reference: how warm the phone was when we came.
        limits: how long we wait.
        tell: told what happens.
    """

    phone: Phone
    harness: Harness
    folder: PurePosixPath
    reference: Temperature
    limits: Limits
    tell: Callable[[str], None]

    @property
    def program(self) -> str:
        """Where the harness lies on the phone."""
        return str(self.folder / "benchmark_model")


@contextlib.contextmanager
def session(
    harness_path: Path, *, serial: str | None, prepare: bool, limits: Limits, tell: Callable[[str], None]
) -> Iterator[Session]:
    """Find the phone, see that it can do the work, and put the harness on it; everything of ours is gone afterwards.

    Raises:
        InputError: phone and harness cannot work together.
        WorkError: the phone does not take the harness, or is gone.
    """
    about = phone.inspect(adb.choose(serial))
    opened = harness.open_harness(harness_path, about.abis)
    free = phone.free_mb(about.device)
    needed = harness_path.stat().st_size / 2**20 + SPARE_MB
    if free is not None and free < needed:
        raise InputError(f"{about.device.serial}: {free:.0f} MB free, and {needed:.0f} are needed: free some on it")
    reference = phone.temperature(about.device)
    tell(f"{about.name} ({about.soc}, Android {about.android}): {phone.state(about.device)}")
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(phone.own_folder(about.device, secrets.token_hex(4), tell))
        if prepare:
            stack.enter_context(phone.prepared(about.device, tell))
        new = Session(phone=about, harness=opened, folder=folder, reference=reference, limits=limits, tell=tell)
        _push_program(new)
        yield dataclasses.replace(new, harness=harness.asked(opened, about.device, new.program))


def run_matrix(at: Session, tasks: Sequence[Task], folder: Path, watch: Watch) -> list[Cell]:
    """Make the measurements that `folder` does not hold yet and write each as soon as it is made.

    A phone that is lost gets `limits.return_s` to come back; the cell that it was at is then measured once more.

    Returns:
        The new cells.

    Raises:
        WorkError: the phone did not come back; what is done is kept.
    """
    done = result.held(result.read_all(folder))
    cells = []
    for number, task in enumerate(tasks, 1):
        if _key(at, task) not in done:
            try:
                cell, log = _measure_again(at, task)
            except adb.LostError as error:
                left = f"{len(tasks) - number + 1} of {len(tasks)} cells are left"
                raise WorkError(f"{error}; {left}, and what is done is kept: say the same again to go on") from error
            path = result.write(folder, cell)
            write_whole(path.with_suffix(".log"), log[-LOG_KB * 1024 :])
            cells.append(cell)
        watch("measuring", number, len(tasks), f"{task.name} {task.delegate}")
    return cells


def measure(at: Session, task: Task) -> tuple[Cell, str]:
    """Measure one file once.

    Returns:
        The cell, which says in its status whether its number counts, and the harness's log.

    Raises:
        adb.LostError: the phone is gone.
    """
    try:
        return _measure(at, task)
    except adb.LostError:
        raise
    except (WorkError, InputError) as error:  # of this cell: the others may go well
        return _cell(at, task, status=result.FAILED, reason=str(error)), str(error)


def _measure(at: Session, task: Task) -> tuple[Cell, str]:
    device, work = at.phone.device, at.folder / task.file.sha256[:16]
    network, given, taken, figures = (str(work) + end for end in (".tflite", ".in", ".out", ".pb"))
    flags = {"graph": network, "num_runs": str(task.runs)} | harness.delegate_flags(at.harness, task.delegate)
    if task.threads:
        flags["num_threads"] = str(task.threads)
    if "result_file_path" in at.harness.flags:
        flags["result_file_path"] = figures
    numeric = harness.numeric_flags(at.harness, task.file.input.name, task.file.input.shape, given, taken)
    with tempfile.TemporaryDirectory() as folder:
        local = Path(folder)
        files, here = {network: task.file.path}, None
        if numeric:
            image = numerics.random_image(task.file)
            here = numerics.run_here(task.file, image)
            files[given] = local / "image"
            files[given].write_bytes(image.tobytes())
        adb.push(device, files)
        limits = at.limits
        before, warm = phone.cool_down(device, at.reference, limit_s=limits.cool_s, poll_s=limits.poll_s, tell=at.tell)
        adb.ask(device, ["rm", "-f", taken, figures])
        answer = _run(at, harness.words(at.program, flags | (numeric or {})))
        after = phone.temperature(device)
        written = (local / "pb").read_bytes() if adb.pull(device, figures, local / "pb") else None
        output = (local / "out").read_bytes() if numeric and adb.pull(device, taken, local / "out") else None
    log = logs.parse(answer.stdout, answer.stderr)
    judged = judge(task, answer.status, log, wire.read(written) if written else None, warm)
    compared = _compared(task.file, here, output, numeric, judged["status"])
    degrees = {
        "battery_before_c": before.battery_c,
        "battery_after_c": after.battery_c,
        "zone_before_c": before.zone_c,
        "zone_after_c": after.zone_c,
    }
    return _cell(at, task, **(judged | compared | degrees)), f"{answer.stdout}\n{answer.stderr}"


def judge(task: Task, status: int, log: logs.Log, written: Figures | None, warm: str) -> dict[str, Any]:
    """Say what a run of the harness is worth.

    Args:
        task: what was asked for.
        status: the harness's exit status.
        log: what it printed.
        written: the figures of its result file, where there is a whole one.
        warm: what was too warm at its start, or "".

    Returns:
        Fields of a Cell: status, reason, what ran, and the figures where they count.
    """
    asked = "xnnpack" if task.delegate == "cpu" else "gpu"
    coverage = log.coverage.get(asked)
    fields: dict[str, Any] = {
        "coverage": coverage.extent if coverage else "unknown",
        "kernels": coverage.kernels if coverage else None,
        "unsupported_operations": log.unsupported_operations,
        "gpu_api": log.gpu_api if asked == "gpu" else None,
        "delegate_ran": asked if coverage and coverage.extent in ("complete", "partial") else "cpu",
    }
    figures = _merged(log.figures, written)
    if log.unconsumed_flags:
        reason = f"the harness did not know {' '.join(log.unconsumed_flags)}"
    elif status or log.failed:
        said = [error for error in log.errors if not logs.is_verdict(error)] or list(log.errors)
        reason = f"the harness failed with exit status {status}" + (f": {said[-1]}" if said else "")
    elif log.figures is None:
        reason = "the log is cut off or contradicts itself"
    elif figures is None:
        reason = "the log and the result file disagree"
    elif asked == "gpu" and fields["coverage"] != "complete":
        return fields | {"status": result.ON_CPU, "reason": _why_on_cpu(fields)}
    elif warm:
        known = dataclasses.asdict(figures)
        return fields | known | {"status": result.UNSTEADY, "reason": f"started warm: {warm}"}
    else:
        return fields | dataclasses.asdict(figures) | {"status": result.OK, "reason": ""}
    return fields | {"status": result.FAILED, "reason": reason, "delegate_ran": None}


def _why_on_cpu(fields: Mapping[str, Any]) -> str:
    if fields["coverage"] == "unknown":
        return "the log does not say that the GPU ran the graph"
    if fields["coverage"] == "none":
        text = "the GPU took nothing of the graph"
    else:
        text = "the GPU took only a part of the graph"
        text += f", in {fields['kernels']} pieces" if fields["kernels"] else ""
    refused = fields["unsupported_operations"]
    return text + (f"; it refused {len(refused)}: {'; '.join(refused[:3])}" if refused else "")


def _merged(said: Figures | None, written: Figures | None) -> Figures | None:
    """Return the result file's figures, filled up from the log's; None where the two are of different runs."""
    if said is None or written is None:
        return said
    for name in ("mean_ms", "min_ms", "max_ms", "init_ms"):
        one, other = getattr(said, name), getattr(written, name)
        if one is not None and other is not None and abs(one - other) > max(_DISAGREE * one, 0.02):
            return None
    if said.runs != written.runs:
        return None
    filled = {name: value for name, value in dataclasses.asdict(written).items() if value is not None}
    return Figures(**(dataclasses.asdict(said) | filled))


def _compared(
    file: numerics.File, here: np.ndarray | None, output: bytes | None, numeric: Mapping[str, str] | None, status: str
) -> dict[str, Any]:
    """Return what the device's output says: fields of a Cell."""
    if status == result.FAILED:
        return {}
    if not numeric or here is None:
        return {"notes": ("this harness cannot take an image and give back the answer: the output was not compared",)}
    if output is None:
        return {"notes": ("the harness wrote no output: it was not compared",)}
    try:
        found = numerics.compare(file, here, output)
    except ValueError as error:
        nothing = dict.fromkeys((field.name for field in dataclasses.fields(Figures)), None)
        return nothing | {"status": result.FAILED, "reason": str(error), "delegate_ran": None}
    return dataclasses.asdict(found) | {"notes": numerics.remarks(here)}


def _run(at: Session, words: Sequence[str]) -> adb.Answer:
    """Run the harness; one that takes too long is ended, on the phone as well."""
    device, number = at.phone.device, str(at.folder / "pid")
    noted = ["sh", "-c", 'echo $$ > "$0"; exec "$@"', number, *words]
    try:
        return adb.shell(device, noted, limit_s=at.limits.cell_s)
    except adb.LateError as error:
        _end(at, number)
        raise WorkError(f"no result within {at.limits.cell_s:g} s") from error
    except KeyboardInterrupt:
        with phone.undisturbed():
            _end(at, number)
        raise


def _end(at: Session, number: str) -> None:
    """End the process whose number that file holds, if it still is ours."""
    device = at.phone.device
    written = adb.shell(device, ["cat", number]).stdout.strip()
    if written.isdigit() and str(at.folder) in adb.shell(device, ["cat", f"/proc/{written}/cmdline"]).stdout:
        adb.shell(device, ["kill", "-9", written])


def _measure_again(at: Session, task: Task) -> tuple[Cell, str]:
    """Measure, and once more if the phone is lost on the way and comes back."""
    try:
        return measure(at, task)
    except adb.LostError as error:
        at.tell(f"{error}; waiting for it for {at.limits.return_s:g} s at most")
        if not adb.back_within(at.phone.device, at.limits.return_s):
            raise
    _end(at, str(at.folder / "pid"))
    _push_program(at)  # whose push may have been what was cut off
    cell, log = measure(at, task)
    return dataclasses.replace(cell, notes=(*cell.notes, "measured again after the phone had been gone")), log


def _push_program(at: Session) -> None:
    adb.push(at.phone.device, {at.program: at.harness.path})
    adb.ask(at.phone.device, ["chmod", "755", at.program])


def _key(at: Session, task: Task) -> tuple[Any, ...]:
    return _cell(at, task, status=result.FAILED, reason="not measured").key


def _cell(at: Session, task: Task, **fields: Any) -> Cell:
    return outcome(
        task,
        target="android",
        device=at.phone.name,
        device_id=at.phone.device_id,
        soc=at.phone.soc,
        android=at.phone.android,
        harness=f"benchmark_model {at.harness.version}",
        harness_sha256=at.harness.sha256,
        **fields,
    )
