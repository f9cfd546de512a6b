"""Rewriting: the same results with fewer multiplications, case by case and for every network."""

from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import pytest
from keras import layers

from tfseg import models
from tfseg.lite.fuse import fuse
from tfseg.models.cost import gmac
from tfseg.models.layers import BatchNorm, GroupedConv2D, Upsample


@pytest.fixture(autouse=True)
def _forget_models() -> Any:
    yield
    keras.backend.clear_session()


def chain(*steps: Any, shape: tuple[int, int, int] = (8, 8, 6)) -> keras.Model:
    x = image = keras.Input(shape)
    for step in steps:
        x = step(x)
    return keras.Model(image, x)


def conv(width: int, size: int = 1, **options: Any) -> keras.Layer:
    return layers.Conv2D(width, size, **({"padding": "same"} | options))


def concatenated(x: Any) -> Any:
    small = layers.MaxPooling2D()(x)
    return layers.Concatenate()([x, Upsample(align_corners=True)(small), layers.ReLU()(x)])


def pooled(x: Any) -> Any:
    mean = layers.GlobalAveragePooling2D(keepdims=True)(x)
    return layers.Concatenate()([layers.ReLU()(x), Upsample(tuple(x.shape[1:3]))(mean)])


def parallel(*sizes: int, **options: Any) -> Any:
    def branches(x: Any) -> Any:
        parts = [layers.DepthwiseConv2D(size, **({"padding": "same"} | options))(x) for size in sizes]
        return layers.ReLU()(layers.Add()([BatchNorm()(part) for part in parts]))

    return branches


def parallel_and_itself(x: Any) -> Any:
    return layers.Add()([x, conv(6, 3)(x), layers.DepthwiseConv2D(3, padding="same")(x), conv(6, (3, 1))(x)])


def bent(x: Any) -> Any:
    parts = [layers.DepthwiseConv2D(3, padding="same", activation="relu")(x) for _ in range(2)]
    return layers.ReLU()(layers.Add()(parts))


def cross(x: Any) -> Any:
    return layers.Add()([conv(6, (1, 5))(x), conv(6, (5, 1))(x)])


def attended(x: Any) -> Any:
    x = layers.Permute((2, 1, 3))(layers.Reshape((64, 2, 3))(conv(6)(x)))
    return layers.Rescaling(3**-0.5)(x)


CASES = {
    # steps, layers with weights that are left, multiplications per output pixel that are left (None: not asked)
    "grouped-then-point": ((GroupedConv2D(6, 3, groups=2, padding="same"), conv(2)), 1, 9 * 6 * 2),
    "dense-then-point": ((conv(40, 3), conv(3)), 1, 9 * 6 * 3),
    "depthwise-then-point": ((layers.DepthwiseConv2D(3, padding="same"), conv(1)), 1, 9 * 6),
    "strided-then-point": ((conv(40, 3, strides=2), conv(3)), 1, 9 * 6 * 3),
    "dear-pair-stays": ((GroupedConv2D(6, 3, groups=6, padding="same"), conv(40)), 2, 9 * 6 + 6 * 40),
    "activation-between": ((conv(40, 3, activation="relu"), conv(3)), 2, None),
    "norm-after": ((conv(4, 3), BatchNorm()), 1, None),
    "norm-after-grouped": ((GroupedConv2D(6, 3, groups=3, padding="same"), BatchNorm()), 1, None),
    "norm-after-depthwise": ((layers.DepthwiseConv2D(3, depth_multiplier=2), BatchNorm()), 1, None),
    "norm-after-transposed": ((layers.Conv2DTranspose(5, 3, strides=2, padding="same"), BatchNorm()), 1, None),
    "norm-before-point": ((layers.ReLU(), BatchNorm(), conv(4)), 1, 24),
    "norm-before-valid": ((layers.ReLU(), BatchNorm(), conv(4, 3, padding="valid")), 1, None),
    "norm-before-grouped": ((layers.ReLU(), BatchNorm(), GroupedConv2D(4, 1, groups=2)), 1, None),
    "norm-before-depthwise": ((layers.ReLU(), BatchNorm(), layers.DepthwiseConv2D(3)), 1, None),
    "norm-before-border": ((layers.ReLU(), BatchNorm(), conv(4, 3)), 2, None),
    "norm-without-scale": ((conv(4, 3), BatchNorm(scale=False, center=False)), 1, None),
    "enlarged-then-point": ((Upsample(2), conv(2)), 1, 12),
    "enlarged-with-corners-then-point": ((Upsample(4, align_corners=True), conv(2)), 1, 12),
    "concatenated-then-point": ((concatenated, conv(4), BatchNorm(), layers.ReLU()), 2, None),
    "pooled-then-point": ((pooled, conv(4)), 2, None),
    "scaled-after-moves": ((attended,), 1, None),
    "narrow-groups": (
        (conv(32, activation="relu"), GroupedConv2D(32, 3, groups=16, padding="same", use_bias=False)),
        2,
        6 * 32 + 9 * 8 * 32,
    ),
    "narrow-groups-with-more-results": ((layers.ReLU(), GroupedConv2D(12, 3, groups=2, padding="same")), 1, 9 * 6 * 12),
    "depthwise-of-three-sizes": ((parallel(1, 3, 5),), 1, 25 * 6),
    "dense-beside-others": ((parallel_and_itself,), 2, 9 * 36 + 9 * 6),
    "dense-across-stay": ((cross,), 2, 10 * 36),
    "depthwise-of-even-sizes-stay": ((parallel(2, 4),), 2, 20 * 6),
    "depthwise-without-border-stay": ((parallel(3, 3, padding="valid"),), 2, 18 * 6),
    "depthwise-with-activation-stay": ((bent,), 2, 18 * 6),
    "depthwise-dilated-stay": ((parallel(3, 3, dilation_rate=2),), 2, 18 * 6),
    "dropout": ((conv(4), layers.Dropout(0.5), layers.SpatialDropout2D(0.5), layers.ReLU()), 1, None),
}


