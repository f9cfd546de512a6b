"""LR-ASPP on MobileNetV3: the paper's table, resolutions, activations."""

import keras
import pytest

from tfseg.models import build


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build("lraspp_mobilenetv3", (64, 32, 3), classes=2)


def test_squeezes_are_quarters_rounded_to_eights(model: keras.Model) -> None:
    squeezed = [layer.filters for layer in model.layers if layer.name.endswith("_squeeze_fc1")]
    assert squeezed == [24, 32, 32, 120, 168, 168, 240, 240]  # 72 / 4 = 18 would lose more than a tenth as 16


def test_residuals_are_where_channels_and_size_stay(model: keras.Model) -> None:
    added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert added == [f"block{number}_add" for number in (1, 3, 5, 6, 8, 9, 10, 12, 14, 15)] + ["logits_add"]


def test_head_takes_an_eighth_and_a_sixteenth_of_the_resolution(model: keras.Model) -> None:
    assert model.get_layer("low_logits").input.shape == (None, 8, 4, 40)
    assert model.get_layer("head_conv").input.shape == (None, 4, 2, 960)


def test_last_stage_dilates(model: keras.Model) -> None:
    dilated = [layer.name for layer in model.layers if getattr(layer, "dilation_rate", (1, 1)) != (1, 1)]
    assert dilated == ["block13_depthwise_conv", "block14_depthwise_conv", "block15_depthwise_conv"]


def test_shipping_network_has_no_hard_swish(model: keras.Model) -> None:
    def hard_swishes(model: keras.Model) -> int:
        return sum("hard_swish" in layer.name for layer in model.layers)

    assert hard_swishes(model) == 1 + 2 * 9 + 1  # stem, twice in blocks 7 to 15, last
    assert hard_swishes(build("lraspp_mobilenetv3_relu", (16, 16, 3), classes=2)) == 0
