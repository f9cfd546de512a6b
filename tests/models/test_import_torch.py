"""Weights from PyTorch: layouts by numbers, and everything that does not fit is named."""

from typing import Any

import numpy as np
import pytest

from tfseg.errors import InputError
from tfseg.models import build
from tfseg.models.import_torch import assign, convert_state_dict


@pytest.fixture(scope="module")
def monai() -> dict[str, np.ndarray]:
    """What MONAI's SegResNet with one channel in and two out saves, every tensor with numbers of its own."""
    shapes: dict[str, tuple[int, ...]] = {"convInit.conv.weight": (8, 1, 3, 3)}

    def residual(name: str, width: int) -> None:
        for part in "12":
            shapes[f"{name}.norm{part}.weight"] = shapes[f"{name}.norm{part}.bias"] = (width,)
            shapes[f"{name}.conv{part}.conv.weight"] = (width, width, 3, 3)

    for level, blocks in enumerate((1, 2, 2, 4)):
        width = 8 * 2**level
        if level:
            shapes[f"down_layers.{level}.0.conv.weight"] = (width, width // 2, 3, 3)
        for block in range(1, blocks + 1):
            residual(f"down_layers.{level}.{block}", width)
    for up, width in enumerate((32, 16, 8)):
        shapes[f"up_samples.{up}.0.conv.weight"] = (width, 2 * width, 1, 1)
        residual(f"up_layers.{up}.0", width)
    shapes["conv_final.0.weight"] = shapes["conv_final.0.bias"] = (8,)
    shapes |= {"conv_final.2.conv.weight": (2, 8, 1, 1), "conv_final.2.conv.bias": (2,)}
    rng = np.random.default_rng(0)
    return {name: rng.normal(size=shape).astype("float32") for name, shape in shapes.items()}


def test_every_variable_gets_its_tensor(monai: dict[str, np.ndarray]) -> None:
    converted = convert_state_dict("segresnet", monai)
    model = build("segresnet", (8, 8, 1), classes=2)
    assert converted.keys() == {variable.path for variable in model.variables}
    assign(model, converted)
    kernel = np.asarray(model.get_layer("down2_conv").kernel)
    assert kernel[0, 2, 5, 30] == monai["down_layers.2.0.conv.weight"][30, 5, 0, 2]  # (k, k, in, out), (out, in, k, k)
    np.testing.assert_array_equal(model.get_layer("final_norm").gamma, monai["conv_final.0.weight"])
    np.testing.assert_array_equal(model.get_layer("up0_block0_norm2").beta, monai["up_layers.0.0.norm2.bias"])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        pytest.param({"head.weight": np.zeros(3)}, r"1 of 84 tensors do not fit: head.weight \(no place", id="extra"),
        pytest.param(
            {"up_layers.1.0.norm1.bias": None}, r"lack 1 of 83 variables: up1_block0_norm1/beta", id="missing"
        ),
        pytest.param({"conv_final.0.bias": np.zeros(9)}, r"conv_final.0.bias \(shape 9 does not fit", id="shape"),
        pytest.param({"up_layers.7.0.norm1.bias": np.zeros(8)}, r"up_layers.7.0.norm1.bias \(no place", id="place"),
        pytest.param(
            {"convInit.conv.weight": None}, r"not its weights \(nothing in them goes to stem_conv", id="first"
        ),
        pytest.param({"convInit.conv.weight": np.zeros(8)}, "not its weights .*is no convolution", id="no-kernel"),
    ],
)
def test_what_does_not_fit_is_named(monai: dict[str, np.ndarray], change: dict[str, Any], message: str) -> None:
    state = {name: values for name, values in {**monai, **change}.items() if values is not None}
    with pytest.raises(InputError, match=message) as error:
        convert_state_dict("segresnet", state)
    assert "\n" not in str(error.value)


def test_names_without_a_source_are_refused() -> None:
    with pytest.raises(InputError, match=r"model 'mobile_unet' takes no PyTorch weights; unet, "):
        convert_state_dict("mobile_unet", {})


def test_other_channels_are_refused(monai: dict[str, np.ndarray]) -> None:
    model = build("segresnet", (8, 8, 3), classes=2)
    before = np.asarray(model.get_layer("logits").kernel)
    with pytest.raises(InputError, match=r"stem_conv/kernel is 3x3x3x8 here and 3x3x1x8 in the weights"):
        assign(model, convert_state_dict("segresnet", monai))
    np.testing.assert_array_equal(model.get_layer("logits").kernel, before)
