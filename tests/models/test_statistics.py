"""Batch norm's statistics after training: those of all pixels of all batches."""

import keras
import numpy as np

from tfseg.models.layers import BatchNorm
from tfseg.models.statistics import estimate_statistics


def test_statistics_are_those_of_all_batches_together():
    image = keras.Input((2, 1, 1))
    dropped = keras.layers.Dropout(0.9)(BatchNorm(momentum=0.5, name="norm")(image))
    model = keras.Model(image, BatchNorm(name="second")(dropped))
    batches = [np.array(values, np.float32).reshape(1, 2, 1, 1) for values in ([0, 2], [4, 10])]
    estimate_statistics(model, [(batch, None) for batch in batches])
    norm = model.get_layer("norm")
    assert float(norm.moving_mean[0]) == 4  # of 0, 2, 4, 10
    assert float(norm.moving_variance[0]) == 14  # (16 + 4 + 0 + 36) / 4
    assert norm.momentum == 0.5
    assert model.layers[2].rate == 0.9
    # the second sees (-1, 1) in each batch, since dropout is off
    np.testing.assert_allclose(model.get_layer("second").moving_variance[0], 1, rtol=2e-3)  # epsilon 1e-3 in the first


def test_a_network_without_batch_norm_stays_as_it_is():
    image = keras.Input((2, 2, 1))
    model = keras.Model(image, keras.layers.Conv2D(1, 1)(image))
    before = model.get_weights()
    estimate_statistics(model, [(np.ones((1, 2, 2, 1), np.float32), None)])
    np.testing.assert_array_equal(before[0], model.get_weights()[0])
