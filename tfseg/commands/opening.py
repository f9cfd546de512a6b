"""What several commands open before they work: TensorFlow without its greetings, a data set, a run's images."""

import argparse
import logging
import os
from pathlib import Path
from typing import TYPE_CHECKING

from tfseg.commands.output import say
from tfseg.config import Recipe
from tfseg.errors import InputError
from tfseg.quiet import silent_stderr

if TYPE_CHECKING:
    from tfseg.data.source import Source
    from tfseg.engine import Engine
    from tfseg.progress import Watch

PHANTOM_SUBJECTS, PHANTOM_FRAMES, PHANTOM_EMPTY = 40, 3, 0.3  # many subjects: a small run has something to learn

PHANTOM_VOLUMES = 12, 20  # and slices of each: one of three slices has no liver to speak of


def load_tensorflow() -> None:
    """Import TensorFlow without its greetings, which it writes past Python; TF_CPP_MIN_LOG_LEVEL=0 shows them."""
    if os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3") == "3":
        with silent_stderr():
            import keras  # noqa: F401
            import tensorflow  # noqa: F401
        logging.getLogger("tensorflow").setLevel(logging.ERROR)  # it warns of every network after the fifth


def open_data(recipe: Recipe, root: Path, watch: "Watch") -> "Source":
    """Open the images that a recipe names, checked as `tfseg data check` does."""
    from tfseg.data import DATASETS
    from tfseg.data.source import open_source

    return open_source(
        DATASETS[recipe.dataset],
        root,
        channels=recipe.channels,
        watch=lambda done, total: watch("checking images", done, total),
    )


def open_engine(arguments: argparse.Namespace, *, workers: int = 1) -> "Engine":
    """Return the engine that the arguments of `_engine_arguments` name, here with so many workers if they name none.

    Raises:
        InputError: it is not there, or they do not fit together.
    """
    from tfseg.engine import Local, Ray

    names = {"ray_address": "address", "ray_cpus": "cpus", "ray_gpus": "gpus"}
    given = {key: value for name, key in names.items() if (value := getattr(arguments, name)) is not None}
    if arguments.engine == "ray":
        if arguments.workers is not None:
            raise InputError("--workers is for --engine local; on a cluster --ray-cpus says how many folds find room")
        ray = Ray(**given)
        ray.check()
        return ray
    if given:
        raise InputError(f"--ray-{next(iter(given))} is for --engine ray")
    return Local(workers=workers if arguments.workers is None else arguments.workers)


def newest_run() -> Path:
    """Return the run that was begun last below runs/, and say which."""
    from tfseg import runs

    run = runs.newest(Path("runs"))
    if run is None:
        raise InputError("no run in runs: name a run folder or a file")
    say(f"the newest run: {run}")
    return run


def run_data(run: Path) -> Path:
    """Return the folder of images that a run learned from."""
    from tfseg import runs

    root = Path(runs.read_json(run / runs.PROVENANCE)["data"]["root"])
    if not root.is_dir():
        raise InputError(f"{root}: the images are not there; name their folder with --data DIR")
    return root


def phantom_data(
    name: str, watch: "Watch", *, why: str = "", subjects: int = PHANTOM_SUBJECTS, frames: int = PHANTOM_FRAMES
) -> Path:
    """Return the simulated data set that stands in where no data were named and none are found, or `why` it does."""
    from tfseg.data.locate import cache_root, candidates
    from tfseg.data.phantom import VERSION, generate

    why = why or f"no --data was named and none is in {', '.join(map(str, candidates(name)))}"
    say(f"PHANTOM: {why}: this run uses simulated images")
    if name == "lits":
        subjects, frames = PHANTOM_VOLUMES
    root = cache_root() / "phantom" / f"{name}-{subjects}x{frames}-{VERSION}"
    if not root.exists():
        generate(
            name,
            root,
            subjects=subjects,
            frames=frames,
            empty_share=PHANTOM_EMPTY,
            watch=lambda done, total: watch("simulating images", done, total),
        )
    return root
