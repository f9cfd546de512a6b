"""The result file that newer harnesses write: a protocol buffer, read by its field numbers, as far as it is whole."""

import struct
from collections.abc import Iterator

from tfseg.bench.result import Figures

# tflite/tools/benchmark/proto/benchmark_result.proto: message, field -> figure, and what one of its units is of ours.
_LATENCY, _MEMORY, _MISC = 2, 3, 4
_FIGURES = {
    (_LATENCY, 1): ("mean_ms", 1.0),
    (_LATENCY, 2): ("min_ms", 1.0),
    (_LATENCY, 3): ("max_ms", 1.0),
    (_LATENCY, 4): ("sd_ms", 1.0),
    (_LATENCY, 5): ("median_ms", 1.0),
    (_LATENCY, 6): ("p5_ms", 1.0),
    (_LATENCY, 7): ("p95_ms", 1.0),
    (_LATENCY, 8): ("init_ms", 1.0),
    (_LATENCY, 9): ("first_ms", 1.0),
    (_MEMORY, 1): ("memory_init_mb", 1 / 1024),
    (_MEMORY, 2): ("memory_overall_mb", 1 / 1024),
    (_MEMORY, 3): ("memory_peak_mb", 1.0),
    (_MISC, 2): ("runs", 1),
    (_MISC, 3): ("warmup_runs", 1),
}
_NEEDED = {name for (message, _), (name, _) in _FIGURES.items() if message == _LATENCY} - {"sd_ms"} | {"runs"}


def read(data: bytes) -> Figures | None:
    """Return the figures of a BenchmarkResult, or None where `data` is none, or not a whole one."""
    found: dict[str, float] = {}
    try:
        for message, content in _fields(data):
            if message not in (_LATENCY, _MEMORY, _MISC):
                continue
            if not isinstance(content, bytes):
                return None
            for field, value in _fields(content):
                name, unit = _FIGURES.get((message, field), ("", 0))
                if not name:
                    continue
                if isinstance(value, bytes) or name in found:
                    return None
                if value < 2**63:  # above, a negative number: a process that shrank says nothing
                    found[name] = value * unit
        if not found.keys() >= _NEEDED:
            return None
        if found["min_ms"] == found["max_ms"]:
            found.setdefault("sd_ms", 0.0)  # a zero is not written
        return Figures(**found)  # type: ignore[arg-type] - counts are whole numbers: a float among them is refused
    except (ValueError, OverflowError):
        return None


def _fields(data: bytes) -> Iterator[tuple[int, float | bytes]]:
    """Yield number and value of each field; ValueError where a field does not end within `data`."""
    place = 0
    while place < len(data):
        tag, place = _varint(data, place)
        kind = tag & 7
        if kind == 0:
            value, place = _varint(data, place)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, place = _varint(data, place)
        elif kind in (1, 5):
            size = 8 if kind == 1 else 4
        else:
            raise ValueError(f"wire type {kind}")
        part = data[place : place + size]
        if len(part) < size:
            raise ValueError("cut off")
        place += size
        if kind == 5:
            yield tag >> 3, float(f"{struct.unpack('<f', part)[0]:.7g}")  # as many digits as single precision holds
        else:
            yield tag >> 3, part if kind == 2 else struct.unpack("<d", part)[0]


def _varint(data: bytes, place: int) -> tuple[int, int]:
    """Return a number of seven bits a byte, the lowest first, and the place behind it."""
    value = shift = 0
    while True:
        if place >= len(data) or shift > 63:
            raise ValueError("cut off")
        byte = data[place]
        place += 1
        value |= (byte & 127) << shift
        if byte < 128:
            return value, place
        shift += 7
