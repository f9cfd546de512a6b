"""What `inspect` says of a file, by networks whose numbers can be counted by hand, and of files that are none."""

import dataclasses
import subprocess
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from ai_edge_litert.interpreter import Interpreter
from keras import layers, ops

from tfseg import models
from tfseg.errors import InputError
from tfseg.lite import gpu
from tfseg.lite.inspect import Operation, Tensor, inspect, lines, peak, read
from tfseg.models.cost import gmac, parameters
from tfseg.models.layers import GroupedConv2D

FILLED = {"bias_initializer": "uniform"}  # the converter merges layers' constants where they are equal, such as zeros


def two_layers(image: Any) -> Any:
    x = layers.Conv2D(4, 3, strides=2, padding="same", activation="relu", name="first", **FILLED)(image)
    return layers.Conv2D(2, 1, name="second", **FILLED)(x)


@pytest.fixture(scope="module")
def two(plain_tflite) -> Path:
    return plain_tflite(two_layers, (8, 8, 3))


def test_two_layers_cost_what_one_counts_by_hand(two: Path) -> None:
    found = inspect(two)
    assert found.size_bytes == two.stat().st_size
    # 4x4 pixels come out: 16 * (3 * 3 * 3) * 4 and 16 * 4 * 2 multiplications.
    assert [layer.macs for layer in found.layers] == [1728, 128]
    assert found.gmac == pytest.approx(1856e-9, rel=1e-12)
    assert [layer.parameters for layer in found.layers] == [3 * 3 * 3 * 4 + 4, 4 * 2 + 2]
    assert found.parameters == 122
    # The image, 8x8x3 float32, and the first result, 4x4x4: 768 + 256. Later 256 + 128.
    assert found.peak_bytes == 1024
    assert (found.partitions, found.outside, found.breaches, found.flex_ops) == (1, (), (), ())
    assert [(kind.name, kind.type, kind.weights, kind.count) for kind in found.operations] == [
        ("CONV_2D", "float32", "float32", 2)
    ]
    assert "first" in found.layers[0].name


def test_json_has_the_keys_that_scripts_read(two: Path) -> None:
    found = inspect(two).to_json()
    keys = {"size_bytes", "inputs", "outputs", "operations", "gmac", "parameters", "peak_bytes", "partitions", "gpu"}
    assert keys <= found.keys()
    assert [{**found["inputs"][0], "name": ""}] == [
        {"name": "", "shape": [1, 8, 8, 3], "type": "float32", "scale": None, "zero_point": None}
    ]
    assert found["outputs"][0]["shape"] == [1, 4, 4, 2]
    assert found["gpu"]["breaches"] == []
    assert found["gpu"]["fully_accelerated"] is None  # not tried


def test_int8_file(plain_tflite, two: Path) -> None:
    path = plain_tflite(two_layers, (8, 8, 3), precision="int8")
    found = inspect(path)
    assert found.peak_bytes == inspect(two).peak_bytes // 4
    assert (found.gmac, found.parameters, found.partitions) == (1856e-9, 122, 1)
    assert [(kind.name, kind.type, kind.weights) for kind in found.operations] == [("CONV_2D", "int8", "int8")]
    interpreter = Interpreter(model_path=str(path))
    for ours, theirs in zip(
        (*found.inputs, *found.outputs),
        (*interpreter.get_input_details(), *interpreter.get_output_details()),
        strict=True,
    ):
        told = ours.to_json()
        assert (told["scale"], told["zero_point"]) == pytest.approx(theirs["quantization"], rel=1e-6)  # float32
        assert (told["name"], told["type"]) == (theirs["name"], np.dtype(theirs["dtype"]).name)


