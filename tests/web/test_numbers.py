"""The page's own arithmetic against OpenCV's and SciPy's, and its unit tests, in Node.js."""

import json
import subprocess
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

from tfseg.activation import activate
from tfseg.data.images import network_input, resize_probability
from tfseg.demo.page import folder
from tfseg.lite.interpret import probabilities
from tfseg.postprocess import binarize, drop_small, exclusive, keep_largest

RUNNER = Path(__file__).with_name("numbers.mjs")
SHAPES = [(210, 290, 64), (64, 64, 64), (180, 320, 37), (100, 33, 64), (33, 300, 64), (40, 30, 64), (101, 77, 50)]


@pytest.fixture(scope="module")
def compute(node):
    """Run cases through the page's modules: [[function, arguments...], ...] to results."""

    def run(cases):
        done = subprocess.run(
            [node, str(RUNNER), str(folder() / "page")], input=json.dumps(cases), capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    return run


def smooth(rng, shape):
    coarse = rng.random((9, 9, *shape[2:]), dtype=np.float32)
    return resize_probability(coarse.reshape(9, 9, -1), shape[:2]).reshape(shape)


@pytest.mark.parametrize("channels", [1, 3])
def test_pictures_are_resized_as_python_does_it(compute, channels):
    rng = np.random.default_rng(0)
    pictures = [rng.integers(0, 256, (height, width, 3)).astype(np.uint8) for height, width, _ in SHAPES]
    cases = []
    for picture, (height, width, size) in zip(pictures, SHAPES, strict=True):
        rgba = np.dstack([picture, np.full((height, width), 255)])
        cases.append(["networkInput", rgba.ravel().tolist(), width, height, size, channels])
    for picture, (_, _, size), found in zip(pictures, SHAPES, compute(cases), strict=True):
        image = picture.astype(np.float32) / 255
        if channels == 1:
            image = (image @ np.array([0.299, 0.587, 0.114], np.float32))[..., None]
        expected = network_input(image, size).ravel().astype(int)
        apart = np.abs(np.array(found) - expected)
        assert apart.max() <= 1  # float32 here, float64 there: a value on the edge of rounding may fall either way
        assert (apart > 0).mean() < 0.002


@pytest.mark.parametrize("shape", [(64, 64, 420, 580), (64, 64, 64, 64), (50, 50, 33, 47), (16, 16, 300, 200)])
def test_masks_are_enlarged_as_python_does_it(compute, shape):
    height, width, out_height, out_width = shape
    rng = np.random.default_rng(1)
    maps = [smooth(rng, (height, width)), np.zeros((height, width), np.float32), np.ones((height, width), np.float32)]
    maps[1][0, -1] = 1
    thresholds = [0.5, 0.4, 0.5]
    cases = [
        ["enlargedMask", map_.ravel().tolist(), width, height, out_width, out_height, threshold]
        for map_, threshold in zip(maps, thresholds, strict=True)
    ]
    for map_, threshold, found in zip(maps, thresholds, compute(cases), strict=True):
        resized = resize_probability(map_[..., None], (out_height, out_width))
        expected = binarize(resized, threshold=threshold, exclusive=False)[..., 0]
        assert expected.sum() > 0
        assert (np.array(found).reshape(expected.shape) != expected).sum() <= 2  # float sums in another order


@pytest.mark.parametrize("head", ["probability", "logits", "mask"])
@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
@pytest.mark.parametrize("classes", [1, 3])
def test_the_page_decides_as_python_does(compute, head, activation, classes):
    rng = np.random.default_rng(4)
    logits = np.stack([4 * smooth(rng, (20, 24)) - 2 for _ in range(classes)], axis=-1)
    alone = not exclusive(activation, classes)
    probability = np.asarray(activate(logits[None], activation))[0]
    drawn = binarize(probability, threshold=0.4, exclusive=not alone)
    numbers = drawn if alone else (drawn * np.arange(1, classes + 1)).sum(-1, keepdims=True)
    output = {"probability": probability, "logits": logits, "mask": numbers}[head]
    about = {"classes": ["a", "b", "c"][:classes], "head": head, "activation": activation, "threshold": 0.4}
    tensor = {"shape": [1, *output.shape], "dtype": "float32", "scale": 0, "zeroPoint": 0}
    page = about | {"largest_component": False}
    (found,) = compute([["masks", output.ravel().tolist(), tensor, page, 50, 41]])
    resized = resize_probability(probabilities(output, SimpleNamespace(**about)), (41, 50))
    expected = binarize(resized, threshold=0.5 if head == "mask" else 0.4, exclusive=not alone)
    assert expected.any(axis=(0, 1)).all()
    different = np.moveaxis(np.array(found).reshape(classes, 41, 50), 0, -1) != expected
    assert different.sum() <= 4  # float sums in another order, at equals


def test_an_exclusive_class_wins_by_little_where_all_are_likely(compute):
    shares = [0.26, 0.25, 0.24]  # 0.25 is the background's
    found = compute([["enlargedClasses", [4 * [share] for share in shares], 2, 2, 3, 5]])[0]
    assert found == 15 * [1] + 30 * [0]


def test_the_largest_component_is_that_of_scipy(compute):
    rng = np.random.default_rng(2)
    masks = [(rng.random((23, 31)) < share).astype(np.uint8) for share in (0.02, 0.2, 0.4, 0.6, 0.9)]
    masks += [np.zeros((5, 7), np.uint8), np.ones((5, 7), np.uint8), np.eye(6, dtype=np.uint8)[:, ::-1].copy()]
    masks.append(np.array([[1, 1, 0, 1, 1], [0, 0, 0, 0, 0], [1, 1, 0, 1, 1]], np.uint8))  # of equals the first stays
    found = compute([["keepLargest", mask.ravel().tolist(), mask.shape[1]] for mask in masks])
    for mask, kept in zip(masks, found, strict=True):
        np.testing.assert_array_equal(np.array(kept).reshape(mask.shape), keep_largest(mask[..., None])[..., 0])


@pytest.mark.parametrize("activation", ["sigmoid", "softmax"])
def test_probabilities_are_those_of_keras(compute, activation):
    logits = np.random.default_rng(3).normal(0, 3, (4, 5, 3)).astype(np.float32)
    about = {"classes": ["a", "b", "c"], "head": "logits", "activation": activation}
    tensor = {"shape": [1, 4, 5, 3], "dtype": "float32", "scale": 0, "zeroPoint": 0}
    (found,) = compute([["probabilities", logits.ravel().tolist(), tensor, about]])
    expected = np.asarray(activate(logits[None], activation))[0]
    np.testing.assert_allclose(np.moveaxis(np.array(found).reshape(3, 4, 5), 0, -1), expected, atol=1e-6)


def test_the_pages_unit_tests_pass(node):
    done = subprocess.run([node, "--test"], cwd=folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    "command",
    [["eslint", "--max-warnings", "0", "."], ["tsc", "-p", "."], ["tsc", "-p", "tsconfig.worker.json"]],
    ids=" ".join,
)
def test_the_pages_source_passes_its_checks(node, command):
    program = folder() / "node_modules" / ".bin" / command[0]
    if not program.exists():
        pytest.skip(f"no {command[0]}: npm ci --prefix tflite/web")
    done = subprocess.run([node, str(program.resolve()), *command[1:]], cwd=folder(), capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_small_masks_are_dropped_as_python_does_it(compute):
    mask = np.zeros((5, 8, 1), np.uint8)
    mask[:2, :2] = 1  # a tenth
    shares = [0.0, 0.0999, 0.1, 0.1001]
    found = compute([["dropSmall", mask.ravel().tolist(), share] for share in shares])
    assert found == [drop_small(mask, share).ravel().tolist() for share in shares]
    assert [sum(one) for one in found] == [4, 4, 4, 0]
