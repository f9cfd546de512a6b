"""From what networks say to one answer."""

import numpy as np

from tfseg.inference import mean_of, with_flips

COLUMNS = np.array([0.0, 0.2, 1.0], np.float32).reshape(1, 1, 3, 1)  # a network that trusts the right side


def one_sided(images):
    return images * COLUMNS


def test_flips_are_the_mean_of_left_and_right():
    images = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], np.float32).reshape(1, 2, 3, 1)
    expected = [[0.5, 0.2, 0.0], [0.0, 0.2, 0.5]]  # columns weigh (0 + 1) / 2, (0.2 + 0.2) / 2, (1 + 0) / 2
    np.testing.assert_allclose(with_flips(one_sided)(images)[0, :, :, 0], expected, atol=1e-7)  # float32


def test_an_ensemble_is_the_mean_of_its_networks():
    images = np.ones((1, 1, 3, 1), np.float32)
    both = mean_of([one_sided, lambda images: images])(images)
    np.testing.assert_allclose(both[0, 0, :, 0], [0.5, 0.6, 1.0], atol=1e-7)  # float32
