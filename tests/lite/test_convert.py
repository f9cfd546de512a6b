"""Conversion: the numbers of every precision, inputs and heads, what stays float, and what is refused."""

import dataclasses
import math
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from tfseg import models
from tfseg.activation import activate
from tfseg.errors import InputError, WorkError
from tfseg.lite import gpu, interpret, metadata
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import PRECISIONS, Options, convert, layer_of
from tfseg.lite.flatbuffer import FLOAT32, INT8, UINT8, File
from tfseg.models.files import Card
from tfseg.models.unet import unet

CARD = Card(
    model="unet",
    classes=("nerve",),
    activation="sigmoid",
    threshold=0.4,
    largest_component=False,
    dataset="usgra",
    fingerprint="f" * 64,
    phantom=False,
    fold=2,
)


@pytest.fixture(autouse=True)
def _forget_models() -> Any:
    yield
    keras.backend.clear_session()


def pictures(size: int, channels: int = 3, count: int = 4) -> list[np.ndarray]:
    """Bytes with large and small structures, (size, size, channels) each."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(0, 256, (count, 8, 8, channels)).repeat(size // 8, 1).repeat(size // 8, 2)
    fine = rng.integers(0, 256, (count, size, size, channels))
    return list(((3 * coarse + fine) // 4).astype(np.uint8))


def images(size: int, channels: int = 3) -> Calibration:
    chosen = pictures(size, channels)
    return Calibration(names=tuple(f"{number}.png" for number in range(len(chosen))), images=chosen)


@pytest.fixture(scope="module")
def small(settled: Callable[..., keras.Model]) -> keras.Model:
    """A U-Net of two levels."""
    return settled(unet((32, 32, 3), 1, widths=(8, 16)))


@pytest.fixture(scope="module")
def several(settled: Callable[..., keras.Model]) -> keras.Model:
    """A U-Net of two levels for three classes."""
    return settled(unet((32, 32, 3), 3, widths=(8, 16)))


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def partitions(content: bytes) -> int:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    return Counter(operator["op_name"] for operator in interpreter._get_ops_details())["DELEGATE"]


# The largest difference of a probability, which moves by a quarter of what the logits move by. fp32: the order of sums;
# fp16: weights of 11 bits; 8 bits: steps of 1/127 of a weight and of 1/255 of an activation, in seven layers.
TOLERANCES = {"fp32": 1e-5, "fp16": 5e-3, "dynamic": 0.1, "int8": 0.1}


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_file_predicts_what_the_network_predicts(small: keras.Model, precision: str, tmp_path: Path) -> None:
    path = tmp_path / "file.tflite"
    path.write_bytes(convert(small, CARD, Options(precision=precision), calibration=images(32)))
    predict, masking = interpret.open_file(path)
    x = np.stack(pictures(32)).astype(np.float32) / 255
    expected = np.asarray(keras.ops.sigmoid(small(x)))
    assert np.ptp(expected) > 0.5  # something to be wrong about
    seen = predict(x)
    assert seen.dtype == np.float32
    np.testing.assert_allclose(seen, expected, rtol=0, atol=TOLERANCES[precision])
    assert np.abs(seen - expected).mean() < TOLERANCES[precision] / 5
    assert (masking.image_size, masking.channels, masking.classes, masking.threshold) == (32, 3, ("nerve",), 0.4)
    assert partitions(path.read_bytes()) == 1


def test_files_get_smaller(small: keras.Model) -> None:
    sizes = [len(convert(small, CARD, Options(precision=p), calibration=images(32))) for p in ("fp32", "fp16", "int8")]
    assert sizes == sorted(sizes, reverse=True)


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_camera_s_bytes_go_in(small: keras.Model, precision: str) -> None:
    picture = pictures(32)[0]
    both = []
    for kind, image in (("uint8", picture), ("float32", picture.astype(np.float32) / 255)):
        content = convert(small, CARD, Options(precision=precision, input=kind), calibration=images(32))
        file = File(content)
        (tensor,) = file.subgraph.inputs
        assert file.tensors[tensor].type == {"uint8": UINT8, "float32": FLOAT32}[kind]
        both.append(run(content, image))
    # 1/255 in float32 and the byte's 8-bit step are the same number to the last bit but one.
    np.testing.assert_allclose(both[0], both[1], rtol=0, atol=1e-6 if precision == "fp32" else 0.01)


@pytest.mark.parametrize("precision", PRECISIONS)
def test_a_transposed_convolution_that_learned_a_bias_has_no_relu_of_its_own(precision: str) -> None:
    """GPUs refuse its version 4, which has one; and a bias that two layers have in common is neither's name."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(4, 3, padding="same", name="first")(image)
    x = layers.Conv2DTranspose(4, 3, strides=2, padding="same", activation="relu", name="up")(x)
    model = keras.Model(image, layers.Conv2D(1, 1, name="logits")(layers.MaxPooling2D(name="pool")(x)))
    rng = np.random.default_rng(0)
    model.set_weights([rng.normal(0, 0.3, value.shape) for value in model.get_weights()])
    for name in ("first", "up"):
        model.get_layer(name).bias.assign([0.1, -0.1, 0.2, -0.2])
    content = convert(model, CARD, Options(precision=precision, head="logits"), calibration=images(16))
    file = File(content)
    (up,) = [op for op in file.operators if file.kind(op) == "TRANSPOSE_CONV"]
    assert file.model.operatorCodes[up.opcodeIndex].version == 3
    relus = [op for op in file.operators if file.kind(op) == "RELU"]
    assert [list(relu.inputs) for relu in relus] == ([] if precision == "int8" else [list(up.outputs)])
    assert {layer_of(file.name(int(op.outputs[0]))) for op in (up, *relus)} == {"up"}
    if precision != "dynamic":
        assert partitions(content) == 1
    expected = np.asarray(model(np.stack(pictures(16)).astype(np.float32) / 255))
    # As a part of the range: the order of sums, and what 11 and 8 bits hold (see TOLERANCES).
    tolerance = {"fp32": 1e-5, "fp16": 5e-3}.get(precision, 0.05)
    np.testing.assert_allclose(run(content, pictures(16)[0])[0], expected[0], rtol=0, atol=tolerance * np.ptp(expected))


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_one_pixel_is_added_to_a_map_as_it_is(settled: Callable[..., keras.Model], precision: str) -> None:
    """A shader for the sum of an 8-bit map and a vector does not compile."""
    image = keras.Input((16, 16, 3))
    x = layers.Conv2D(16, 3, padding="same", activation="relu", name="first")(image)
    mean = layers.GlobalAveragePooling2D(keepdims=True, name="mean")(x)
    both = [layers.Conv2D(16, 1, name="map")(x), layers.Conv2D(16, 1, name="pixel")(mean)]
    model = settled(keras.Model(image, layers.Conv2D(1, 1, name="logits")(layers.Add(name="sum")(both))))
    content = convert(model, CARD, Options(precision=precision, head="logits"), calibration=images(16))
    assert "RESHAPE" not in [File(content).kind(op) for op in File(content).operators]
    assert partitions(content) == 1
    expected = np.asarray(model(np.stack(pictures(16)).astype(np.float32) / 255))
    # As a part of the range: the order of sums, and what 8 bits hold (see TOLERANCES).
    tolerance = {"fp32": 1e-5, "int8": 0.05}[precision]
    np.testing.assert_allclose(run(content, pictures(16)[0])[0], expected[0], rtol=0, atol=tolerance * np.ptp(expected))


