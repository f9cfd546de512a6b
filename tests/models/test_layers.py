"""Our layers against the stock layers that they replace: outputs, gradients, moving averages, files, precision."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg.models import layers
from tfseg.models.adam import Adam, AdamW
from tfseg.models.layers import (
    Activation,
    BatchNorm,
    DepthwiseConv2D,
    DilatedConv2D,
    GroupedConv2D,
    GroupNorm,
    LayerNorm,
    Upsample,
)


def images(*shape: int, mean: float = 0.0, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).normal(mean, 1, shape).astype("float32")


def step(layer: keras.Layer, x: np.ndarray, **options: Any) -> dict[str, np.ndarray]:
    """Run a layer forward and backward, with gradients that differ from pixel to pixel coming in."""
    x = tf.constant(x)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = layer(x, **options)
        loss = tf.reduce_sum(tf.cast(y, "float32") * images(*y.shape, seed=1))
    weights = layer.trainable_variables
    gradients = tape.gradient(loss, [x, *(weight.value for weight in weights)])
    result = {"y": y, "dx": gradients[0]}
    result |= {f"d{weight.name}": gradient for weight, gradient in zip(weights, gradients[1:], strict=True)}
    result |= {weight.name: weight.value for weight in layer.non_trainable_variables}
    return {name: tf.cast(value, "float32").numpy() for name, value in result.items()}


def assert_same(ours: dict[str, np.ndarray], theirs: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    # float32 keeps 6e-8 of a number; sums of some hundred numbers in another order lose two digits of that.
    assert ours.keys() == theirs.keys()
    for name in ours:
        scale = max(np.abs(theirs[name]).max(), 1e-3)
        np.testing.assert_allclose(ours[name], theirs[name], rtol=0, atol=tolerance * scale, err_msg=name)


def twins(
    ours: Callable[..., keras.Layer], stock: Callable[..., keras.Layer], x: np.ndarray, **options: Any
) -> tuple[keras.Layer, keras.Layer]:
    """Build our layer and the stock one with equal random weights, moved from ours to the stock one."""
    pair = ours(**options), stock(**options)
    for layer in pair:
        layer.build(x.shape)
    rng = np.random.default_rng(2)
    pair[0].set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in pair[0].weights])
    pair[1].set_weights(pair[0].get_weights())
    assert [weight.name for weight in pair[0].weights] == [weight.name for weight in pair[1].weights]
    return pair


GROUPED = {
    "four-per-group": {"filters": 16, "kernel_size": 3, "groups": 2, "padding": "same"},
    "more-filters": {"filters": 12, "kernel_size": 3, "groups": 4, "padding": "valid"},
    "strided": {"filters": 8, "kernel_size": 3, "groups": 2, "padding": "same", "strides": 2},
    "dilated": {"filters": 8, "kernel_size": 3, "groups": 2, "padding": "same", "dilation_rate": 2, "use_bias": False},
    "depthwise": {"filters": 8, "kernel_size": 3, "groups": 8, "padding": "same", "activation": "relu"},
    "depthwise-doubling": {"filters": 16, "kernel_size": 3, "groups": 8, "padding": "same", "strides": 2},
    "depthwise-uneven-strides": {"filters": 8, "kernel_size": 3, "groups": 8, "padding": "same", "strides": (1, 2)},
    "one-group": {"filters": 4, "kernel_size": 1},
}


@pytest.mark.parametrize("options", GROUPED.values(), ids=GROUPED)
def test_grouped_conv_equals_stock(options: dict[str, Any]) -> None:
    x = images(2, 6, 8, 8)
    ours, stock = twins(GroupedConv2D, keras.layers.Conv2D, x, **options)
    assert_same(step(ours, x), step(stock, x))


def test_grouped_conv_in_parts_equals_stock(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_conv_trains", lambda dtype, **options: False)
    x = images(2, 6, 8, 8)
    ours, stock = twins(GroupedConv2D, keras.layers.Conv2D, x, **GROUPED["strided"])
    assert_same(step(ours, x), step(stock, x))


def test_grouped_conv_keeps_groups_apart() -> None:
    conv = GroupedConv2D(4, 1, groups=2, use_bias=False, kernel_initializer="ones")
    # Each filter sees the two channels of its own group: 1 + 2 and 3 + 4.
    np.testing.assert_array_equal(conv(np.float32([[[[1, 2, 3, 4]]]]))[0, 0, 0], [3, 3, 7, 7])


WITHOUT_ONEDNN = """
import json
import keras, numpy as np
from tfseg.errors import InputError
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import Options, convert
from tfseg.lite.flatbuffer import File
from tfseg.models import layers
from tfseg.models.adam import Adam
from tfseg.models.files import Card
keras.utils.set_random_seed(0)
x = image = keras.Input((8, 8, 16))
for layer in (
    layers.GroupedConv2D(16, 3, groups=2, padding="same"),
    layers.BatchNorm(),
    layers.Activation("silu"),
    layers.GroupedConv2D(16, 3, groups=16, padding="same"),
    layers.GroupNorm(4),
    layers.DilatedConv2D(16, 3, dilation_rate=2, padding="same"),
    layers.LayerNorm(),
    layers.GroupedConv2D(16, 3, groups=2, padding="same"),
    layers.DepthwiseConv2D(5, padding="same"),
    layers.Activation("gelu"),
    layers.DepthwiseConv2D(3, dilation_rate=2, padding="same"),
):
    x = layer(x)
