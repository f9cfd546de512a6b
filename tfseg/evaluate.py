"""Scores of anything that predicts, image by image, or volume by volume, at the original resolution."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tfseg.data.frames import open_volume, true_region
from tfseg.data.images import read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.inference import Masking, Predict
from tfseg.metrics import Scores, score
from tfseg.stacks import mask_volume


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """One image or volume with the mask that was predicted, and the scores of each class in order."""

    sample: Sample
    prediction: np.ndarray  # (H, W, K), or (D, H, W, K) of a volume
    scores: tuple[Scores, ...]


def evaluate(predict: Predict, samples: Sequence[Sample], dataset: Dataset, masking: Masking) -> Iterator[Scored]:
    """Score `predict` on each sample; see tfseg.metrics.score for the conventions."""
    channel = [dataset.classes.index(name) for name in masking.classes]
    for sample in samples:
        truth, prediction = (_volume if sample.slices else _picture)(predict, sample, dataset, masking)
        truth = truth[..., channel]
        scores = tuple(
            score(truth[..., k], prediction[..., k], spacing_mm=sample.spacing_mm) for k in range(len(masking.classes))
        )
        yield Scored(sample=sample, prediction=prediction, scores=scores)


def _picture(predict: Predict, sample: Sample, dataset: Dataset, masking: Masking) -> tuple[np.ndarray, np.ndarray]:
    """Return what was drawn and what is predicted: (H, W, all classes) and (H, W, K)."""
    image = read_image(sample.image, channels=masking.channels)
    return dataset.read_mask(sample, image.shape[:2]), masking.mask(predict, image)


def _volume(predict: Predict, sample: Sample, dataset: Dataset, masking: Masking) -> tuple[np.ndarray, np.ndarray]:
    """The same of a volume, (D, H, W, ...): a network that sees a region is given the annotator's."""
    volume = open_volume(sample)
    try:
        truth = dataset.read_mask(sample, volume.shape)
        box = true_region(truth, sample, dataset, masking.view)
        if box is None:
            return truth, np.zeros((*volume.shape, len(masking.classes)), np.uint8)
        return truth, mask_volume(predict, masking, volume, box=box)
    finally:
        volume.close()
