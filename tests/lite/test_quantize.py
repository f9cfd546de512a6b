"""8 bits: scales, what shares them, what stays float, and the numbers that come out."""

import warnings
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from tfseg.lite.flatbuffer import FLOAT32, INT8, File
from tfseg.lite.quantize import PIXELS, Scale, measured, quantize
from tfseg.models.layers import Upsample

SIZE = 16


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    interpreter = Interpreter(model_content=content)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def tensor(file: File, kind: str) -> int:
    (operator,) = [op for op in file.operators if file.kind(op) == kind]
    return int(operator.outputs[0])


def never(name: str) -> bool:
    return False


def skip_network(image: object) -> object:
    """A skip connection of small numbers beside a decoder of large ones."""
    skip = layers.Conv2D(4, 3, padding="same", activation="relu")(image)
    x = layers.MaxPooling2D()(skip)
    x = layers.DepthwiseConv2D(3, padding="same")(x)
    x = Upsample()(x)
    x = layers.Concatenate()([skip, x])
    return layers.Conv2D(2, 1)(x)


@pytest.fixture(scope="module")
def network(plain_tflite: Callable[..., Path]) -> bytes:
    return plain_tflite(skip_network, (SIZE, SIZE, 3)).read_bytes()


def ranges_of(content: bytes, **known: tuple[float, float]) -> dict[str, tuple[float, float]]:
    """By operator, since TensorFlow chooses the names."""
    file = File(content)
    kinds = {file.name(int(op.outputs[0])): file.kind(op) for op in file.operators}
    return {name: known[kinds[name]] for name in measured(content, never) if kinds[name] in known}


@pytest.mark.parametrize(
    ("low", "high", "step", "zero"),
    [
        pytest.param(0, 2.55, 0.01, -128, id="rectified"),
        pytest.param(-1.28, 1.27, 0.01, 0, id="symmetric"),
        pytest.param(1, 2.55, 0.01, -128, id="zero-is-always-inside"),
        pytest.param(0, 0, 1, -128, id="nothing"),
    ],
)
def test_a_scale_spreads_256_steps(low: float, high: float, step: float, zero: int) -> None:
    scale = Scale.of(low, high)
    assert (scale.step, scale.zero) == (pytest.approx(step), zero)


def test_pixels_have_one_step_for_each_byte() -> None:
    assert (PIXELS.step, PIXELS.zero) == (pytest.approx(1 / 255), -128)