@pytest.mark.parametrize(("precision", "stored"), [("float16", "float16"), ("dynamic", "int8")])
def test_weights_that_are_unpacked_are_weights(plain_tflite, precision: str, stored: str) -> None:
    def wide(image: Any) -> Any:  # the converter leaves weights of fewer than 1024 numbers as they are
        x = layers.Conv2D(16, 3, padding="same", **FILLED)(image)
        return layers.Conv2D(16, 3, padding="same", **FILLED)(x)

    found = inspect(plain_tflite(wide, (4, 4, 8), precision=precision))
    assert found.parameters == 3 * 3 * 8 * 16 + 16 + 3 * 3 * 16 * 16 + 16
    assert found.peak_bytes == 2 * 4 * 4 * 16 * 4  # before and after the second convolution; no weights among them
    assert {kind.weights for kind in found.operations if kind.name == "CONV_2D"} == {stored}
    assert found.partitions == 1


def test_a_skip_connection_keeps_its_tensor_alive(plain_tflite) -> None:
    def skip(image: Any) -> Any:
        a = layers.Conv2D(2, 1)(image)
        b = layers.Conv2D(8, 1)(a)
        c = layers.Conv2D(8, 1)(b)
        return layers.Add()([a, layers.Conv2D(2, 1)(c)])

    # 4x4 pixels of float32: while c is made from b, a waits: 64 * (2 + 8 + 8) bytes.
    assert peak(read(plain_tflite(skip, (4, 4, 1)))) == 64 * 18


def attention(image: Any) -> Any:
    x = layers.Reshape((16, 8))(image)
    return ops.matmul(x, ops.transpose(ops.relu(x), (0, 2, 1)))


LAYERS = {  # on an image of 4x4 pixels and 8 channels: operation, multiplications, weights
    "grouped": (GroupedConv2D(8, 3, groups=2, padding="same", **FILLED), "CONV_2D", 16 * 9 * 4 * 8, 9 * 4 * 8 + 8),
    "depthwise": (layers.DepthwiseConv2D(3, padding="same", **FILLED), "DEPTHWISE_CONV_2D", 16 * 9 * 8, 9 * 8 + 8),
    "transposed": (layers.Conv2DTranspose(4, 2, strides=2, **FILLED), "TRANSPOSE_CONV", 16 * 8 * 4 * 4, 8 * 4 * 4 + 4),
    "dense": (layers.Dense(5, **FILLED), "FULLY_CONNECTED", 16 * 8 * 5, 8 * 5 + 5),
    "attention": (attention, "BATCH_MATMUL", 16 * 8 * 16, 0),
}


@pytest.mark.parametrize("name", LAYERS)
def test_kinds_of_layers(plain_tflite, name: str) -> None:
    layer, operation, macs, weights = LAYERS[name]
    found = inspect(plain_tflite(layer, (4, 4, 8)))
    assert [(layer.operation, layer.macs, layer.parameters) for layer in found.layers] == [(operation, macs, weights)]


def test_what_xnnpack_leaves_out_is_named(plain_tflite) -> None:
    def summed(image: Any) -> Any:
        x = ops.cumsum(layers.Conv2D(2, 1, activation="relu")(image), axis=1)  # no kernel of XNNPACK
        return layers.Conv2D(2, 1, activation="relu")(x)

    found = inspect(plain_tflite(summed, (4, 4, 1)))
    assert found.partitions == 2
    assert [operation for operation, _ in found.outside] == ["CUMSUM"]
    assert any(line.startswith("XNNPACK: 2 partitions, outside: CUMSUM (") for line in lines(found))


def test_operations_of_tensorflow_itself(plain_tflite) -> None:
    found = inspect(plain_tflite(lambda image: ops.erf(two_layers(image)), (8, 8, 3), flex=True))
    assert found.flex_ops == ("FlexErf",)
    assert found.partitions is None
    assert found.to_json()["partitions"] is None
    assert found.refusal is not None
    assert "FlexErf" in found.refusal
    assert found.gmac == 1856e-9


def filled(name: str) -> keras.Model:
    network = models.build(name, (64, 64, 3), 1)
    rng = np.random.default_rng(0)
    network.set_weights([rng.uniform(0.5, 1.5, weight.shape) for weight in network.weights])
    return network


