"""The U-Net family and the FCNs: parameters, logits, names, goldens, files, one step of training, conversion."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest

from tfseg.errors import InputError
from tfseg.models import MODELS, build
from tfseg.models.layers import BatchNorm, GroupedConv2D
from tfseg.models.mobile_unet import mobile_unet
from tfseg.models.unet import unet

PARAMETERS = {  # trainable, three channels in, one class; the first eleven as Li et al. publish them
    "unet": 17_267_393,
    "light_unet": 11_000_257,
    "lighter_unet": 7_944_661,
    "lighter_unet@128": 7_944_661,
    "lighter_unet@64": 4_995_541,
    "lighter_unet@32": 3_465_685,
    "lighter_unet@16": 2_700_757,
    "lighter_unet@8": 2_318_293,
    "lighter_unet@4": 2_127_061,
    "lighter_unet@2": 2_031_445,
    "lighter_unet@1": 1_983_583,
    "fcn32s": 18_643_713,
    "fcn16s": 18_643_713,
    "fcn8s": 18_643_713,
    "resunet": 8_223_809,
    "mobile_unet": 1_170_401,
}
NETWORKS = ("unet", "light_unet", "lighter_unet@16", "mobile_unet", "resunet", "fcn32s", "fcn16s", "fcn8s")
ONE_OF_EACH_KIND = ("lighter_unet@16", "mobile_unet", "resunet", "fcn8s")
PLACES = r"image|logits|dropout|stem_\w+|pool\d|block\d_(conv\d|pool)|(down|up)\d([ab]|_)\w+"


def image(height: int, width: int, channels: int, *, batch: int = 1) -> np.ndarray:
    return np.random.default_rng(5).uniform(0, 1, (batch, height, width, channels)).astype("float32")


@pytest.mark.parametrize(("name", "expected"), PARAMETERS.items())
def test_trainable_parameters(name: str, expected: int) -> None:
    model = build(name, (32, 32, 3), classes=1)
    assert sum(int(np.prod(weight.shape)) for weight in model.trainable_variables) == expected
    # A layer that was given no name has a counter in it, conv2d_17, that depends on what was built before.
    assert [layer.name for layer in model.layers if not re.fullmatch(PLACES, layer.name)] == []


def test_nerve_unet_keeps_its_parameters_and_names() -> None:
    model = build("nerve_unet", (32, 32, 1), classes=1)
    assert model.count_params() == 7_759_521
    assert [layer.name for layer in model.layers[:4]] == ["image", "down0a_conv", "down0b_conv", "pool1"]


@pytest.mark.parametrize("name", NETWORKS)
def test_logits_follow_the_golden(
    name: str, fill_weights: Callable[..., None], golden: Callable[[str, Any], None]
) -> None:
    model = build(name, (32, 64, 3), classes=2)
    fill_weights(model)
    logits = model(image(32, 64, 3))
    assert logits.shape == (1, 32, 64, 2)
    golden(name, logits[0, 3::8, 5::16])  # (4, 4, 2)


@pytest.mark.parametrize("name", NETWORKS)
def test_sizes_off_the_stride_are_refused(name: str) -> None:
    row = MODELS[name.partition("@")[0]]
    with pytest.raises(InputError, match=f"takes multiples of {row.stride}"):
        build(name, (row.stride, row.stride + 1, 3), classes=1)


@pytest.mark.parametrize("builder", [unet, mobile_unet])
def test_builders_refuse_sizes_off_their_own_stride(builder: Callable[..., keras.Model]) -> None:
    with pytest.raises(ValueError, match=r"multiples of 4, got input_shape=\(8, 6, 1\)"):
        builder((8, 6, 1), 1, widths=(2, 3, 4))
    assert builder((None, None, 1), 1, widths=(2, 3, 4)).output_shape == (None, None, None, 1)


def test_lighter_unet_groups_as_the_paper_says() -> None:
    model = build("lighter_unet@16", (32, 32, 3), classes=1)
    groups = {layer.name: layer.groups for layer in model.layers if layer.name.endswith("_group")}
    assert groups["down0a_group"] == 1  # three channels, one group
    assert groups["down0b_group"] == 64 / 16
    assert groups["up3a_group"] == 1024 / 16
    # The exception: with C = 1 the first layer is depthwise too.
    assert build("lighter_unet@1", (32, 32, 3), classes=1).get_layer("down0a_group").groups == 3


def test_own_layers_are_in_use() -> None:
    model = build("lighter_unet@16", (32, 32, 3), classes=1)
    normal = [layer for layer in model.layers if isinstance(layer, keras.layers.BatchNormalization)]
    grouped = [layer for layer in model.layers if getattr(layer, "groups", 1) > 1]
    assert len(normal) == 18
    assert all(type(layer) is BatchNorm for layer in normal)
    assert len(grouped) == 17
    assert all(type(layer) is GroupedConv2D for layer in grouped)


@pytest.mark.parametrize("name", ONE_OF_EACH_KIND)
def test_one_step_lowers_the_loss_with_any_channels_and_classes(name: str) -> None:
    keras.utils.set_random_seed(3)
    model = build(name, (32, 64, 2), classes=4)
    assert model.inputs[0].name == "image"
    assert model.output_shape == (None, 32, 64, 4)
    for layer in model.layers:
        if isinstance(layer, keras.layers.Dropout):
            layer.rate = 0  # the loss of the second step is comparable with that of the first
    x = image(32, 64, 2, batch=2)
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.001), loss, run_eagerly=True)  # tracing takes longer than the steps
    first, second = (model.train_on_batch(x, np.repeat(x > 0.5, 2, axis=-1)) for _ in range(2))
    assert second < first


@pytest.mark.parametrize("name", ["lighter_unet@16", "mobile_unet"])
def test_networks_survive_a_file(name: str, fill_weights: Callable[..., None], tmp_path: Path) -> None:
    model = build(name, (32, 32, 3), classes=2)
    fill_weights(model)
    model.save(tmp_path / "model.keras")
    x = image(32, 32, 3)
    np.testing.assert_array_equal(keras.saving.load_model(tmp_path / "model.keras")(x), model(x))


def test_logits_are_float32_in_mixed_precision() -> None:
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        model = build("mobile_unet", (16, 16, 1), classes=1)
    finally:
        keras.config.set_dtype_policy("float32")
    assert model.get_layer("down0a_depth_conv").compute_dtype == "bfloat16"
    assert model.outputs[0].dtype == "float32"


@pytest.mark.slow
@pytest.mark.parametrize("name", NETWORKS)
def test_converted_files_agree(name: str, fill_weights: Callable[..., None]) -> None:
    tf = pytest.importorskip("tensorflow")
    interpreter = pytest.importorskip("ai_edge_litert.interpreter", reason="runs .tflite files")
    model = build(name, (64, 64, 3), classes=1)
    fill_weights(model)
    fixed = keras.Input(batch_shape=(1, 64, 64, 3))
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(fixed, model(fixed)))
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
    runner = interpreter.Interpreter(model_content=converter.convert())
    runner.allocate_tensors()
    operations = [detail["op_name"] for detail in runner._get_ops_details()]
    x = image(64, 64, 3)
    runner.set_tensor(runner.get_input_details()[0]["index"], x)
    runner.invoke()
    expected = np.asarray(model(x))
    converted = runner.get_tensor(runner.get_output_details()[0]["index"])
    # Batch norm is folded into the weights: float32 products in another order, over some twenty layers.
    np.testing.assert_allclose(converted, expected, rtol=0, atol=1e-4 * np.abs(expected).max())
    allowed = "CONV_2D DEPTHWISE_CONV_2D TRANSPOSE_CONV MAX_POOL_2D RESIZE_BILINEAR CONCATENATION ADD MUL DELEGATE"
    assert set(operations) <= set(allowed.split()), sorted(set(operations))
    assert operations.count("RESIZE_BILINEAR") == len([None for layer in model.layers if "resize" in layer.name])
