"""Masks of volumes and clips: a network goes through the slices, and only the mask is kept whole."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from tfseg.data.frames import Box, cut, whole, with_channels
from tfseg.data.images import network_input, resize_probability
from tfseg.inference import Masking, Predict
from tfseg.postprocess import binarize, keep_largest, keep_largest_body
from tfseg.progress import Watch, silent
from tfseg.scans.stack import Stack

_BATCH = 8  # slices: more is no faster on a processor, and takes more memory


def mask_volume(
    predict: Predict,
    masking: Masking,
    volume: Stack,
    *,
    box: Box | None = None,
    into: np.ndarray | None = None,
    watch: Watch = silent,
) -> np.ndarray:
    """Return the mask of a volume, uint8 (D, H, W, K), 0 or 1, at its own resolution.

    Args:
        predict: the network.
        masking: how its output becomes a mask; of each class the largest component in three dimensions is kept where
            it says so.
        volume: read slice by slice.
        box: what the network sees; outside of it the mask is empty. None stands for all of the volume.
        into: zeros of that shape to write the mask into, where it is part of a larger one.
        watch: told how many slices are done.
    """
    box = box or whole(volume.shape)
    mask = np.zeros((*volume.shape, len(masking.classes)), np.uint8) if into is None else into
    places = range(box[0].start, box[0].stop)
    slices = (cut(volume, index, masking.view, box) for index in places)
    for index, (_, found) in zip(places, _masked(predict, masking, slices), strict=True):
        mask[(index, *box[1:])] = found
        watch("predicting slices", index - box[0].start + 1, box[0].stop - box[0].start)
    if masking.largest_component:
        for k in range(mask.shape[-1]):
            keep_largest_body(mask[(*box, k)])
    return mask


def mask_frames(
    predict: Predict, masking: Masking, frames: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield every frame of a clip, as it came, and its mask, uint8 (H, W, K); components are those of the frame."""
    for image, mask in _masked(predict, masking, frames):
        yield image, keep_largest(mask) if masking.largest_component else mask


def _masked(
    predict: Predict, masking: Masking, images: Iterable[np.ndarray]
) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield each image (H, W, C) in [0, 1] and its mask, uint8 (H, W, K)."""
    waiting = iter(images)
    while batch := list(itertools.islice(waiting, _BATCH)):
        inputs = [network_input(with_channels(image, masking.channels), masking.image_size) for image in batch]
        probabilities = predict(np.stack(inputs).astype(np.float32) / 255)
        for image, probability in zip(batch, probabilities, strict=True):
            resized = resize_probability(probability, image.shape[:2])
            yield image, binarize(resized, masking.threshold, exclusive=masking.exclusive)


def write_volume_masks(mask: np.ndarray, source: Path, stem: Path, classes: Sequence[str]) -> list[Path]:
    """Write a mask (D, H, W, K) as one NIfTI file a class, on the grid of the NIfTI volume `source`.

    Returns:
        The paths: `stem`_class.nii.gz.
    """
    from tfseg.scans.nifti import Volume

    volume = Volume(source)
    return [
        volume.write_mask(mask[..., k], stem.with_name(f"{stem.name}_{name}.nii.gz")) for k, name in enumerate(classes)
    ]
