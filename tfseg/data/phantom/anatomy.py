"""One simulated subject: its tissue, and the outlines that an annotator would draw."""

from dataclasses import dataclass

import numpy as np

from tfseg.data.phantom.scan import Tissue
from tfseg.data.phantom.shapes import Points

FLUID, FAT, MUSCLE, BONE = 3.0, 24.0, 32.0, 260.0  # attenuation over the whole depth of the image, in dB


@dataclass(frozen=True, kw_only=True)
class Anatomy:
    """One subject, drawn on a slab of tissue in pixels of the image and larger than it.

    Attributes:
        tissue: maps of the whole slab.
        outlines: the closed outlines of every class, on the slab.
        home: how far right of the slab's left edge the probe stands to see them, in pixels.
        away: how far right it stands to see none of them, or None where they fill the slab.
    """

    tissue: Tissue
    outlines: dict[str, tuple[Points, ...]]
    home: float
    away: float | None = None


def slab(height: int, width: int, *, attenuation: float) -> Tissue:
    """Return blank tissue, somewhat deeper than the image for a probe that is pressed or tilted."""
    shape = (height + height // 8, width)
    return Tissue(
        power=np.ones(shape, np.float32),
        specular=np.zeros(shape, np.float32),
        attenuation=np.full(shape, attenuation, np.float32),
    )
