"""Scores of anything that predicts, image by image at the original resolution."""

import dataclasses
from collections.abc import Iterator, Sequence

import numpy as np

from tfseg.data.images import read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.inference import Masking, Predict
from tfseg.metrics import Scores, score


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """One image with the mask that was predicted, and the scores of each class in order."""

    sample: Sample
    prediction: np.ndarray  # (H, W, K)
    scores: tuple[Scores, ...]


def evaluate(predict: Predict, samples: Sequence[Sample], dataset: Dataset, masking: Masking) -> Iterator[Scored]:
    """Score `predict` on each sample; see tfseg.metrics.score for the conventions."""
    channel = [dataset.classes.index(name) for name in masking.classes]
    for sample in samples:
        image = read_image(sample.image, channels=masking.channels)
        truth = dataset.read_mask(sample, image.shape[:2])[..., channel]
        prediction = masking.mask(predict, image)
        scores = tuple(
            score(truth[..., k], prediction[..., k], spacing_mm=sample.spacing_mm) for k in range(len(masking.classes))
        )
        yield Scored(sample=sample, prediction=prediction, scores=scores)
