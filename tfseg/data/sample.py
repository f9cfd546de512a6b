"""Sample and Dataset: which files belong together, and what is known of them; never tensors."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tfseg.errors import InputError


@dataclass(frozen=True, kw_only=True)
class Polygon:
    """One outline drawn by hand: `channel` of the mask, and its (x, y) vertices in pixels."""

    channel: int
    vertices: tuple[tuple[float, float], ...]


@dataclass(frozen=True, kw_only=True)
class Sample:
    """One image, or one volume, with what an annotator drew on it.

    Attributes:
        image: the image file.
        masks: the mask files of this image; what they hold is told by `Dataset.read_mask`.
        polygons: outlines where the data set ships coordinates instead of mask files.
        patient: who was scanned, or None where the data set does not say.
        stratum: a group that folds keep in proportion (benign, malignant, normal), or "".
        spacing_mm: (row, column) distance of pixel centres in mm at the original resolution, or None; of a volume
            (slice, row, column).
        slices: of a volume, from the feet up; 0 for a picture.
        circumference_mm: of the ellipse that an annotator drew, where a table of the data set lists it.
    """

    image: Path
    masks: tuple[Path, ...] = ()
    polygons: tuple[Polygon, ...] = ()
    patient: str | None = None
    stratum: str = ""
    spacing_mm: tuple[float, ...] | None = None
    slices: int = 0
    circumference_mm: float | None = None


@dataclass(frozen=True, kw_only=True)
class Dataset:
    """One row of DATASETS.

    Attributes:
        name: what `--dataset` takes.
        classes: names of all mask channels, in order.
        default_classes: the classes learned when a recipe names none.
        samples: lists the samples below a root folder, sorted; raises InputError where the layout is not met. An image
            without mask files is listed with `masks=()`; `tfseg data check` and training refuse it.
        orphans: lists mask files below a root folder that belong to no image, for `tfseg data check`.
        read_mask: reads the mask of a sample: uint8 (H, W, len(classes)), 0 or 1, for an image of `size` (H, W), or
            (D, H, W, len(classes)) for a volume of `size` (D, H, W).
            Raises InputError for a file that cannot be read, is of another size or holds values it must not hold.
        layout: the files it expects below the root, in one or two lines.
        citation: whom to cite.
        licence: under which terms the data come.
        source: where people get it (a page's address, in words or URL).
        ellipses: the classes whose shape is an ellipse, such as a skull, so that its circumference is measured.
        kaggle: kagglehub handle, "competition:NAME" or "OWNER/NAME"; "" where Kaggle does not have it.
    """

    name: str
    classes: tuple[str, ...]
    default_classes: tuple[str, ...]
    samples: Callable[[Path], list[Sample]]
    orphans: Callable[[Path], list[Path]]
    read_mask: Callable[[Sample, tuple[int, ...]], np.ndarray]
    layout: str
    citation: str
    licence: str
    source: str
    ellipses: tuple[str, ...] = ()
    kaggle: str = ""

    def select(self, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Return the classes to learn: those wanted, or the default; InputError for one that the data set lacks."""
        for name in wanted:
            if name not in self.classes:
                raise InputError(f"data set {self.name} has no class {name!r}: it has {', '.join(self.classes)}")
        return wanted or self.default_classes