def test_heads_of_one_class(small: keras.Model) -> None:
    x = np.stack(pictures(32)).astype(np.float32) / 255
    logits = np.asarray(small(x))
    outputs = {head: convert(small, CARD, Options(precision="fp32", head=head)) for head in ("mask", "logits")}
    np.testing.assert_allclose(run(outputs["logits"], pictures(32)[0])[0], logits[0], rtol=0, atol=1e-4)
    mask = run(outputs["mask"], pictures(32)[0])
    assert mask.dtype == np.uint8
    away = np.abs(logits[0] - math.log(0.4 / 0.6)) > 1e-3  # rounding decides nearer to the threshold
    np.testing.assert_array_equal(mask[0][away], (logits[0] > math.log(0.4 / 0.6))[away])
    for head, content in outputs.items():
        seen = interpret.predict(content, metadata.parse(content, head))(x)
        expected = logits >= math.log(0.4 / 0.6) if head == "mask" else 1 / (1 + np.exp(-logits))
        assert np.mean(np.abs(seen - expected) > 1e-4) < 1e-3


def test_heads_of_classes_against_each_other(several: keras.Model) -> None:
    card = dataclasses.replace(CARD, classes=("a", "b", "c"), activation="softmax")
    x = np.stack(pictures(32)).astype(np.float32) / 255
    logits = np.asarray(several(x))
    probability = np.asarray(activate(logits, "softmax"))
    for head in ("probability", "logits"):
        content = convert(several, card, Options(precision="fp32", head=head))
        seen = interpret.predict(content, metadata.parse(content, head))(x)
        np.testing.assert_allclose(seen, probability, rtol=0, atol=1e-5)
    content = convert(several, card, Options(precision="fp32", head="mask"))
    index = run(content, pictures(32)[0])
    assert (index.shape, index.dtype) == ((1, 32, 32, 1), np.uint8)
    expected = np.argmax(np.concatenate([np.zeros_like(logits[:1, ..., :1]), logits[:1]], -1), -1)
    assert np.mean(index[..., 0] != expected) < 0.01
    assert set(np.unique(index)) == {0, 1, 2, 3}
    seen = interpret.predict(content, metadata.parse(content, "mask"))(x[:1])
    np.testing.assert_array_equal(seen[0], index[0] == np.arange(1, 4))


