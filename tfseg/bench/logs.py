"""What Google's benchmark_model says, read with distrust: half a line is no number, and a number needs its witness.

Two tools bear that name. v1 (the Interpreter's) prints microseconds, a line for the warm-up and one for the result; v2
(the CompiledModel's) prints the same lines, and a block of milliseconds after them. Every line is matched whole, the
figures of a line are compared with each other and with the line that repeats them, and what does not fit is not there.
"""

import dataclasses
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from tfseg.bench.result import Figures

V1, V2 = "v1", "v2"
OPERATIONS = 50  # of the list of unsupported ones: a longer one is no list

_NOISE = re.compile(  # logcat in its two usual forms, and Abseil's log: other programs', or this one's once more
    r"(?:\d{4}-)?\d\d-\d\d \d\d:\d\d:\d\d\.\d+ .*|[VDIWEF]/.{0,99}\(\s*\d+\): .*|[IWEF]\d{4} \d\d:\d\d:.*"
)
_LINE = re.compile(r"(?:(INFO|WARN|WARNING|ERROR|FATAL|VERBOSE): ?)?(?:\[[\w.]+:\d+\] ?)?(.*)")
_OWN = re.compile(  # a line of the tool's own; before 2021 these bore no severity
    r"(?:INFO|WARN|WARNING|ERROR|FATAL|VERBOSE):.*|(?:Running benchmark for|Inference timings in us:|Note: as the) .*"
)
_N, _F = r"\d{1,15}", r"\d{1,15}(?:\.\d{1,6})?(?:e\+\d\d)?"
_COUNT = re.compile(
    r"count=(?P<runs>{n})(?: curr=(?P<same>{n})(?:\(all same\))?"
    r"| first=(?P<first>{n}) curr=(?P<last>{n}) min=(?P<min>{n}) max=(?P<max>{n}) avg=(?P<mean>{f}) std=(?P<sd>{f}))"
    r"(?: p5=(?P<p5>{n}) median=(?P<median>{n}) p95=(?P<p95>{n}))?".replace("{n}", _N).replace("{f}", _F)
)
_TIMINGS = re.compile(
    rf"Inference timings in us: Init: ({_N}), First inference: ({_N}),"
    rf" Warmup \(avg\): ({_F}), Inference \(avg\): ({_F})"
)
_SESSION = re.compile(rf"Initialized session in ({_F})ms\.")
_FOOTPRINT = re.compile(rf"Memory footprint delta from the start of the tool \(MB\): init=({_F}) overall=({_F})")
_MS = {  # with two digits behind the point, so that none was cut off
    "init_ms": re.compile(r"Model initialization: +(\d{1,12}\.\d\d) ms"),
    "first_ms": re.compile(r"(?:Warmup \(first\)|First inference): +(\d{1,12}\.\d\d) ms"),
    "warmup_runs": re.compile(r"Warmup \(avg\): +[\d.]+ ms \((\d{1,9}) runs\)"),
    "mean_ms": re.compile(r"Inference \(avg\): +(\d{1,12}\.\d\d) ms \(\d+ runs\)"),
    "runs": re.compile(r"Inference \(avg\): +[\d.]+ ms \((\d{1,9}) runs\)"),
    "min_ms": re.compile(r"Inference \(min\): +(\d{1,12}\.\d\d) ms"),
    "max_ms": re.compile(r"Inference \(max\): +(\d{1,12}\.\d\d) ms"),
    "sd_ms": re.compile(r"Inference \(std\): +(\d{1,12}\.\d\d)(?: ms)?"),
    "p5_ms": re.compile(r"Inference \(p5\): +(\d{1,12}\.\d\d) ms"),
    "median_ms": re.compile(r"Inference \(median\): +(\d{1,12}\.\d\d) ms"),
    "p95_ms": re.compile(r"Inference \(p95\): +(\d{1,12}\.\d\d) ms"),
    "memory_init_mb": re.compile(r"Init footprint: +(\d{1,12}\.\d\d) MB"),
    "memory_overall_mb": re.compile(r"Overall footprint: +(\d{1,12}\.\d\d) MB"),
    "memory_peak_mb": re.compile(r"Peak memory: +(\d{1,12}\.\d\d) MB"),
}
_MEMORY = {"memory_init_mb", "memory_overall_mb"}  # one never comes without the other
_OPTIONAL = _MEMORY | {"memory_peak_mb", "p5_ms", "median_ms", "p95_ms"}
_BEGIN, _END = "========== BENCHMARK RESULTS ==========", re.compile("={20,}")
_PRINTED_MS = 0.0051  # half of the last digit of v2's figures, and the error of a float beside it

