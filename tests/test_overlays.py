import numpy as np
import pytest
from PIL import Image

from tfseg.overlays import PREDICTION_COLOURS, TRUTH_COLOURS, overlay, panel, stamp, to_rgb, write_png

TEAL, BLUE = TRUTH_COLOURS[:2]
ORANGE, PINK = PREDICTION_COLOURS[:2]
GREY = np.full((40, 60, 1), 0.2, np.float32)  # 51 of 255


def box(rows: slice, columns: slice, *, channel: int = 0, classes: int = 1) -> np.ndarray:
    mask = np.zeros((40, 60, classes), np.uint8)
    mask[rows, columns, channel] = 1
    return mask


def test_one_mask_alone_is_outlined_along_its_outermost_pixels_and_tinted_inside():
    picture = overlay(GREY, box(slice(10, 20), slice(10, 30)), None)
    assert picture.shape == (40, 60, 3)
    assert picture.dtype == np.uint8
    edge = [picture[10, 10:30], picture[19, 10:30], picture[10:20, 10], picture[10:20, 29]]
    assert all((side == TEAL).all() for side in edge)
    assert (picture[9] == 51).all()
    assert (picture[11:19, 11:29] == [40, 84, 77]).all()  # 0.78 * 51 + 0.22 * (0, 200, 170) = 39.8, 83.8, 77.2


def test_two_equal_masks_tint_nothing_and_show_both_colours_on_one_line():
    mask = box(slice(10, 20), slice(10, 30))
    picture = overlay(GREY, mask, mask)
    assert (picture[11:19, 11:29] == 51).all()
    line = {tuple(pixel) for pixel in picture[mask[..., 0] > 0].tolist()}
    assert line == {(51, 51, 51), TEAL, ORANGE}


def test_pixels_that_differ_are_tinted_in_the_colour_of_the_mask_they_are_in():
    truth, prediction = box(slice(5, 35), slice(5, 30)), box(slice(5, 35), slice(15, 50))
    picture = overlay(GREY, truth, prediction).astype(int)
    missed, shared, surplus = picture[20, 10], picture[20, 22], picture[20, 40]
    assert missed[1] > missed[0]
    assert (shared == 51).all()
    assert surplus[0] > surplus[2]


def test_classes_have_colours_of_their_own_on_both_sides():
    truth = np.concatenate([box(slice(2, 10), slice(2, 20)), box(slice(20, 30), slice(2, 20))], axis=-1)
    picture = overlay(GREY, truth, None)
    assert tuple(picture[2, 10]) == TEAL
    assert tuple(picture[20, 10]) == BLUE
    picture = overlay(GREY, None, truth)
    assert tuple(picture[2, 10]) == ORANGE
    assert tuple(picture[20, 10]) == PINK


def test_line_grows_with_the_image():
    image = np.zeros((64, 640, 1), np.float32)
    mask = np.zeros((64, 640, 1), np.uint8)
    mask[20:50, 100:500] = 1
    drawn = (overlay(image, mask, None)[20:50, 300] == TEAL).all(axis=-1)
    assert drawn.sum() == 4  # 2 pixels at each edge: 640 / 320 = 2, and what lies outside of the mask is not counted


def test_hole_has_a_line_too():
    mask = box(slice(5, 35), slice(5, 55))
    mask[15:25, 20:40] = 0
    picture = overlay(GREY, mask, None)
    assert tuple(picture[14, 30]) == TEAL
    assert (picture[20, 30] == 51).all()


def test_nothing_to_draw_leaves_the_image_alone():
    colour = np.random.default_rng(0).random((8, 9, 3), np.float32)
    empty = np.zeros((8, 9, 2), np.uint8)
    for truth, prediction in ((None, None), (empty, None), (empty, empty)):
        assert (overlay(colour, truth, prediction) == to_rgb(colour)).all()


def test_panel_sets_the_tiles_beside_each_other():
    truth, prediction = box(slice(10, 20), slice(10, 30)), box(slice(12, 22), slice(12, 32))
    picture = panel(GREY, truth, prediction)
    assert picture.shape == (40, 3 * 60 + 2 * 2, 3)  # a gap is at least 2 pixels
    assert (picture[:, :60] == to_rgb(GREY)).all()
    assert (picture[:, 62:122] == overlay(GREY, truth, None)).all()
    assert (picture[:, 124:] == overlay(GREY, None, prediction)).all()
    assert panel(GREY, None, prediction).shape == (40, 122, 3)


def test_stamp_marks_the_lower_left_and_no_other_place():
    picture = to_rgb(np.zeros((300, 900, 1), np.float32))
    marked = stamp(picture, "PHANTOM")
    assert tuple(marked[-1, 0]) == (255, 212, 0)
    assert not marked[:240].any()
    assert not marked[:, 450:].any()
    assert not picture.any()


def test_png_holds_the_very_pixels(tmp_path):
    picture = overlay(GREY, box(slice(10, 20), slice(10, 30)), None)
    assert write_png(tmp_path / "a" / "b.png", picture) == tmp_path / "a" / "b.png"
    assert (np.asarray(Image.open(tmp_path / "a" / "b.png")) == picture).all()


def test_mask_of_another_size_and_a_stray_image_are_refused():
    with pytest.raises(ValueError, match=r"prediction of shape \(40, 61, 1\)"):
        overlay(GREY, None, np.zeros((40, 61, 1), np.uint8))
    with pytest.raises(ValueError, match=r"\(40, 60\)"):
        overlay(GREY[..., 0], None, None)