def test_what_comes_out_is_near_the_float_result(network: bytes) -> None:
    file = File(network)
    outputs = {file.name(int(op.outputs[0])): int(op.outputs[0]) for op in file.operators}
    image = np.random.default_rng(0).integers(0, 256, (1, SIZE, SIZE, 3)).astype(np.float32) / 255
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", ".*intended for debugging")  # this is a test
        interpreter = Interpreter(model_content=network, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    values = {name: interpreter.get_tensor(outputs[name]) for name in measured(network, never)}
    ranges = {name: (float(value.min()), float(value.max())) for name, value in values.items()}
    expected, seen = run(network, image), run(quantize(network, ranges, never), image)
    # Five tensors on the way, each off by up to half of its 255 steps.
    np.testing.assert_allclose(seen, expected, rtol=0, atol=5 * 0.5 / 255 * np.ptp(expected))


def test_a_skip_connection_keeps_its_own_scale(network: bytes) -> None:
    ranges = ranges_of(network, DEPTHWISE_CONV_2D=(-50, 50), CONCATENATION=(-100, 100))
    convs = [name for name in measured(network, never) if name not in ranges]
    ranges |= {convs[0]: (0, 1), convs[1]: (-3, 3)}
    file = File(quantize(network, ranges, never))
    steps = {index: float(t.quantization.scale[0]) for index, t in enumerate(file.tensors) if t.type == INT8}
    joined, pooled = tensor(file, "CONCATENATION"), tensor(file, "MAX_POOL_2D")
    assert steps[joined] == pytest.approx(200 / 255)
    assert steps[pooled] == pytest.approx(1 / 255)  # what the encoder goes on with
    sources = [int(i) for op in file.operators if joined in op.outputs for i in op.inputs]
    assert {steps[source] for source in sources} == {steps[joined]}
    assert sum(file.kind(op) == "QUANTIZE" for op in file.operators) == 2  # of the image, and of the skip connection
    # The enlarged branch has no other use, and is computed in the concatenation's scale from its convolution on.
    assert steps[tensor(file, "RESIZE_BILINEAR")] == steps[tensor(file, "DEPTHWISE_CONV_2D")] == steps[joined]


def test_weights_have_a_scale_for_each_channel(network: bytes) -> None:
    ranges = dict.fromkeys(measured(network, never), (-1.0, 1.0))
    before, after = File(network), File(quantize(network, ranges, never))
    for kind, weights, axis in (("CONV_2D", 1, 0), ("DEPTHWISE_CONV_2D", 1, 3)):
        old, new = (next(op for op in file.operators if file.kind(op) == kind) for file in (before, after))
        values, integers = before.constant(int(old.inputs[weights])), after.constant(int(new.inputs[weights]))
        parameters = after.tensors[int(new.inputs[weights])].quantization
        assert integers.dtype == np.int8
        assert parameters.quantizedDimension == axis
        assert np.abs(integers).max(axis=tuple({0, 1, 2, 3} - {axis})).tolist() == [127] * values.shape[axis]
        along = [-1 if a == axis else 1 for a in range(4)]
        steps = np.reshape(parameters.scale, along)
        assert np.all(np.abs(integers * steps - values) <= 0.501 * steps)
        biases = after.tensors[int(new.inputs[2])].quantization.scale
        source = after.tensors[int(new.inputs[0])].quantization.scale
        np.testing.assert_allclose(biases, parameters.scale * source, rtol=1e-6)


def test_what_is_kept_float_is_float(network: bytes) -> None:
    name = File(network).name(tensor(File(network), "DEPTHWISE_CONV_2D"))
    ranges = dict.fromkeys(measured(network, lambda other: other == name), (-1.0, 1.0))
    file = File(quantize(network, ranges, lambda other: other == name))
    operator = next(op for op in file.operators if file.kind(op) == "DEPTHWISE_CONV_2D")
    assert {file.tensors[int(i)].type for i in (*operator.inputs, *operator.outputs)} == {FLOAT32}
    assert file.tensors[tensor(file, "CONCATENATION")].type == INT8
    kinds = [file.kind(op) for op in file.operators]
    assert kinds.index("DEQUANTIZE") == kinds.index("DEPTHWISE_CONV_2D") - 1


def test_nothing_unused_is_left(network: bytes) -> None:
    ranges = dict.fromkeys(measured(network, never), (-1.0, 1.0))
    assert len(quantize(network, ranges, never)) < len(network) + 2000  # its weights are few; names and scales are not
    file = File(quantize(network, ranges, never))
    used = {int(i) for op in file.operators for numbers in (op.inputs, op.outputs) for i in numbers if i >= 0}
    assert used == set(range(len(file.tensors)))
    keras.backend.clear_session()


def test_a_sum_of_large_and_tiny_numbers_stays_in_one_partition(plain_tflite: Callable[..., Path]) -> None:
    def network(image: object) -> object:
        large = layers.Conv2D(4, 3, padding="same", name="large")(image)
        tiny = layers.Conv2D(4, 3, padding="same", name="tiny", kernel_initializer="zeros")(image)
        return layers.ReLU()(layers.Add(name="sum")([large, tiny]))

    content = plain_tflite(network, (SIZE, SIZE, 3)).read_bytes()
    names = measured(content, never)
    small = min(names, key=lambda name: "tiny" not in name)
    ranges = {name: (-1e-6, 1e-6) if name == small else (-1.0, 1.0) for name in names}
    interpreter = Interpreter(model_content=quantize(content, ranges, never))
    interpreter.allocate_tensors()
    kinds = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert "ADD" not in kinds[kinds.index("DELEGATE") :]
    file = File(quantize(content, ranges, never))
    steps = {file.name(number): one.quantization.scale for number, one in enumerate(file.tensors) if one.type == INT8}
    assert any(name == small and step[0] > 1e-6 for name, step in steps.items())


def test_a_range_far_too_small_for_its_products_still_runs(plain_tflite: Callable[..., Path]) -> None:
    content = plain_tflite(layers.Conv2D(4, 3, kernel_initializer="ones"), (SIZE, SIZE, 3)).read_bytes()
    (name,) = measured(content, never)
    image = np.ones((1, SIZE, SIZE, 3), np.float32)
    file = quantize(content, {name: (0.0, 1e-6)}, never)  # steps of 1/255 in, of 1/127 of a weight, of 4e-9 out
    assert np.isfinite(run(file, image)).all()


def test_a_channel_of_next_to_nothing_stays_in_the_partition(plain_tflite: Callable[..., Path]) -> None:
    """Published weights have channels that training left at 1e-39; XNNPACK takes no scale as fine as that."""
    kernel = np.ones((3, 3, 3, 1), np.float32) * np.array([1.0, 1e-38, 1e-20], np.float32)[:, None]
    layer = layers.DepthwiseConv2D(3, depthwise_initializer=keras.initializers.Constant(kernel), use_bias=False)
    content = plain_tflite(layer, (SIZE, SIZE, 3)).read_bytes()
    quantized = quantize(content, dict.fromkeys(measured(content, never), (0.0, 9.0)), never)
    interpreter = Interpreter(model_content=quantized)
    interpreter.allocate_tensors()
    assert [operator["op_name"] for operator in interpreter._get_ops_details()].count("DELEGATE") == 1
    found = run(quantized, np.ones((1, SIZE, SIZE, 3), np.float32))
    np.testing.assert_allclose(found[0, 5, 5], [9, 0, 0], atol=9 / 255)  # a step of the result


def test_a_range_far_too_small_for_its_terms_still_runs(plain_tflite: Callable[..., Path]) -> None:
    """Two convolutions whose results cancel each other: TensorFlow Lite would take the process down."""

    def network(image: object) -> object:
        both = [layers.Conv2D(4, 3, kernel_initializer=keras.initializers.Constant(value)) for value in (1.0, -1.0)]
        return layers.Add()([convolution(image) for convolution in both])

    content = plain_tflite(network, (SIZE, SIZE, 3)).read_bytes()
    ranges = ranges_of(content, CONV_2D=(-27.0, 27.0), ADD=(-1e-40, 1e-40))
    image = np.ones((1, SIZE, SIZE, 3), np.float32)
    assert np.isfinite(run(quantize(content, ranges, never), image)).all()


def test_a_relu_by_itself_stays_float(plain_tflite: Callable[..., Path]) -> None:
    """XNNPACK has none for 8 bits, and takes DEQUANTIZE, RELU and QUANTIZE into its partition."""

    def network(image: object) -> object:
        x = layers.ReLU()(Upsample()(layers.Conv2D(4, 3, padding="same")(image)))
        return layers.Conv2D(2, 1)(x)

    content = plain_tflite(network, (SIZE, SIZE, 3)).read_bytes()
    file = quantize(content, dict.fromkeys(measured(content, never), (-3.0, 3.0)), never)
    assert File(file).tensors[tensor(File(file), "RELU")].type == FLOAT32
    interpreter = Interpreter(model_content=file)
    interpreter.allocate_tensors()
    kinds = [operator["op_name"] for operator in interpreter._get_ops_details()]
    assert kinds.count("DELEGATE") == 1
    assert "RELU" not in kinds[kinds.index("DELEGATE") :]


@pytest.mark.parametrize("joined", [False, True])
def test_relu_after_a_transposed_convolution_is_the_end_of_its_range(
    plain_tflite: Callable[..., Path], joined: bool
) -> None:
    """GPUs refuse a transposed convolution with a ReLU of its own, and XNNPACK one behind it."""
    image = keras.Input((SIZE, SIZE, 3))
    x = layers.Conv2DTranspose(4, 2, strides=1, padding="same", activation="relu", name="up")(image)
    network = keras.Model(
        image, layers.Concatenate(name="join")([x, layers.Conv2D(2, 1, name="side")(image)]) if joined else x
    )
    content = plain_tflite(network, (SIZE, SIZE, 3)).read_bytes()
    image = np.random.default_rng(0).random((1, SIZE, SIZE, 3), np.float32)
    expected = run(content, image)
    names = measured(content, never)
    assert len(names) == (3 if joined else 1)
    quantized = quantize(content, dict.fromkeys(names, (float(expected.min()), float(expected.max()))), never)
    file = File(quantized)
    assert "RELU" not in [file.kind(op) for op in file.operators]
    (up,) = [op for op in file.operators if file.kind(op) == "TRANSPOSE_CONV"]
    assert list(file.tensors[int(up.outputs[0])].quantization.zeroPoint) == [-128]
    interpreter = Interpreter(model_content=quantized)
    interpreter.allocate_tensors()
    assert [operator["op_name"] for operator in interpreter._get_ops_details()].count("DELEGATE") == 1
    # Half a step of the result, and what rounding does to three products of image and weight.
    np.testing.assert_allclose(run(quantized, image), expected, rtol=0, atol=3 * expected.max() / 255)
