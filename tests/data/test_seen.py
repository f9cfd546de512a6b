"""What is kept of images to recognise them later."""

import io
import json

import cv2
import numpy as np
import pytest
from PIL import Image
from scipy.ndimage import gaussian_filter

from tfseg.data.duplicates import as_levels, thumbnail
from tfseg.data.seen import Seen


def scan(seed: int) -> np.ndarray:
    """A picture (H, W) in [0, 1] with large and small structures; another seed is another place."""
    noise = np.random.default_rng(seed).normal(size=(160, 200))
    coarse, fine = gaussian_filter(noise, 16), gaussian_filter(noise, 3)
    return np.clip(0.5 + coarse / coarse.std() / 7 + fine / fine.std() / 10, 0, 1)


def jpeg(image: np.ndarray) -> np.ndarray:
    file = io.BytesIO()
    Image.fromarray((image * 255).astype(np.uint8)).save(file, "JPEG", quality=60)
    return np.asarray(Image.open(file)) / 255


def seen(*images: np.ndarray, name: str = "a") -> Seen:
    """What is kept of pictures, whose digests are named by their number."""
    return Seen.of([f"{name}{number}".encode().ljust(32) for number in range(len(images))], levels(*images))


def levels(*images: np.ndarray) -> np.ndarray:
    return as_levels(np.stack([thumbnail(image[..., None].astype(np.float32)) for image in images]))


CHANGES = {
    "jpeg": jpeg,
    "half the size": lambda image: cv2.resize(image, None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA),
    "brightness": lambda image: image * 0.7 + 0.1,
    "mirrored": lambda image: image[:, ::-1],
    "turned": np.rot90,
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
@pytest.mark.parametrize("frame", [False, True])
def test_a_changed_copy_is_recognised_and_others_are_not(change, frame):
    row, column = np.mgrid[:160, :200]
    disc = np.hypot(row - 80, column - 100) < 78 if frame else 1
    kept = seen(*((0.6 + 0.2 * scan(seed)) * disc for seed in range(12)))
    asked = [change((0.6 + 0.2 * scan(seed)) * disc) for seed in (3, 20, 7, 21)]
    assert kept.matches(seen(*asked, name="b").digests, levels(*asked)) == [[3], [], [7], []]


def test_equal_pixels_are_recognised_by_their_digest_though_they_are_flat():
    flat = np.full((50, 50), 0.5)
    kept = seen(flat, flat / 2)
    assert kept.matches(seen(flat, flat, flat).digests, levels(flat, flat, flat)) == [[0], [1], []]


def test_some_of_the_images_and_json():
    kept = seen(*(scan(seed) for seed in range(6)))
    table = json.loads(json.dumps(kept.only([1, 4]).to_json()))
    images = [scan(seed) for seed in range(6)]
    assert Seen.from_json(table).matches(kept.digests, levels(*images)) == [[], [0], [], [], [1], []]
    each = sum(map(len, kept.to_json().values())) - sum(map(len, kept.only([0]).to_json().values()))
    assert each / 5 == pytest.approx(40 * 4 / 3, abs=2)  # bytes in base64


def test_signatures_stay_the_same_for_good():
    """Files that were written before must be understood."""
    ramp = np.mgrid[:64, :64].sum(axis=0) / 126
    assert seen(ramp).signatures[0, :8].tobytes().hex() == "17efd5159033d081"
