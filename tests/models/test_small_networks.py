"""MK-UNet, CMUNeXt and SimpleUNet: what their parts are, what shipping forms leave out, and what they refuse."""

import keras
import numpy as np
import pytest

from tfseg.lite.fuse import fuse
from tfseg.models import build
from tfseg.models.mk_unet import ChannelStatistics, mk_unet
from tfseg.models.simple_unet import simple_unet


def named(model: keras.Model, part: str) -> list[str]:
    return [layer.name for layer in model.layers if part in layer.name]


def test_channel_statistics_are_mean_and_maximum() -> None:
    pixels = np.array([[[[1.0, 2.0, 6.0], [-4.0, -1.0, -1.0]]]], "float32")
    np.testing.assert_array_equal(ChannelStatistics()(pixels), [[[[3, 6], [-2, -1]]]])


def test_one_spatial_attention_serves_all_levels() -> None:
    model = build("mk_unet@t", (32, 32, 3), classes=1)
    assert named(model, "spatial_conv") == ["spatial_conv"]
    assert len(named(model, "spatial_gate")) == 5
    fused = fuse(model)
    assert len(named(fused, "spatial_conv")) == 5
    kernels = [np.asarray(layer.kernel) for layer in fused.layers if "spatial_conv" in layer.name]
    assert all((kernel == kernels[0]).all() for kernel in kernels)


def test_shipping_mk_unet_has_one_depthwise_convolution_in_each_block() -> None:
    sizes = {}
    for name in ("mk_unet@t", "mk_unet_relu@t"):
        fused = fuse(build(name, (32, 32, 3), classes=1))
        found = [layer.kernel_size for layer in fused.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
        sizes[name] = [size for size in found if size != (1, 1)]
    assert sizes["mk_unet@t"] == 10 * [(3, 3), (5, 5)]
    assert sizes["mk_unet_relu@t"] == 10 * [(5, 5)]


def test_shipping_mk_unet_looks_at_no_maximum() -> None:
    model = build("mk_unet_relu@s", (32, 32, 3), classes=1)
    assert not named(model, "spatial")
    assert not named(model, "max")
    assert len(named(model, "channel_mean")) == 5
    assert not named(model, "relu6")


@pytest.mark.parametrize(("name", "per_block"), [("cmunext_s", 1), ("cmunext_s_relu", 1), ("mobile_cmunext", 2)])
def test_depthwise_kernels_of_cmunext_grow_with_depth(name: str, per_block: int) -> None:
    model = build(name, (64, 64, 1), classes=1)
    depthwise = [layer for layer in model.layers if isinstance(layer, keras.layers.DepthwiseConv2D)]
    blocks = (3, 1, 1, 1, 2) if name == "mobile_cmunext" else (1, 1, 1, 1, 1)
    expected = [size for size, count in zip((3, 3, 7, 7, 9), blocks, strict=True) for _ in range(count * per_block)]
    assert [layer.kernel_size[0] for layer in depthwise] == expected


def test_gelu_comes_before_batch_norm_and_relu_after_it() -> None:
    kinds = {}
    for name in ("cmunext_s", "cmunext_s_relu"):
        model = build(name, (32, 32, 1), classes=1)
        place = model.layers.index(model.get_layer("down0_block1_expand_conv"))
        kinds[name] = [type(layer).__name__ for layer in model.layers[place + 1 : place + 3]]
    assert kinds == {"cmunext_s": ["Activation", "BatchNorm"], "cmunext_s_relu": ["BatchNorm", "ReLU"]}


@pytest.mark.parametrize("name", ["cmunext_s_relu", "mobile_cmunext", "simple_unet@16"])
def test_convolutions_take_up_what_follows_them(name: str) -> None:
    kinds = {type(layer).__name__ for layer in fuse(build(name, (32, 32, 1), classes=1)).layers}
    others = {"DepthwiseConv2D", "GroupedConv2D", "Add", "Concatenate"}
    assert kinds - others == {"InputLayer", "Conv2D", "ReLU", "MaxPooling2D", "Upsample"}


def test_simple_unet_has_half_of_its_width_up_and_across() -> None:
    model = build("simple_unet@64", (32, 32, 3), classes=1)
    assert [model.get_layer(f"{place}_conv").filters for place in ("down0", "down4", "skip0", "bottom", "up0")] == [
        64,
        64,
        32,
        32,
        32,
    ]


def test_refused() -> None:
    with pytest.raises(ValueError, match="width = 15: the skips have half of it"):
        simple_unet((16, 16, 1), 1, width=15)
    with pytest.raises(ValueError, match="multiples of 16"):
        simple_unet((8, 16, 1), 1)
    with pytest.raises(ValueError, match="multiples of 32"):
        mk_unet((32, 48, 1), 1)
