from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage

from tfseg.data.masks import read_binary, read_indexed, read_outline, read_regions
from tfseg.data.sample import Polygon, Sample
from tfseg.errors import InputError

SIZE = (4, 6)
DRAWN = np.zeros(SIZE, bool)
DRAWN[1:3, 2:5] = True


def save(path: Path, pixels: np.ndarray, mode: str | None = None) -> Path:
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(path)
    return path


def sample(*masks: Path, polygons: tuple[Polygon, ...] = ()) -> Sample:
    return Sample(image=Path("image.png"), masks=masks, polygons=polygons)


def palette(indices: np.ndarray, colours: list[int]) -> Image.Image:
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette(colours)
    return image


grey = DRAWN.astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "pixels", "mode"),
    [
        pytest.param("m.png", grey * 255, None, id="0-255"),
        pytest.param("m.png", grey, None, id="0-1"),
        pytest.param("m.png", grey * 7, None, id="0-7"),
        pytest.param("m.png", grey * 255, "1", id="1-bit"),
        pytest.param("m.png", grey * 255, "RGB", id="rgb"),
        pytest.param("m.png", grey * 255, "RGBA", id="rgba"),
        pytest.param("m.png", grey * 255, "LA", id="grey-alpha"),
        pytest.param("m.png", grey[..., None] * np.array([0, 255, 0], np.uint8), None, id="green"),
        pytest.param("m.png", grey.astype(np.uint16) * 40000, None, id="16-bit"),
        pytest.param("m.tif", grey * 255, None, id="tiff"),
        pytest.param("m.tif", grey * 255, "1", id="1-bit-tiff"),
        pytest.param("m.tif", grey.astype(np.float32), None, id="float-tiff"),
        pytest.param("m.bmp", grey * 255, None, id="bmp"),
    ],
)
def test_binary_masks_of_every_kind(tmp_path, name, pixels, mode):
    mask = read_binary(sample(save(tmp_path / name, pixels, mode)), SIZE)
    assert mask.dtype == np.uint8
    assert mask.shape == (4, 6, 1)
    np.testing.assert_array_equal(mask[..., 0], DRAWN)


@pytest.mark.parametrize("colours", [[0, 0, 0, 255, 255, 255], [0, 0, 0, 1, 1, 1]])
def test_a_binary_palette_mask_is_read_by_its_colours(tmp_path, colours):
    palette(grey, colours).save(tmp_path / "m.png")
    np.testing.assert_array_equal(read_binary(sample(tmp_path / "m.png"), SIZE)[..., 0], DRAWN)


def test_a_jpeg_mask_is_cut_at_half_scale(tmp_path):
    block = np.zeros((64, 64), np.uint8)
    block[20:40, 20:40] = 255
    Image.fromarray(block).save(tmp_path / "m.jpg", quality=50)
    assert np.unique(np.asarray(Image.open(tmp_path / "m.jpg"))).size > 2  # JPEG rings round the edge
    np.testing.assert_array_equal(read_binary(sample(tmp_path / "m.jpg"), (64, 64))[..., 0], block > 0)


def test_several_masks_are_united(tmp_path):
    left, right = np.zeros(SIZE, np.uint8), np.zeros(SIZE, np.uint8)
    left[:, 0], right[:, 5] = 255, 1  # each file has its own other value
    mask = read_binary(sample(save(tmp_path / "a.png", left), save(tmp_path / "b.png", right)), SIZE)
    assert mask.sum() == 8


def test_a_black_mask_is_empty_and_no_mask_is_an_error(tmp_path):
    assert read_binary(sample(save(tmp_path / "m.png", np.zeros(SIZE, np.uint8))), SIZE).sum() == 0
    with pytest.raises(InputError, match=r"image\.png: no mask belongs to this image"):
        read_binary(sample(), SIZE)


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(np.array([[0, 1, 255]], np.uint8), id="grey"),
        pytest.param(np.array([[[0, 0, 0], [255, 0, 0], [0, 255, 0]]], np.uint8), id="two-colours"),
        pytest.param(np.array([[0, 100, 50000]], np.uint16), id="16-bit"),
    ],
)
def test_a_grey_level_mask_is_refused(tmp_path, pixels):
    with pytest.raises(InputError, match=r"m\.png: not a binary mask: 2 values beside 0"):
        read_binary(sample(save(tmp_path / "m.png", pixels)), (1, 3))


@pytest.mark.parametrize("read", [read_binary, read_outline, lambda s, size: read_indexed(s, size, classes=2)])
def test_a_mask_of_another_size_is_refused(tmp_path, read):
    with pytest.raises(InputError, match=r"m\.png: the mask is 6x4 pixels and its image image\.png 5x4"):
        read(sample(save(tmp_path / "m.png", grey)), (4, 5))


def test_a_damaged_mask_is_refused_by_name(tmp_path):
    (tmp_path / "m.png").touch()
    with pytest.raises(InputError, match=r"m\.png: the file is empty"):
        read_binary(sample(tmp_path / "m.png"), SIZE)


