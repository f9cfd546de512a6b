"""A network that waits at the end of a pipe to be timed; each framework fills in one training step.

A worker's first argument is its settings, in JSON. It answers with one line of JSON when its network has made its first
step, and then to every request: to a line with the number of steps to make with the seconds of one, to the line
"memory" with its peak memory in MiB. Only the standard library and NumPy, since workers run under other interpreters.
"""

import json
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Settings:
    """What is timed: the network's name, square images with three channels, "float32" or "bfloat16", CPU threads."""

    name: str
    image_size: int
    batch_size: int
    precision: str
    threads: int

    def batch(self) -> tuple[np.ndarray, np.ndarray]:
        """Return images (B, H, W, 3) in [0, 1] and masks (B, H, W, 1), 0 or 1, float32."""
        rng = np.random.default_rng(0)
        shape = (self.batch_size, self.image_size, self.image_size)
        return rng.random((*shape, 3), "float32"), rng.integers(0, 2, (*shape, 1)).astype("float32")

    def planes(self) -> np.ndarray:
        """Return the images as (B, 3, H, W), in this order in memory."""
        return self.batch()[0].transpose(0, 3, 1, 2).copy()


def serve(prepare: Callable[[Settings], tuple[Callable[[], Any], dict[str, Any]]]) -> None:
    """Answer requests until the pipe closes; `prepare` returns the training step and facts for the first answer."""
    settings = Settings(**json.loads(sys.argv[1]))
    step, facts = prepare(settings)
    answer(facts | {"first_step_s": seconds(step, 1)})
    for line in sys.stdin:
        answer(peak_mib() if line == "memory\n" else seconds(step, int(line)))


def seconds(step: Callable[[], Any], count: int) -> float:
    """Make so many steps and return how long one took."""
    start = time.perf_counter()
    for _ in range(count):
        step()
    return (time.perf_counter() - start) / count


def about(version: str) -> dict[str, Any]:
    """Return what a worker says of its runtime once that is imported, before it opens a network."""
    return {"version": version, "imported_mib": peak_mib()}


def peak_mib() -> float:
    """Return the most memory this process has held; getrusage would count what its parent held when it forked."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def answer(content: Any) -> None:
    """Write a line of JSON and see that it leaves."""
    print(json.dumps(content), flush=True)