_APPLIED = re.compile(
    r"Explicitly applied (\w+) delegate, and the model graph will be"
    r" (?:(completely) executed by the delegate|partially executed by the delegate w/ (\d{1,6}) delegate kernels)\."
)
_REFUSED = re.compile(r"Though (\w+) delegate is explicitly applied, the model graph will not be executed by .*")
_REPLACING = re.compile(
    r"Replacing (\d{1,6}) out of (\d{1,6}) node\(s\) with delegate \(([^)]+)\) node,"
    r" yielding (\d{1,6}) partitions(?: for .*)?\.?"
)
_UNSUPPORTED = re.compile(r"(?:Following|Next) operations are not supported by GPU delegate:")
_OPERATION = re.compile(r"[A-Z][A-Z0-9_]*(?::.*)?")
_UNCONSUMED = re.compile(r"Unconsumed cmdline flags: (.+)")
_API = re.compile(r"\bInitialized (\w+)-based API|\bInitializing (\w+)-based API")
_DEADLY = re.compile(r"Benchmarking failed\.|Disallowed CPU fallback detected\.")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Coverage:
    """How much of the graph a delegate took.

    Attributes:
        extent: "complete", "partial" or "none".
        kernels: in how many pieces, where the log says so.
    """

    extent: str
    kernels: int | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Log:
    """What a log says.

    Attributes:
        dialect: "v1", "v2", or None where it is neither's.
        figures: of the result, never of the warm-up; None where the log does not reach its end or contradicts itself.
        coverage: of each delegate that the log mentions, by "gpu" or "xnnpack" (or another in its own spelling).
        unsupported_operations: what the GPU delegate refused, in its words.
        unconsumed_flags: flags that the tool did not know.
        gpu_api: "OpenCL", "OpenGL" or another.
        errors: what it complained of, in its order.
        failed: whether it says that it failed.
    """

    dialect: str | None
    figures: Figures | None
    coverage: Mapping[str, Coverage]
    unsupported_operations: tuple[str, ...]
    unconsumed_flags: tuple[str, ...]
    gpu_api: str | None
    errors: tuple[str, ...]
    failed: bool


def parse(*streams: str) -> Log:
    """Read what benchmark_model printed: stdout and stderr, or the two in one; any text is a log, if an empty one.

    >>> parse("WARN: Unconsumed cmdline flags: --use_gpu=true\\n").unconsumed_flags
    ('--use_gpu=true',)
    """
    lines = list(_lines(streams))
    counts = _whole(_COUNT, lines)
    series = [found for found in map(_count, counts) if found]
    begun = any(line.text == _BEGIN for line in lines)
    return Log(
        dialect=V2 if begun else V1 if counts or _whole(_TIMINGS, lines) else None,
        figures=_figures_v2(lines, series) if begun else _figures_v1(lines, series),
        coverage=_coverage(lines),
        unsupported_operations=_unsupported(lines),
        unconsumed_flags=tuple(_unconsumed(lines)),
        gpu_api=next((match[1] or match[2] for line in lines if (match := _API.search(line.text))), None),
        errors=tuple(line.text for line in lines if line.severity in ("ERROR", "FATAL") and line.text),
        failed=any(line.severity == "FATAL" or _DEADLY.fullmatch(line.text) for line in lines),
    )


def is_verdict(error: str) -> bool:
    """Whether an error says that all failed, and not why."""
    return bool(_DEADLY.fullmatch(error))


class _Line(NamedTuple):
    """A line: what it says without its severity, and whether what follows, empty lines aside, is the tool's own."""

    severity: str | None
    text: str
    ended: bool


