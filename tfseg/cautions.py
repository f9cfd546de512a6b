"""What one must know before one trusts the scores of a run: networks that draw nothing, or everything."""

import dataclasses
from collections.abc import Sequence

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


def cautions(rows: Sequence[Row]) -> list[Caution]:
    """Return what a reader of these scores must know first; mostly there is nothing.

    A fold's network, or a file of it, drew nothing on all its images although some show the class, or nearly everything
    on all of them (95 % of the background and more). The text says of which folds, and what to change.

    Args:
        rows: of metrics.csv.
    """
    parts: dict[tuple[str, str, str], list[Row]] = {}
    for row in rows:
        parts.setdefault((row.file, row.class_name, row.fold), []).append(row)
    collapsed: dict[tuple[str, str, str, str], dict[str, list[Row]]] = {}
    for (file, name, fold), scored in parts.items():
        drawn = _drawn(scored)
        if drawn:
            network = parts.get((_KERAS, name, fold), scored)
            remedy = _TRAIN if _drawn(network) == drawn else _CONVERT
            collapsed.setdefault((file, name, drawn, remedy), {})[fold] = scored
    return [
        Caution(text=_text(file, name, drawn, remedy, folds), file=file, class_name=name)
        for (file, name, drawn, remedy), folds in collapsed.items()
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
