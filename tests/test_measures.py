"""Measures of masks that one can check in the head, of discs and ellipses, and by trying all pairs of points."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tfseg.config import Recipe
from tfseg.data import DATASETS
from tfseg.data.phantom import generate
from tfseg.data.source import open_source
from tfseg.evaluate import pair
from tfseg.inference import Masking
from tfseg.job import Job, score
from tfseg.measures import agreement, shape
from tfseg.progress import silent


def disc(size, radius, *, stretch=(1.0, 1.0)):
    """A disc in the middle of (size, size) pixels; a stretch of 2 makes it half as long along that axis."""
    rows, columns = np.ogrid[:size, :size]
    down, right = (rows - size // 2) * stretch[0], (columns - size // 2) * stretch[1]
    return (down**2 + right**2 <= radius**2).astype(np.uint8)


@pytest.mark.parametrize(
    ("height", "width", "spacing_mm", "area", "longest", "across"),
    [
        pytest.param(1, 1, None, 1, 1, 1, id="pixel"),
        pytest.param(1, 7, None, 7, 7, 1, id="row"),
        pytest.param(7, 1, (2.0, 0.5), 7, 14, 0.5, id="column in mm"),
        # From the middle of a short side's outermost edge to the other's: 4 columns and 2 rows.
        pytest.param(3, 4, None, 12, math.hypot(4, 2), None, id="oblong"),
    ],
)
def test_areas_and_diameters_of_oblongs(height, width, spacing_mm, area, longest, across):
    mask = np.zeros((12, 12), np.uint8)
    mask[2 : 2 + height, 3 : 3 + width] = 1
    found = shape(mask, spacing_mm=spacing_mm)
    assert found.area == area
    assert found.longest_diameter == pytest.approx(longest)
    if across is not None:
        assert found.diameter_across == pytest.approx(across)
    assert math.isnan(found.circumference)


def test_a_disc_is_as_long_as_it_is_wide_and_round():
    found = shape(disc(121, 50), ellipse=True)
    assert found.longest_diameter == pytest.approx(101, abs=0.1)  # 101 pixels in the middle row
    assert found.diameter_across == pytest.approx(101, abs=0.1)
    assert found.circumference == pytest.approx(2 * math.pi * 50, rel=1e-3)  # a disc on a grid is off by some 1e-4


def test_an_ellipse_of_pixels_may_be_a_circle_in_millimetres():
    mask = disc(121, 50, stretch=(2.0, 1.0))  # 50 rows high, 100 columns wide
    round_mm = shape(mask, spacing_mm=(0.2, 0.1), ellipse=True)
    assert round_mm.circumference == pytest.approx(2 * math.pi * 5, rel=2e-3)  # 25 rows from the middle: 1e-3 off
    flat = shape(mask, ellipse=True)
    assert (flat.longest_diameter, flat.diameter_across) == pytest.approx((101, 51), abs=0.1)
    a, b = 50, 25  # Ramanujan's second formula, which is off by 1e-7 here
    h = ((a - b) / (a + b)) ** 2
    ramanujan = math.pi * (a + b) * (1 + 3 * h / (10 + math.sqrt(4 - 3 * h)))
    assert flat.circumference == pytest.approx(ramanujan, rel=2e-3)
    turned = shape(ndimage.rotate(mask, 33, order=0), ellipse=True)
    assert turned.circumference == pytest.approx(ramanujan, rel=4e-3)  # the rotation moves pixels by up to a half


def test_a_speck_counts_in_the_area_alone():
    mask = disc(61, 10)
    speck = mask.copy()
    speck[60, 60] = 1
    alone, with_speck = (shape(one, ellipse=True) for one in (mask, speck))
    assert with_speck == dataclasses.replace(alone, area=alone.area + 1)


def test_what_is_not_there_has_no_diameter():
    assert dataclasses.asdict(shape(np.zeros((4, 4), bool), ellipse=True)) == pytest.approx(
        {"area": 0, "longest_diameter": math.nan, "diameter_across": math.nan, "circumference": math.nan}, nan_ok=True
    )
    assert all(math.isnan(value) for value in dataclasses.astuple(shape(np.ones((2, 2, 2), bool), ellipse=True)))
    assert shape(np.ones((1, 1), bool), ellipse=True).circumference == 0


@given(
    array_shapes(min_dims=2, max_dims=2, max_side=8).flatmap(lambda size: arrays(bool, size)),
    st.tuples(st.floats(0.1, 10), st.floats(0.1, 10)),
)
def test_diameters_equal_those_of_all_pairs_of_points(mask, spacing_mm):
    labels, count = ndimage.label(mask, np.ones((3, 3)))
    if not count:
        return
    largest = labels == 1 + np.bincount(labels.ravel())[1:].argmax()
    steps = np.array([(0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5)])
    points = (np.argwhere(largest)[:, None] + steps).reshape(-1, 2) * spacing_mm
    apart = (points[:, None] - points).reshape(-1, 2)
    distances = np.linalg.norm(apart, axis=1)
    longest = distances.max()
    farthest = np.unique(apart[distances > longest * (1 - 1e-9)].round(9), axis=0)
    extents = [np.ptp(points @ np.array([-column, row])) / longest for row, column in farthest]
    found = shape(mask, spacing_mm=spacing_mm)
    assert found.longest_diameter == pytest.approx(longest)
    assert any(found.diameter_across == pytest.approx(extent) for extent in extents)  # of pairs equally far apart


def test_limits_of_agreement():
    found = agreement([11.0, 9.0, 13.0, math.nan, 7.0], [10.0, 10.0, 10.0, 10.0, math.nan])
    # Errors 1, -1 and 3: their mean is 1, their standard deviation 2.
    assert found == pytest.approx(
        {"count": 3, "reference": 10, "error": 1, "absolute_error": 5 / 3, "low": 1 - 3.92, "high": 1 + 3.92}
    )
    assert agreement([11.0], [10.0]) == {
        "count": 1,
        "reference": 10,
        "error": 1,
        "absolute_error": 1,
        "low": None,
        "high": None,
    }
    assert agreement([], [])["count"] == 0


def test_scoring_measures_truth_and_prediction_beside_the_listed_circumference(tmp_path):
    generate("hc18", tmp_path / "data", subjects=3, frames=1)
    source = open_source(DATASETS["hc18"], tmp_path / "data", channels=1, watch=lambda done, total: None)
    recipe = Recipe.from_mapping({"dataset": "hc18", "image_size": 64})
    job = Job(recipe=recipe, source=source, run=tmp_path / "run", watch=silent)
    names = list(source.samples)
    masking = Masking(
        image_size=64, channels=1, classes=("head",), activation="sigmoid", threshold=0.5, largest_component=False
    )
    rows, _ = score(job, (lambda images: np.ones((*images.shape[:3], 1), np.float32), masking), names, "0")
    for row in rows:
        sample = source.samples[row.image]
        truth = source.dataset.read_mask(sample, (540, 800))[..., 0]
        expected = shape(truth, spacing_mm=sample.spacing_mm, ellipse=True)
        assert (row.true_area, row.true_circumference) == (expected.area, expected.circumference)
        assert row.predicted_area == pytest.approx(540 * 800 * sample.spacing_mm[0] ** 2)
        assert row.listed_circumference == sample.circumference_mm
        assert row.true_circumference == pytest.approx(row.listed_circumference, rel=0.02)  # the line is in the mask


def test_a_class_by_another_name_is_an_ellipse_still():
    paired = pair(DATASETS["hc18"], ["skull"], {"skull": "head"})
    assert (paired.classes, paired.ellipses) == (("skull",), ("skull",))