def _lines(streams: Sequence[str]) -> Iterator[_Line]:
    """Yield the lines of all streams but other programs', and but those that no newline ends: they were cut off."""
    for stream in streams:
        lines = [line for line in re.split(r"\r*\n", stream)[:-1] if not _NOISE.fullmatch(line)]
        ended, found = True, []
        for line in reversed(lines):
            match = _LINE.fullmatch(line)
            assert match  # as any line does
            found.append(_Line(match[1], match[2].rstrip(), ended))
            if line.strip():
                ended = _OWN.fullmatch(line) is not None
        yield from reversed(found)


def _whole(pattern: re.Pattern[str], lines: Sequence[_Line]) -> list[re.Match[str]]:
    """Return the lines that a pattern matches from end to end, and that do not go on in the next one."""
    return [match for line in lines if line.ended and (match := pattern.fullmatch(line.text))]


def _count(match: re.Match[str]) -> dict[str, float] | None:
    """Return a line's figures in microseconds, or None where they contradict each other."""
    found = {name: float(value) for name, value in match.groupdict().items() if value is not None}
    if "same" in found:
        same = found.pop("same")
        found |= {"first": same, "last": same, "min": same, "max": same, "mean": same, "sd": 0.0}
    ranked = [found[name] for name in ("min", "p5", "median", "p95", "max") if name in found]
    digits = 1e-5 * found["max"]  # avg is printed with six
    least_sd, most_sd = _sd_limits(found)
    fits = (
        found["runs"] > 0
        and ranked == sorted(ranked)
        and all(found["min"] <= found[end] <= found["max"] for end in ("first", "last"))
        and found["min"] - digits <= found["mean"] <= found["max"] + digits
        and least_sd <= found["sd"] <= most_sd
    )
    return found if fits else None


def _sd_limits(found: Mapping[str, float]) -> tuple[float, float]:
    """Return between which values a standard deviation lies, given the extremes and the mean (Bhatia and Davis, 2000).

    One value each at the extremes and all others at the mean is the least; all at the extremes the most. The upper one
    is widened from the population's to the sample's, both by what rounding takes.
    """
    digits = 1e-5 * found["max"]
    above, below, runs = found["max"] - found["mean"], found["mean"] - found["min"], found["runs"]
    least = math.sqrt((above**2 + below**2) / max(runs, 1))
    most = math.sqrt(max(above, 0) * max(below, 0) * runs / max(runs - 1, 1))
    slack = 1 + digits + math.sqrt(digits * found["max"])
    return (0.0 if runs < 2 else max(least - 1 - digits, 0.0)), most + slack


def _agree(printed: float, other: float) -> bool:
    """Whether two are the same number, printed with six digits."""
    return math.isclose(printed, other, rel_tol=1e-5)


def _figures_v1(lines: Sequence[_Line], series: Sequence[Mapping[str, float]]) -> Figures | None:
    """Return the second series, where the closing line repeats its mean, and the first of the warm-up before it."""
    timings, sessions, footprints = (_whole(pattern, lines) for pattern in (_TIMINGS, _SESSION, _FOOTPRINT))
    if (len(timings), len(series)) != (1, 2):
        return None
    init, first, warm_mean, mean = (float(value) for value in timings[0].groups())
    warm, result = series
    if not (_agree(result["mean"], mean) and _agree(warm["mean"], warm_mean) and warm["first"] == first):
        return None
    memory = [float(value) for value in footprints[0].groups()] if len(footprints) == 1 else [None, None]
    return Figures(
        **_milliseconds(result),
        runs=int(result["runs"]),
        warmup_runs=int(warm["runs"]),
        init_ms=init / 1000 if len(sessions) == 1 and _agree(float(sessions[0][1]), init / 1000) else None,
        first_ms=first / 1000,
        memory_init_mb=memory[0],
        memory_overall_mb=memory[1],
    )


def _milliseconds(series: Mapping[str, float]) -> dict[str, float]:
    return {f"{name}_ms": value / 1000 for name, value in series.items() if name not in ("runs", "first", "last")}


