"""MobileViTV2: patches, linear attention, output strides, and the variant that ships."""

import keras
import numpy as np
import pytest

from tfseg.models import build
from tfseg.models.mobilevitv2 import DepthToSpace, LinearAttention, SpaceToDepth, mobilevitv2

GATES = {"mobilevitv2": "relu", "mobilevitv2_relu": "relu6"}


def column(values: list[float]) -> np.ndarray:
    """Two patches of one pixel with one channel."""
    return np.array(values, "float32").reshape(1, 2, 1, 1)


def test_patches_are_stacked_row_by_row_and_laid_out_again() -> None:
    x = np.arange(8, dtype="float32").reshape(1, 2, 4, 1)  # 0 1 2 3 above 4 5 6 7
    stacked = SpaceToDepth()(x)
    np.testing.assert_array_equal(stacked, [[[[0, 1, 4, 5], [2, 3, 6, 7]]]])
    np.testing.assert_array_equal(DepthToSpace()(stacked), x)


@pytest.mark.parametrize(
    ("query", "gate"),
    [
        pytest.param([0, 0], 15, id="all-alike-is-the-mean"),
        pytest.param([0, 200], 20, id="one-patch-alone"),
        pytest.param([0, np.log(3)], 17.5, id="one-to-three"),
    ],
)
def test_linear_attention(query: list[float], gate: float) -> None:
    y = LinearAttention()([column(query), column([10, 20]), column([-1, 2])])
    np.testing.assert_allclose(y, column([0, 2 * gate]), rtol=1e-6)  # float32


def test_attention_that_ships_lets_no_value_grow_beyond_six() -> None:
    y = LinearAttention.from_config(LinearAttention("relu6").get_config())(
        [column([0, 0]), column([2, 2]), column([7, -1])]
    )
    np.testing.assert_allclose(y, column([12, 0]), rtol=1e-6)  # float32
    gates = {name: build(name, (64, 64, 1), 1).get_layer("layer2_block0_attention").gate for name in GATES}
    assert gates == GATES


def test_pixels_of_a_patch_do_not_see_each_other() -> None:
    rng = np.random.default_rng(0)
    query, key, value = rng.normal(size=(1, 3, 4, 1)), rng.normal(size=(1, 3, 4, 2)), rng.normal(size=(1, 3, 4, 2))
    whole = LinearAttention()([query, key, value])
    first = LinearAttention()([query[:, :, :1], key[:, :, :1], value[:, :, :1]])
    np.testing.assert_allclose(whole[:, :, :1], first, rtol=1e-5)  # float32


@pytest.mark.parametrize(("name", "side"), [("mobilevitv2", 2), ("mobilevitv2@os16", 4), ("mobilevitv2_relu@os8", 8)])
def test_output_stride(name: str, side: int) -> None:
    model = build(name, (64, 64, 1), classes=1)
    assert model.get_layer("aspp_concat").output.shape == (None, side, side, 5 * 512)
    assert model.output_shape == (None, 64, 64, 1)
    assert max(len(layer.output.shape) for layer in model.layers) == 4


def test_dilation_takes_over_from_the_stride() -> None:
    model = build("mobilevitv2@os8", (64, 64, 1), classes=1)
    dilations = [model.get_layer(f"layer{index}_down_depthwise_conv").dilation_rate[0] for index in (2, 3, 4)]
    assert dilations == [1, 1, 2]  # the stride that is gone spreads what comes after it


def test_shipping_network_has_batch_norm_and_relu_only() -> None:
    model = build("mobilevitv2_relu", (64, 64, 1), classes=1)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.GroupNormalization)]
    assert not [layer for layer in model.layers if "silu" in layer.name]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        pytest.param((64, 96, 1), {}, "multiples of 64", id="size"),
        pytest.param((64, 64, 1), {"norm": "layer"}, "norm = 'layer'", id="norm"),
        pytest.param((64, 64, 1), {"output_stride": 4}, "output_stride = 4", id="stride"),
    ],
)
def test_refused(shape: tuple[int, int, int], options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        mobilevitv2(shape, 1, **options)
