"""The presence head: one more thing to learn, and a gate that leaves nothing where a class is absent."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg.models import MODELS, build
from tfseg.models.presence import close_gates, has_presence, presence_loss, presence_source, two_headed

SIZE = 64


@pytest.fixture
def network(fill_weights):
    model = build("segresnet_bn", (SIZE, SIZE, 1), 2, presence="")
    gate = [model.get_layer(name).get_weights() for name in ("presence_gate", "presence_penalty")]
    fill_weights(model)
    for name, weights in zip(("presence_gate", "presence_penalty"), gate, strict=True):
        model.get_layer(name).set_weights(weights)
    return model


def images(count=2):
    return np.random.default_rng(0).uniform(0, 1, (count, SIZE, SIZE, 1)).astype("float32")


def test_an_open_gate_changes_nothing(network):
    both = two_headed(network)(images()).numpy()
    np.testing.assert_array_equal(network(images()), both[..., :2])
    np.testing.assert_array_equal(both[..., 2:], np.broadcast_to(both[:, :1, :1, 2:], both[..., 2:].shape))


def test_a_gate_takes_all_of_a_class_below_its_threshold_and_nothing_above(network):
    both = two_headed(network)(images()).numpy()
    masks, presence = both[..., :2], both[:, 0, 0, 2:]
    close_gates(network, np.array([presence[:, 0].max() + 1, presence[:, 1].min() - 0.01]))
    gated = network(images()).numpy()
    np.testing.assert_allclose(gated[..., 0], masks[..., 0] - 36, atol=1e-4)  # float32; relu6(64 * 1) is 6, times 6
    np.testing.assert_allclose(gated[..., 1], masks[..., 1], atol=1e-4)


def test_a_gate_is_shut_from_a_tenth_of_a_logit_on(network):
    both = two_headed(network)(images()).numpy()
    masks, presence = both[..., :2], both[:, 0, 0, 2:]
    close_gates(network, presence[0] + 0.1)
    np.testing.assert_allclose(network(images()).numpy()[0], masks[0] - 36, atol=1e-3)  # float32 of 64 * presence


def test_the_head_stands_on_the_same_layer_at_another_size():
    large = build("lite_unet", (64, 64, 1), 1, presence="")
    small = build("lite_unet", (16, 16, 1), 1, presence=presence_source(large))
    small.set_weights(large.get_weights())
    assert presence_source(small) == presence_source(large)
    assert presence_source(build("lite_unet", (64, 64, 1), 1)) is None


def test_the_loss_is_that_of_the_masks_and_the_cross_entropy_of_presence():
    def no_loss(y_true, logits):
        assert logits.shape[-1] == 1
        return keras.ops.zeros(2)

    truth = np.zeros((2, 2, 2, 1), np.float32)
    truth[0, 0, 0] = 1  # the first image shows the class
    outputs = np.zeros((2, 2, 2, 2), np.float32)
    outputs[..., 1] = np.log(3)  # presence 0.75
    found = presence_loss(no_loss, 1, 2.0)(tf.constant(truth), tf.constant(outputs))
    np.testing.assert_allclose(found, [-2 * np.log(0.75), -2 * np.log(0.25)], rtol=1e-5)  # float32


@pytest.mark.parametrize(
    "name",
    [name if name in ("nerve_unet", "lite_unet") else pytest.param(name, marks=pytest.mark.slow) for name in MODELS],
)
def test_every_network_takes_a_presence_head(name):
    side = max(SIZE, MODELS[name].stride)
    plain, gated = (build(name, (side, side, 1), 1, presence=presence) for presence in (None, ""))
    assert not has_presence(plain)
    assert has_presence(gated)
    assert gated.output_shape == plain.output_shape
    more = sum(np.prod(v.shape) for v in gated.trainable_variables) - sum(
        np.prod(v.shape) for v in plain.trainable_variables
    )
    assert more == gated.get_layer("presence_pool").output.shape[-1] + 1  # one 1x1 convolution with its bias
    keras.backend.clear_session()
