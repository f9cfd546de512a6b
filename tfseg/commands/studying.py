"""tfseg study, compare."""

import argparse
import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfseg.commands.opening import load_tensorflow, open_data, open_engine, phantom_data
from tfseg.commands.output import print_table, say
from tfseg.config import Recipe, parse_assignments
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.data.source import Source
    from tfseg.progress import Watch
    from tfseg.study.form import Row, Study

QUICK_SUBJECTS, QUICK_FRAMES = 16, 2  # 32 images: half of them, less a quarter, fill a batch of 8


def study(arguments: argparse.Namespace) -> None:
    """tfseg study."""
    from tfseg import runs
    from tfseg.engine import cpus_here
    from tfseg.progress import progress
    from tfseg.study import form, study

    asked = study(arguments.name)
    overrides, base = parse_assignments(arguments.set), None
    if arguments.recipe is not None:
        base = form.read_base(asked, arguments.recipe)
    form.refuse_varied(asked, overrides)
    instructions, note = form.read_instructions(arguments.instructions) if arguments.instructions else ({}, "")
    rows, seeds = _rows(asked, arguments.models), _seeds(asked, arguments)
    roots = _roots(asked, arguments)
    # Trainings of seconds are mostly Python at work, which keeps one CPU busy.
    engine = open_engine(arguments, workers=cpus_here() if arguments.quick else 1)
    out = arguments.out or Path("studies") / "-".join([asked.name, *(["quick"] if arguments.quick else [])])
    form.refuse_foreign(out)
    keys = {**(asked.recipe if base is None else base), **overrides}
    with progress() as watch, runs.locked(out):
        order = form.Order(
            study=asked,
            out=out,
            sources=_sources(roots, keys, arguments.quick, watch),
            quick=arguments.quick,
            seeds=seeds,
            rows=rows,
            overrides=overrides,
            base=base,
            engine=engine,
            command=tuple(runs.command_line()),
            watch=watch,
            instructions=instructions,
            instructions_note=note,
        )
        form.check(order)
        load_tensorflow()
        from tfseg.study import table

        done = asked.load()(order)
        shown = table.write(done, out)
    if arguments.json:
        print(json.dumps(runs.read_json(out / table.STUDY), indent=2))
    else:
        print_table(shown)
    say(f"study: {out}  table: {out / table.MARKDOWN}  page: {out / table.PAGE}")


def compare(arguments: argparse.Namespace) -> None:
    """tfseg compare."""
    from tfseg.compare import compare, contestant, tables

    comparison = compare([contestant(name) for name in arguments.runs])
    if arguments.json:
        print(json.dumps(comparison, indent=2))
        return
    for table in tables(comparison):
        print_table(table)


def _rows(asked: "Study", names: str | None) -> tuple["Row", ...]:
    if names is None:
        return asked.rows
    wanted, known = dict.fromkeys(name.strip() for name in names.split(",")), {row.name: row for row in asked.rows}
    for name in wanted:
        if name not in known:
            raise InputError(f"--models {name}: study {asked.name} has {', '.join(known)}")
    return tuple(known[name] for name in wanted)


def _seeds(asked: "Study", arguments: argparse.Namespace) -> tuple[int, ...]:
    count = asked.quick_seeds if arguments.quick else asked.seeds
    if arguments.seeds is not None:
        count = arguments.seeds
    if count < 1:
        raise InputError(f"--seeds {arguments.seeds}: at least 1")
    return tuple(range(count))


def _roots(asked: "Study", arguments: argparse.Namespace) -> dict[str, Path | None]:
    """Return where each data set of the study is; None for simulated images."""
    from tfseg.data import dataset
    from tfseg.data.locate import find

    names = (dataset(arguments.dataset).name,) if arguments.dataset else asked.datasets
    if arguments.data is None:
        found = {} if arguments.quick else {name: root for name in names if (root := find(name, None))}
        return found or dict.fromkeys(names)
    if len(names) == 1:
        return {names[0]: find(names[0], arguments.data)}
    find(names[0], arguments.data)  # refuses what is no folder
    inside = {name: arguments.data / name for name in names if (arguments.data / name).is_dir()}
    if not inside:
        raise InputError(
            f"{arguments.data}: study {asked.name} looks there for the folders {', '.join(names)}; "
            "or name one data set with --dataset"
        )
    for name in names:
        if name not in inside:
            say(f"{arguments.data / name}: not there, so the table has no {name}")
    return dict(inside)


def _sources(
    roots: Mapping[str, Path | None], keys: Mapping[str, Any], quick: bool, watch: "Watch"
) -> dict[str, "Source"]:
    sources = {}
    for name, root in roots.items():
        channels = {"channels": keys["channels"]} if "channels" in keys else {}
        if root is None:
            root = _quick_phantom(name, watch) if quick else phantom_data(name, watch)
        sources[name] = open_data(Recipe.from_mapping({"dataset": name, **channels}), root, watch)
        if sources[name].phantom:
            say(f"PHANTOM: {root} holds simulated images; no result here says anything about patients")
    return sources


def _quick_phantom(name: str, watch: "Watch") -> Path:
    why = f"--quick without --data, {name}"
    return phantom_data(name, watch, why=why, subjects=QUICK_SUBJECTS, frames=QUICK_FRAMES)
