"""From a network to masks: what predicts, how its probabilities become a mask, and where the mask is written."""

import dataclasses
import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from tfseg import runs
from tfseg.data.frames import View
from tfseg.data.images import network_input, resize_probability
from tfseg.errors import InputError
from tfseg.postprocess import exclusive, postprocess
from tfseg.scans.stack import Window

if TYPE_CHECKING:
    import keras

Predict = Callable[[np.ndarray], np.ndarray]  # (B, H, W, C) float32 in [0, 1] -> (B, H, W, K) probability


def keras_predict(model: "keras.Model", activation: str) -> Predict:
    """Return what a Keras network predicts, traced once for any batch size."""
    import tensorflow as tf

    from tfseg.activation import activate

    @tf.function(input_signature=[tf.TensorSpec((None, *model.input_shape[1:]), tf.float32)])
    def probability(images: Any) -> Any:
        return activate(model(images, training=False), activation)

    return lambda images: probability(tf.constant(images, tf.float32)).numpy()


def mean_of(predicts: Sequence[Predict]) -> Predict:
    """Average the probabilities of several networks: an ensemble."""
    return lambda images: np.mean([predict(images) for predict in predicts], axis=0)


def with_flips(predict: Predict) -> Predict:
    """Average what is predicted for an image and for its mirror image, turned back: twice the time.

    Left and right alone: ultrasound is no more symmetrical from top to bottom than the body is, since echoes weaken and
    shadows fall with depth, and no network that learned from a probe's images knows an upside-down one.
    """
    return lambda images: (predict(images) + predict(images[:, :, ::-1])[:, :, ::-1]) / 2


@dataclasses.dataclass(frozen=True, kw_only=True)
class Masking:
    """How a network's output becomes a mask.

    Attributes:
        image_size: height and width of the network's input, in pixels.
        channels: of the network's input.
        classes: of its output, in order.
        activation: "sigmoid" or "softmax": whether its classes may overlap (tfseg.activation).
        threshold: probability from which a pixel counts where classes may overlap, or there is one.
        largest_component: whether only the largest component of each class is kept.
        smallest_area: share of the image below which a class's whole mask counts as nothing drawn; pictures only.
        window, region, margin_mm: how the network looks at volumes, see tfseg.data.frames.View.
    """

    image_size: int
    channels: int
    classes: tuple[str, ...]
    activation: str
    threshold: float
    largest_component: bool
    smallest_area: float = 0.0
    window: Window | None = None
    region: str = ""
    margin_mm: float = 0.0

    @property
    def exclusive(self) -> bool:
        """Whether its classes exclude each other."""
        return exclusive(self.activation, len(self.classes))

    @property
    def view(self) -> View:
        """How the network looks at images."""
        return View(channels=self.channels, window=self.window, region=self.region, margin_mm=self.margin_mm)

    def mask(self, predict: Predict, image: np.ndarray) -> np.ndarray:
        """Return the mask uint8 (H, W, K) of an image (H, W, C) in [0, 1], both at the original resolution.

        What the network gives is resized first, then decided on: probabilities, or the 0 and 1 of a file that ends in a
        mask.
        """
        x = network_input(image, self.image_size).astype(np.float32)[None] / 255
        probability = resize_probability(predict(x)[0], image.shape[:2])
        return postprocess(
            probability,
            threshold=self.threshold,
            exclusive=self.exclusive,
            largest_component=self.largest_component,
            smallest_area=self.smallest_area,
        )


Opened = tuple[Predict, Masking]  # a network or file, ready to draw masks


def open_network(path: Path, *, fold: int | None = None) -> Opened:
    """Open a .keras file of tfseg, one fold of a run, or the mean of all folds of a run.

    Raises:
        InputError: `path` is neither, or the run holds no such network yet.
    """
    if path.suffix == ".keras":
        paths = [path]
    else:
        folders = runs.fold_folders(path) if fold is None else [runs.fold_folder(path, fold)]
        paths = [folder / runs.MODEL for folder in folders if (folder / runs.MODEL).exists()]
    if not paths:
        which = "any fold" if fold is None else f"fold {fold}"
        raise InputError(f"{path}: holds no network of {which}")
    from tfseg.models.files import open_file  # brings Keras, which takes seconds, and .tflite files need none of it

    networks, cards = zip(*map(open_file, paths), strict=True)
    _, size, _, channels = networks[0].input_shape
    masking = Masking(
        image_size=size,
        channels=channels,
        classes=cards[0].classes,
        activation=cards[0].activation,
        threshold=statistics.median(card.threshold for card in cards),
        largest_component=cards[0].largest_component,
        smallest_area=statistics.median(card.smallest_area for card in cards),
        window=cards[0].window,
        region=cards[0].region,
        margin_mm=cards[0].margin_mm,
    )
    return mean_of([keras_predict(network, cards[0].activation) for network in networks]), masking


def write_masks(prediction: np.ndarray, stem: Path, classes: Sequence[str]) -> list[Path]:
    """Write a mask (H, W, K) as one PNG a class, 0 or 255, named `stem`_class.png; return the paths."""
    paths = []
    for k, name in enumerate(classes):
        path = stem.with_name(f"{stem.name}_{name}.png")
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(prediction[..., k] * np.uint8(255)).save(path, optimize=False)
        paths.append(path)
    return paths
