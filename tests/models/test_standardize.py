"""A network that standardizes by its own first numbers computes what it would of standardized images."""

import keras
import numpy as np

from tfseg.models.standardize import standardize_input


def test_the_first_convolution_sees_standardized_images():
    image = keras.Input((4, 4, 2))
    model = keras.Model(image, keras.layers.Conv2D(3, 3, name="conv")(image))
    pixels = np.random.default_rng(0).uniform(0.2, 0.4, (2, 4, 4, 2)).astype("float32")
    mean, deviation = np.array([0.3, 0.25]), np.array([0.05, 0.1])
    expected = model((pixels - mean) / deviation).numpy()
    standardize_input(model, mean, deviation)
    np.testing.assert_allclose(model(pixels), expected, atol=1e-5)  # float32


def test_a_convolution_without_bias_is_scaled():
    image = keras.Input((3, 3, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 3, use_bias=False)(image))
    before = model.get_weights()[0]
    standardize_input(model, np.array([0.5]), np.array([0.25]))
    np.testing.assert_allclose(model.get_weights()[0], 4 * before, rtol=1e-6)
