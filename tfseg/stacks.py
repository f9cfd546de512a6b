"""Masks of volumes and clips: a network goes through the slices, and only the mask is kept whole."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from tfseg.data.frames import Box, cut, whole
from tfseg.data.images import network_input, resize_probability
from tfseg.inference import Masking, Predict
from tfseg.postprocess import binarize, keep_largest, keep_largest_body
from tfseg.progress import Watch, silent
from tfseg.scans.stack import Stack

_BATCH = 8  # slices: more is no faster on a processor, and takes more memory


def mask_volume(
    predict: Predict, masking: Masking, volume: Stack, *, box: Box | None = None, watch: Watch = silent
) -> np.ndarray:
    """Return the mask of a volume, uint8 (D, H, W, K), 0 or 1, at its own resolution.

    Args:
        predict: the network.
        masking: how its output becomes a mask; of each class the largest component in three dimensions is kept where
            it says so.
        volume: read slice by slice.
        box: what the network sees; outside of it the mask is empty. None stands for all of the volume.
        watch: told how many slices are done.
    """
    box = box or whole(volume.shape)
    mask = np.zeros((*volume.shape, len(masking.classes)), np.uint8)
    for index, found in _slices(predict, masking, volume, box):
        mask[(index, *box[1:])] = found
        watch("predicting slices", index - box[0].start + 1, box[0].stop - box[0].start)
    if masking.largest_component:
        for k in range(mask.shape[-1]):
            keep_largest_body(mask[(*box, k)])
    return mask


def mask_frames(predict: Predict, masking: Masking, clip: Stack) -> Iterator[np.ndarray]:
    """Yield the mask of every frame, uint8 (H, W, K), 0 or 1; components are those of the frame."""
    for _, found in _slices(predict, masking, clip, whole(clip.shape)):
        yield keep_largest(found) if masking.largest_component else found


def _slices(predict: Predict, masking: Masking, stack: Stack, box: Box) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the number of each slice in the box and its mask there: uint8 (h, w, K)."""
    shape = (box[1].stop - box[1].start, box[2].stop - box[2].start)
    for start in range(box[0].start, box[0].stop, _BATCH):
        batch = range(start, min(start + _BATCH, box[0].stop))
        inputs = [network_input(cut(stack, index, masking.view, box), masking.image_size) for index in batch]
        probabilities = predict(np.stack(inputs).astype(np.float32) / 255)
        for index, probability in zip(batch, probabilities, strict=True):
            yield index, binarize(resize_probability(probability, shape), masking.threshold)


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
