"""What a recipe's weight decay does to one step, by hand."""

import keras
import numpy as np
import pytest

from tfseg.config import Recipe
from tfseg.models.adam import SGD, Adam
from tfseg.train import _optimizer

WEIGHT, GRADIENT, RATE, DECAY = 2.0, 3.0, 0.1, 0.5


def stepped(name, decay, steps=1):
    """Return the weight after steps with one gradient, and the optimizer's own variables."""
    recipe = Recipe(optimizer=name, learning_rate=RATE, schedule="constant", weight_decay=decay)
    optimizer = _optimizer(recipe, RATE)
    weight = keras.Variable(np.float32([WEIGHT]))
    optimizer.build([weight])
    for _ in range(steps):
        optimizer.apply([keras.ops.convert_to_tensor(np.float32([GRADIENT]))], [weight])
    return float(weight.numpy()[0]), {v.path.rpartition("_")[2]: np.asarray(v) for v in optimizer.variables}


def test_sgd_adds_the_l2_term_to_the_gradient():
    # Nesterov's first step is 1.9 * 0.1 * gradient: 0.57 of 3, and 0.76 of 3 + 0.5 * 2.
    assert stepped("sgd", 0.0)[0] == pytest.approx(2 - 0.57, abs=1e-6)  # float32
    assert stepped("sgd", DECAY)[0] == pytest.approx(2 - 0.76, abs=1e-6)


def test_adam_adds_the_l2_term_to_the_gradient():
    # The averages of gradients and squares begin with a tenth of 4 and a thousandth of 16.
    weight, state = stepped("adam", DECAY)
    assert state["momentum"] == pytest.approx(0.4, abs=1e-6)  # float32
    assert state["velocity"] == pytest.approx(0.016, abs=1e-6)
    assert weight == pytest.approx(2 - RATE, abs=1e-5)  # Adam's first step is the rate, for any gradient
    plain = stepped("adam", 0.0)[1]
    assert state["momentum"] - plain["momentum"] == pytest.approx(0.1 * DECAY * WEIGHT, abs=1e-6)


def test_adams_steps_are_those_of_the_formula():
    weight, momentum, velocity = WEIGHT, 0.0, 0.0
    for step in (1, 2, 3):
        gradient = GRADIENT + DECAY * weight
        momentum = 0.9 * momentum + 0.1 * gradient
        velocity = 0.999 * velocity + 0.001 * gradient**2
        weight -= RATE * momentum / (1 - 0.9**step) / (np.sqrt(velocity / (1 - 0.999**step)) + 1e-7)
    assert stepped("adam", DECAY, steps=3)[0] == pytest.approx(weight, abs=1e-5)  # float32, over three steps


def test_adamw_takes_a_share_of_the_weight_and_leaves_the_gradient():
    weight, state = stepped("adamw", DECAY)
    assert state["momentum"] == pytest.approx(0.3, abs=1e-6)  # float32
    assert weight == pytest.approx(2 - RATE * DECAY * WEIGHT - RATE, abs=1e-5)


@pytest.mark.parametrize("kind", [Adam, SGD])
def test_the_l2_term_is_saved(kind):
    assert kind.from_config(kind(0.1, l2=0.25).get_config()).l2 == 0.25
