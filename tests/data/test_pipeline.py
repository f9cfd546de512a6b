"""Pixels, augmentation, tf.data: what is read is what is on disk; draws depend on seed, epoch and image alone."""

import cv2
import numpy as np
import pytest
from PIL import Image

from tfseg.config import AUGMENTATIONS
from tfseg.data.augment import augmenter
from tfseg.data.frames import View
from tfseg.data.images import network_input, read_image, resize_mask, resize_probability
from tfseg.data.pipeline import training_batches, validation_batches
from tfseg.data.pixels import decode
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError


def tiny_dataset(read_mask):
    return Dataset(
        name="tiny",
        classes=("dark", "bright"),
        default_classes=("bright",),
        samples=lambda root: [],
        orphans=lambda root: [],
        read_mask=read_mask,
        layout="",
        citation="",
        licence="",
        source="",
    )


@pytest.fixture
def pixels(tmp_path):
    """Ten images of 16x16 whose grey value is ten times their number, and whose left half is foreground."""
    samples = []
    for number in range(10):
        path = tmp_path / f"{number}.png"
        Image.fromarray(np.full((16, 16), 10 * number, np.uint8)).save(path)
        samples.append(Sample(image=path))

    def read_mask(sample, size):
        mask = np.zeros((*size, 2), np.uint8)
        mask[:, : size[1] // 2, 1] = 1
        return mask

    view = View(channels=1)
    opened = decode(tmp_path / "pixels.bin", samples, tiny_dataset(read_mask), classes=("bright",), size=8, view=view)
    yield opened
    opened.close()


def test_pixels_hold_what_was_decoded(pixels):
    assert pixels.count == 10
    image, mask = pixels.read(7)
    assert image.shape == mask.shape == (8, 8, 1)
    assert (image == 70).all()
    assert (mask[:, :4] == 255).all()
    assert not mask[:, 4:].any()


def test_an_epoch_shows_every_image_once_and_the_next_in_another_order(pixels):
    batches = iter(training_batches(pixels, range(10), batch_size=5, augment="none", seed=3))
    epochs = [
        [round(float(value) * 25.5) for _ in range(2) for value in next(batches)[0][:, 0, 0, 0]] for _ in range(3)
    ]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert epochs[0] != epochs[1] != epochs[2]


@pytest.mark.parametrize("augment", ["nerve", "mobile", "probe", "strong"])
def test_a_resumed_run_sees_the_batches_it_would_have_seen(pixels, augment):
    def take(first_epoch, batches):
        stream = training_batches(pixels, range(9), batch_size=4, augment=augment, seed=1, first_epoch=first_epoch)
        return [tuple(map(np.array, batch)) for batch in stream.take(batches)]

    whole, resumed = take(0, 6), take(2, 2)  # two batches an epoch: the third epoch is batches 4 and 5
    for one, other in zip(whole[4:], resumed, strict=True):
        np.testing.assert_array_equal(one[0], other[0])
        np.testing.assert_array_equal(one[1], other[1])


def test_validation_keeps_order_and_the_last_short_batch(pixels):
    batches = [np.array(images) for images, _ in validation_batches(pixels, [4, 2, 9], batch_size=2)]
    assert [len(batch) for batch in batches] == [2, 1]
    assert [round(float(value) * 25.5) for batch in batches for value in batch[:, 0, 0, 0]] == [4, 2, 9]


@pytest.mark.parametrize("name", AUGMENTATIONS)
@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("classes", [1, 3, 6])
def test_augmentation_keeps_shapes_and_types_and_makes_no_new_value_of_masks(name, channels, classes):
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (32, 32, channels), np.uint8)
    mask = rng.choice(np.array([0, 90, 255], np.uint8), (32, 32, classes))
    augment = augmenter(name, 32)
    for seed in range(20):
        new_image, new_mask = augment(image, mask, seed)
        assert (new_image.shape, new_image.dtype) == (image.shape, np.uint8)
        assert (new_mask.shape, new_mask.dtype) == (mask.shape, np.uint8)
        assert set(np.unique(new_mask)) <= {0, 90, 255}


