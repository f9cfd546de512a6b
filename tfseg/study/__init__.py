"""The table of studies: each repeats a published one on the user's data, or on phantoms, and ends in its table."""

import difflib
from typing import Any

from tfseg.errors import InputError
from tfseg.study.form import Row, Study

# Li et al., ISBI 2021, sections 3.1 and 4.2: what their tuning ended with. Departures: k folds instead of one split;
# one weight decay for all networks, where they tuned it for each; validation on a quarter of the training patients, as
# 70 of 278; which epoch they kept is not said, we keep the best.
_TUNED: dict[str, Any] = {
    "channels": 3,
    "image_size": 256,
    "folds": 5,
    "validation": 0.25,
    "epochs": 200,
    "early_stopping": 15,
    "select": "best",
    "largest_component": True,
    "augment": "nerve",
    "loss": "dice",
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "plateau",
    "patience": 5,
    "batch_size": 8,
    "weight_decay": 1e-4,
}
_QUICK: dict[str, Any] = {"image_size": 32, "folds": 2, "epochs": 2, "batch_size": 4}


def _networks(*names: str) -> tuple[Row, ...]:
    return tuple(Row(name=name, keys={"model": name}) for name in names)


def _ladder(*steps: tuple[str, dict[str, Any]]) -> tuple[Row, ...]:
    """Return a row a step; each has every key that any step changes, with what the steps up to it have made of it."""
    first = steps[0][1]
    keys, rows = dict(first), []
    for name, change in steps:
        keys |= change
        rows.append(Row(name=name, keys=dict(keys)))
    return tuple(rows)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="lighter",
            title="Light and Lighter U-Net",
            datasets=("usgra",),
            recipe=_TUNED,
            rows=_networks(
                "unet",
                "light_unet",
                *(f"lighter_unet@{size}" for size in (128, 64, 32, 16, 8, 4, 2, 1)),
            ),
            columns=("parameters", "gmac", "dice", "difference", "hausdorff95", "int8_dice", "int8_loss", "latency"),
            quick=_QUICK,
            ships=True,
        ),
    )
}


def study(name: str) -> Study:
    """Return a row of STUDIES; InputError, with the names that come close, for one we do not know."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(STUDIES)}"
        raise InputError(f"unknown study {name!r}: {hint}")
    return STUDIES[name]
