"""Files on the real GPU accelerator: on a GPU where there is one, else on SwiftShader, which Chromium brings."""

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from keras import layers, ops

from tfseg.errors import InputError, WorkError
from tfseg.lite import gpu
from tfseg.lite.inspect import inspect, read
from tfseg.models.layers import GroupedConv2D

SUMS = 1e-6  # float32 keeps 6e-8 of a number of about 1; sums of some ten in another order lose a digit of that


@pytest.fixture(scope="module")
def device() -> gpu.Device:
    """The adapter to run on; the test is skipped where there is none."""
    try:
        return gpu.device()
    except WorkError as error:
        pytest.skip(str(error))


@pytest.fixture
def forgotten_device() -> Iterator[None]:
    """Forget the adapter that was found, before the test and after it."""
    gpu.device.cache_clear()
    yield
    gpu.device.cache_clear()


def small(image: Any) -> Any:
    x = layers.Conv2D(8, 3, padding="same", activation="relu")(image)
    x = layers.DepthwiseConv2D(3, padding="same")(layers.MaxPooling2D()(x))
    x = layers.Concatenate()([image, layers.UpSampling2D(interpolation="bilinear")(x)])
    return layers.Conv2D(1, 1, activation="sigmoid")(x)


@pytest.fixture(scope="module")
def file(plain_tflite) -> Path:
    return plain_tflite(small, (16, 16, 3))


def test_a_small_network_runs_on_the_gpu(device: gpu.Device, file: Path) -> None:
    found = gpu.run(file)
    assert (found.device, found.software) == (device.name, device.software)
    assert (found.fully_accelerated, found.refused, found.fault) == (True, (), None)
    assert found.largest_difference is not None
    assert found.mean_difference is not None
    if device.software:  # others compute in float16
        assert 0 < found.mean_difference < found.largest_difference < SUMS


def test_software_is_told_from_hardware(device: gpu.Device) -> None:
    assert device.software == ("SwiftShader" in device.name or "llvmpipe" in device.name)
    assert device.software or device.folder is None


def test_the_image_and_the_seed_count(device: gpu.Device, file: Path) -> None:
    zeros, ones = (gpu.run(file, np.full((16, 16, 3), value, "float32")) for value in (0, 1))
    first, again, other = (gpu.run(file, seed=seed) for seed in (0, 0, 1))
    assert first == again
    assert len({run.mean_difference for run in (zeros, ones, first, other)}) == 4


def test_an_int8_file_runs_on_the_gpu(device: gpu.Device, plain_tflite) -> None:
    path = plain_tflite(small, (16, 16, 3), precision="int8")
    (output,) = read(path).outputs
    found = gpu.run(path)
    assert found.fully_accelerated
    assert found.largest_difference is not None
    # The GPU rounds in float what the CPU rounds in integers: neighbours on the scale of the output, 1 / 256.
    assert found.largest_difference == pytest.approx(
        round(found.largest_difference / output.scale[0]) * output.scale[0]
    )
    assert found.largest_difference <= 2 * output.scale[0]


def fused(image: Any) -> Any:
    return layers.Conv2DTranspose(4, 2, strides=2, activation="relu", bias_initializer="ones")(image)


def groups(size: int) -> Callable[[Any], Any]:
    return lambda image: GroupedConv2D(8, 3, groups=8 // size, padding="same")(image)


OPERATIONS: dict[str, Callable[[Any], Any]] = {
    "transposed": lambda image: layers.Conv2DTranspose(4, 2, strides=2)(image),
    "transposed and fused": fused,
    "groups of four": groups(4),
    "groups of two": groups(2),
    "classes": lambda image: layers.Lambda(lambda x: tf.argmax(x, -1, output_type=tf.int32))(image),
    "classes in 64 bits": lambda image: layers.Lambda(lambda x: tf.argmax(x, -1))(image),
    "mask": lambda image: ops.cast(image > 0.5, "uint8"),
    "five axes": lambda image: ops.max(ops.reshape(image, (1, 16, 16, 2, 4)), axis=3),
    "symmetric": lambda image: ops.pad(image, ((0, 0), (1, 1), (1, 1), (0, 0)), mode="symmetric"),
    "slice away": lambda image: image[:, 0],
    "attention": lambda image: ops.matmul(image, ops.transpose(ops.relu(image), (0, 1, 3, 2))),
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_the_rules_agree_with_the_accelerator(device: gpu.Device, plain_tflite, name: str) -> None:
    """What the rules of "webgpu" let pass is computed rightly, and what they forbid is not."""
    path = plain_tflite(OPERATIONS[name], (16, 16, 8))
    forbidden = [breach for breach in inspect(path).breaches if "webgpu" in breach.delegates]
    found = gpu.run(path)
    assert (found.largest_difference is None) == bool(forbidden)
    if forbidden and not found.fully_accelerated:
        assert {refused.split(":")[0] for refused in found.refused} == {breach.operation for breach in forbidden}
    if not forbidden and device.software:
        assert found.largest_difference is not None
        assert found.largest_difference < SUMS


def test_a_driver_that_computes_nonsense_is_found_out(device: gpu.Device, plain_tflite) -> None:
    found = gpu.run(plain_tflite(groups(2), (16, 16, 8)))
    assert found.fully_accelerated  # so the runtime says
    assert found.fault is not None
    assert "what it returned is no result" in found.fault
    assert found.largest_difference is None


def test_a_driver_that_dies(device: gpu.Device, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    said = '{"cpu": true}\nWarning: of a driver\n{"fully_accelerated": true}\n'
    died = subprocess.CompletedProcess([], -4, stdout=said, stderr="")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: died)
    found = gpu.run(file)
    assert found.fully_accelerated
    assert found.fault == "the driver's process died of SIGILL"
    assert found.largest_difference is None


def test_time_is_limited(device: gpu.Device, file: Path) -> None:
    with pytest.raises(WorkError, match=r"float32\.tflite: not done after 0 s"):
        gpu.run(file, seconds=0)


def test_what_cannot_run(device: gpu.Device, file: Path, tmp_path: Path, plain_tflite) -> None:
    with pytest.raises(InputError, match=r"it takes \(16, 16, 3\), and the image is \(8, 8, 3\)"):
        gpu.run(file, np.zeros((8, 8, 3), "float32"))
    garbage = tmp_path / "garbage.tflite"
    garbage.write_bytes(b"\x1c\x00\x00\x00TFL3" + bytes(range(256)))
    with pytest.raises(InputError, match=r"garbage\.tflite: the CPU cannot run it"):
        gpu.run(garbage)


def test_without_any_gpu(forgotten_device: None, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_FOLDERS", ())
    monkeypatch.setenv("VK_ICD_FILENAMES", os.devnull)  # hides the system's drivers
    with pytest.raises(WorkError, match="`apt install chromium`, which brings SwiftShader"):
        gpu.run(file)
