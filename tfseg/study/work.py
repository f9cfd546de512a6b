"""The work of a study: its runs, resumed where they stand; then what they and their int8 files are worth."""

import csv
import dataclasses
import re
import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tfseg import compare, runs
from tfseg.bench import host, machine, matrix, result
from tfseg.kfold import Plan, run_plans
from tfseg.report.html import write_report
from tfseg.study import form
from tfseg.study.form import Order, Row

SCHEMA = 1
METRICS = ("dice", "iou", "accuracy", "sensitivity", "hausdorff95")
KERAS, INT8, FP32 = "keras", "int8", "fp32"
CPU = matrix.Matrix(precisions=(INT8,), delegates=("cpu",), threads=(1,), runs=50)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Line:
    """One line of the table to be: a row on a data set, and its run of each seed."""

    row: Row
    dataset: str
    plans: tuple[Plan, ...]


def run_rows(order: Order) -> dict[str, Any]:
    """Do all runs of an order that are not done yet, time what ships, and return the content of study.json.

    Raises:
        InputError: a recipe does not fit the data, or a run in the folder was begun with another one.
        WorkError: a training failed.
    """
    lines = _lines(order)
    plans = [plan for line in lines for plan in line.plans]
    summaries = run_plans(plans, engine=order.engine, command=order.command, watch=order.watch)
    for plan in plans:
        if not order.quick and not (plan.run / runs.REPORT).exists():
            write_report(plan.run)
    by_run = dict(zip((plan.run for plan in plans), summaries, strict=True))
    latencies = _latencies(order, lines) if order.study.ships else {}
    published = form.published(order.study)
    first = {dataset: next(line for line in lines if line.dataset == dataset) for dataset in order.sources}
    rows = [
        {
            "name": line.row.name,
            "data": line.dataset,
            "phantom": order.sources[line.dataset].phantom,
            "published": dict(form.published_row(published, line.dataset, line.row)),
            "ours": _ours(line, by_run, first[line.dataset])
            | latencies.get(line.plans[0].run, {})
            | _instructions(order, line),
            "runs": [str(plan.run.relative_to(order.out)) for plan in line.plans],
        }
        for line in lines
    ]
    return about(order) | {
        "hausdorff_unit": next(iter(by_run.values()))["hausdorff_unit"],
        "image_size": sorted({plan.recipe.image_size for plan in plans}),
        "folds": sorted({plan.recipe.folds for plan in plans}),
        "published": {key: published[key] for key in ("source", "data")},
        "instructions": order.instructions_note,
        "rows": rows,
    }


def about(order: Order) -> dict[str, Any]:
    """Return how study.json begins: what was asked for, on what data, with which versions."""
    kept = runs.provenance(order.command, data={})
    return {
        "schema": SCHEMA,
        "study": order.study.name,
        "title": order.study.title,
        "phantom": order.phantom,
        "quick": order.quick,
        "seeds": list(order.seeds),
        "columns": list(order.study.columns),
        "curves": order.study.curves,
        "departures": order.study.departures
        if order.base is None
        else "the settings are not the paper's, but a file's",
        "data": {name: source.about() for name, source in order.sources.items()},
        "cpu": machine.this().cpu,
    } | {key: kept[key] for key in ("command", "versions", "git_commit", "host")}


def _instructions(order: Order, line: Line) -> dict[str, int]:
    model = line.plans[0].recipe.model
    return {"instructions": order.instructions[model]} if model in order.instructions else {}


def _lines(order: Order) -> list[Line]:
    lines = []
    for dataset, source in order.sources.items():
        for row in order.rows:
            plans = []
            for seed in order.seeds:
                name = f"{dataset}-{_slug(row.name)}-seed{seed}"
                plan = Plan(recipe=order.recipe(row, dataset, seed), source=source, run=order.out / "runs" / name)
                plans.append(plan)
            lines.append(Line(row=row, dataset=dataset, plans=tuple(plans)))
    return lines