def _block(lines: Sequence[_Line]) -> dict[str, float] | None:
    """Return v2's block of results, or None where it is not whole or there are two."""
    texts = [line.text for line in lines]
    if texts.count(_BEGIN) != 1:
        return None
    block = texts[texts.index(_BEGIN) + 1 :]
    ends = [place for place, text in enumerate(block) if _END.fullmatch(text)]
    if not ends:
        return None
    found: dict[str, float] = {}
    for text in block[: ends[0]]:
        for name, pattern in _MS.items():
            if match := pattern.fullmatch(text):
                if name in found:
                    return None
                found[name] = float(match[1])
    lost = not found.keys() >= _MS.keys() - _OPTIONAL or len(_MEMORY & found.keys()) == 1
    return None if lost else found  # where a line is missing, it ran into another, whose figure is made of both


def _figures_v2(lines: Sequence[_Line], series: Sequence[Mapping[str, float]]) -> Figures | None:
    """Return the block's figures, and more exact ones of the line that agrees with it, where the tool printed one."""
    block = _block(lines)
    if block is None or not block["runs"]:
        return None
    exact: dict[str, float] = {}
    for one in series:
        if one["runs"] == block["runs"] and abs(one["mean"] / 1000 - block["mean_ms"]) <= _PRINTED_MS:
            exact = _milliseconds(one)
    counts = {name: int(block.pop(name)) for name in ("runs", "warmup_runs")}
    within = block["min_ms"] - _PRINTED_MS <= block["mean_ms"] <= block["max_ms"] + _PRINTED_MS
    figures = block | exact
    ranked = [figures[name] for name in ("min_ms", "p5_ms", "median_ms", "p95_ms", "max_ms") if name in figures]
    return Figures(**counts, **figures) if within and ranked == sorted(ranked) else None  # type: ignore[arg-type]


def _coverage(lines: Sequence[_Line]) -> dict[str, Coverage]:
    """Return what each delegate took; of two statements the worse one holds."""
    found: dict[str, Coverage] = {}
    for name, coverage in _statements(lines):
        before = found.get(name)
        if before is None or _badness(coverage) >= _badness(before):
            found[name] = coverage
    return found


def _badness(coverage: Coverage) -> tuple[int, bool]:
    return ("complete", "partial", "none").index(coverage.extent), coverage.kernels is not None


def _statements(lines: Sequence[_Line]) -> Iterator[tuple[str, Coverage]]:
    for _, text, _ in lines:
        if match := _APPLIED.fullmatch(text):
            kernels = int(match[3]) if match[3] else None
            yield _delegate(match[1]), Coverage(extent="complete" if match[2] else "partial", kernels=kernels)
        elif match := _REFUSED.fullmatch(text):
            yield _delegate(match[1]), Coverage(extent="none")
        elif match := _REPLACING.fullmatch(text):
            replaced, total, partitions = int(match[1]), int(match[2]), int(match[4])
            whole = replaced == total and partitions == 1
            extent = "complete" if whole and total else "partial" if replaced else "none"
            yield _delegate(match[3]), Coverage(extent=extent)


def _delegate(name: str) -> str:
    """Return which delegate a name of Google's stands for.

    >>> [_delegate(name) for name in ("GPU", "TfLiteGpuDelegateV2", "LITERT_CL", "TfLiteXNNPackDelegate", "NNAPI")]
    ['gpu', 'gpu', 'gpu', 'xnnpack', 'nnapi']
    """
    known = name.lower()
    if "xnnpack" in known:
        return "xnnpack"
    return "gpu" if "gpu" in known or known in ("litert_cl", "litert_gl", "litert_opengl", "litert_vulkan") else known


def _unsupported(lines: Sequence[_Line]) -> tuple[str, ...]:
    """Return what stands below the heading, up to the line that counts operations; nothing where that is missing."""
    texts = [line.text for line in lines]
    for place, text in enumerate(texts):
        if not _UNSUPPORTED.fullmatch(text):
            continue
        listed = []
        for operation in texts[place + 1 : place + 2 + OPERATIONS]:
            if re.match(r"(?:First )?\d+ operations will run on the GPU", operation):
                return tuple(dict.fromkeys(listed))
            if not _OPERATION.fullmatch(operation):
                break
            listed.append(operation)
    return ()


def _unconsumed(lines: Sequence[_Line]) -> Iterator[str]:
    for _, text, _ in lines:
        if match := _UNCONSUMED.fullmatch(text):
            yield from match[1].split()
