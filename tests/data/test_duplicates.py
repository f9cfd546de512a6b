import io

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter, shift, zoom

from tfseg.data import duplicates
from tfseg.data.duplicates import SIDE, Pairs, agreement, mask_thumbnail, near_duplicates, thumbnail, unite


def scan(seed: int, shape: tuple[int, int] = (200, 240)) -> np.ndarray:
    """A picture (H, W) in [0, 1] with large and small structures, as tissue has; another seed is another place."""
    noise = np.random.default_rng(seed).normal(size=shape)
    coarse, fine = gaussian_filter(noise, 20), gaussian_filter(noise, 4)
    return np.clip(0.5 + coarse / coarse.std() / 7 + fine / fine.std() / 10, 0, 1)


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray((image * 255).astype(np.uint8)).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file)) / 255


def noisy(image: np.ndarray) -> np.ndarray:
    return image + np.random.default_rng(99).normal(0, 0.02, image.shape)  # an eighth of the picture's own deviation


def found(*images: np.ndarray) -> list[tuple[int, int]]:
    pairs = near_duplicates(np.stack([thumbnail(image[..., None].astype(np.float32)) for image in images]))
    return sorted(map(tuple, pairs.indices.tolist()))


CHANGES = {
    "nothing": lambda image: image,
    "brightness": lambda image: image * 0.7 + 0.1,
    "one pixel": lambda image: shift(image, (1, 1), mode="nearest"),
    "noise": noisy,
    "jpeg": jpeg,
    "another size": lambda image: zoom(image, 0.6, order=1),
    "crop of 4 per cent": lambda image: image[4:-4, :-10],
    "probe moved": lambda image: shift(image, (6, 9), mode="nearest"),
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_copy_is_found_and_other_places_are_not(change):
    assert found(scan(0), scan(1), change(scan(0)), scan(2)) == [(0, 2)]


def test_what_needs_no_alignment_is_not_aligned():
    image = thumbnail(scan(0)[..., None].astype(np.float32))
    pairs = near_duplicates(np.stack([image, image, image]))
    assert pairs.indices.tolist() == [[0, 1], [0, 2]]
    assert pairs.warps == {}


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("quarters", range(4))
def test_a_turned_or_mirrored_copy_is_found(quarters, mirrored):
    turned = np.rot90(scan(0), quarters)
    assert found(scan(1), scan(0), scan(2), turned[:, ::-1] if mirrored else turned) == [(1, 3)]


@pytest.mark.parametrize("share", [0.9, 0.8, 0.7])
@pytest.mark.parametrize("turned", [False, True])
def test_a_crop_is_found_wherever_it_was_cut(share, turned):
    rng = np.random.default_rng(1)
    height, width = round(200 * share), round(240 * share)
    for seed in range(10):
        top, left = rng.integers(0, 201 - height), rng.integers(0, 241 - width)
        part = scan(seed)[top : top + height, left : left + width]
        others = [scan(seed + 10), scan(seed + 20)]
        assert found(scan(seed), *others, np.rot90(part)[:, ::-1] if turned else part) == [(0, 3)]


def test_the_warp_of_a_crop_tells_where_its_pixels_lie():
    images = [scan(0), scan(0)[::-1, 60:][50:]]  # upside down, and without the left and the lower quarter
    pairs = near_duplicates(np.stack([thumbnail(image[..., None].astype(np.float32)) for image in images]))
    warp = pairs.warps[0, 1]
    # column 120 of 240 is 60 of 180 in the second, a third; row 0 of 200 its last of 150, row 75 its middle one
    assert warp @ [31.5, -0.5, 1] == pytest.approx([64 / 3 - 0.5, 63.5], abs=0.5)
    assert warp @ [31.5, 23.5, 1] == pytest.approx([64 / 3 - 0.5, 31.5], abs=0.5)


@pytest.mark.parametrize("shape", ["fan", "disc"])
def test_a_common_frame_joins_nobody(shape):
    """Ultrasound frames share their fan, and pictures of the retina their disc; what is inside decides."""
    row, column = np.mgrid[:200, :240]
    fan = (np.hypot(row, column - 120) < 190) & (np.abs(column - 120) < row * 0.7 + 20)
    disc = np.hypot(row - 100, column - 120) < 95
    frame = fan if shape == "fan" else disc
    for strength in (1, 0.3, 0.1):
        inside = [0.6 + strength * (scan(seed) - 0.5) for seed in range(12)]
        assert found(*(image * frame for image in inside)) == []
        copies = [inside[3] * frame, noisy(inside[3]) * frame]  # beside eleven other people
        assert found(*(image * frame for image in inside[4:]), *copies) == [(8, 9)]


def test_one_scene_alone_is_no_frame():
    """All images of a set are frames of one clip, and all that they share is what they show."""
    rng = np.random.default_rng(0)
    still = [scan(0) + rng.normal(0, 0.02, (200, 240)) for _ in range(12)]
    moving = [scan(0, (200, 280))[:, 2 * step : 2 * step + 240] for step in range(12)]
    for clip in (still, moving):
        assert len(set(unite(12, np.array(found(*clip))).tolist())) == 1


def test_pairs_of_still_frames_are_as_many_as_frames():
    rng = np.random.default_rng(0)
    frames = [scan(0) + rng.normal(0, 0.005, (200, 240)) for _ in range(30)]
    assert found(*frames, scan(1)) == [(0, number) for number in range(1, 30)]


def test_flat_images_are_near_to_nothing():
    assert found(np.zeros((50, 50)), np.full((50, 50), 0.7), np.zeros((50, 50))) == []


def test_blocks_change_nothing(monkeypatch):
    images = [scan(seed) for seed in range(5)]
    images += [noisy(image) for image in images] + [image[4:-4, :-10] for image in images]
    whole = found(*images)
    assert {(seed, seed + 5) for seed in range(5)} < set(whole)
    assert [len({pair for pair in whole if pair[0] % 5 == seed}) >= 2 for seed in range(5)] == [True] * 5
    monkeypatch.setattr(duplicates, "_BLOCK", 4)
    assert found(*images) == whole


def test_thumbnail_has_mean_0_and_variance_1():
    small = thumbnail(np.stack([scan(3)] * 3, axis=-1).astype(np.float32))
    assert small.shape == (SIDE, SIDE)
    assert small.mean() == pytest.approx(0, abs=1e-5)  # float32 sums of 4,096 values
    assert small.std() == pytest.approx(1, abs=1e-5)


def test_mask_thumbnail_holds_the_share_of_the_area():
    mask = np.zeros((128, 192, 2), np.uint8)
    mask[:64, :96, 0] = 1
    mask[1, 0, 1] = 1  # one of the 2 x 3 pixels under thumbnail pixel (0, 0): a sixth, 42.5 of 255
    small = mask_thumbnail(mask)
    assert small.shape == (2, SIDE, SIDE)
    assert small[0].sum() == 255 * 32 * 32
    assert small[1, 0, 0] in (42, 43)
    assert small[1].sum() == small[1, 0, 0]


def test_unite_numbers_sets_by_their_first_image():
    assert unite(6, np.array([[3, 5], [1, 4], [2, 4]])).tolist() == [0, 1, 1, 2, 1, 2]
    assert unite(3, np.empty((0, 2), np.int32)).tolist() == [0, 1, 2]


def test_agreement():
    left = np.zeros((1, SIDE, SIDE), np.uint8)
    left[:, :, :32] = 255
    top = left.transpose(0, 2, 1).copy()
    nothing = np.zeros_like(left)
    regions = [left, top, nothing, nothing, nothing]
    drawn = [np.array([True]), np.array([True]), np.array([False]), np.array([False]), np.array([True])]
    indices = np.array(
        [[0, 0], [0, 1], [0, 2], [2, 3], [2, 4]]
    )  # the last one's mask has too few pixels for a thumbnail
    dice = agreement(regions, drawn, Pairs(indices=indices, warps={}))
    assert dice.tolist() == [[1.0], [0.5], [0.0], [1.0], [0.0]]


def test_agreement_after_alignment():
    square, moved = np.zeros((2, 1, SIDE, SIDE), np.uint8)
    square[:, 10:20, 10:20] = 255
    moved[:, 10:20, 14:24] = 255
    warp = np.array([[1, 0, 4], [0, 1, 0]], np.float32)  # x of the first lies at x + 4 in the second
    drawn = [np.array([True])] * 2
    indices = np.array([[0, 1]])
    assert agreement([square, moved], drawn, Pairs(indices=indices, warps={})).tolist() == [[0.6]]
    assert agreement([square, moved], drawn, Pairs(indices=indices, warps={(0, 1): warp})).tolist() == [[1.0]]


def test_what_a_crop_does_not_show_contradicts_nothing():
    left = np.zeros((1, SIDE, SIDE), np.uint8)
    left[:, :, :8] = 255
    nothing = np.zeros_like(left)
    drawn = [np.array([True]), np.array([False])]
    right = np.array([[64 / 48, 0, -21.5], [0, 1, 0]], np.float32)  # the second shows what is right of column 16
    whole = cv2.invertAffineTransform(right)
    pair = np.array([[0, 1]])
    assert agreement([left, nothing], drawn, Pairs(indices=pair, warps={(0, 1): right})).tolist() == [[1.0]]
    assert agreement([nothing, left], drawn[::-1], Pairs(indices=pair, warps={(0, 1): whole})).tolist() == [[1.0]]
    assert agreement([left, nothing], drawn, Pairs(indices=pair, warps={})).tolist() == [[0.0]]
