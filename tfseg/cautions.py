"""What one must know before one trusts the scores of a run: networks that draw nothing or everything, few patients."""

import dataclasses
from collections.abc import Sequence

from tfseg.intervals import FEW
from tfseg.metrics import HOLDOUT, Row

_EVERYTHING = 0.05  # a specificity this low: at least 95 % of the background was drawn
_KERAS = "keras"  # the network as it was trained, from which the other files come
_TRAIN = (
    "it learned nothing: look at its training curves, then try --set loss=dice_bce, another learning_rate, more "
    "--epochs, or a network that starts from --weights"
)
_CONVERT = (
    "the network that it comes from does not, so the conversion did this: look at `tfseg convert --sensitivity`, or "
    "ship another precision"
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Caution:
    """One thing to know, in `text`; `file` and `class_name` say whose scores it is about, "" all."""

    text: str
    file: str = ""
    class_name: str = ""


def cautions(rows: Sequence[Row], tried_on: Sequence[str] = ()) -> list[Caution]:
    """Return what a reader of these rows of metrics.csv must know first; mostly there is nothing.

    Args:
        rows: of metrics.csv.
        tried_on: folds whose scores chose the recipe's settings.
    """
    return [*collapsed(rows), *few_patients(rows), *tuned(rows, tried_on)]


def tuned(rows: Sequence[Row], tried_on: Sequence[str]) -> list[Caution]:
    """Say that some folds' scores are too good, since the recipe's settings were chosen by them."""
    chosen = [fold for fold in tried_on if any(row.fold == fold for row in rows)]
    if not chosen:
        return []
    folds = f"fold{'s' if len(chosen) > 1 else ''} {', '.join(chosen)}"
    text = (
        f"the recipe's settings were chosen by the scores of {folds} of these very images, so that these are a little "
        "too good; the other folds' are not touched"
    )
    return [Caution(text=text)]


def few_patients(rows: Sequence[Row]) -> list[Caution]:
    """Say that intervals are rough, where folds or hold-out have scored fewer patients than `FEW`."""
    found = []
    for where, part in (
        ("", {row.patient for row in rows if row.fold != HOLDOUT}),
        (" of the hold-out", {row.patient for row in rows if row.fold == HOLDOUT}),
    ):
        if 0 < len(part) < FEW:
            text = (
                f"the 95 % intervals{where} rest on {len(part)} patients or groups of images: they know nothing of "
                f"failures that one in {FEW} has; score more patients"
            )
            found.append(Caution(text=text))
    return found


def collapsed(rows: Sequence[Row]) -> list[Caution]:
    """Name networks that learned nothing.

    A fold's network, or a file of it, drew nothing on all its images although some show the class, or nearly everything
    on all of them (95 % of the background and more). The text says of which folds, and what to change.

    Args:
        rows: of metrics.csv.
    """
    parts: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        parts.setdefault((row.file, row.class_name, row.fold), []).append(row)
    found: dict[tuple[str, str, str, str], dict[str, list[Row]]] = {}
    for (file, name, fold), scored in parts.items():
        drawn = _drawn(scored)
        if drawn:
            network = parts.get((_KERAS, name, fold), scored)
            remedy = _TRAIN if _drawn(network) == drawn else _CONVERT
            found.setdefault((file, name, drawn, remedy), {})[fold] = scored
    return [
        Caution(text=_text(file, name, drawn, remedy, folds), file=file, class_name=name)
        for (file, name, drawn, remedy), folds in found.items()
    ]


def _drawn(rows: Sequence[Row]) -> str:
    """ "nothing" or "nearly everything" where that was drawn on all of these images and cannot be right; else ""."""
    if all(row.prediction_empty for row in rows):
        return "" if all(row.truth_empty for row in rows) else "nothing"
    return "nearly everything" if all(row.specificity <= _EVERYTHING for row in rows) else ""


def _text(file: str, class_name: str, drawn: str, remedy: str, folds: dict[str, list[Row]]) -> str:
    numbers = ", ".join(fold for fold in folds if fold != HOLDOUT)
    where = [f"{'folds' if ',' in numbers else 'fold'} {numbers}"] if numbers else []
    where += ["the hold-out"] if HOLDOUT in folds else []
    scored = [row for part in folds.values() for row in part]
    shown = sum(not row.truth_empty for row in scored)
    return (
        f"{' and '.join(where)}, {file}: drew {drawn} on all {len(scored)} images, {shown} of which show {class_name}; "
        f"{remedy}"
    )