def test_a_network_costs_what_keras_counts(plain_tflite) -> None:
    network = filled("nerve_unet")  # without norms, which would be folded into the weights
    found = inspect(plain_tflite(network, (64, 64, 3)))
    assert found.gmac == pytest.approx(gmac(network), rel=1e-12)
    assert found.parameters == parameters(network)
    assert (found.partitions, found.outside) == (1, ())


@pytest.mark.slow
@pytest.mark.parametrize("name", ["lighter_unet@16", "mobile_unet", "lraspp_mobilenetv3_relu", "segformer_b0"])
def test_networks_cost_what_keras_counts(plain_tflite, name: str) -> None:
    network = filled(name)
    found = inspect(plain_tflite(network, (64, 64, 3)))
    assert found.gmac == pytest.approx(gmac(network), rel=1e-12)
    assert (found.partitions, found.outside) == (1, ())


def test_text(two: Path) -> None:
    found = inspect(two)
    text = lines(found)
    assert text[0].startswith(f"{two}: {two.stat().st_size:,} bytes, 0.000 GMAC, 122 weights, at most 1,024 bytes")
    assert text[1].endswith(" float32 1x8x8x3")
    assert "    CONV_2D float32 x 2" in text
    assert text[-1] == "GPU rules broken: none"
    breach = gpu.Breach(delegates=("opengl",), operation="SUM", layer="a", reason="it is", remedy="do not")
    run = gpu.GpuResult(
        device="Card",
        software=False,
        fully_accelerated=False,
        refused=("SUM: no",),
        fault=None,
        largest_difference=None,
        mean_difference=None,
    )
    twice = (breach, dataclasses.replace(breach, layer="b"))
    assert lines(dataclasses.replace(found, breaches=twice, run=run))[-4:] == [
        "GPU rules broken:",
        "    opengl: SUM (a and 1 more): it is; do not",
        "GPU run on Card: not fully accelerated",
        "    refused: SUM: no",
    ]
    ran = dataclasses.replace(run, software=True, fully_accelerated=True, refused=(), largest_difference=0.25)
    assert lines(dataclasses.replace(found, run=dataclasses.replace(ran, mean_difference=0.125)))[-2:] == [
        "GPU run on Card (software): fully accelerated",
        "    differs from the CPU by 0.25 at most, 0.12 on average",
    ]


@pytest.mark.parametrize(
    ("content", "what"),
    [
        (b"", "an empty file"),
        (b"hello\n", "not a TFLite model"),
        (b"PK\x03\x04" + bytes(1000), "not a TFLite model"),
        (bytes(4) + b"TFL3", "a damaged TFLite model"),
        (b"\xff" * 4 + b"TFL3" + b"\xff" * 100, "a damaged TFLite model"),
    ],
)
def test_what_is_no_model(tmp_path: Path, content: bytes, what: str) -> None:
    path = tmp_path / "file.tflite"
    path.write_bytes(content)
    with pytest.raises(InputError, match=what) as caught:
        inspect(path)
    assert str(caught.value).startswith(f"{path}: ")


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        inspect(tmp_path / "none.tflite")
    with pytest.raises(InputError, match="a folder"):
        inspect(tmp_path)


def test_a_file_cut_short_is_refused(two: Path, tmp_path: Path) -> None:
    content, path = two.read_bytes(), tmp_path / "cut.tflite"
    for length in np.linspace(1, len(content) - 1, 60).astype(int):
        path.write_bytes(content[:length])
        with pytest.raises(InputError):
            inspect(path)


@pytest.mark.slow
def test_a_mutilated_file_is_refused_or_read(plain_tflite, tmp_path: Path) -> None:
    """Whatever bytes were turned over, there is an inspection or one line: never a crash, never another error."""
    content = plain_tflite(two_layers, (8, 8, 3), precision="int8").read_bytes()
    path, rng = tmp_path / "mutilated.tflite", np.random.default_rng(0)
    refusals = []
    for _ in range(60):
        mutilated = np.frombuffer(content, np.uint8).copy()
        mutilated[rng.integers(0, len(content), rng.integers(1, 6))] ^= np.uint8(1 << rng.integers(8))
        path.write_bytes(mutilated.tobytes())
        try:
            assert inspect(path).size_bytes == len(content)
        except InputError as error:
            refusals.append(str(error))
    assert len(refusals) > 5
    assert not any("\n" in refusal for refusal in refusals)