def _slug(text: str) -> str:
    """Return a row's name as a part of a folder's.

    >>> _slug("+ Adam 1e-4"), _slug("lighter_unet@16")
    ('Adam_1e-4', 'lighter_unet_16')
    """
    return re.sub(r"[^\w.-]+", "_", text).strip("_")


def _ours(line: Line, by_run: Mapping[Path, dict[str, Any]], first: Line) -> dict[str, Any]:
    """Return what our runs of one row say; each score is that of `across`."""
    summaries = [by_run[plan.run] for plan in line.plans]
    ours = {metric: across(_scores(summaries, KERAS, metric)) for metric in METRICS}
    if INT8 in summaries[0]["files"]:
        ours |= {"int8_dice": across(_scores(summaries, INT8, "dice")), "int8_loss": across(map(_loss, summaries))}
    ours |= {"loss": across([_last_loss(plan.run) for plan in line.plans])}
    ours |= network_size(line.plans[0])
    if line is not first:
        pairs = [[compare.contestant(str(plan.run)) for plan in one.plans] for one in (line, first)]
        ours["difference"] = compare.difference(*pairs) | {"against": first.row.name}
    return ours


def across(values: Iterable[float | None]) -> dict[str, Any]:
    """Return mean and sample standard deviation (n - 1) over seeds, and each seed's value; None says undefined."""
    each = list(values)
    known = [value for value in each if value is not None]
    return {
        "mean": statistics.mean(known) if known else None,
        "sd": statistics.stdev(known) if len(known) > 1 else None,
        "seeds": each,
    }


def _scores(summaries: Sequence[Mapping[str, Any]], file: str, metric: str) -> list[float | None]:
    """Return one out-of-fold score a seed, the mean over classes."""
    scores = []
    for summary in summaries:
        means = [by_metric[metric]["mean"] for by_metric in summary["files"][file].values()]
        scores.append(None if None in means else statistics.mean(means))
    return scores


def _loss(summary: Mapping[str, Any]) -> float:
    """Return the mean Dice of the int8 files less that of the fp32 files, the mean over classes."""
    means = [[by_metric["dice"]["mean"] for by_metric in summary["files"][file].values()] for file in (INT8, FP32)]
    return statistics.mean(means[0]) - statistics.mean(means[1])


def _last_loss(run: Path) -> float:
    """Return the validation loss after the last epoch, the mean over folds."""
    losses = []
    for folder in runs.fold_folders(run):
        with (folder / runs.HISTORY).open(encoding="utf-8", newline="") as file:
            losses.append(float(list(csv.DictReader(file))[-1]["val_loss"]))
    return statistics.mean(losses)


def network_size(plan: Plan) -> dict[str, Any]:
    """Return parameters and GMAC of the network of a run."""
    import keras

    from tfseg.models import build
    from tfseg.models.cost import gmac, parameters

    keras.backend.clear_session()
    recipe = plan.recipe
    classes = len(plan.source.dataset.select(recipe.classes))
    model = build(recipe.model, (recipe.image_size, recipe.image_size, recipe.channels), classes)
    return {"parameters": parameters(model), "gmac": gmac(model)}


def _latencies(order: Order, lines: Sequence[Line]) -> dict[Path, dict[str, Any]]:
    """Time the int8 file of each row's first run, its first fold's; what was timed already is not timed again."""
    folder = order.out / "latency"
    files = {plan.run: runs.fold_folder(plan.run, 0) / f"{INT8}.tflite" for plan in (line.plans[0] for line in lines)}
    tasks = {run: matrix.file_tasks(matrix.called(path), path, CPU)[0] for run, path in files.items()}
    host.run_matrix(list(tasks.values()), folder, order.watch)
    cells = {cell.file_sha256: cell for cell in result.read_all(folder)}
    timed = {run: _latency(cells[task.file.sha256]) for run, task in tasks.items()}
    return {run: {"latency": latency, "fps": latency} for run, latency in timed.items()}


def _latency(cell: result.Cell) -> dict[str, Any]:
    return {"median_ms": cell.latency_ms, "status": cell.status, "reason": cell.reason, "threads": cell.threads}
