"""The table of networks; importing it costs nothing, a network's module loads with Keras when it is built."""

import difflib
import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from tfseg.errors import InputError


@dataclass(frozen=True)
class Network:
    """A row of MODELS.

    Attributes:
        builder: "module.function" below tfseg.models; called as function(input_shape, classes, **options).
        stride: height and width must be multiples of it.
        paper: where the network comes from.
        variants: what may follow "@" in the network's name, and the builder's options that it stands for.
    """

    builder: str
    stride: int
    paper: str
    variants: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)


MODELS: dict[str, Network] = {
    "nerve_unet": Network("nerve_unet.nerve_unet", 16, "Ronneberger et al., MICCAI 2015, arXiv:1505.04597"),
}


def network(name: str, *, image_size: int | None = None) -> tuple[Network, Mapping[str, Any]]:
    """Return the row of a network and the options of its variant ("lighter_unet@16").

    Raises:
        InputError: no such network or variant, or an `image_size` in pixels that the network cannot take.
    """
    base, at, variant = name.partition("@")
    if base not in MODELS:
        near = difflib.get_close_matches(base, MODELS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(MODELS)}"
        raise InputError(f"unknown model {name!r}: {hint}")
    row = MODELS[base]
    if at and variant not in row.variants:
        known = f"has {', '.join(f'{base}@{key}' for key in row.variants)}" if row.variants else "has no variants"
        raise InputError(f"unknown model {name!r}: {base} {known}")
    if image_size is not None and image_size % row.stride:
        low = max(row.stride, image_size // row.stride * row.stride)
        raise InputError(
            f"image_size = {image_size}: {base} takes multiples of {row.stride}, such as {low} or {low + row.stride}"
        )
    return row, row.variants.get(variant, {})


def build(name: str, input_shape: tuple[int, int, int], classes: int) -> Any:
    """Build a network from the table.

    Args:
        name: a key of MODELS, with "@variant" where it has variants.
        input_shape: (H, W, C) of one image.
        classes: channels of the logits; 1 means foreground against background.

    Returns:
        A keras.Model from (B, H, W, C) images in [0, 1] to (B, H, W, classes) logits.
    """
    row, options = network(name)
    for side in input_shape[:2]:
        network(name, image_size=side)
    module, function = row.builder.split(".")
    return getattr(importlib.import_module(f"tfseg.models.{module}"), function)(input_shape, classes, **options)
