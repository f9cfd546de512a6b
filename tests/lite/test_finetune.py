"""Fine-tuning: the bridge to tf_keras computes what the network computes, and what is learned is what ships."""

import dataclasses
import importlib.util
import os
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from tfseg import losses, models
from tfseg.activation import activate
from tfseg.errors import InputError
from tfseg.lite import finetune, metadata
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import Options, convert
from tfseg.lite.flatbuffer import File
from tfseg.lite.fuse import fuse
from tfseg.lite.graph import Graph
from tfseg.models.files import Card
from tfseg.models.layers import GroupedConv2D, Upsample
from tfseg.models.presence import close_gates, with_presence
from tfseg.models.unet import unet
from tfseg.progress import silent

pytestmark = pytest.mark.skipif(  # importing it here would set TF_USE_LEGACY_KERAS for the tests of other modules
    importlib.util.find_spec("tensorflow_model_optimization") is None, reason="needs pip install 'tfseg[qat]'"
)

CARD = Card(
    model="unet",
    classes=("nerve",),
    activation="sigmoid",
    threshold=0.5,
    largest_component=False,
    dataset="usgra",
    fingerprint="f" * 64,
    phantom=False,
    fold=2,
)


def disks(count: int = 16, size: int = 32, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Return images (N, S, S, 3) in [0, 1] of a bright disk each, in noise, and the disks (N, S, S, 1)."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:size, :size]
    centre = rng.uniform(8, size - 8, (2, count, 1, 1))
    mask = ((rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < 36)[..., None].astype(np.float32)
    noise = rng.uniform(0, 0.5, (count, size, size, 3))
    return (noise + 0.4 * mask).astype(np.float32), mask


@pytest.fixture(scope="module")
def trained() -> keras.Model:
    """A U-Net of two levels that has learned to find the disks."""
    keras.utils.set_random_seed(0)
    model = unet((32, 32, 3), 1, widths=(8, 16))
    model.compile(keras.optimizers.Adam(0.01), losses.loss("dice_bce").load())
    x, y = disks(64)
    model.fit(x, y, batch_size=8, epochs=6, verbose=0)
    return model


def course(**changes: Any) -> finetune.Course:
    batches = tf.data.Dataset.from_tensor_slices(disks(64)[0]).repeat().batch(8)
    values = {"batches": batches, "activation": "sigmoid", "epochs": 2, "steps": 8, "learning_rate": 3e-5}
    return finetune.Course(**values | {"watch": silent} | changes)


def calibration() -> Calibration:
    chosen = list(np.rint(disks(16)[0] * 255).astype(np.uint8))
    return Calibration(names=tuple(f"{number}.png" for number in range(16)), images=chosen)


def probabilities(content: bytes, x: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    results = []
    for image in np.rint(x * 255).astype(np.uint8):
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image[None])
        interpreter.invoke()
        results.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return np.stack(results)


@pytest.mark.parametrize("name", models.names())
@pytest.mark.slow
@pytest.mark.timeout(600)
def test_the_bridge_computes_the_logits_of_every_network(name: str, settled: Callable[..., keras.Model]) -> None:
    fused = fuse(settled(models.build(name, (64, 64, 3), 2)))  # what this changes: tests/lite/test_fuse.py
    x = disks(2, 64)[0]
    expected = np.asarray(fused(x))
    found = finetune.bridge(Graph(fused))(x)
    # Random networks of a hundred layers reach logits of some tens.
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5 * max(1, np.abs(expected).max()))
    keras.backend.clear_session()


def test_the_bridge_computes_the_logits_of_every_kind_of_layer() -> None:
    keras.utils.set_random_seed(0)
    image = keras.Input((16, 16, 4))
    x = GroupedConv2D(8, 3, groups=2, padding="same", activation="relu", name="grouped")(image)
    x = layers.DepthwiseConv2D(3, padding="same", name="depthwise")(x)
    skip = layers.ReLU(name="relu")(x)
    x = layers.MaxPooling2D(name="pool")(skip)
    x = layers.Conv2DTranspose(8, 2, strides=2, name="transposed")(x)
    x = layers.Concatenate(name="concat")([skip, x])
    x = Upsample(align_corners=True, name="up")(layers.AveragePooling2D(2, name="mean")(x))
    x = layers.Conv2D(3, 1, name="logits")(x)
    model = keras.Model(image, x)
    pixels = np.random.default_rng(0).random((2, 16, 16, 4), np.float32)
    twin = finetune.bridge(Graph(model))
    np.testing.assert_allclose(twin(pixels), model(pixels), rtol=0, atol=1e-5)
    assert [layer.name for layer in twin.layers] == [layer.name for layer in model.layers]


def test_qat_computes_what_the_file_computes(trained: keras.Model, monkeypatch: pytest.MonkeyPatch) -> None:
    # A learning rate of 0 changes no weight: the 8-bit network of tf_keras and the file are then the same.
    x = np.rint(disks(8, seed=3)[0] * 255).astype(np.float32) / 255
    logits: list[np.ndarray] = []

    def watched(values: Any, activation: str) -> Any:
        tf.py_function(lambda array: logits.append(array.numpy()), [values], [])
        return activate(values, activation)

    monkeypatch.setattr(finetune, "activate", watched)
    still = course(batches=tf.data.Dataset.from_tensors(x).repeat(), learning_rate=0.0, epochs=1, steps=1)
    options = Options(precision="int8", qat=True, head="logits")
    content = convert(trained, CARD, options, calibration=calibration(), course=still)
    file = probabilities(content, x)
    whole = trained.predict(x, verbose=0)
    eight_bit = min(logits, key=lambda values: np.abs(values - file).mean())  # the others are the teacher's
    # Integer kernels round sums, biases and results at other places: now and then by one step, which later layers carry
    # on. Without the rounding of weights and results the difference is several times as large.
    difference = np.abs(eight_bit - file).mean()
    assert difference < 0.35 * np.abs(whole - file).mean()
    assert difference < np.ptp(file) / 100
    plain = convert(trained, CARD, Options(precision="int8", head="logits"), calibration=calibration())
    np.testing.assert_array_equal(probabilities(plain, x), file)


def test_qat_brings_the_file_nearer_to_the_network(trained: keras.Model) -> None:
    before = [weight.numpy() for weight in trained.weights]
    content = convert(trained, CARD, Options(precision="int8", qat=True), calibration=calibration(), course=course())
    assert metadata.parse(content, "file").precision == "int8-qat"
    for old, weight in zip(before, trained.weights, strict=True):
        np.testing.assert_array_equal(old, weight)  # the caller's network stays what it was
    plain = convert(trained, CARD, Options(precision="int8"), calibration=calibration())
    x = np.rint(disks(32, seed=4)[0] * 255).astype(np.float32) / 255
    expected = keras.ops.sigmoid(trained.predict(x, verbose=0))
    errors = [np.square(probabilities(each, x) - expected).mean() for each in (plain, content)]
    assert errors[1] < 0.6 * errors[0]  # on images that neither has seen


def test_pruned_files_hold_zeros(trained: keras.Model) -> None:
    content = convert(
        trained,
        CARD,
        Options(precision="int8", sparsity=0.6),
        calibration=calibration(),
        course=course(epochs=8, learning_rate=3e-3),
    )
    assert metadata.parse(content, "file").precision == "int8-pruned-0.6"
    file = File(content)
    shares = {}
    for op in file.operators:
        if file.kind(op) == "CONV_2D":
            weights = file.constant(int(op.inputs[1]))
            shares[file.name(int(op.outputs[0]))] = np.mean(weights == 0)
    assert shares.pop("logits") < 0.5
    # Rounding to 8 bits makes some more of the smallest weights zero.
    assert min(shares.values()) >= 0.59
    x, y = disks(16, seed=5)
    mask = probabilities(content, x) > 0.5
    assert 2 * np.sum(mask * y) / (np.sum(mask) + np.sum(y)) > 0.5  # it still finds the disks


@pytest.mark.parametrize("options", [Options(precision="int8", qat=True), Options(precision="int8", sparsity=0.6)])
def test_what_decides_on_presence_does_not_learn(trained: keras.Model, options: Options) -> None:
    network = with_presence(trained)
    kernel, _ = network.get_layer("presence_logits").get_weights()
    network.get_layer("presence_logits").set_weights([kernel, np.array([30.0])])
    close_gates(network, np.array([0.0]))  # present in all images: the gate is open
    x = np.rint(disks(4, seed=3)[0] * 255).astype(np.float32) / 255
    learning = course(learning_rate=3e-3)
    opened = probabilities(convert(network, CARD, options, calibration=calibration(), course=learning), x)
    assert opened.max() > 0.5
    close_gates(network, np.array([60.0]))  # and in none
    closed = probabilities(convert(network, CARD, options, calibration=calibration(), course=learning), x)
    assert closed.max() < 0.01


def test_fine_tuning_needs_the_images_of_a_run(trained: keras.Model) -> None:
    with pytest.raises(InputError, match="convert the run"):
        convert(trained, CARD, Options(precision="int8", qat=True), calibration=calibration())


def test_keras_3_stays_keras_3(trained: keras.Model) -> None:
    finetune.bridge(Graph(fuse(trained)))
    assert "TF_USE_LEGACY_KERAS" not in os.environ
    assert keras.__version__.startswith("3.")


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("int8", Options()),
        ("fp16", Options(precision="fp16")),
        ("int8-qat", Options(qat=True)),
        ("int8-pruned-0.5", Options(sparsity=0.5)),
    ],
)
def test_kinds_of_files_have_names(kind: str, expected: Options) -> None:
    assert Options.of(kind) == expected
    assert expected.kind == kind
    assert dataclasses.replace(Options.of(kind), head="mask").kind == kind


@pytest.mark.parametrize("kind", ["int4", "int8-", "int8-pruned", "int8-pruned-1.5", "fp16-qat", "int8-small"])
def test_other_kinds_are_refused(kind: str) -> None:
    with pytest.raises(InputError):
        Options.of(kind)
