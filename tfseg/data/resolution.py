"""What the network's resolution leaves of masks: which ones vanish, and the Dice that a perfect network could reach."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tfseg.data.examine import name_below
from tfseg.data.frames import open_volume
from tfseg.data.images import image_size, resize_mask, resize_probability
from tfseg.data.sample import Dataset, Sample
from tfseg.postprocess import binarize


@dataclass(frozen=True, kw_only=True)
class Resolution:
    """What is left of masks at one size.

    Attributes:
        image_size: height and width of the network's input, in pixels.
        dice: class -> mean Dice of a perfect network, over the images that show the class; None where none does.
        images: class -> how many those are.
        vanished: class -> the images in which a perfect network would draw nothing of it, though an annotator did.
    """

    image_size: int
    dice: dict[str, float | None]
    images: dict[str, int]
    vanished: dict[str, tuple[str, ...]]

    def to_json(self) -> dict[str, Any]:
        """Return the content of "at_size" in the answer of `tfseg data check --json`."""
        return asdict(self)


def resolution(
    dataset: Dataset, samples: Sequence[Sample], root: Path, *, size: int, watch: Callable[[int, int], None]
) -> Resolution:
    """Find what a network of `size` pixels could draw at best of the masks of `samples`.

    A perfect network gives each of its pixels the share of the area that an annotator drew. Like any,
    its answer is resized bilinearly to the original size and drawn where it reaches 0.5. Classes are taken one by one.

    Args:
        dataset: reads the masks.
        samples: whose masks; each must be readable.
        root: the folder of the data, below which images are named.
        size: height and width of the network's input, in pixels.
        watch: called with (done, total).
    """
    scores: dict[str, dict[str, tuple[float, bool]]] = {name: {} for name in dataset.classes}
    with ThreadPoolExecutor(2) as pool:
        counts = pool.map(lambda sample: _counts(sample, dataset, size), samples)
        for done, (sample, (overlap, drawn, true)) in enumerate(zip(samples, counts, strict=True), 1):
            for k in np.flatnonzero(true):
                dice = float(2 * overlap[k] / (drawn[k] + true[k]))
                scores[dataset.classes[k]][name_below(sample.image, root)] = dice, drawn[k] == 0
            watch(done, len(samples))
    return Resolution(
        image_size=size,
        dice={
            name: sum(dice for dice, _ in found.values()) / len(found) if found else None
            for name, found in scores.items()
        },
        images={name: len(found) for name, found in scores.items()},
        vanished={name: tuple(image for image, (_, gone) in found.items() if gone) for name, found in scores.items()},
    )


def lines(found: Resolution, *, limit: int) -> list[str]:
    """Return the same as text, at most `limit` images of each class by name."""
    text = [f"at {found.image_size} pixels a perfect network reaches"]
    for name, dice in found.dice.items():
        shown = "nothing to reach" if dice is None else f"Dice {dice:.4f}"
        text.append(f"    {name}: {shown} (images that show it: {found.images[name]})")
    for name, images in found.vanished.items():
        if images:
            text.append(f"warning: {name} vanishes at {found.image_size} pixels: {len(images)}")
            text += [f"    {image}" for image in images[:limit]]
            text += [f"    and {len(images) - limit} more"] if len(images) > limit else []
    return text


def _counts(sample: Sample, dataset: Dataset, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the pixels of one image or volume in both masks, the perfect network's and the annotator's: (K,) each."""
    total = np.zeros((3, len(dataset.classes)), np.int64)
    for mask in _masks(sample, dataset):
        shares = resize_mask(mask, size) / np.float32(255)
        drawn = binarize(resize_probability(shares, mask.shape[:2]), 0.5, exclusive=False)
        total += [(part != 0).sum(axis=(0, 1)) for part in (drawn & mask, drawn, mask)]
    return total[0], total[1], total[2]


def _masks(sample: Sample, dataset: Dataset) -> Iterator[np.ndarray]:
    """Yield the mask (H, W, K) of a picture, or of every slice of a volume."""
    if not sample.slices:
        yield dataset.read_mask(sample, image_size(sample.image))
        return
    volume = open_volume(sample)
    try:
        yield from dataset.read_mask(sample, volume.shape)
    finally:
        volume.close()
