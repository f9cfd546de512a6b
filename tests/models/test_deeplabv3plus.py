"""DeepLab v3+: resolutions, dilations, and what it refuses."""

import keras
import pytest

from tfseg.models import build
from tfseg.models.deeplabv3plus import deeplabv3plus


def dilations(model: keras.Model) -> dict[str, int]:
    rates = {layer.name: getattr(layer, "dilation_rate", (1, 1))[0] for layer in model.layers}
    return {name: rate for name, rate in rates.items() if rate > 1}


PYRAMID = {"aspp1_conv": 6, "aspp2_conv": 12, "aspp3_conv": 18}


def test_mobilenet() -> None:
    model = build("deeplabv3plus_mobilenet", (32, 64, 3), classes=2)
    assert model.get_layer("decoder_low_conv").input.shape == (None, 8, 16, 24)
    assert model.get_layer("aspp0_conv").input.shape == (None, 2, 4, 320)
    assert dilations(model) == {"block17_depthwise_conv": 2} | PYRAMID
    added = [layer.name for layer in model.layers if layer.name.endswith("_add")]
    assert added == [f"block{number}_add" for number in (3, 5, 6, 8, 9, 10, 12, 13, 15, 16)]


@pytest.mark.slow
def test_resnet101() -> None:
    model = build("deeplabv3plus_resnet101", (32, 64, 3), classes=2)
    assert model.get_layer("decoder_low_conv").input.shape == (None, 8, 16, 256)
    assert model.get_layer("aspp0_conv").input.shape == (None, 2, 4, 2048)
    layer4 = {f"layer4_block{block}_2_conv": rate for block, rate in enumerate((2, 4, 8))}
    assert dilations(model) == layer4 | PYRAMID
    convolutions = [layer for layer in model.layers if layer.name.startswith(("stem", "layer"))]
    weighted = [layer for layer in convolutions if isinstance(layer, keras.layers.Conv2D) and "down" not in layer.name]
    assert len(weighted) == 1 + 3 * (3 + 4 + 23 + 3)  # 100 of the 101; the last was the classifier


@pytest.mark.parametrize(
    ("shape", "backbone", "message"),
    [
        pytest.param((16, 24, 1), "mobilenet", "multiples of 16", id="size"),
        pytest.param((16, 16, 1), "vgg", "backbone = 'vgg': one of mobilenet, resnet101", id="backbone"),
    ],
)
def test_refused(shape: tuple[int, int, int], backbone: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        deeplabv3plus(shape, 1, backbone=backbone)
