"""Scores of anything that predicts, image by image, or volume by volume, at the original resolution."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence

import numpy as np

from tfseg.data.frames import open_volume, true_region
from tfseg.data.images import read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError
from tfseg.inference import Masking, Predict
from tfseg.measures import Shape, shape
from tfseg.metrics import Scores, score
from tfseg.stacks import mask_volume


@dataclasses.dataclass(frozen=True, kw_only=True)
class Scored:
    """One image or volume with the mask that was predicted; of each class in order its scores and what it measures."""

    sample: Sample
    prediction: np.ndarray  # (H, W, K), or (D, H, W, K) of a volume
    scores: tuple[Scores, ...]
    shapes: tuple[tuple[Shape, Shape], ...]  # of the truth and of the prediction


def parse_pairs(text: str) -> dict[str, str]:
    """Return what `--map` says: class of the network -> class of the data set.

    Raises:
        InputError: it is not written a=b,c=d, or names a class of the network twice.

    >>> parse_pairs("nerve=foreground,vessel=artery")
    {'nerve': 'foreground', 'vessel': 'artery'}
    """
    pairs: dict[str, str] = {}
    for part in text.split(","):
        ours, equals, theirs = (word.strip() for word in part.partition("="))
        if not (ours and equals and theirs):
            raise InputError(f"--map {text}: write a=b,c=d: a class of the network, then that of the data set")
        if ours in pairs:
            raise InputError(f"--map {text}: pairs {ours!r} twice; keep one")
        pairs[ours] = theirs
    return pairs


def pair(dataset: Dataset, classes: Sequence[str], pairs: Mapping[str, str], *, region: str = "") -> Dataset:
    """Return the data set with the classes of a network, in its order: by name, or as `pairs` says.

    Args:
        dataset: what the network is scored on.
        classes: of the network.
        pairs: class of the network -> class of the data set, where their names differ.
        region: the class whose region the network sees, or "".

    Raises:
        InputError: the data set lacks a class, or `pairs` names one that the network or the data set does not have.
    """
    wanted: tuple[str, ...] = tuple(dict.fromkeys([*classes, region] if region else classes))
    for ours, theirs in pairs.items():
        if ours not in wanted:
            raise InputError(f"--map {ours}={theirs}: the network has no class {ours!r}: it has {', '.join(wanted)}")
        if theirs not in dataset.classes:
            raise InputError(
                f"--map {ours}={theirs}: data set {dataset.name} has no class {theirs!r}: it has "
                f"{', '.join(dataset.classes)}"
            )
    theirs = [pairs.get(name, name) for name in wanted]
    missing = [name for name in theirs if name not in dataset.classes]
    if missing:
        raise InputError(
            f"the network draws {', '.join(missing)}, and data set {dataset.name} has {', '.join(dataset.classes)}: "
            f"pair them with --map {','.join(f'{name}=CLASS' for name in missing)}"
        )
    channel = [dataset.classes.index(name) for name in theirs]

    def read_mask(sample: Sample, size: tuple[int, ...]) -> np.ndarray:
        return dataset.read_mask(sample, size)[..., channel]

    ellipses = tuple(ours for ours, name in zip(wanted, theirs, strict=True) if name in dataset.ellipses)
    return dataclasses.replace(
        dataset, classes=wanted, default_classes=tuple(classes), read_mask=read_mask, ellipses=ellipses
    )


def evaluate(predict: Predict, samples: Sequence[Sample], dataset: Dataset, masking: Masking) -> Iterator[Scored]:
    """Score `predict` on each sample; see tfseg.metrics.score and tfseg.measures.shape."""
    channel = [dataset.classes.index(name) for name in masking.classes]
    for sample in samples:
        truth, prediction = (_volume if sample.slices else _picture)(predict, sample, dataset, masking)
        truth = truth[..., channel]
        scores = tuple(
            score(truth[..., k], prediction[..., k], spacing_mm=sample.spacing_mm) for k in range(len(masking.classes))
        )
        shapes = tuple(
            (_shape(truth[..., k], name, sample, dataset), _shape(prediction[..., k], name, sample, dataset))
            for k, name in enumerate(masking.classes)
        )
        yield Scored(sample=sample, prediction=prediction, scores=scores, shapes=shapes)


def _shape(mask: np.ndarray, class_name: str, sample: Sample, dataset: Dataset) -> Shape:
    return shape(mask, spacing_mm=sample.spacing_mm, ellipse=class_name in dataset.ellipses)


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