@pytest.mark.parametrize(("steps", "left", "multiplications"), CASES.values(), ids=CASES)
def test_case(steps: tuple[Any, ...], left: int, multiplications: int | None, settled: Callable[..., Any]) -> None:
    model = settled(chain(*steps))
    fused = fuse(model)
    x = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 6)).astype("float32")
    # float32 sums of up to 360 products in another order, on results near 1
    np.testing.assert_allclose(fused(x), model(x), rtol=0, atol=1e-5)
    weighted = [layer for layer in fused.layers if hasattr(layer, "kernel")]
    assert len(weighted) == left
    if multiplications is not None:
        assert sum(int(np.prod(layer.kernel.shape)) for layer in weighted) == multiplications
    assert not any(isinstance(layer, layers.BatchNormalization | layers.Dropout) for layer in fused.layers)


@pytest.fixture
def float64() -> Iterator[None]:
    """Build layers that compute in float64."""
    policy = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float64")
    yield
    keras.config.set_dtype_policy(policy)


def test_one_pixel_is_added_without_being_enlarged(settled: Callable[..., Any]) -> None:
    fused = fuse(settled(chain(pooled, conv(4))))
    assert not any(isinstance(layer, Upsample) for layer in fused.layers)
    assert fused.output_shape == (None, 8, 8, 4)


def test_the_network_itself_stays_as_it_is(settled: Callable[..., Any]) -> None:
    model = settled(models.build("segresnet_bn", (32, 32, 3), 1))
    x = np.random.default_rng(1).random((1, 32, 32, 3), np.float32)
    before, names = np.asarray(model(x)), [layer.name for layer in model.layers]
    fuse(model)
    np.testing.assert_array_equal(model(x), before)
    assert [layer.name for layer in model.layers] == names


def test_a_layer_called_twice_becomes_two(settled: Callable[..., Any]) -> None:
    layer = conv(6, name="both", activation="relu")
    model = settled(chain(layer, layers.MaxPooling2D(), layer))
    fused = fuse(model)
    assert [layer.name for layer in fused.layers if hasattr(layer, "kernel")] == ["both", "both_2"]
    x = np.random.default_rng(1).normal(0, 1, (2, 8, 8, 6)).astype("float32")
    np.testing.assert_array_equal(fused(x), model(x))
    assert gmac(model) == gmac(fused) == (64 + 16) * 36e-9


@pytest.mark.parametrize(
    ("name", "before", "after"),
    [("lighter_unet@128", 37.7, 29.5), ("lighter_unet@32", 14.115, 14.115), ("mobile_unet", 2.21, 1.81)],
)
def test_multiplications(name: str, before: float, after: float) -> None:
    model = models.build(name, (256, 256, 3), 1)
    assert gmac(model) == pytest.approx(before, rel=0.002)
    assert gmac(fuse(model)) <= 1.0001 * after


@pytest.mark.slow
@pytest.mark.parametrize("name", models.names())
def test_every_network_gives_the_same_logits(name: str, settled: Callable[..., Any], float64: None) -> None:
    """In float64, where only what is not exact makes a difference; a hundred layers carry float32's rounding on."""
    model = settled(models.build(name, (64, 64, 3), 1))
    fused = fuse(model)
    if not name.startswith(("lighter_unet@2", "lighter_unet@4", "mk_unet")):  # whose groups have eight channels at once
        assert gmac(fused) <= 1.005 * gmac(model)  # batch norms that nothing takes up count as what they now are
    x = np.random.default_rng(1).random((2, 64, 64, 3))
    expected, seen = (np.asarray(network(x)) for network in (model, fused))
    # The logits themselves are float32, which keeps 1.2e-7 of the largest; some layers' constants are, too.
    np.testing.assert_allclose(seen, expected, rtol=0, atol=1e-6 * max(1, np.abs(expected).max()))
