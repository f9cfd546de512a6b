"""What a fold decides on its validation patients: from which probability, area and presence on something is drawn.

These patients learn nothing and are not scored: the decision belongs to the training part of a fold.
"""

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from tfseg.activation import activate
from tfseg.data.images import network_input, read_image, resize_probability
from tfseg.data.sample import Dataset, Sample
from tfseg.inference import Masking
from tfseg.models.presence import OPEN, close_gates, has_presence, two_headed
from tfseg.postprocess import postprocess

if TYPE_CHECKING:
    import keras

THRESHOLDS = tuple(round(0.2 + 0.05 * step, 2) for step in range(13))
AREAS = (0.0, 0.0005, 0.001, 0.002, 0.004, 0.008, 0.016)  # shares of the image; 150 pixels at 128 x 128 are 0.009
PRESENCES = tuple(round(0.05 * step, 2) for step in range(20))  # probabilities; 0 is an open gate
_HALF = PRESENCES.index(0.5)  # where the search starts
_CAUTION = 0.001  # Dice that each step away from where the search starts must bring


@dataclasses.dataclass(frozen=True, kw_only=True)
class Decision:
    """What was chosen.

    Attributes:
        threshold: probability from which a pixel counts.
        smallest_area: share of the image below which a class's mask counts as nothing.
        presence: probability of presence, one for each class, below which nothing is drawn; () without such a head.
        images: how many images it was chosen on.
        dice_before, dice: mean Dice on them as the recipe had it, and as chosen.
    """

    threshold: float
    smallest_area: float
    presence: tuple[float, ...]
    images: int
    dice_before: float
    dice: float


def decide(
    network: "keras.Model", masking: Masking, activation: str, samples: Sequence[Sample], dataset: Dataset
) -> Decision:
    """Choose what gives the highest mean Dice on `samples` at their original resolution, and close the network's gates.

    Of choices that are equal to 0.001 Dice a step, the one nearest to the recipe's threshold and smallest area and a
    presence of one half is taken, and the Dice over presence is averaged over neighbouring thresholds: few images
    decide. One half is what a probability means, and validation images without an error do not show it: with
    open gates in their place, the demo's Dice was 0.903 in place of 0.945.

    Args:
        network: that was trained, with or without a presence head.
        masking: how its output becomes a mask where nothing is decided.
        activation: of the network's logits.
        samples: pictures that it did not learn from.
        dataset: reads their masks.
    """
    thresholds, areas = tuple(sorted({*THRESHOLDS, masking.threshold})), tuple(sorted({*AREAS, masking.smallest_area}))
    dice, area, empty, presence = _outcomes(network, masking, activation, samples, dataset, thresholds)
    start, first = thresholds.index(masking.threshold), areas.index(masking.smallest_area)
    before = float(np.where(area[:, :, start] >= masking.smallest_area, dice[:, :, start], empty).mean())
    best: tuple[float, float, Decision] | None = None
    for place, threshold in enumerate(thresholds):
        for step, smallest in enumerate(areas):
            drawn = area[:, :, place] >= smallest
            gates, plain = _gates(np.where(drawn, dice[:, :, place], empty), empty, presence)
            value = plain - _CAUTION * (
                abs(place - start) + abs(step - first) + sum(gate != PRESENCES[_HALF] for gate in gates)
            )
            if best is None or value > best[0]:
                best = (
                    value,
                    plain,
                    Decision(
                        threshold=threshold,
                        smallest_area=smallest,
                        presence=gates,
                        images=len(samples),
                        dice_before=before,
                        dice=plain,
                    ),
                )
    assert best is not None
    if best[2].presence:
        close_gates(network, np.array([_logit(gate) for gate in best[2].presence]))
    return best[2]


def _gates(dice: np.ndarray, empty: np.ndarray, presence: np.ndarray | None) -> tuple[tuple[float, ...], float]:
    """Return the best threshold of presence of each class, and the mean Dice with it.

    Args:
        dice: (N, K) of what is drawn.
        empty: (N, K) of nothing.
        presence: (N, K) probabilities, or None without a presence head.
    """
    if presence is None:
        return (), float(dice.mean())
    chosen, values = [], []
    for k in range(dice.shape[1]):
        means = np.array([np.where(presence[:, k] >= gate, dice[:, k], empty[:, k]).mean() for gate in PRESENCES])
        smooth = np.convolve(np.pad(means, 1, mode="edge"), np.ones(3) / 3, mode="valid")
        place = int(smooth.argmax()) if smooth.max() > smooth[_HALF] + _CAUTION else _HALF
        chosen.append(PRESENCES[place])
        values.append(means[place])
    return tuple(chosen), float(np.mean(values))


def _outcomes(
    network: "keras.Model",
    masking: Masking,
    activation: str,
    samples: Sequence[Sample],
    dataset: Dataset,
    thresholds: Sequence[float],
) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None]:
    """Return Dice and share drawn, (N, K, T), the Dice of drawing nothing, (N, K), and presence, (N, K)."""
    classes, heads = len(masking.classes), has_presence(network)
    run = two_headed(network) if heads else network
    channel = [dataset.classes.index(name) for name in masking.classes]
    shape = (len(samples), classes, len(thresholds))
    dice, area, empty, presence = np.ones(shape), np.zeros(shape), np.ones(shape[:2]), np.ones(shape[:2])
    for index, sample in enumerate(samples):
        image = read_image(sample.image, channels=masking.channels)
        truth = dataset.read_mask(sample, image.shape[:2])[..., channel].astype(bool)
        outputs = run(network_input(image, masking.image_size).astype(np.float32)[None] / 255, training=False)
        probability = np.array(activate(outputs[..., :classes], activation))[0]
        if heads:
            presence[index] = 1 / (1 + np.exp(-np.array(outputs)[0, 0, 0, classes:]))
        empty[index] = ~truth.any(axis=(0, 1))
        probability = resize_probability(probability, image.shape[:2])
        for place, threshold in enumerate(thresholds):
            drawing = {"exclusive": masking.exclusive, "largest_component": masking.largest_component}
            mask = postprocess(probability, threshold=threshold, **drawing) > 0
            drawn, both = mask.sum(axis=(0, 1)), (mask & truth).sum(axis=(0, 1))
            whole = drawn + truth.sum(axis=(0, 1))
            dice[index, :, place] = np.where(whole, 2 * both / np.maximum(whole, 1), 1)
            area[index, :, place] = drawn / mask[..., 0].size
    return dice, area, empty, presence if heads else None


def _logit(probability: Any) -> float:
    return float(np.log(probability / (1 - probability))) if probability else OPEN
