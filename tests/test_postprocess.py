"""Masks from probabilities, by pictures."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays

from tfseg.postprocess import binarize, exclusive, keep_largest, postprocess


def picture(*rows):
    """(H, W, 1) uint8: "#" is 1."""
    return np.array([[pixel == "#" for pixel in row] for row in rows], np.uint8)[..., None]


def test_a_pixel_counts_from_the_threshold_on():
    probability = np.array([0.0, 0.49, 0.5, 1.0], np.float32).reshape(1, 2, 2)
    mask = binarize(probability, threshold=0.5, exclusive=False)
    assert mask.dtype == np.uint8
    assert mask.ravel().tolist() == [0, 0, 1, 1]


def test_a_probability_without_classes_is_refused():
    with pytest.raises(ValueError, match=r"shape \(4, 4\)"):
        binarize(np.zeros((4, 4), np.float32), threshold=0.5, exclusive=False)


@pytest.mark.parametrize(
    ("probability", "expected"),
    [
        pytest.param([0.45, 0.35], [1, 0], id="below-one-half"),  # 0.20 is left for the background
        pytest.param([0.2, 0.35], [0, 0], id="background"),  # 0.45
        pytest.param([0.3, 0.6], [0, 1], id="second"),
        pytest.param([0.25, 0.25], [0, 0], id="background-0.5"),
        pytest.param([0.5, 0.0], [0, 0], id="tie: background"),
        pytest.param([0.375, 0.375], [1, 0], id="tie: first class"),
    ],
)
def test_exclusive_classes_go_to_the_most_probable(probability, expected):
    mask = binarize(np.array([[probability]], np.float32), threshold=0.99, exclusive=True)
    assert mask.dtype == np.uint8
    assert mask[0, 0].tolist() == expected


def test_several_classes_of_a_softmax_exclude_each_other():
    assert exclusive("softmax", 2)
    assert not exclusive("softmax", 1)  # with one class softmax is sigmoid, and has a threshold
    assert not exclusive("sigmoid", 2)


@pytest.mark.parametrize(
    ("mask", "expected"),
    [
        pytest.param(picture("##..", "...#"), picture("##..", "...."), id="the larger"),
        pytest.param(picture("#...", "..##"), picture("....", "..##"), id="not the first"),
        pytest.param(picture("#...", ".#..", "...#"), picture("#...", ".#..", "...."), id="corners join"),
        pytest.param(picture("...#", "#..."), picture("...#", "...."), id="tie: first row"),
        pytest.param(picture("..#", "#..", "..."), picture("..#", "...", "..."), id="tie: rows before columns"),
        pytest.param(picture("#..#"), picture("#..."), id="tie: first column"),
        pytest.param(picture("....", "...."), picture("....", "...."), id="empty"),
        pytest.param(picture("####", "####"), picture("####", "####"), id="full"),
        # The arms of the U meet only in the last row, after the bar beside them was met.
        pytest.param(picture("..#.#", "#.#.#", "#.###"), picture("..#.#", "..#.#", "..###"), id="u"),
    ],
)
def test_the_largest_component_stays(mask, expected):
    kept = keep_largest(mask)
    assert kept.dtype == np.uint8
    assert kept.tolist() == expected.tolist()


def test_classes_are_kept_apart():
    mask = np.concatenate([picture("##.#"), picture("#.##")], axis=-1)
    assert keep_largest(mask)[0, :, 0].tolist() == [1, 1, 0, 0]
    assert keep_largest(mask)[0, :, 1].tolist() == [0, 0, 1, 1]


def test_postprocess_keeps_small_components_unless_told():
    probability = picture("##.#") * np.float32(0.7)
    drawing = {"threshold": 0.5, "exclusive": False}
    assert postprocess(probability, **drawing, largest_component=False).ravel().tolist() == [1, 1, 0, 1]
    assert postprocess(probability, **drawing, largest_component=True).ravel().tolist() == [1, 1, 0, 0]
    assert not postprocess(probability, **drawing | {"threshold": 0.8}, largest_component=True).any()


@given(
    array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(
        lambda shape: arrays(np.uint8, (*shape, 1), elements=st.integers(0, 1))
    )
)
def test_the_largest_component_equals_a_flood_fill(mask):
    assert np.array_equal(keep_largest(mask)[..., 0], flood_fill_largest(mask[..., 0]))


def flood_fill_largest(mask):
    """The same by walking from each pixel, in the order of the scan, to all that it touches."""
    left = {tuple(pixel) for pixel in np.argwhere(mask)}
    best = set()
    for start in sorted(left):
        component, front = set(), {start} & left
        while front:
            component |= front
            left -= front
            front = {(y + dy, x + dx) for y, x in front for dy in (-1, 0, 1) for dx in (-1, 0, 1)} & left
        best = max(best, component, key=len)  # the first of equals
    kept = np.zeros_like(mask)
    for pixel in best:
        kept[pixel] = 1
    return kept
