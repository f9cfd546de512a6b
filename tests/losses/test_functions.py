"""Losses by cases that one can check in the head, and against other formulations."""

import keras
import numpy as np
import pytest

from tfseg.activation import activate
from tfseg.errors import InputError
from tfseg.losses import LOSSES, functions, loss
from tfseg.losses.curves import curve_metrics

YES, NO = 50.0, -50.0  # logits whose sigmoid is 1 or 0 in float32


def column(values):
    return np.array(values, np.float32).reshape(1, -1, 1, 1)


@pytest.mark.parametrize(
    ("truth", "logits", "expected"),
    [
        pytest.param([1, 1, 0, 0], [YES, YES, NO, NO], 0.0, id="perfect"),
        pytest.param([0, 0, 0, 0], [NO, NO, NO, NO], 0.0, id="rightly-empty"),
        pytest.param([1, 1, 0, 0], [0, 0, 0, 0], 0.4, id="undecided"),  # 1 - (2*1 + 1) / (2 + 2 + 1)
        pytest.param([1, 1, 0, 0], [NO, NO, YES, YES], 0.8, id="all-wrong"),  # 1 - 1 / (2 + 2 + 1)
    ],
)
def test_soft_dice(truth, logits, expected):
    assert float(functions.soft_dice(column(truth), column(logits))[0]) == pytest.approx(expected, abs=1e-6)  # float32


def test_batch_dice_takes_all_images_as_one():
    truth = np.concatenate([column([1, 1, 0, 0]), column([0, 0, 0, 0])])
    logits = np.concatenate([column([YES, NO, NO, NO]), column([YES, NO, NO, NO])])
    # overlap 1, areas 2 and 1 + 1: (2 + 1) / (2 + 2 + 1)
    np.testing.assert_allclose(functions.batch_dice(truth, logits), [0.4, 0.4], atol=1e-6)  # float32


def test_an_empty_image_does_not_reward_batch_dice_for_drawing_nothing():
    truth = np.concatenate([column([1, 1, 0, 0]), column([0, 0, 0, 0])])
    nothing, half = np.full_like(truth, NO), np.concatenate([column([YES, NO, NO, NO]), column([YES, NO, NO, NO])])
    assert np.mean(functions.batch_dice(truth, nothing)) == pytest.approx(1 - 1 / 3, abs=1e-6)  # dearer than 0.4
    assert np.mean(functions.soft_dice(truth, half)) == pytest.approx((0.25 + 0.5) / 2, abs=1e-6)
    assert np.mean(functions.soft_dice(truth, nothing)) == pytest.approx((1 - 1 / 3) / 2, abs=1e-6)  # cheaper


def test_tversky_punishes_misses_more_than_false_alarms():
    missed = functions.tversky(column([1, 1, 0, 0]), column([YES, NO, NO, NO]))  # 1 - 1.5 / (1 + 0.7 + 0.5)
    alarm = functions.tversky(column([1, 0, 0, 0]), column([YES, YES, NO, NO]))  # 1 - 1.5 / (1 + 0.3 + 0.5)
    assert float(missed[0]) == pytest.approx(1 - 1.5 / 2.2, abs=1e-6)
    assert float(alarm[0]) == pytest.approx(1 - 1.5 / 1.8, abs=1e-6)


def test_binary_cross_entropy_equals_keras():
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 2, (3, 5, 4, 2)).astype(np.float32)
    logits = rng.normal(0, 3, truth.shape).astype(np.float32)
    expected = keras.ops.mean(keras.ops.binary_crossentropy(truth, logits, from_logits=True), axis=(1, 2, 3))
    # float32 sums of 40 terms of about 1
    np.testing.assert_allclose(functions.binary_cross_entropy(truth, logits), expected, atol=1e-6)


def test_cross_entropy_equals_keras_with_the_background_as_class_zero():
    rng = np.random.default_rng(1)
    index = rng.integers(0, 3, (2, 4, 4))
    truth = np.stack([index == 1, index == 2], -1).astype(np.float32)
    logits = rng.normal(0, 2, (2, 4, 4, 2)).astype(np.float32)
    full = np.concatenate([np.zeros_like(logits[..., :1]), logits], -1)
    per_pixel = keras.ops.sparse_categorical_crossentropy(index, full, from_logits=True)
    np.testing.assert_allclose(functions.cross_entropy(truth, logits), np.mean(per_pixel, (1, 2)), atol=1e-6)  # float32


