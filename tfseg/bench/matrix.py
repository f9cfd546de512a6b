"""Which cells to measure: models x precisions x delegates x threads, from a TOML file and the folders of runs."""

import dataclasses
import tomllib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tfseg import runs
from tfseg.bench import numerics
from tfseg.bench.result import DELEGATES
from tfseg.bench.task import Task
from tfseg.errors import InputError

PRECISIONS = ("fp32", "fp16", "dynamic", "int8")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Matrix:
    """What is measured of every model.

    Attributes:
        precisions: which of a run's files.
        delegates: what runs them.
        threads: of the CPU; a GPU is measured once.
        runs: the least number of timed inferences.
    """

    precisions: tuple[str, ...]
    delegates: tuple[str, ...]
    threads: tuple[int, ...]
    runs: int


def load(path: Path) -> Matrix:
    """Read a matrix.

    Raises:
        InputError: the file is missing, damaged, or holds something else.
    """
    try:
        table = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise InputError(f"{path}: damaged TOML ({error})") from error
    names = [field.name for field in dataclasses.fields(Matrix)]
    if sorted(table) != sorted(names):
        raise InputError(f"{path}: holds {', '.join(sorted(table)) or 'nothing'} instead of {', '.join(sorted(names))}")
    for name, choices in (("precisions", PRECISIONS), ("delegates", DELEGATES)):
        _check(path, name, table[name], [item in choices for item in _list(table[name])], f"of {', '.join(choices)}")
    _check(path, "threads", table["threads"], map(_counts, _list(table["threads"])), "of whole numbers from 1")
    _check(path, "runs", table["runs"], [_counts(table["runs"])], "of a whole number from 1")
    lists = {name: tuple(dict.fromkeys(table[name])) for name in names if name != "runs"}
    return Matrix(**lists, runs=table["runs"])


def tasks(matrix: Matrix, models: Sequence[Path]) -> list[Task]:
    """Return the cells of these models in the order in which they are measured.

    Args:
        matrix: what is measured of each.
        models: run folders, of which the file that ships counts, else the final network's, else the first fold's; or
            .tflite files.

    Raises:
        InputError: one of them holds no file to measure.
    """
    found = []
    for model in models:
        files = list(_files(matrix, model))
        if not files:
            raise InputError(f"{model}: holds none of {', '.join(matrix.precisions)} as .tflite: convert it first")
        for path in files:
            name = f"{model.resolve().name}/{path.relative_to(model)}" if model.is_dir() else path.name
            found += file_tasks(name, path, matrix)
    return found


def called(path: Path) -> str:
    """Return what a file is called in results: from its run's folder on where it lies in one, else its own name."""
    whole = path.resolve()
    run = next((folder for folder in whole.parents[:2] if (folder / runs.RECIPE).is_file()), None)
    return str(whole.relative_to(run.parent)) if run else path.name


def file_tasks(name: str, path: Path, matrix: Matrix) -> list[Task]:
    """Return the cells of one file."""
    file = numerics.open_file(path)
    settings = [
        (delegate, threads)
        for delegate in matrix.delegates
        for threads in (matrix.threads if delegate == "cpu" else (None,))
    ]
    return [
        Task(name=name, file=file, delegate=delegate, threads=threads, runs=matrix.runs)
        for delegate, threads in settings
    ]


def _files(matrix: Matrix, model: Path) -> Iterator[Path]:
    if model.suffix == ".tflite":
        yield model
        return
    if not model.is_dir():
        raise InputError(f"{model}: no run folder and no .tflite file")
    for precision in matrix.precisions:
        inside = (folder / f"{precision}.tflite" for folder in (model / runs.FINAL, *runs.fold_folders(model)))
        shipped = sorted(model.glob(f"*-{precision}.tflite"))  # where tfseg convert puts it, with its proof
        yield from [path for path in (*shipped, *inside) if path.is_file()][:1]


def _list(value: Any) -> list[Any]:
    return value if isinstance(value, list) else []


def _counts(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value > 0


def _check(path: Path, name: str, value: Any, fits: Any, wanted: str) -> None:
    checked = list(fits)
    if not checked or not all(checked):
        raise InputError(f"{path}: {name} = {value}: it must be {'one' if name == 'runs' else 'a list'} {wanted}")
