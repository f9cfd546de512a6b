"""How far the work is: a bar with the time left on a terminal, plain lines elsewhere; always on stderr."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator
from typing import Protocol

_TELL_S = 0.25  # how often a sparing Watch is told


class Watch(Protocol):
    """Whoever wants to show how far the work is."""

    def __call__(self, stage: str, done: int, total: int, detail: str = "") -> None:
        """Work is `done` of `total` in `stage`; a new `detail` is worth a line of its own."""
        ...


def sparing(tell: Callable[[tuple[str, int, int, str]], None]) -> Watch:
    """Return a Watch that passes on (stage, done, total, detail): each detail and end, and now and then the rest."""
    told = 0.0

    def watch(stage: str, done: int, total: int, detail: str = "") -> None:
        nonlocal told
        if detail or done == total or time.monotonic() > told + _TELL_S:
            told = time.monotonic()
            tell((stage, done, total, detail))

    return watch


def silent(stage: str, done: int, total: int, detail: str = "") -> None:
    """Show nothing."""


@contextlib.contextmanager
def progress() -> Iterator[Watch]:
    """Yield a Watch that suits stderr."""
    if sys.stderr.isatty():
        with _bars() as watch:
            yield watch
    else:
        yield _lines()


@contextlib.contextmanager
def _bars() -> Iterator[Watch]:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, TextColumn("{task.fields[detail]}"), console=Console(stderr=True)) as bars:
        tasks = {}

        def watch(stage: str, done: int, total: int, detail: str = "") -> None:
            if stage not in tasks:  # what was done before this process began must not count as its speed
                tasks[stage] = bars.add_task(stage, total=total, completed=max(done - 1, 0), detail="")
            bars.update(tasks[stage], completed=done, total=total)
            if detail:
                bars.update(tasks[stage], detail=detail)

        yield watch


def _lines() -> Watch:
    begun: dict[str, tuple[float, int]] = {}  # stage -> (time, done) when it began
    latest: dict[str, int] = {}

    def watch(stage: str, done: int, total: int, detail: str = "") -> None:
        now = time.monotonic()
        if done < latest.get(stage, done + 1):  # its first word, or a stage that comes again for the next fold
            begun[stage] = (now, done)
        latest[stage] = done
        start, before = begun[stage]
        if not detail and done < total:
            return
        left = (now - start) / (done - before) * (total - done) if done > before else 0.0
        text = f"{stage}: {detail}" if detail else f"{stage}: {total} done in {now - start:.1f} s"
        if detail and left:
            text += f", {_duration(left)} left"
        print(text, file=sys.stderr, flush=True)

    return watch


def _duration(seconds: float) -> str:
    """Write a duration for people.

    >>> _duration(42), _duration(600), _duration(9000)
    ('42 s', '10 min', '2 h 30 min')
    """
    if seconds < 100:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"