@pytest.mark.parametrize(
    ("one", "other"), [("cross_entropy", "binary_cross_entropy"), ("dice_cross_entropy", "dice_binary_cross_entropy")]
)
def test_softmax_and_sigmoid_agree_for_one_class(one, other):
    rng = np.random.default_rng(2)
    truth = rng.integers(0, 2, (2, 6, 6, 1)).astype(np.float32)
    logits = rng.normal(0, 2, truth.shape).astype(np.float32)
    # float32 through exp and log
    np.testing.assert_allclose(
        getattr(functions, one)(truth, logits), getattr(functions, other)(truth, logits), atol=1e-5
    )
    np.testing.assert_allclose(activate(logits, "softmax"), activate(logits, "sigmoid"), atol=1e-6)


def test_focal_of_an_undecided_pixel():
    value = functions.focal(column([1]), column([0]))  # 0.25 * 0.5**2 * ln 2
    assert float(value[0]) == pytest.approx(0.25 * 0.25 * np.log(2), abs=1e-7)


@pytest.mark.parametrize("name", LOSSES)
def test_every_loss_is_finite_with_a_finite_gradient_at_extreme_logits(name):
    import tensorflow as tf

    truth = tf.constant(np.arange(2 * 4 * 4 * 2).reshape(2, 4, 4, 2) % 3 == 0, tf.float32)
    for scale in (0.0, 1.0, 1e4):
        logits = tf.Variable(scale * np.linspace(-1, 1, 64).reshape(2, 4, 4, 2), dtype=tf.float32)
        with tf.GradientTape() as tape:
            value = loss(name).load()(truth, logits)
        assert value.shape == (2,)
        assert np.isfinite(value).all()
        assert np.isfinite(tape.gradient(value, logits)).all()


def test_a_better_answer_costs_less():
    truth = column([1, 1, 0, 0])
    worse, better = column([0.5, -0.5, 0.5, -0.5]), column([1.5, 0.5, -0.5, -1.5])
    for name in LOSSES:
        function = loss(name).load()
        assert float(function(truth, better)[0]) < float(function(truth, worse)[0]), name


def test_curves_by_hand():
    accuracy, iou, dice = curve_metrics("sigmoid", 0.5)
    truth, logits = column([1, 1, 0, 0]), column([YES, NO, YES, NO])
    assert [float(metric(truth, logits)[0]) for metric in (accuracy, iou, dice)] == pytest.approx([0.5, 1 / 3, 0.5])
    empty = column([0, 0, 0, 0]), column([NO] * 4)
    assert [float(metric(*empty)[0]) for metric in (accuracy, iou, dice)] == [1, 1, 1]


def test_curves_of_exclusive_classes_take_the_most_probable():
    logits = np.log(np.float32([[0.45, 0.35]]) / 0.2).reshape(1, 1, 1, 2)  # 0.20 is the background's
    truth = np.float32([1, 0]).reshape(1, 1, 1, 2)
    assert [float(metric(truth, logits)[0]) for metric in curve_metrics("softmax", 0.5)] == [1, 1, 1]
    assert float(curve_metrics("sigmoid", 0.5)[2](truth, logits)[0]) == 0.5  # both are drawn: 1 and 0


def test_curves_take_a_pixel_for_true_that_is_half_covered():
    dice = curve_metrics("sigmoid", 0.5)[2]
    truth, logits = column(np.array([255, 128, 127, 0]) / 255), column([YES, YES, NO, NO])
    assert float(dice(truth, logits)[0]) == 1


def test_a_share_of_a_pixel_pulls_cross_entropy_to_that_probability():
    truth = column([0.25])
    values = [float(functions.binary_cross_entropy(truth, column([np.log(p / (1 - p))]))[0]) for p in (0.2, 0.25, 0.3)]
    assert min(values) == values[1]


def test_unknown_loss_names_the_nearest():
    with pytest.raises(InputError, match="did you mean dice"):
        loss("dicee")