@pytest.mark.parametrize("name", ["nerve", "mobile", "probe", "strong"])
def test_image_and_mask_move_together(name):
    """A bright disk that is its own mask stays its own mask, but for pixels on its rim."""
    row, column = np.mgrid[:64, :64]
    disk = ((row - 24) ** 2 + (column - 36) ** 2 < 12**2).astype(np.uint8)[..., None]
    augment = augmenter(name, 64)
    for seed in range(30):
        image, mask = augment(disk * np.uint8(200), disk, seed)
        bright = image > 100
        rim = 2 * np.pi * 15  # pixels on the rim of the disk at its largest, where interpolations may differ
        assert np.sum(bright != (mask > 0)) < rim
        assert np.sum(bright) > 100


def test_the_same_seed_draws_the_same_and_another_does_not():
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 1), np.uint8)
    augment, again = augmenter("nerve", 32), augmenter("nerve", 32)
    np.testing.assert_array_equal(augment(image, image // 255, 5)[0], again(image, image // 255, 5)[0])
    different = [augment(image, image // 255, seed)[0] for seed in range(8)]
    assert len({picture.tobytes() for picture in different}) > 4


@pytest.mark.parametrize(
    ("array", "mode", "expected"),
    [
        pytest.param(np.full((2, 3), 255, np.uint8), "L", 1.0, id="8-bit"),
        pytest.param(np.full((2, 3), 65535, np.uint16), "I;16", 1.0, id="16-bit"),
        pytest.param(np.full((2, 3), 13107, np.uint16), "I;16", 0.2, id="16-bit-fifth"),
    ],
)
def test_full_scale_is_that_of_the_bit_depth(tmp_path, array, mode, expected):
    path = tmp_path / "image.png"
    Image.fromarray(array).save(path)
    with Image.open(path) as stored:
        assert stored.mode == mode
    image = read_image(path, channels=1)
    assert image.shape == (2, 3, 1)
    assert image == pytest.approx(expected, abs=1e-6)  # float32


def test_colour_becomes_luma_and_palettes_their_colours(tmp_path):
    red = Image.new("RGB", (4, 4), (255, 0, 0))
    red.save(tmp_path / "red.png")
    red.convert("P").save(tmp_path / "palette.png")
    red.convert("RGBA").save(tmp_path / "alpha.png")
    for name in ("red", "palette", "alpha"):
        assert read_image(tmp_path / f"{name}.png", channels=1)[0, 0, 0] == pytest.approx(0.299, abs=1e-6)
        assert read_image(tmp_path / f"{name}.png", channels=3)[0, 0].tolist() == [1, 0, 0]


def test_what_cannot_be_read_is_named(tmp_path):
    (tmp_path / "empty.png").touch()
    (tmp_path / "text.png").write_text("no image")
    good = tmp_path / "good.tif"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (50, 50), np.uint8)).save(good)
    (tmp_path / "cut.tif").write_bytes(good.read_bytes()[:1500])
    Image.fromarray(np.zeros((4, 4), np.float32)).save(tmp_path / "float.tif")
    for name, reason in [
        ("absent.png", "no such file"),
        ("empty.png", "empty"),
        ("text.png", "not an image"),
        ("cut.tif", "damaged"),
        ("float.tif", "mode F"),
    ]:
        with pytest.raises(InputError, match=f"{name}.*{reason}"):
            read_image(tmp_path / name, channels=1)


def test_network_input_averages_when_it_shrinks():
    image = np.zeros((4, 4, 1), np.float32)
    image[:2, :2] = 1
    image[2, 2] = 1
    assert network_input(image, 2)[..., 0].tolist() == [[255, 0], [0, 64]]  # a quarter of 255 is 63.75


def test_an_axis_that_shrinks_averages_while_the_other_grows():
    """Stripes of one pixel, 0 and 1 in turn, are grey; OpenCV's INTER_AREA takes only two pixels when an axis grows."""
    stripes = np.zeros((3, 64, 1), np.float32)
    stripes[:, ::2] = 1
    assert np.unique(network_input(stripes, 8)).tolist() == [128]  # 127.5, rounded to even
    assert np.unique(network_input(stripes.swapaxes(0, 1), 8)).tolist() == [128]
    steps = np.repeat(np.float32([0, 1])[None, :, None], 8, axis=0)  # 8 high, 2 wide: across it is bilinear
    assert network_input(steps, 4)[0, :, 0].tolist() == [0, 64, 191, 255]


@pytest.mark.parametrize("shape", [(40, 33), (33, 50), (32, 32), (32, 47), (20, 31), (8, 9)])
def test_images_of_which_both_axes_shrink_or_both_grow_are_opencvs(shape):
    image = np.random.default_rng(0).random((*shape, 3), dtype=np.float32)
    method = cv2.INTER_AREA if max(shape) > 32 else cv2.INTER_LINEAR
    expected = np.rint(cv2.resize(image, (32, 32), interpolation=method) * 255).astype(np.uint8)
    np.testing.assert_array_equal(network_input(image, 32), expected)


def test_masks_keep_the_share_of_each_pixel_that_was_covered():
    mask = np.array([[1, 1, 1, 0], [0, 0, 0, 0]], np.uint8)[..., None]
    assert resize_mask(np.repeat(mask, 2, 0), 2)[..., 0].tolist() == [[255, 128], [0, 0]]  # half is 127.5
    assert resize_mask(mask[:1, 2:], 4)[..., 0].tolist() == 4 * [[255, 255, 0, 0]]  # axes that grow keep edges
    line = np.zeros((80, 80, 1), np.uint8)
    line[40:43] = 1
    assert resize_mask(line, 8)[..., 0].tolist() == 4 * [8 * [0]] + [8 * [76]] + 3 * [8 * [0]]  # 0.3 of 255 is 76.5


def test_a_mask_keeps_its_area_however_its_axes_go():
    """A mask of 7 x 5 pixels, in an image whose axes grow, shrink or stay, is the same part of the whole."""
    for shape in ((50, 40), (50, 9), (9, 50), (9, 8), (32, 50)):
        mask = np.zeros((*shape, 1), np.uint8)
        mask[1:8, 2:7] = 1
        assert resize_mask(mask, 32).sum() / 255 / 32**2 == pytest.approx(mask.mean(), rel=0.01)  # rounded to 255ths


def test_any_number_of_classes_is_resized():
    rng = np.random.default_rng(0)
    mask = (rng.random((40, 30, 6)) > 0.5).astype(np.uint8)
    shares = resize_mask(mask, 16)
    back = resize_probability(shares / np.float32(255), (40, 30))
    for k in range(6):
        np.testing.assert_array_equal(shares[..., [k]], resize_mask(mask[..., [k]], 16))
        alone = resize_probability(shares[..., [k]] / np.float32(255), (40, 30))
        np.testing.assert_allclose(back[..., [k]], alone, rtol=0, atol=1e-6)  # float sums in another order


def test_masks_reach_the_network_as_shares(pixels):
    for batches in (
        training_batches(pixels, range(10), batch_size=5, augment="nerve", seed=3),
        validation_batches(pixels, range(10), batch_size=5),
    ):
        masks = np.array(next(iter(batches))[1])
        assert (masks.dtype, masks.min(), masks.max()) == (np.float32, 0, 1)


@pytest.mark.parametrize("last", [b"", b"tfseg, areas of masks in 250ths\n"])
def test_pixels_that_another_version_decoded_are_decoded_again(pixels, tmp_path, last):
    path = tmp_path / "pixels.bin"
    content = path.read_bytes()
    end = content.rindex(b"tfseg, ")
    assert len(last) in (0, len(content) - end)
    path.write_bytes(content[:end].replace(b"\xff", b"\x01") + last)
    samples = [Sample(image=tmp_path / f"{number}.png") for number in range(10)]

    def read_mask(sample, size):
        return np.ones((*size, 2), np.uint8)

    view = View(channels=1)
    opened = decode(path, samples, tiny_dataset(read_mask), classes=("bright",), size=8, view=view)
    assert (opened.read(3)[1] == 255).all()
    opened.close()


def test_a_probability_returns_to_the_original_resolution():
    probability = np.zeros((4, 4, 2), np.float32)
    probability[..., 1] = 0.75
    resized = resize_probability(probability, (30, 50))
    assert resized.shape == (30, 50, 2)
    assert resized[..., 1] == pytest.approx(0.75)
    assert not resized[..., 0].any()
