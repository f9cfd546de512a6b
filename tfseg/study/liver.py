"""The study of livers: two networks in cascade on CT volumes, scored volume by volume."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tfseg import cascade, runs
from tfseg.errors import InputError
from tfseg.kfold import Plan, run_plans
from tfseg.report.html import write_report
from tfseg.study import form
from tfseg.study.form import Order
from tfseg.study.work import about, across, network_size

METRICS = ("dice", "iou", "accuracy", "sensitivity", "efficiency", "hausdorff95")


def liver(order: Order) -> dict[str, Any]:
    """Train both networks on every seed, score their cascade, and return the content of study.json.

    Everything is volume by volume, so slices without a liver are in no mean. The tumour's network is scored in the
    region that the liver's finds, and not in the annotator's, as its own run is.

    Raises:
        InputError: a row is left out, or a recipe does not fit the data.
        WorkError: a training failed.
    """
    if len(order.rows) < len(order.study.rows):
        raise InputError("--models: a cascade needs both of its networks")
    ((dataset, source),) = order.sources.items()
    pairs = [tuple(_plan(order, row, dataset, seed) for row in order.rows) for seed in order.seeds]
    plans = [plan for pair in pairs for plan in pair]
    run_plans(plans, engine=order.engine, command=order.command, watch=order.watch)
    for plan in plans:
        if not (plan.run / runs.REPORT).exists():
            write_report(plan.run)
    summaries = [
        cascade.score_runs(organ.run, lesion.run, source, out=_out(order, seed), watch=order.watch)
        for (organ, lesion), seed in zip(pairs, order.seeds, strict=True)
    ]
    published = form.published(order.study)
    rows = [
        {
            "name": row.name,
            "data": dataset,
            "phantom": source.phantom,
            "published": dict(form.published_row(published, dataset, row)),
            "ours": _ours(summaries, row.name) | network_size(pairs[0][place]),
            "runs": [str(pair[place].run.relative_to(order.out)) for pair in pairs],
        }
        for place, row in enumerate(order.rows)
    ]
    return about(order) | {
        "hausdorff_unit": summaries[0]["hausdorff_unit"],
        "image_size": sorted({plan.recipe.image_size for plan in plans}),
        "folds": sorted({plan.recipe.folds for plan in plans}),
        "published": {key: published[key] for key in ("source", "data")},
        "rows": rows,
    }


def _plan(order: Order, row: form.Row, dataset: str, seed: int) -> Plan:
    run = order.out / "runs" / f"{dataset}-{row.name}-seed{seed}"
    return Plan(recipe=order.recipe(row, dataset, seed), source=order.sources[dataset], run=run)


def _out(order: Order, seed: int) -> Path:
    return order.out / "cascade" / f"seed{seed}"


def _ours(summaries: Sequence[Mapping[str, Any]], name: str) -> dict[str, Any]:
    """Return what the cascades of all seeds say of one class."""
    return {
        metric: across(summary["files"][cascade.FILE][name][metric]["mean"] for summary in summaries)
        for metric in METRICS
    }
