"""Scores by masks small enough to count by hand, by their algebra, and by a slower formulation."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import ndimage

from tfseg.errors import InputError
from tfseg.metrics import COLUMNS, METRICS, Row, hausdorff95, read_rows, row_values, score
from tfseg.runs import write_csv

SHARES = METRICS[:-1]  # all but hausdorff95 lie in [0, 1]
PAIRS = array_shapes(min_dims=2, max_dims=2, max_side=9).flatmap(
    lambda shape: st.tuples(arrays(bool, shape), arrays(bool, shape))
)
SPACINGS = st.none() | st.tuples(st.floats(0.01, 10), st.floats(0.01, 10))


def line(*pixels):
    return np.array([pixels], np.uint8)


def square(top, left, *, side=10, size=40):
    mask = np.zeros((size, size), np.uint8)
    mask[top : top + side, left : left + side] = 1
    return mask


def test_every_share_of_four_pixels():
    scores = score(line(1, 1, 0, 0), line(1, 0, 0, 0))
    assert (scores.tp, scores.fp, scores.fn, scores.tn) == (1, 0, 1, 2)
    assert scores.dice == pytest.approx(2 / 3)
    assert scores.iou == 1 / 2
    assert scores.accuracy == 3 / 4
    assert scores.sensitivity == 1 / 2
    assert scores.specificity == 1
    assert scores.precision == 1
    assert scores.efficiency == pytest.approx((1 / 2 + 1 + 3 / 4) / 3)
    assert not scores.truth_empty
    assert not scores.prediction_empty


@pytest.mark.parametrize(
    ("truth", "prediction", "expected"),
    [
        pytest.param(
            line(0, 0, 0, 0),
            line(0, 0, 0, 0),
            {"dice": 1, "iou": 1, "sensitivity": 1, "precision": 1, "specificity": 1, "accuracy": 1, "efficiency": 1},
            id="both-empty",
        ),
        pytest.param(
            line(0, 0, 0, 0),
            line(1, 0, 0, 0),
            {
                "dice": 0,
                "iou": 0,
                "sensitivity": 0,
                "precision": 0,
                "specificity": 0.75,
                "accuracy": 0.75,
                "efficiency": 0.5,
            },
            id="truth-empty",
        ),
        pytest.param(
            line(1, 0, 0, 0),
            line(0, 0, 0, 0),
            {"dice": 0, "iou": 0, "sensitivity": 0, "precision": 0, "specificity": 1, "accuracy": 0.75},
            id="prediction-empty",
        ),
        pytest.param(
            line(1, 1, 1, 1),
            line(1, 1, 1, 0),
            {"sensitivity": 0.75, "precision": 1, "specificity": 1, "accuracy": 0.75},
            id="no-background",
        ),
    ],
)
def test_conventions_where_a_ratio_has_no_denominator(truth, prediction, expected):
    scores = score(truth, prediction)
    assert {name: getattr(scores, name) for name in expected} == expected
    assert (scores.truth_empty, scores.prediction_empty) == (not truth.any(), not prediction.any())


def test_hausdorff_of_a_shift_is_the_shift():
    point, shifted = square(20, 20, side=1), square(20, 23, side=1)
    assert score(point, shifted).hausdorff95 == 3


@pytest.mark.parametrize(
    ("spacing_mm", "expected"), [((1, 1), 5), ((2, 2), 10), ((2, 1), math.hypot(8, 3)), ((1, 2), math.hypot(4, 6))]
)
def test_spacing_stretches_rows_and_columns_apart(spacing_mm, expected):
    point, moved = square(10, 10, side=1), square(14, 13, side=1)  # 4 rows down, 3 columns right
    assert score(point, moved, spacing_mm=spacing_mm).hausdorff95 == pytest.approx(expected)


def test_hausdorff_is_interpolated_between_the_two_directions():
    # One pixel against a line of 21: the line's pixels are at 0, 1, ..., 20, and 95 % of the way along is 19.
    pixel, row = np.zeros((1, 40), np.uint8), np.zeros((1, 40), np.uint8)
    pixel[0, 5], row[0, 5:26] = 1, 1
    assert score(pixel, row).hausdorff95 == 19
    row[0, 25] = 0  # 20 pixels at 0 to 19: 0.95 * 19
    assert score(pixel, row).hausdorff95 == pytest.approx(18.05)


def test_hausdorff_of_empty_masks():
    empty, full = np.zeros((4, 4), np.uint8), np.ones((4, 4), np.uint8)
    assert score(empty, empty).hausdorff95 == 0
    assert math.isnan(score(empty, full).hausdorff95)
    assert math.isnan(score(full, empty).hausdorff95)


def test_the_border_of_the_image_is_a_surface():
    # A full image against its left half: the surfaces are the rims of 10 x 10 and of 10 x 5 pixels. The distances from
    # the full rim are 0 (18 pixels), 1, 2, 3, 4 (two each) and 5 (the ten of the right column): the percentile is 5.
    full, half = np.ones((10, 10), np.uint8), square(0, 0, size=10)
    half[:, 5:] = 0
    assert score(full, half).hausdorff95 == 5


def test_hausdorff_may_be_zero_for_unequal_masks():
    full, ring = np.ones((3, 3), np.uint8), np.ones((3, 3), np.uint8)
    ring[1, 1] = 0  # the cross erodes the full square to its centre: both surfaces are the ring
    assert score(full, ring).hausdorff95 == 0
    assert score(full, ring).dice < 1


@given(PAIRS)
def test_shares_keep_their_algebra(pair):
    truth, prediction = pair
    there, back = score(truth, prediction), score(prediction, truth)
    assert there.tp + there.fp + there.fn + there.tn == truth.size
    assert all(0 <= getattr(there, name) <= 1 for name in SHARES)
    assert there.dice == back.dice
    assert there.iou == pytest.approx(there.dice / (2 - there.dice))
    assert (there.sensitivity, there.precision) == (back.precision, back.sensitivity)
    assert (there.dice == 1) == np.array_equal(truth, prediction)
    assert there == score(truth.astype(np.uint8), prediction.astype(np.uint8))


@given(PAIRS, SPACINGS)
def test_hausdorff_equals_distance_transforms_of_the_whole_image(pair, spacing_mm):
    truth, prediction = pair
    measured = hausdorff95(truth, prediction, spacing_mm=spacing_mm)
    if not truth.any() or not prediction.any():
        assert math.isnan(measured) if truth.any() or prediction.any() else measured == 0
        return
    surfaces = [mask & ~ndimage.binary_erosion(mask) for mask in pair]
    maps = [ndimage.distance_transform_edt(~surface, sampling=spacing_mm) for surface in surfaces]
    directed = [np.percentile(maps[1][surfaces[0]], 95), np.percentile(maps[0][surfaces[1]], 95)]
    assert measured == pytest.approx(max(directed))


@given(PAIRS, SPACINGS)
def test_hausdorff_is_symmetric_and_zero_for_equal_masks(pair, spacing_mm):
    there, back = (hausdorff95(*masks, spacing_mm=spacing_mm) for masks in (pair, pair[::-1]))
    assert there == back or (math.isnan(there) and math.isnan(back))
    assert hausdorff95(pair[0], pair[0], spacing_mm=spacing_mm) == 0


@given(PAIRS, st.integers(0, 5), st.integers(0, 5))
def test_hausdorff_does_not_depend_on_the_frame(pair, rows, columns):
    framed = [np.pad(mask, ((rows, 2), (columns, 3))) for mask in pair]
    assert hausdorff95(*framed) == pytest.approx(hausdorff95(*pair), nan_ok=True)


@pytest.mark.parametrize(
    ("truth", "prediction", "message"),
    [
        (np.zeros((4, 4), np.uint8), np.zeros((4, 5), np.uint8), r"truth is \(4, 4\) and prediction is \(4, 5\)"),
        (np.zeros((4, 4), np.uint8), np.full((4, 4), 255, np.uint8), "prediction holds 255"),
        (np.zeros((4, 4), np.uint8), np.zeros((4, 4), np.float32), "prediction is float32"),
        (np.zeros((4, 4, 1, 1), np.uint8), np.zeros((4, 4), np.uint8), r"truth is uint8 \(4, 4, 1, 1\)"),
    ],
)
def test_what_is_no_mask_is_refused(truth, prediction, message):
    with pytest.raises(ValueError, match=message):
        score(truth, prediction)


def row(**changes):
    measured = score(line(1, 1, 0, 0), line(1, 0, 0, 0))
    values = {name: getattr(measured, name) for name in (*METRICS, "truth_empty", "prediction_empty")}
    known = {"image": "train/1_1.tif", "patient": "1", "fold": "0", "file": "keras", "class_name": "nerve"}
    return Row(**{**known, **values, **changes})


def test_columns_are_the_contract():
    assert ",".join(COLUMNS) == (
        "image,patient,fold,file,class,dice,iou,accuracy,sensitivity,specificity,precision,efficiency,hausdorff95,"
        "truth_empty,prediction_empty,"
        "true_area,predicted_area,true_longest_diameter,predicted_longest_diameter,"
        "true_diameter_across,predicted_diameter_across,true_circumference,predicted_circumference,listed_circumference"
    )


def test_values_of_a_row():
    values = row_values(row(dice=np.float64(0.1), hausdorff95=math.nan, truth_empty=np.True_))
    assert values[:6] == ("train/1_1.tif", "1", "0", "keras", "nerve", "0.1")
    assert values[12:15] == ("", "1", "0")
    assert set(values[15:]) == {""}
    assert row_values(row(true_area=2.5))[15] == "2.5"


def test_a_file_of_before_masks_were_measured_is_read(tmp_path):
    path = tmp_path / "metrics.csv"
    write_csv(path, COLUMNS[:15], [row_values(row())[:15]])
    (read,) = read_rows(path)
    assert row_values(read) == row_values(row())


@settings(deadline=None)  # each example writes a file through to the disk
@given(
    image=st.text(st.characters(codec="utf-8", exclude_categories=["Cc"]), min_size=1),
    dice=st.floats(0, 1),
    hausdorff95=st.floats(0, allow_infinity=False) | st.just(math.nan),
    fold=st.sampled_from(["0", "11", "holdout"]),
)
def test_rows_return_from_the_file_as_they_were(tmp_path_factory, image, dice, hausdorff95, fold):
    path = tmp_path_factory.getbasetemp() / "round_trip.csv"
    written = row(image=image, dice=dice, hausdorff95=hausdorff95, fold=fold)
    write_csv(path, COLUMNS, [row_values(written)])
    (read,) = read_rows(path)
    assert row_values(read) == row_values(written)
    if not math.isnan(hausdorff95):
        assert read == written


@pytest.mark.parametrize(
    ("column", "text", "message"),
    [
        ("dice", "high", "line 3: dice = 'high' is not a number"),
        ("dice", "", "line 3: dice = '' is not a number"),
        ("iou", "nan", "line 3: iou = 'nan' is not a number"),
        ("hausdorff95", "inf", "line 3: hausdorff95 = 'inf' is not a number"),
        ("predicted_area", "-1", "line 3: predicted_area = '-1' is not a number"),
        ("truth_empty", "yes", "line 3: truth_empty = 'yes' is neither 0 nor 1"),
        ("fold", "test", "line 3: fold = 'test' is neither a number nor holdout"),
    ],
)
def test_a_damaged_field_is_named_with_its_line(tmp_path, column, text, message):
    good = row_values(row())
    damaged = tuple(text if name == column else value for name, value in zip(COLUMNS, good, strict=True))
    write_csv(tmp_path / "metrics.csv", COLUMNS, [good, damaged])
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path / "metrics.csv")
    assert str(tmp_path / "metrics.csv") in str(caught.value)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"", "line 1: the columns are not image,patient", id="empty"),
        pytest.param(b"image,dice\n", "line 1: the columns are not image,patient", id="other columns"),
        pytest.param(",".join(COLUMNS).encode() + b"\na,b\n", "line 2: expected 24 fields, found 2", id="cut line"),
        pytest.param(",".join(COLUMNS).encode() + b'\n"a,b\n', "line 2: unexpected end of data", id="open quote"),
        pytest.param(b"\xff\xfe", "not a text file", id="binary"),
    ],
)
def test_a_damaged_file_is_refused_in_one_line(tmp_path, content, message):
    (tmp_path / "metrics.csv").write_bytes(content)
    with pytest.raises(InputError, match=message) as caught:
        read_rows(tmp_path / "metrics.csv")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_refused(tmp_path):
    with pytest.raises(InputError, match=r"metrics\.csv: cannot read it \(No such file"):
        read_rows(tmp_path / "metrics.csv")


def test_rows_are_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        row().dice = 1.0