def test_masks_of_independent_classes_have_a_channel_each(several: keras.Model) -> None:
    card = dataclasses.replace(CARD, classes=("a", "b", "c"))
    content = convert(several, card, Options(precision="int8", head="mask"), calibration=images(32))
    mask = run(content, pictures(32)[0])
    assert (mask.shape, mask.dtype) == ((1, 32, 32, 3), np.uint8)
    assert partitions(content) == 1


def test_a_mask_file_is_not_thresholded_twice(small: keras.Model, tmp_path: Path) -> None:
    path = tmp_path / "mask.tflite"
    path.write_bytes(convert(small, CARD, Options(precision="fp32", head="mask")))
    predict, masking = interpret.open_file(path)
    assert masking.threshold == 0.5
    assert set(np.unique(predict(np.stack(pictures(32)).astype(np.float32) / 255))) == {0, 1}


def test_another_size_has_the_same_weights(settled: Callable[..., keras.Model]) -> None:
    model = settled(models.build("segresnet_bn", (32, 32, 1), 1))
    card = dataclasses.replace(CARD, model="segresnet_bn")
    content = convert(model, card, Options(precision="fp32", image_size=64))
    assert metadata.parse(content, "file").image_size == 64
    larger = models.build("segresnet_bn", (64, 64, 1), 1)
    larger.set_weights(model.get_weights())
    picture = pictures(64, 1)[0]
    expected = keras.ops.sigmoid(larger(picture[None].astype(np.float32) / 255))
    np.testing.assert_allclose(run(content, picture), expected, rtol=0, atol=1e-5)


def test_layers_kept_float_are_float(small: keras.Model) -> None:
    options = Options(precision="int8", keep_float="^up0a_|logits")
    content = convert(small, CARD, options, calibration=images(32))
    file = File(content)
    types = {
        file.name(int(op.outputs[0])): {file.tensors[int(i)].type for i in (*op.inputs, *op.outputs)}
        for op in file.operators
        if file.kind(op) == "CONV_2D"
    }
    assert types["up0a_conv"] == types["logits"] == {FLOAT32}
    assert all(
        INT8 in kinds and FLOAT32 not in kinds for name, kinds in types.items() if name not in ("up0a_conv", "logits")
    )
    assert metadata.parse(content, "file").keep_float == "^up0a_|logits"
    assert partitions(content) == 1


def test_metadata_tell_where_a_file_comes_from(small: keras.Model) -> None:
    content = convert(small, CARD, Options(), calibration=images(32), training="usgra-unet-3")
    about = metadata.parse(content, "file")
    assert (about.model, about.image_size, about.channels, about.classes) == ("unet", 32, 3, ("nerve",))
    assert (about.precision, about.input, about.head, about.activation) == ("int8", "uint8", "probability", "sigmoid")
    assert (about.threshold, about.largest_component, about.fold, about.phantom) == (0.4, False, 2, False)
    assert (about.training, about.dataset, about.fingerprint) == ("usgra-unet-3", "usgra", "f" * 64)
    assert about.calibration == ("0.png", "1.png", "2.png", "3.png")
    assert about.versions["tensorflow"] == tf.__version__
    assert metadata.parse(convert(small, CARD, Options(precision="fp16")), "file").calibration == ()


def test_equal_networks_give_equal_bytes(small: keras.Model) -> None:
    first, second = (convert(small, CARD, Options(), calibration=images(32)) for _ in range(2))
    assert first == second


def test_tensors_are_named_after_layers(small: keras.Model) -> None:
    file = File(convert(small, CARD, Options(), calibration=images(32)))
    known = {layer.name for layer in small.layers} | {"image", "probability"}
    assert {layer_of(file.name(tensor)) for tensor in range(len(file.tensors))} <= known
    convolutions = [layer_of(file.name(int(op.outputs[0]))) for op in file.operators if file.kind(op) == "CONV_2D"]
    assert convolutions == [f"{place}_conv" for place in ("down0a", "down0b", "down1a", "down1b", "up0a", "up0b")] + [
        "logits"
    ]


@pytest.mark.parametrize(
    "options",
    [
        {"precision": "int4"},
        {"input": "float16"},
        {"head": "argmax"},
        {"keep_float": "up["},
        {"precision": "fp16", "keep_float": "up"},
    ],
)
def test_options_that_cannot_be(options: dict[str, str]) -> None:
    with pytest.raises(InputError, match=next(reversed(options))):
        Options(**options)


