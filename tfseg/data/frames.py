"""What a network sees of a sample: the image, or of a volume its slices one after the other, cut to a region."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from tfseg.data.images import read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.metrics import bounding_box
from tfseg.scans.stack import Stack, Window

Box = tuple[slice, slice, slice]


@dataclass(frozen=True, kw_only=True)
class View:
    """How images are looked at; for pictures, only `channels` matters.

    Attributes:
        channels: 1 (grey) or 3 (RGB).
        window: the values of a volume that become 0 and 1, in Hounsfield units for CT; None leaves that to the file.
        region: the class whose bounding box a volume is cut to, or "" for all of it.
        margin_mm: how far that box reaches beyond the class, on every side.
    """

    channels: int
    window: Window | None = None
    region: str = ""
    margin_mm: float = 0.0


def frames(sample: Sample, dataset: Dataset, view: View) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield image (H, W, C) in [0, 1] and mask (H, W, K) of a picture, or of every slice of a volume.

    Where the view has a region, only what lies in the annotator's region is yielded; nothing where there is none.
    """
    if not sample.slices:
        image = read_image(sample.image, channels=view.channels)
        yield image, dataset.read_mask(sample, image.shape[:2])
        return
    volume = open_volume(sample)
    try:
        mask = dataset.read_mask(sample, volume.shape)
        box = true_region(mask, sample, dataset, view)
        if box is not None:
            for index in range(box[0].start, box[0].stop):
                yield cut(volume, index, view, box), mask[index][box[1:]]
    finally:
        volume.close()


def images(samples: Sequence[Sample], dataset: Dataset, view: View, *, seed: int) -> list[np.ndarray]:
    """Return one image (H, W, C) in [0, 1] of each sample: the picture, or a slice of the volume that shows something.

    Args:
        samples: which.
        dataset: reads the masks.
        view: how to look at them.
        seed: of the choice of slices.
    """
    rng = np.random.default_rng(seed)
    chosen = []
    for sample in samples:
        if not sample.slices:
            chosen.append(read_image(sample.image, channels=view.channels))
            continue
        shown = [image for image, mask in frames(sample, dataset, view) if mask.any()]
        chosen += [shown[int(rng.integers(len(shown)))]] if shown else []
    return chosen


def open_volume(sample: Sample) -> Stack:
    """Open the volume of a sample."""
    from tfseg.scans.nifti import Volume  # nibabel takes a third of a second, and pictures need none of it

    return Volume(sample.image)


def cut(volume: Stack, index: int, view: View, box: Box) -> np.ndarray:
    """Return the part of one slice that lies in a box: (h, w, C) in [0, 1]."""
    return with_channels(volume.read(index, window=view.window)[box[1:]], view.channels)


def whole(shape: tuple[int, ...]) -> Box:
    """Return the box round all of a volume (D, H, W)."""
    depth, height, width = shape
    return slice(0, depth), slice(0, height), slice(0, width)


def true_region(mask: np.ndarray, sample: Sample, dataset: Dataset, view: View) -> Box | None:
    """Return the box that a view cuts a volume to, round the annotator's mask (D, H, W, K); None if that is empty."""
    if not view.region:
        return whole(mask.shape[:3])
    return region(mask[..., dataset.classes.index(view.region)], sample.spacing_mm, view.margin_mm)


def region(mask: np.ndarray, spacing_mm: tuple[float, ...] | None, margin_mm: float) -> Box | None:
    """Return the box round a mask (D, H, W) and a margin, within the volume; None where the mask is empty.

    >>> mask = np.zeros((9, 9, 9), np.uint8)
    >>> mask[4, 4, 4] = 1
    >>> region(mask, (5.0, 1.0, 1.0), 2.5)
    (slice(3, 6, None), slice(1, 8, None), slice(1, 8, None))
    """
    if not mask.any():
        return None
    depth, height, width = (
        slice(max(0, side.start - reach), min(size, side.stop + reach))
        for side, size, reach in zip(bounding_box(mask), mask.shape, _reach(spacing_mm, margin_mm), strict=True)
    )
    return depth, height, width


def _reach(spacing_mm: tuple[float, ...] | None, margin_mm: float) -> list[int]:
    """A margin in whole voxels, rounded up, along each axis; where the spacing is unknown a voxel counts as 1 mm."""
    return [int(np.ceil(margin_mm / spacing)) for spacing in spacing_mm or (1.0, 1.0, 1.0)]


def with_channels(image: np.ndarray, channels: int) -> np.ndarray:
    """Return an image (H, W, 1) or (H, W, 3) with 1 channel (luma) or 3 (RGB)."""
    if image.shape[-1] == channels:
        return image
    from tfseg.data.images import luma

    return np.repeat(image, channels, axis=-1) if channels == 3 else luma(image)
