"""Equalizing: the same results, channels with similar ranges, and better 8-bit files where ranges differed."""

import keras
import numpy as np
import pytest
from keras import layers

from tfseg.lite.equalize import equalize
from tfseg.lite.fuse import fuse
from tfseg.models.layers import GroupedConv2D


def pictures(count: int = 4) -> list[np.ndarray]:
    return list(np.random.default_rng(0).integers(0, 256, (count, 16, 16, 3), np.uint8))


def network(*tail: layers.Layer, spread: float = 30.0) -> keras.Model:
    """A convolution whose first channel is `spread` times as wide as the others, ReLU, and then `tail`."""
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    x = layers.ReLU(name="relu")(x)
    for layer in tail:
        x = layer(x)
    model = keras.Model(image, x)
    kernel, bias = model.get_layer("first").get_weights()
    kernel[..., 0] *= spread
    model.get_layer("first").set_weights([kernel, bias + 0.1])
    return model


TAILS = {
    "depthwise": [layers.DepthwiseConv2D(3, padding="same", name="last")],
    "dense": [layers.Conv2D(4, 3, padding="same", name="last")],
    "grouped": [GroupedConv2D(4, 3, groups=2, padding="same", name="last")],
    "transposed": [layers.Conv2DTranspose(4, 2, strides=2, name="last")],
    "pooled-enlarged": [
        layers.MaxPooling2D(2),
        layers.UpSampling2D(2, interpolation="bilinear"),
        layers.Conv2D(4, 3, name="last"),
    ],
}


@pytest.mark.parametrize("tail", TAILS.values(), ids=TAILS)
def test_results_stay_and_channels_become_alike(tail: list[layers.Layer]) -> None:
    model = network(*tail)
    x = np.stack(pictures()).astype(np.float32) / 255
    new = equalize(model, pictures())
    expected = model.predict(x, verbose=0)
    # A division and a multiplication by the same factor, rounded to 6e-8 each.
    np.testing.assert_allclose(new.predict(x, verbose=0), expected, rtol=0, atol=1e-5 * np.abs(expected).max())

    def unevenness(each: keras.Model) -> float:
        values = keras.ops.relu(each.get_layer("first")(x))
        ranges = np.quantile(values, 0.999, axis=(0, 1, 2))
        return ranges.max() / np.median(ranges)

    assert unevenness(new) < 0.5 * unevenness(model)


def test_what_is_added_is_left_alone() -> None:
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(8, 3, padding="same", name="first")(image)
    y = layers.Conv2D(8, 3, padding="same", name="second")(x)
    model = keras.Model(image, layers.Conv2D(1, 1, name="logits")(layers.Add(name="sum")([x, y])))
    assert equalize(model, pictures()) is model


def test_channels_are_followed_through_a_concatenation() -> None:
    keras.utils.set_random_seed(1)
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", activation="relu", name="first")(image)
    y = layers.Conv2D(6, 3, padding="same", activation="relu", name="second")(x)
    both = layers.Concatenate(name="both")([y, x])
    model = keras.Model(image, layers.Conv2D(2, 3, name="logits")(both))
    kernel, bias = model.get_layer("first").get_weights()
    model.get_layer("first").set_weights([kernel * [50, 1, 1, 1], bias])
    x = np.stack(pictures()).astype(np.float32) / 255
    new = equalize(model, pictures())
    expected = model.predict(x, verbose=0)
    np.testing.assert_allclose(new.predict(x, verbose=0), expected, rtol=0, atol=1e-5 * np.abs(expected).max())
    assert not np.allclose(new.get_layer("first").get_weights()[0], model.get_layer("first").get_weights()[0])


@pytest.mark.parametrize("layer", [layers.ReLU(max_value=6), layers.Activation("sigmoid"), layers.Activation("silu")])
def test_what_bends_otherwise_is_left_alone(layer: layers.Layer) -> None:
    image = keras.Input((16, 16, 3))
    x = layer(layers.Conv2D(8, 3, name="first")(image))
    model = keras.Model(image, layers.Conv2D(1, 1, name="logits")(x))
    assert equalize(fuse(model), pictures()).get_layer("first") is not None
    before, after = model.get_layer("first").get_weights(), equalize(model, pictures()).get_layer("first").get_weights()
    np.testing.assert_array_equal(before[0], after[0])