def test_a_file_that_takes_the_interpreter_down(two: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    died = subprocess.CompletedProcess([], -11, stdout="", stderr="")
    monkeypatch.setattr(gpu, "run_child", lambda *_, **__: died)
    with pytest.raises(InputError, match="the interpreter died of SIGSEGV"):
        inspect(two)


def tensor(*shape: int, type: str = "float32", integers: tuple[int, ...] = (), **options: Any) -> Tensor:
    constant = bool(integers) or options.get("constant", False)
    return Tensor(
        index=0,
        name="a;b",
        shape=shape,
        signature=(-1, *shape[1:]) if options.get("open") else shape,
        type=type,
        stored=type,
        scale=(),
        zero_point=(),
        constant=constant,
        integers=integers,
    )


def operation(name: str, inputs: list[Tensor | None], output: Tensor, version: int = 1, **options: Any) -> Operation:
    return Operation(name=name, custom=False, version=version, inputs=tuple(inputs), outputs=(output,), options=options)


IMAGE, HALF, PIXEL = tensor(1, 8, 8, 16), tensor(1, 4, 4, 16), tensor(1, 1, 1, 16)
MASK, BYTES, FLAT = tensor(1, 8, 8, 16, type="bool"), tensor(1, 8, 8, 16, type="uint8"), tensor(64, 16)


def weights(*shape: int) -> Tensor:
    return tensor(*shape, constant=True)


def mean(*axes: int) -> Operation:
    return operation("MEAN", [IMAGE, tensor(len(axes), type="int32", integers=axes)], PIXEL)


ALL = ("opencl", "opengl", "webgpu")
RULES: dict[str, tuple[Operation, dict[tuple[str, ...], str]]] = {
    "dense conv": (operation("CONV_2D", [IMAGE, weights(32, 3, 3, 16), weights(32)], IMAGE), {}),
    "no bias": (operation("CONV_2D", [IMAGE, weights(32, 3, 3, 16), None], IMAGE), {}),
    "conv of one channel each": (operation("CONV_2D", [IMAGE, weights(16, 3, 3, 1)], IMAGE), {}),
    "groups of four": (operation("CONV_2D", [IMAGE, weights(16, 3, 3, 4)], IMAGE), {("opengl",): "grouped"}),
    "groups of two": (
        operation("CONV_2D", [IMAGE, weights(16, 3, 3, 2)], IMAGE),
        {("opencl",): "slow", ("opengl",): "grouped", ("webgpu",): "wrongly"},
    ),
    "groups of four that give two": (
        operation("CONV_2D", [IMAGE, weights(8, 3, 3, 4)], IMAGE),
        {("opencl",): "slow", ("opengl",): "grouped", ("webgpu",): "wrongly"},
    ),
    "nobody has it": (operation("GATHER_ND", [IMAGE], IMAGE), {ALL: "no such operation"}),
    "the browser alone has it": (
        operation("ARG_MAX", [IMAGE], tensor(1, 8, 8, type="int32")),
        {("opencl", "opengl"): "no such operation"},
    ),
    "a number that no GPU holds": (
        operation("ARG_MAX", [IMAGE], tensor(1, 8, 8, type="int64")),
        {("opencl", "opengl"): "no such operation", ("webgpu",): "type"},
    ),
    "attention": (operation("BATCH_MATMUL", [HALF, HALF], HALF), {("opengl",): "no such operation"}),
    "plain transposed conv": (operation("TRANSPOSE_CONV", [None, weights(1, 2, 2, 16), HALF], IMAGE, 3), {}),
    "fused transposed conv": (
        operation("TRANSPOSE_CONV", [None, weights(1, 2, 2, 16), HALF], IMAGE, 4),
        {ALL: "older version"},
    ),
    "five axes": (operation("RESHAPE", [IMAGE], tensor(1, 8, 8, 4, 4)), {ALL: "four axes"}),
    "open size": (operation("RELU", [tensor(1, 8, 8, 1, open=True)], IMAGE), {("webgpu",): "left open"}),
    "int8": (operation("RELU", [tensor(1, 2, type="int8")], tensor(1, 2, type="int8")), {}),
    "int16": (operation("RELU", [tensor(1, 2, type="int16")], tensor(1, 2, type="int16")), {ALL: "type"}),
    "bytes to float": (operation("CAST", [BYTES], IMAGE), {("opencl",): "casts", ("opengl",): "no such operation"}),
    "float to truth": (operation("CAST", [IMAGE], MASK), {("opengl",): "no such operation"}),
    "threshold": (operation("GREATER", [IMAGE, weights()], MASK), {("opengl",): "no such operation"}),
    "bytes to int8": (operation("QUANTIZE", [BYTES], tensor(1, 8, 8, 16, type="int8")), {}),
    "enlarge": (operation("RESIZE_BILINEAR", [HALF], IMAGE, alignCorners=True), {}),
    "shrink": (operation("RESIZE_BILINEAR", [IMAGE], HALF), {("opengl",): "only enlarges"}),
    "two ways": (
        operation("RESIZE_BILINEAR", [HALF], IMAGE, alignCorners=True, halfPixelCenters=True),
        {ALL: "exclude each other"},
    ),
    "reflect": (operation("MIRROR_PAD", [HALF], IMAGE, mode=0), {}),
    "symmetric": (operation("MIRROR_PAD", [HALF], IMAGE, mode=1), {ALL: "pads"}),
    "pad a matrix": (operation("PAD", [FLAT], FLAT), {ALL: "pads"}),
    "slice": (operation("STRIDED_SLICE", [IMAGE], HALF, shrinkAxisMask=0), {}),
    "slice away": (operation("STRIDED_SLICE", [IMAGE], tensor(1, 8, 16), shrinkAxisMask=2), {ALL: "cuts"}),
    "mean of pixels": (mean(1, 2), {}),
    "mean of pixels from behind": (mean(-2, -3), {}),
    "mean of channels": (mean(3), {("opengl",): "averages"}),
    "same batch": (operation("RESHAPE", [IMAGE], tensor(1, 64, 16)), {}),
    "other batch": (operation("RESHAPE", [IMAGE], FLAT), {("opengl",): "first axis"}),
    "equal": (operation("ADD", [IMAGE, IMAGE], IMAGE), {}),
    "per channel": (operation("SUB", [IMAGE, PIXEL], IMAGE), {}),
    "per channel, the other way": (operation("ADD", [PIXEL, IMAGE], IMAGE), {}),
    "per pixel": (operation("SUB", [IMAGE, tensor(1, 8, 8, 1)], IMAGE), {("opengl",): "repeats"}),
    "per pixel, times": (operation("MUL", [IMAGE, tensor(1, 8, 8, 1)], IMAGE), {}),
    "a constant for each channel": (operation("SUB", [IMAGE, weights(16)], IMAGE), {}),
    "a constant image": (operation("SUB", [IMAGE, weights(8, 8, 16)], IMAGE), {("opengl",): "repeats"}),
    "a constant image, plus": (operation("ADD", [IMAGE, weights(8, 8, 16)], IMAGE), {}),
}


@pytest.mark.parametrize("name", RULES)
def test_rules_of_gpu_delegates(name: str) -> None:
    operation, expected = RULES[name]
    found = {breach.delegates: breach for breach in gpu.breaches([operation])}
    assert found.keys() == expected.keys()
    for delegates, breach in found.items():
        assert expected[delegates] in breach.reason
        assert breach.remedy
        assert (breach.operation, breach.layer) == (operation.name, "a")
