"""What is read of a .tflite file, and when two answers are the same."""

import dataclasses

import numpy as np
import pytest

from tfseg.bench import numerics
from tfseg.errors import InputError


@pytest.mark.parametrize("precision", ["fp32", "fp16", "dynamic", "int8"])
def test_the_precision_is_read_from_the_tensors(write_network, tmp_path, precision):
    file = numerics.open_file(write_network(tmp_path / "a.tflite", precision))
    assert file.precision == precision
    assert file.input.name == "serving_default_image:0"
    assert file.input.shape == (1, 16, 16, 3)
    assert file.output.dtype == (np.int8 if precision == "int8" else np.float32)


def test_a_file_of_tfseg_says_its_precision_itself(write_proved, tmp_path):
    file = numerics.open_file(write_proved(tmp_path / "a.tflite", "fp32", precision="fp16"))
    assert file.precision == "fp16"
    damaged = bytearray((tmp_path / "a.tflite").read_bytes())
    damaged[damaged.index(b"nerve")] ^= 1
    (tmp_path / "a.tflite").write_bytes(damaged)
    with pytest.raises(InputError, match=r"a\.tflite: a damaged \.tflite file"):
        numerics.open_file(tmp_path / "a.tflite")


def test_a_damaged_file_is_refused(tmp_path):
    (tmp_path / "a.tflite").write_bytes(b"TFL3 and then nothing")
    with pytest.raises(InputError, match=r"a\.tflite: not a \.tflite file"):
        numerics.open_file(tmp_path / "a.tflite")
    with pytest.raises(InputError, match=r"b\.tflite: cannot be read"):
        numerics.open_file(tmp_path / "b.tflite")


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_the_image_covers_the_range_of_the_input_and_is_the_same_every_time(write_network, tmp_path, precision):
    file = numerics.open_file(write_network(tmp_path / "a.tflite", precision))
    image = numerics.random_image(file)
    low, high = (-128, 127) if precision == "int8" else (0, 1)
    assert low <= image.min() < low + 0.05 * (high - low)
    assert high - 0.05 * (high - low) < image.max() <= high
    np.testing.assert_array_equal(image, numerics.random_image(file))


def test_the_same_answer_has_no_difference(write_network, tmp_path):
    file = numerics.open_file(write_network(tmp_path / "a.tflite"))
    here = numerics.run_here(file, numerics.random_image(file))
    assert 0 < here.min() < 0.5 < here.max() < 1  # the threshold parts its pixels
    assert numerics.compare(file, here, here.tobytes()) == numerics.Difference(
        largest_difference=0, flipped_pixels=0, output_pixels=256
    )


def test_a_pixel_that_crosses_the_threshold_is_flipped(write_network, tmp_path):
    file = numerics.open_file(write_network(tmp_path / "a.tflite"))
    here = np.full((1, 16, 16, 1), 0.4, "float32")
    here[0, 5] = 0.5
    there = here.copy()
    there[0, 0, :3, 0] = 0.45, 0.5, 0.75
    found = numerics.compare(file, here, there.tobytes())
    assert (found.flipped_pixels, found.output_pixels) == (2, 256)
    assert found.largest_difference == pytest.approx(0.35, abs=1e-7)  # 0.4 and 0.75 as float32


def test_quantized_answers_are_compared_as_probabilities(write_network, tmp_path):
    file = numerics.open_file(write_network(tmp_path / "a.tflite", "int8"))
    here = np.full((1, 16, 16, 1), -1, "int8")  # (-1 + 128) / 256: just below one half
    there = here.copy()
    there[0, 0, 0, 0] = 0  # one half
    assert numerics.compare(file, here, there.tobytes()) == numerics.Difference(
        largest_difference=1 / 256, flipped_pixels=1, output_pixels=256
    )


def test_a_file_of_tfseg_is_cut_where_it_says(write_proved, tmp_path):
    file = numerics.open_file(write_proved(tmp_path / "a.tflite", threshold=0.3))
    here = np.full((1, 16, 16, 1), 0.2, "float32")
    there = here.copy()
    there[0, 0, :3, 0] = 0.25, 0.35, 0.75  # the first stays below
    found = numerics.compare(file, here, there.tobytes())
    assert (found.flipped_pixels, found.output_pixels) == (2, 256)


def test_logits_are_compared_as_probabilities(write_proved, tmp_path):
    file = numerics.open_file(write_proved(tmp_path / "a.tflite", head="logits"))
    here = np.zeros((1, 16, 16, 1), "float32")  # probability 0.5, which counts
    there = here.copy()
    there[0, 0, 0, 0] = -np.log(3)  # probability 0.25
    found = numerics.compare(file, here, there.tobytes())
    assert found.flipped_pixels == 1
    assert found.largest_difference == pytest.approx(0.25, abs=1e-7)


def test_a_pixel_of_another_class_is_one_pixel(write_proved, tmp_path):
    written = write_proved(tmp_path / "a.tflite", head="mask", activation="softmax", classes=("benign", "malignant"))
    file = numerics.open_file(written)
    uint8 = dataclasses.replace(file.output, dtype=np.dtype("uint8"))
    file = dataclasses.replace(file, output=uint8)
    here, there = np.ones((2, 1, 16, 16, 1), "uint8")
    there[0, 0, 0, 0] = 2
    assert numerics.compare(file, here, there.tobytes()) == numerics.Difference(
        largest_difference=1, flipped_pixels=1, output_pixels=256
    )


def test_an_answer_without_contrast_is_remarked():
    assert numerics.remarks(np.zeros((1, 4, 4, 1)))[0].endswith("that it agrees says little")
    assert numerics.remarks(np.eye(4)) == ()


@pytest.mark.parametrize(("precision", "name"), [("fp32", "float32"), ("int8", "int8")])
def test_an_image_is_the_same_for_whoever_scales_it(write_network, tmp_path, precision, name):
    file = numerics.open_file(write_network(tmp_path / "a.tflite", precision))
    image = numerics.random_image(file)
    scaled = numerics.unit_range(file, image)
    assert (scaled.shape, scaled.dtype, image.dtype) == ((16, 16, 3), np.float32, np.dtype(name))
    assert 0 <= scaled.min() < 0.05 < 0.95 < scaled.max() <= 1
    scale = file.input.scale or 1
    np.testing.assert_allclose(scaled / scale + file.input.zero_point, image[0], atol=1e-4)  # of 255 as float32


@pytest.mark.parametrize(
    ("there", "said"),
    [
        pytest.param(bytes(1020), "1020 bytes instead of 1024", id="cut-off"),
        pytest.param(np.full(256, np.nan, "float32").tobytes(), "no numbers", id="nan"),
    ],
)
def test_an_answer_that_is_none_is_refused(write_network, tmp_path, there, said):
    file = numerics.open_file(write_network(tmp_path / "a.tflite"))
    with pytest.raises(ValueError, match=said):
        numerics.compare(file, np.zeros((1, 16, 16, 1), "float32"), there)
