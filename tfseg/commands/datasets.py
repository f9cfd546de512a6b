"""tfseg data list, check, phantom, get."""

import argparse
import json

from tfseg.commands.output import say
from tfseg.config import Recipe
from tfseg.errors import InputError


def listing(arguments: argparse.Namespace) -> None:
    """tfseg data list."""
    from tfseg.data import DATASETS
    from tfseg.data.locate import candidates, find

    table = [
        {
            "name": row.name,
            "classes": list(row.classes),
            "layout": row.layout,
            "licence": row.licence,
            "citation": row.citation,
            "source": row.source,
            "looked_for": [str(path) for path in candidates(row.name)],
            "found": None if (found := find(row.name, None)) is None else str(found),
        }
        for row in DATASETS.values()
    ]
    if arguments.json:
        print(json.dumps(table, indent=2))
        return
    for row in table:
        print(f"{row['name']}: {', '.join(row['classes'])}")
        print(f"    layout   {row['layout']}")
        print(f"    licence  {row['licence']}")
        print(f"    source   {row['source']}")
        print(
            f"    found    {row['found']}" if row["found"] else f"    missing  looked in {', '.join(row['looked_for'])}"
        )


def check(arguments: argparse.Namespace) -> None:
    """tfseg data check."""
    from tfseg.data import dataset, resolution
    from tfseg.data.hygiene import check, fatal, lines
    from tfseg.data.locate import find
    from tfseg.progress import progress

    size = arguments.image_size
    if size is not None:
        Recipe.from_mapping({"image_size": size})  # refuses what no network sees
    row = dataset(arguments.dataset)
    root = find(row.name, arguments.folder)
    assert root is not None
    with progress() as watch:
        found = check(row, root, watch=lambda done, total: watch("checking images", done, total))
        left = None
        if size is not None and not fatal(found):
            left = resolution.resolution(
                row, row.samples(root), root, size=size, watch=lambda done, total: watch("resizing masks", done, total)
            )
    if arguments.json:
        print(json.dumps(found.to_json() | ({"at_size": left.to_json()} if left else {}), indent=2))
    else:
        print("\n".join(lines(found, limit=5) + (resolution.lines(left, limit=5) if left else [])))
    if fatal(found):
        raise InputError(f"{root}: training on this folder would be wrong; mend the errors listed above")


def phantom(arguments: argparse.Namespace) -> None:
    """tfseg data phantom."""
    from tfseg.data import dataset
    from tfseg.data.phantom import generate
    from tfseg.progress import progress

    dataset(arguments.name)
    for name in ("subjects", "frames"):
        if getattr(arguments, name) < 1:
            raise InputError(f"--{name} {getattr(arguments, name)}: at least 1")
    with progress() as watch:
        images = generate(
            arguments.name,
            arguments.folder,
            subjects=arguments.subjects,
            frames=arguments.frames,
            seed=arguments.seed,
            watch=lambda done, total: watch("simulating images", done, total),
        )
    say(f"{images} simulated images in {arguments.folder}")


def get(arguments: argparse.Namespace) -> None:
    """tfseg data get."""
    from tfseg.data import dataset
    from tfseg.data.locate import get

    print(get(dataset(arguments.name).name))