def test_int8_needs_images(small: keras.Model) -> None:
    for calibration in (None, Calibration(names=(), images=[])):
        with pytest.raises(InputError, match="needs images to calibrate on"):
            convert(small, CARD, Options(), calibration=calibration)


def test_a_size_that_the_network_cannot_take(small: keras.Model) -> None:
    with pytest.raises(InputError, match="takes multiples of 16"):
        convert(small, CARD, Options(precision="fp32", image_size=40))


def test_a_network_of_any_size_needs_one(settled: Callable[..., keras.Model]) -> None:
    model = settled(models.build("segresnet_bn", (32, 32, 3), 1))
    image = keras.Input((None, None, 3))
    loose = keras.Model(image, layers.Conv2D(1, 1)(image))
    with pytest.raises(InputError, match="segresnet_bn: the network has no fixed square size"):
        convert(loose, dataclasses.replace(CARD, model="segresnet_bn"), Options(precision="fp32"))
    assert model.input_shape == (None, 32, 32, 3)


class Betainc(layers.Layer):
    """An operation that TensorFlow Lite does not have."""

    def call(self, inputs: Any) -> Any:
        return tf.math.betainc(tf.abs(inputs) + 1, tf.abs(inputs) + 2, tf.sigmoid(inputs))


def test_a_network_of_another_form_has_its_own_size_only(small: keras.Model) -> None:
    with pytest.raises(InputError, match=r"segresnet_bn: was built by another version of tfseg; .* only, 32 pixels"):
        convert(small, dataclasses.replace(CARD, model="segresnet_bn"), Options(image_size=64), calibration=images(64))


def test_a_network_whose_training_diverged_is_refused(settled: Callable[..., keras.Model]) -> None:
    model = settled(unet((32, 32, 3), 1, widths=(8, 16)))
    layer = next(layer for layer in model.layers if layer.get_weights())
    layer.set_weights([np.full_like(value, np.nan) for value in layer.get_weights()])
    with pytest.raises(InputError, match=f"unet: weights of the layer '{layer.name}' are no finite numbers"):
        convert(model, CARD, Options(precision="fp32"))


def test_a_network_that_overflows_on_a_calibration_image_is_refused(settled: Callable[..., keras.Model]) -> None:
    model = settled(unet((32, 32, 3), 1, widths=(8, 16)))
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            layer.kernel.assign(1e20 * layer.kernel)
    with pytest.raises(InputError, match="gives numbers that are not finite on calibration images"):
        convert(model, CARD, Options(), calibration=images(32))


def test_an_operation_without_operator_is_named_with_its_layer(capfd: pytest.CaptureFixture[str]) -> None:
    image = keras.Input((16, 16, 3))
    x = Betainc(name="strange")(layers.Conv2D(4, 3, padding="same", name="first")(image))
    model = keras.Model(image, layers.Conv2D(1, 1, name="logits")(x))
    with pytest.raises(
        InputError, match=r"unet: cannot become a \.tflite file: tf\.Betainc in the layer 'strange' has"
    ):
        convert(model, CARD, Options(precision="fp32"))
    assert capfd.readouterr().err == ""


def test_the_converter_says_nothing_on_stdout_or_stderr(small: keras.Model, capfd: pytest.CaptureFixture[str]) -> None:
    convert(small, CARD, Options(), calibration=images(32))
    assert capfd.readouterr() == ("", "")


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("name", models.names())
def test_every_network_converts(name: str, settled: Callable[..., keras.Model], tmp_path: Path) -> None:
    model = settled(models.build(name, (64, 64, 3), 1))
    card = dataclasses.replace(CARD, model=name)
    x = np.stack(pictures(64)).astype(np.float32) / 255
    logits = np.asarray(model(x))
    for precision in PRECISIONS:
        content = convert(model, card, Options(precision=precision, head="logits"), calibration=images(64))
        seen = run(content, pictures(64)[0])
        assert np.isfinite(seen).all()
        if precision == "fp32":
            # The order of sums, in up to a hundred layers, as a part of the range. A millionth more light moves the
            # logits of a random CMUNeXt by up to 2e-3 of it.
            tolerance = 2e-3 if "cmunext" in name else 1e-4
            np.testing.assert_allclose(seen[0], logits[0], rtol=0, atol=tolerance * np.ptp(logits))
        if precision in ("fp32", "int8"):
            assert partitions(content) == 1, precision
            (tmp_path / f"{precision}.tflite").write_bytes(content)
    for precision in ("fp32", "int8"):
        try:
            found = gpu.run(tmp_path / f"{precision}.tflite")
        except WorkError as error:
            pytest.skip(str(error))
        assert (found.fully_accelerated, found.refused, found.fault) == (True, (), None), precision
