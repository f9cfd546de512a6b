"""SegResNet: its norms, and what it refuses."""

import keras
import pytest

from tfseg.lite.fuse import fuse
from tfseg.models import build
from tfseg.models.layers import BatchNorm, GroupNorm
from tfseg.models.segresnet import segresnet


def norms(model: keras.Model) -> list[keras.Layer]:
    return [layer for layer in model.layers if "norm" in layer.name and layer.weights]


def test_published_network_normalizes_in_eight_groups() -> None:
    model = build("segresnet", (16, 16, 1), classes=1)
    assert len(norms(model)) == 2 * (1 + 2 + 2 + 4) + 2 * 3 + 1  # two in each block, going down and up, and the last
    assert all(type(layer) is GroupNorm and layer.groups == 8 and layer.epsilon == 1e-5 for layer in norms(model))


def test_shipping_network_has_batch_norm_that_convolutions_take_up() -> None:
    model = build("segresnet_bn", (16, 16, 1), classes=1)
    assert len(norms(model)) == 25
    assert all(type(layer) is BatchNorm for layer in norms(model))
    kinds = {type(layer).__name__ for layer in fuse(model).layers}
    assert kinds == {"InputLayer", "Conv2D", "ReLU", "Add", "ZeroPadding2D", "Upsample"}


def test_each_level_halves_the_size_and_doubles_the_channels() -> None:
    model = build("segresnet", (32, 16, 1), classes=1)
    assert model.get_layer("down3_block4_add").output.shape == (None, 4, 2, 64)
    assert model.get_layer("down1_pad").padding == ((1, 1), (1, 1))  # all sides alike, as the published weights expect


def test_sizes_may_be_left_open() -> None:
    assert segresnet((None, None, 3), 2).output_shape == (None, None, None, 2)


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        pytest.param((8, 12, 1), {}, "multiples of 8", id="size"),
        pytest.param((8, 8, 1), {"norm": "layer"}, "norm = 'layer'", id="norm"),
    ],
)
def test_refused(shape: tuple[int, int, int], options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segresnet(shape, 1, **options)
