"""SegFormer: the matrix product, stages, dimensions, stochastic depth, and the variant that ships."""

import keras
import numpy as np
import pytest

from tfseg.models import build
from tfseg.models.segformer import BatchMatmul, segformer_b0


@pytest.fixture(scope="module")
def model() -> keras.Model:
    return build("segformer_b0", (64, 32, 3), classes=2)


def test_batch_matmul() -> None:
    first, second = np.array([[[[1.0, 2.0]]]], "float32"), np.array([[[[3.0, 4.0], [5.0, 6.0]]]], "float32")
    np.testing.assert_array_equal(BatchMatmul()([first, second]), [[[[13, 16]]]])  # 1*3 + 2*5, 1*4 + 2*6
    transposed = BatchMatmul.from_config(BatchMatmul(transpose_second=True).get_config())
    np.testing.assert_array_equal(transposed([first, second]), [[[[11, 17]]]])  # 1*3 + 2*4, 1*5 + 2*6


def test_each_stage_attends_to_reduced_keys(model: keras.Model) -> None:
    scores = [model.get_layer(f"stage{stage}_block0_attention_scores").output.shape[1:] for stage in range(4)]
    # heads, places, and places divided by the square of the reduction
    assert scores == [(1, 128, 2), (2, 32, 2), (5, 8, 2), (8, 2, 2)]


def test_nothing_has_more_than_four_dimensions(model: keras.Model) -> None:
    assert max(len(layer.output.shape) for layer in model.layers) == 4


def test_branches_are_dropped_more_often_the_deeper(model: keras.Model) -> None:
    rates = [layer.rate for layer in model.layers if layer.name.endswith("attention_drop")]
    np.testing.assert_allclose(rates, np.arange(1, 8) / 70, rtol=1e-6)  # the first block of eight has none
    dropped = model.get_layer("stage3_block1_mlp_drop")
    y = np.asarray(dropped(np.ones((64, 2, 2, 3), "float32"), training=True)).reshape(64, -1)
    assert np.array_equal(y.min(axis=1), y.max(axis=1))  # an image keeps its branch as a whole or loses it


def test_shipping_network_has_batch_norm_and_relu_only() -> None:
    model = build("segformer_b0_bn", (32, 32, 3), classes=2)
    assert not [layer for layer in model.layers if isinstance(layer, keras.layers.LayerNormalization)]
    assert not [layer for layer in model.layers if "gelu" in layer.name]


@pytest.mark.parametrize(
    ("shape", "options", "message"),
    [
        pytest.param((32, 48, 1), {}, "multiples of 32", id="size"),
        pytest.param((32, 32, 1), {"norm": "group"}, "norm = 'group'", id="norm"),
    ],
)
def test_refused(shape: tuple[int, int, int], options: dict[str, str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        segformer_b0(shape, 1, **options)
