"""Pairs of pixels: which convolutions compute them, and that every integer stays the same."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers

from tfseg.lite.flatbuffer import INT8, File
from tfseg.lite.lanes import fill
from tfseg.lite.quantize import measured, quantize


def never(name: str) -> bool:
    return False


def run(content: bytes, image: np.ndarray) -> np.ndarray:
    """Return the output: each integer of the last convolution times its step."""
    interpreter = Interpreter(model_content=content, num_threads=1)
    interpreter.allocate_tensors()
    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], image)
    interpreter.invoke()
    return interpreter.get_tensor(interpreter.get_output_details()[0]["index"])


def written(plain_tflite: Callable[..., Path], size: tuple[int, int], *options: dict) -> bytes:
    """Write convolutions of those options, in a row, in 8 bits: of three channels and height and width `size`."""

    def network(x: object) -> object:
        for number, option in enumerate(options):
            x = layers.Conv2D(**{"padding": "same", "bias_initializer": "normal"} | option, name=f"conv{number}")(x)
        return x

    content = plain_tflite(network, (*size, 3)).read_bytes()
    return quantize(content, dict.fromkeys(measured(content, never), (-2.0, 2.0)), never)


@pytest.mark.parametrize(
    ("size", "options", "pairs"),
    [
        pytest.param((6, 10), [{"filters": 8, "kernel_size": 3}], 1, id="eight"),
        pytest.param((6, 10), [{"filters": 3, "kernel_size": (1, 5), "activation": "relu"}], 1, id="three-wide-relu"),
        pytest.param((7, 10), [{"filters": 8, "kernel_size": (3, 1)}], 1, id="column"),
        pytest.param((7, 12), [{"filters": 8, "kernel_size": 3, "padding": "valid"}], 1, id="valid"),
        pytest.param((6, 10), [{"filters": 8, "kernel_size": 3, "use_bias": False}], 1, id="without-bias"),
        pytest.param((6, 10), [{"filters": 8, "kernel_size": 3}, {"filters": 5, "kernel_size": 5}], 2, id="two"),
        pytest.param((6, 9), [{"filters": 8, "kernel_size": 3}], 0, id="odd-width"),
        pytest.param((6, 10), [{"filters": 8, "kernel_size": 1}], 0, id="one-pixel"),
        pytest.param((6, 10), [{"filters": 8, "kernel_size": 2}], 0, id="even-kernel"),
        pytest.param((6, 10), [{"filters": 9, "kernel_size": 3}], 0, id="nine"),
        pytest.param((8, 12), [{"filters": 8, "kernel_size": 3, "strides": 2}], 0, id="stride"),
        pytest.param((8, 12), [{"filters": 8, "kernel_size": 3, "dilation_rate": 2}], 0, id="dilation"),
        pytest.param((6, 10), [{"filters": 6, "kernel_size": 3, "groups": 3}], 0, id="groups"),
    ],
)
def test_the_same_integers(
    plain_tflite: Callable[..., Path], size: tuple[int, int], options: list[dict], pairs: int
) -> None:
    before = written(plain_tflite, size, *options)
    after = fill(before)
    file = File(after)
    halved = [op for op in file.operators if file.kind(op) == "RESHAPE"]
    assert len(halved) == pairs
    for op in halved:
        (batch, height, width, channels), wide = file.shape(int(op.inputs[0])), file.shape(int(op.outputs[0]))
        assert (batch, height, 2 * width, channels // 2) == wide
    image = np.random.default_rng(0).random((1, *size, 3), np.float32)
    expected = run(before, image)
    assert len(np.unique(expected)) > 20  # of 256 steps
    np.testing.assert_array_equal(run(after, image), expected)


def test_names_and_scales_stay(plain_tflite: Callable[..., Path]) -> None:
    content = written(plain_tflite, (6, 10), {"filters": 8, "kernel_size": 3})
    before, after = File(content), File(fill(content))
    named = {after.name(index): tensor for index, tensor in enumerate(after.tensors)}
    for index, tensor in enumerate(before.tensors):
        if tensor.quantization is not None:
            times = 2 if before.is_constant(index) else 1
            expected = np.tile(tensor.quantization.scale, times)
            np.testing.assert_array_equal(named[before.name(index)].quantization.scale, expected)


def test_a_float_file_stays_as_it_is(plain_tflite: Callable[..., Path]) -> None:
    content = plain_tflite(layers.Conv2D(8, 3, padding="same"), (6, 10, 3)).read_bytes()
    file = File(fill(content))
    assert not any(file.kind(op) == "RESHAPE" for op in file.operators)
    assert not any(tensor.type == INT8 for tensor in file.tensors)
