"""Decisions: the threshold, area and presence that a fold's validation patients choose, by cases one can count."""

import keras
import numpy as np
import pytest
from PIL import Image

from tfseg.data.sample import Dataset, Sample
from tfseg.decide import _gates, decide
from tfseg.inference import Masking
from tfseg.models.presence import OPEN, two_headed, with_presence

SIZE = 8
MASKING = Masking(
    image_size=SIZE, channels=1, classes=("spot",), activation="sigmoid", threshold=0.5, largest_component=False
)


def identity(scale: float = 1.0, offset: float = 0.0) -> keras.Model:
    """A network whose logit is scale * grey + offset at each pixel, and whose presence is the mean logit's."""
    image = keras.Input((SIZE, SIZE, 1), name="image")
    x = keras.layers.Rescaling(scale, offset, name="logits")(image)
    return keras.Model(image, x)


@pytest.fixture
def dataset(tmp_path):
    """Images that show 16 brighter pixels of 64, and what is drawn on them; `truth` names those without anything."""

    def make(greys, empty):
        samples = []
        for index, grey in enumerate(greys):
            pixels = np.zeros((SIZE, SIZE), np.uint8)
            pixels[2:6, 2:6] = grey
            path = tmp_path / f"{index}.png"
            Image.fromarray(pixels).save(path)
            samples.append(Sample(image=path))

        def read_mask(sample, size):
            mask = np.zeros((*size, 1), np.uint8)
            mask[2:6, 2:6] = int(sample.image.stem) not in empty
            return mask

        row = Dataset(
            name="spots",
            classes=("spot",),
            default_classes=("spot",),
            samples=lambda root: samples,
            orphans=lambda root: [],
            read_mask=read_mask,
            layout="",
            citation="",
            licence="",
            source="",
        )
        return row, samples

    return make


def test_a_threshold_that_draws_everything_that_is_there_is_chosen(dataset):
    row, samples = dataset([255, 255], empty=())
    network = identity(scale=3.0, offset=-3.5)  # spots have a logit of -0.5, a probability of 0.38
    decision = decide(network, MASKING, "sigmoid", samples, row)
    assert decision.dice_before == 0
    assert decision.dice == 1
    assert decision.threshold == 0.35  # the nearest to 0.5 that draws them
    assert decision.smallest_area == 0
    assert decision.presence == ()


def test_what_is_as_good_stays_as_the_recipe_has_it(dataset):
    row, samples = dataset([255, 255], empty=())
    decision = decide(identity(scale=40.0, offset=-20.0), MASKING, "sigmoid", samples, row)
    assert (decision.threshold, decision.smallest_area, decision.dice) == (0.5, 0, 1)


def test_presence_leaves_images_empty_that_show_nothing_and_the_gate_obeys(dataset):
    row, samples = dataset([255] * 6 + [160] * 6, empty=range(6, 12))
    network = with_presence(identity(scale=40.0, offset=-20.0))
    # the mean grey is 0.25 or 0.157 of white, the mean logit -10 or -13.7: weigh it so that presence is 0.99 or 0.2
    network.get_layer("presence_logits").set_weights([np.full((1, 1, 1, 1), 1.6), np.array([20.6])])
    decision = decide(network, MASKING, "sigmoid", samples, row)
    assert decision.dice_before == 0.5
    assert decision.dice == 1
    assert decision.presence == (0.5,)
    image = np.zeros((2, SIZE, SIZE, 1), np.float32)
    image[0, 2:6, 2:6], image[1, 2:6, 2:6] = 1.0, 160 / 255
    shown = two_headed(network)(image).numpy()[..., 0] >= 0
    assert shown.sum(axis=(1, 2)).tolist() == [16, 16]
    assert (network(image).numpy()[..., 0] >= 0).sum(axis=(1, 2)).tolist() == [16, 0]


def test_gates_average_over_neighbours_and_stay_at_one_half_without_gain():
    drawn, empty = np.array([[0.8], [0.6], [0.0], [0.0]]), np.array([[0.0], [0.0], [1.0], [1.0]])
    presence = np.array([[0.9], [0.9], [0.1], [0.1]])
    assert _gates(drawn, empty, presence) == ((0.5,), pytest.approx((0.8 + 0.6 + 1 + 1) / 4))
    (gate,), dice = _gates(drawn, empty, np.array([[0.3], [0.3], [0.1], [0.1]]))
    assert 0.1 < gate < 0.3
    assert dice == pytest.approx((0.8 + 0.6 + 1 + 1) / 4)
    assert _gates(drawn, np.zeros((4, 1)), presence) == ((0.5,), pytest.approx(0.35))  # nothing is lost with 0.1
    assert _gates(drawn, empty, None) == ((), pytest.approx(0.35))
    assert OPEN < -100