def test_palette_indices_are_classes_whatever_their_colours(tmp_path):
    indices = np.array([[0, 1, 2], [2, 1, 0]])
    palette(indices, [255, 255, 255, 0, 0, 0, 0, 0, 0]).save(tmp_path / "p.png")
    save(tmp_path / "l.png", indices.astype(np.uint8))
    for name in ("p.png", "l.png"):
        mask = read_indexed(sample(tmp_path / name), (2, 3), classes=2)
        np.testing.assert_array_equal(mask[..., 0], [[0, 1, 0], [0, 1, 0]])
        np.testing.assert_array_equal(mask[..., 1], [[0, 0, 1], [1, 0, 0]])


@pytest.mark.parametrize(
    ("name", "pixels", "message"),
    [
        pytest.param("m.png", grey * 3, "holds the value 3; a mask of 2 classes holds 0 to 2", id="too-high"),
        pytest.param("m.png", np.zeros((4, 6, 3), np.uint8), "PNG of mode RGB", id="rgb"),
        pytest.param("m.jpg", grey, "JPEG of mode L", id="jpeg"),
    ],
)
def test_what_holds_no_class_numbers_is_refused(tmp_path, name, pixels, message):
    with pytest.raises(InputError, match=f"{name}: {message}"):
        read_indexed(sample(save(tmp_path / name, pixels)), SIZE, classes=2)


def ellipse(size: tuple[int, int], centre: tuple[float, float], axes: tuple[float, float], *, line: float = 3):
    """Return inside and outline of an axis-parallel ellipse, straight from its equation; the line is inside."""
    y, x = np.mgrid[: size[0], : size[1]]
    distance = np.hypot((x - centre[0]) / axes[0], (y - centre[1]) / axes[1])
    inside = distance <= 1
    thin = inside > ndimage.binary_erosion(inside, iterations=int(line), border_value=1)
    return inside, thin


@pytest.mark.parametrize(
    ("centre", "gap"),
    [
        pytest.param((60, 50), None, id="whole"),
        pytest.param((60, 50), (slice(40, 60), slice(90, 120)), id="gap-of-20-pixels"),
        pytest.param((60, 10), None, id="cut-by-the-top"),
        pytest.param((10, 50), None, id="cut-by-the-left"),
        pytest.param((15, 10), None, id="cut-by-a-corner"),
        pytest.param((112, 92), None, id="cut-by-the-other-corner"),
    ],
)
def test_outlines_are_filled(tmp_path, centre, gap):
    inside, line = ellipse((100, 120), centre, (45, 30))
    if gap:
        line[gap] = False
    mask = read_outline(sample(save(tmp_path / "m.png", line.astype(np.uint8) * 255)), (100, 120))[..., 0]
    middle = ellipse((100, 120), centre, (43.5, 28.5))[0]  # a line of 3 pixels, of which the outer half stays out
    assert np.all(inside[mask > 0])
    # The outline of some 230 pixels is a quarter of a pixel off: erosion makes a line thinner where it runs aslant.
    assert np.abs(mask.astype(int) - middle).sum() <= 60


def test_an_empty_outline_is_an_empty_mask(tmp_path):
    assert read_outline(sample(save(tmp_path / "m.png", np.zeros(SIZE, np.uint8))), SIZE).sum() == 0


def blank(*drawn: tuple) -> np.ndarray:
    pixels = np.zeros((60, 60), np.uint8)
    for area in drawn:
        pixels[area] = 255
    return pixels


@pytest.mark.parametrize(
    "pixels",
    [
        pytest.param(blank((slice(10, 50), slice(10, 50))), id="filled"),
        pytest.param(blank((30, slice(5, 55))), id="line"),
        pytest.param(
            (ellipse((60, 60), (15, 30), (12, 20))[1] | ellipse((60, 60), (45, 30), (12, 20))[1]) * np.uint8(255),
            id="two-ellipses",
        ),
        pytest.param(blank((5, slice(5, 8))), id="three-pixels"),
        pytest.param(
            np.maximum(ellipse((60, 60), (30, 30), (25, 15))[1] * np.uint8(255), blank((30, 30))),
            id="with-a-dot-inside",
        ),
    ],
)
def test_what_is_no_ellipse_is_refused(tmp_path, pixels):
    with pytest.raises(InputError, match=r"m\.png: .*ellipse"):
        read_outline(sample(save(tmp_path / "m.png", pixels)), (60, 60))


def test_regions_come_from_masks_and_polygons(tmp_path):
    square = Polygon(channel=1, vertices=((1.0, 1.0), (3.0, 1.0), (3.0, 2.6), (1.0, 2.6)))  # edges are filled: 3 x 3
    twice = (square, square)  # two outlines over each other do not cancel out
    corner = Polygon(channel=2, vertices=((4, 2), (9, 2), (9, 9), (4, 9)))  # cut by the image
    masks = save(tmp_path / "m.png", grey)
    mask = read_regions(sample(masks, polygons=(*twice, corner)), SIZE, classes=4)
    assert mask.shape == (4, 6, 4)
    np.testing.assert_array_equal(mask[..., 0], DRAWN)
    expected = np.zeros(SIZE)
    expected[1:4, 1:4] = 1
    np.testing.assert_array_equal(mask[..., 1], expected)
    assert mask[..., 2].sum() == 4  # columns 4 and 5 of rows 2 and 3
    assert mask[..., 3].sum() == 0
