"""The table of losses; importing it costs nothing, the functions load with Keras when first asked for."""

import difflib
import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tfseg.errors import InputError


@dataclass(frozen=True)
class Loss:
    """A row of LOSSES: a function of (y_true, logits), and the activation that its logits are meant for.

    Attributes:
        function: name in tfseg.losses.functions.
        activation: "sigmoid" (each class by itself) or "softmax" (classes exclude each other and the background).
    """

    function: str
    activation: str = "sigmoid"

    def load(self) -> Callable[[Any, Any], Any]:
        """Import Keras and return the function."""
        return getattr(importlib.import_module("tfseg.losses.functions"), self.function)


LOSSES: dict[str, Loss] = {
    "dice": Loss("soft_dice"),
    "batch_dice": Loss("batch_dice"),
    "bce": Loss("binary_cross_entropy"),
    "ce": Loss("cross_entropy", "softmax"),
    "dice_bce": Loss("dice_binary_cross_entropy"),
    "batch_dice_bce": Loss("batch_dice_binary_cross_entropy"),
    "dice_ce": Loss("dice_cross_entropy", "softmax"),
    "focal": Loss("focal"),
    "tversky": Loss("tversky"),
}


def loss(name: str) -> Loss:
    """Return a row of LOSSES; InputError with the nearest names when there is none."""
    if name not in LOSSES:
        near = difflib.get_close_matches(name, LOSSES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(LOSSES)}"
        raise InputError(f"unknown loss {name!r}: {hint}")
    return LOSSES[name]