model = keras.Model(image, x)
model.compile(Adam(0.003), "mse")
x = np.random.default_rng(0).normal(size=(2, 8, 8, 16)).astype("float32")
native = layers._conv_trains("float32", groups=2), layers._conv_trains("float32", dilation=2)
losses = [float(model.train_on_batch(x, x)) for _ in range(3)]
card = Card(model="", classes=("a",), activation="sigmoid", threshold=0.5, largest_component=False, dataset="",
            fingerprint="", phantom=False, fold=None)
file = File(convert(model, card, Options(precision="fp32", head="logits")))
images = Calibration(names=("a",), images=[np.zeros((8, 8, 16), np.uint8)])
try:
    convert(model, card, Options(head="logits"), calibration=images)
except InputError as error:
    said = str(error)
print(json.dumps([any(native), losses, [file.kind(op) for op in file.operators], said]))
"""


def test_layers_train_and_convert_without_onednn() -> None:
    environment = os.environ | {"TF_ENABLE_ONEDNN_OPTS": "0"}
    run = subprocess.run([sys.executable, "-c", WITHOUT_ONEDNN], env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    native, (first, second, third), operators, said = json.loads(run.stdout.splitlines()[-1])
    assert not native
    assert third < second < first
    assert operators.count("CONV_2D") == 5  # two times two groups, two means of group norm, and the dilated one
    assert not {"SPLIT", "SPACE_TO_BATCH_ND"} & set(operators)
    assert "TF_ENABLE_ONEDNN_OPTS=1" in said  # calibration for 8 bits wants gradients


DILATED = {
    "two": {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    "beyond-the-map": {"kernel_size": 3, "dilation_rate": 9, "padding": "same", "activation": "relu"},
    "beyond-its-height": {"kernel_size": 3, "dilation_rate": 7, "padding": "same", "use_bias": False},
    "five-taps-of-which-three-count": {"kernel_size": 5, "dilation_rate": 4, "padding": "same"},
    "uneven": {"kernel_size": 3, "dilation_rate": (1, 2), "padding": "same"},
    "valid": {"kernel_size": 3, "dilation_rate": 2},
    "even-kernel": {"kernel_size": 2, "dilation_rate": 3, "padding": "same"},
}


@pytest.mark.parametrize("options", DILATED.values(), ids=DILATED)
@pytest.mark.parametrize("native", [True, False], ids=["native", "in-phases"])
def test_dilated_conv_equals_stock(options: dict[str, Any], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(layers, "_conv_trains", lambda dtype, **options: False)
    x = images(2, 7, 9, 4)
    ours, stock = twins(DilatedConv2D, keras.layers.Conv2D, x, filters=3, **options)
    assert_same(step(ours, x), step(stock, x))


DEPTHWISE = {
    "three": {"kernel_size": 3, "padding": "same"},
    "five": {"kernel_size": 5, "padding": "same", "activation": "relu"},
    "five-strided": {"kernel_size": 5, "strides": 2, "padding": "same", "use_bias": False},
    "five-valid": {"kernel_size": 5},
    "seven-strided-valid": {"kernel_size": 7, "strides": 2, "depth_multiplier": 2},
    "flat": {"kernel_size": (1, 5), "padding": "same"},
    "dilated": {"kernel_size": 3, "dilation_rate": 2, "padding": "same"},
    "dilated-beyond-the-map": {"kernel_size": 3, "dilation_rate": 8, "padding": "same"},
    "dilated-five": {"kernel_size": 5, "dilation_rate": 2, "padding": "same", "depth_multiplier": 2},
    "dilated-valid": {"kernel_size": 3, "dilation_rate": 3},
    "dilated-unevenly": {"kernel_size": 3, "dilation_rate": (1, 2), "padding": "same"},
}


@pytest.mark.parametrize("options", DEPTHWISE.values(), ids=DEPTHWISE)
@pytest.mark.parametrize("native", [True, False], ids=["native", "in-phases"])
def test_depthwise_conv_equals_stock(options: dict[str, Any], native: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if not native:
        monkeypatch.setattr(layers, "_depthwise_conv_dilates", lambda dtype: False)
    x = images(2, 8, 9, 4)
    ours, stock = twins(DepthwiseConv2D, keras.layers.DepthwiseConv2D, x, **options)
    assert_same(step(ours, x, training=True), step(stock, x))


@pytest.mark.parametrize("options", [{}, {"epsilon": 1e-5}, {"center": False}, {"scale": False}], ids=str)
@pytest.mark.parametrize("shape", [(2, 5, 4, 8), (3, 7, 6), (5, 4)], ids=["map", "tokens", "vectors"])
@pytest.mark.parametrize("training", [True, False])
def test_layer_norm_equals_stock(shape: Sequence[int], options: dict[str, Any], training: bool) -> None:
    x = images(*shape, mean=1)
    ours, stock = twins(LayerNorm, keras.layers.LayerNormalization, x, **options)
    assert_same(step(ours, x, training=training), step(stock, x))


@pytest.mark.parametrize("activation", ["silu", "gelu", "hard_silu", "relu", "sigmoid"])
def test_activation_equals_stock(activation: str) -> None:
    x = 4 * images(2, 5, 4, 8)
    assert_same(step(Activation(activation), x, training=True), step(keras.layers.Activation(activation), x))


@pytest.mark.parametrize(
    ("ours", "stock", "options"),
    [
        pytest.param(Adam, keras.optimizers.Adam, {}, id="adam"),
        pytest.param(Adam, keras.optimizers.Adam, {"beta_1": 0.8, "beta_2": 0.9, "epsilon": 1e-3}, id="other-numbers"),
        pytest.param(Adam, keras.optimizers.Adam, {"amsgrad": True}, id="amsgrad"),
        pytest.param(Adam, keras.optimizers.Adam, {"use_ema": True, "ema_momentum": 0.9}, id="ema"),
        pytest.param(Adam, keras.optimizers.Adam, {"clipnorm": 0.1}, id="clipped"),
        pytest.param(AdamW, keras.optimizers.AdamW, {"weight_decay": 0.1}, id="adamw"),
    ],
)
def test_adam_equals_stock(ours: Any, stock: Any, options: dict[str, Any]) -> None:
    x, y = images(32, 5), images(32, 3, seed=1)
    schedule = keras.optimizers.schedules.CosineDecay(0.01, 20)
    found = []
    for optimizer in (ours(schedule, **options), stock(schedule, **options)):
        keras.utils.set_random_seed(0)
        model = keras.Sequential([keras.Input((5,)), keras.layers.Dense(7, "tanh"), keras.layers.Dense(3)])
        model.compile(optimizer, "mse")
        for _ in range(10):
            model.train_on_batch(x, y)
        found.append({weight.path: weight.numpy() for weight in [*model.weights, *optimizer.variables]})
    one, other = ({f"{n}": value for n, value in enumerate(each.values())} for each in found)
    # Adam divides a gradient by its size: where 32 terms nearly cancel, their rounding moves the weight. Seen: 2e-5.
    assert_same(one, other, 1e-4)


NORMS = {
    "plain": {},
    "pytorch": {"momentum": 0.9, "epsilon": 1e-5},
    "scale-only": {"center": False},
    "center-only": {"scale": False},
}


@pytest.mark.parametrize("options", NORMS.values(), ids=NORMS)
def test_batch_norm_equals_stock(options: dict[str, Any]) -> None:
    x = images(3, 5, 4, 6, mean=2)
    ours, stock = twins(BatchNorm, keras.layers.BatchNormalization, x, **options)
    for _ in range(2):
        assert_same(step(ours, x, training=True), step(stock, x, training=True))
    assert_same(step(ours, x, training=False), step(stock, x, training=False))


def test_batch_norm_moves_by_the_batch_variance_divided_by_the_count() -> None:
    norm = BatchNorm(momentum=0.75)
    norm(np.float32([0, 2, 4, 6]).reshape(1, 2, 2, 1), training=True)
    # Mean 3; variance (9 + 1 + 1 + 9) / 4 = 5. Averages begin at 0 and 1 and take a quarter of the batch's.
    np.testing.assert_allclose(norm.moving_mean, [0.75], rtol=1e-6)
    np.testing.assert_allclose(norm.moving_variance, [0.75 + 0.25 * 5], rtol=1e-6)


def test_batch_norm_of_a_single_pixel_gives_its_offset() -> None:
    norm = BatchNorm(beta_initializer="ones")
    np.testing.assert_array_equal(norm(np.float32([[[[5, 7]]]]), training=True), [[[[1, 1]]]])
    np.testing.assert_allclose(norm.moving_variance, [0.99, 0.99], rtol=1e-6)


def test_frozen_batch_norm_keeps_its_averages() -> None:
    x = images(2, 3, 3, 4)
    ours, stock = twins(BatchNorm, keras.layers.BatchNormalization, x)
    before = ours.get_weights()
    ours.trainable = stock.trainable = False
    assert_same(step(ours, x, training=True), step(stock, x, training=True))
    np.testing.assert_equal(ours.get_weights(), before)


@pytest.mark.parametrize("shape", [(4, 6), (2, 3, 4, 5, 6)], ids=["vectors", "volumes"])
def test_batch_norm_of_other_ranks_is_the_stock_one(shape: tuple[int, ...]) -> None:
    x = images(*shape)
    ours, stock = twins(BatchNorm, keras.layers.BatchNormalization, x)
    assert_same(step(ours, x, training=True), step(stock, x, training=True))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("shape", "mean", "options"),
    [
        pytest.param((2, 4, 6, 8), 0, {"groups": 4}, id="plain"),
        pytest.param((2, 4, 6, 8), 0, {"groups": 1, "epsilon": 1e-5}, id="one-group"),
        pytest.param((2, 4, 6, 8), 0, {"groups": -1, "center": False}, id="instance-norm"),
        pytest.param((3, 5, 3, 6), 0, {"groups": 2, "scale": False}, id="odd-sizes"),
        pytest.param((2, 4, 6, 8), 30, {"groups": 4}, id="far-from-zero"),
    ],
)
def test_group_norm_equals_stock(shape: Sequence[int], mean: float, options: dict[str, Any], training: bool) -> None:
    x = images(*shape, mean=mean)
    ours, stock = twins(GroupNorm, keras.layers.GroupNormalization, x, **options)
    # Thirty standard deviations from zero, inputs themselves keep 30 * 6e-8 of a deviation.
    assert_same(step(ours, x, training=training), step(stock, x), tolerance=1e-5 if mean == 0 else 1e-4)


def test_group_norm_takes_any_size_at_run_time() -> None:
    x = images(2, 4, 6, 8)
    model = keras.Sequential([keras.Input((None, None, 8)), GroupNorm(2)])
    traced = tf.function(model, input_signature=[tf.TensorSpec((None, None, None, 8))])
    np.testing.assert_allclose(traced(x), GroupNorm(2)(x), rtol=0, atol=1e-5)  # the same sums, other code


def test_upsample_aligns_corners() -> None:
    x = np.float32([0, 3]).reshape(1, 1, 2, 1)
    # The ends stay, and the two pixels between them divide the way in three.
    np.testing.assert_allclose(Upsample(align_corners=True)(x)[0, :, :, 0], [[0, 1, 2, 3]] * 2, atol=1e-6)
    # Areas keep their corners: pixels lie a quarter of the way from their old neighbours, and ends repeat.
    np.testing.assert_allclose(Upsample()(x)[0, :, :, 0], [[0, 0.75, 2.25, 3]] * 2, atol=1e-6)


@pytest.mark.parametrize("size", [2, 4, (3, 2)])
def test_upsample_equals_stock(size: int | tuple[int, int]) -> None:
    x = images(2, 3, 5, 2)
    stock = keras.layers.UpSampling2D(size, interpolation="bilinear")
    assert_same(step(Upsample(size), x), step(stock, x))


def test_upsample_refuses_to_align_corners_of_nearest_pixels() -> None:
    with pytest.raises(ValueError, match="not 'nearest'"):
        Upsample(interpolation="nearest", align_corners=True)


EVERY_LAYER = {
    "grouped": lambda: GroupedConv2D(8, 3, groups=2, name="layer"),
    "depthwise": lambda: GroupedConv2D(8, 3, groups=8, name="layer"),
    "batch_norm": lambda: BatchNorm(momentum=0.9, epsilon=1e-5, name="layer"),
    "group_norm": lambda: GroupNorm(4, epsilon=1e-5, name="layer"),
    "dilated": lambda: DilatedConv2D(8, 3, dilation_rate=2, padding="same", name="layer"),
    "depthwise_5": lambda: DepthwiseConv2D(5, padding="same", name="layer"),
    "depthwise_dilated": lambda: DepthwiseConv2D(3, dilation_rate=2, padding="same", name="layer"),
    "layer_norm": lambda: LayerNorm(name="layer"),
    "silu": lambda: Activation("silu", name="layer"),
    "gelu": lambda: Activation("gelu", name="layer"),
    "upsample": lambda: Upsample(align_corners=True, name="layer"),
    "upsample_rows": lambda: Upsample((3, 1), name="layer"),
}

TRAINS_APART = (BatchNorm, DepthwiseConv2D, GroupNorm, LayerNorm, Activation)  # that call otherwise while they train


@pytest.mark.parametrize("make", EVERY_LAYER.values(), ids=EVERY_LAYER)
def test_layers_fall_back_to_keras_on_other_backends(
    make: Callable[[], keras.Layer], monkeypatch: pytest.MonkeyPatch
) -> None:
    x = images(2, 5, 4, 8)
    ours, other = make(), make()
    for layer in (ours, other):
        layer.build(x.shape)
    other.set_weights(ours.get_weights())
    expected = step(ours, x, training=True) if isinstance(ours, TRAINS_APART) else step(ours, x)
    monkeypatch.setattr(layers, "_TENSORFLOW", False)
    assert_same(step(other, x, training=True) if isinstance(ours, TRAINS_APART) else step(other, x), expected)


@pytest.mark.parametrize("make", EVERY_LAYER.values(), ids=EVERY_LAYER)
def test_layers_survive_a_file(make: Callable[[], keras.Layer], tmp_path: Path) -> None:
    x = images(2, 5, 4, 8)
    model = keras.Sequential([keras.Input(x.shape[1:]), make()])
    model(x, training=True)  # moves the averages
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    assert type(loaded.layers[0]) is type(model.layers[0])
    assert loaded.layers[0].get_config() == model.layers[0].get_config()
    np.testing.assert_array_equal(loaded(x), model(x))


@pytest.fixture
def _mixed_bfloat16() -> Any:
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy("float32")


@pytest.mark.usefixtures("_mixed_bfloat16")
@pytest.mark.parametrize("make", EVERY_LAYER.values(), ids=EVERY_LAYER)
def test_layers_compute_in_bfloat16_and_learn_in_float32(make: Callable[[], keras.Layer]) -> None:
    x = images(2, 5, 4, 8)
    half = make()
    half.build(x.shape)
    whole = type(half).from_config(half.get_config() | {"dtype": "float32"})
    whole.build(x.shape)
    whole.set_weights(half.get_weights())
    options = {"training": True} if isinstance(half, TRAINS_APART) else {}
    assert keras.backend.standardize_dtype(half(x).dtype) == "bfloat16"
    assert {weight.dtype for weight in half.weights} <= {"float32"}
    half.set_weights(whole.get_weights())
    # bfloat16 rounds to 2 ** -8 = 0.4 %: inputs, weights and outputs, so a sum of errors up to some 2 %.
    assert_same(step(half, x, **options), step(whole, x, **options), tolerance=0.02)


@pytest.mark.usefixtures("_mixed_bfloat16")
def test_norms_in_bfloat16_equal_stock() -> None:
    x = images(2, 5, 4, 8, mean=1)
    for ours, stock, options in (
        (*twins(BatchNorm, keras.layers.BatchNormalization, x), {"training": True}),
        (*twins(GroupNorm, keras.layers.GroupNormalization, x, groups=4), {"training": True}),
        (*twins(GroupNorm, keras.layers.GroupNormalization, x, groups=4), {"training": False}),
    ):
        one = step(ours, x, **options)
        other = step(stock, x, **(options if isinstance(stock, keras.layers.BatchNormalization) else {}))
        averages = [name for name in one if name.startswith("moving")]
        # Statistics are float32 in both; all else is rounded to 2 ** -8 once or twice.
        assert_same({name: one.pop(name) for name in averages}, {name: other.pop(name) for name in averages})
        assert_same(one, other, tolerance=0.02)
