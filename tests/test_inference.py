"""From what networks say to one answer."""

import numpy as np
import pytest

from tfseg.inference import Masking, mean_of, with_flips
from tfseg.stacks import mask_frames, mask_volume

COLUMNS = np.array([0.0, 0.2, 1.0], np.float32).reshape(1, 1, 3, 1)  # a network that trusts the right side


def one_sided(images):
    return images * COLUMNS


def test_flips_are_the_mean_of_left_and_right():
    images = np.array([[1.0, 1.0, 0.0], [0.0, 1.0, 1.0]], np.float32).reshape(1, 2, 3, 1)
    expected = [[0.5, 0.2, 0.0], [0.0, 0.2, 0.5]]  # columns weigh (0 + 1) / 2, (0.2 + 0.2) / 2, (1 + 0) / 2
    np.testing.assert_allclose(with_flips(one_sided)(images)[0, :, :, 0], expected, atol=1e-7)  # float32


def test_an_ensemble_is_the_mean_of_its_networks():
    images = np.ones((1, 1, 3, 1), np.float32)
    both = mean_of([one_sided, lambda images: images])(images)
    np.testing.assert_allclose(both[0, 0, :, 0], [0.5, 0.6, 1.0], atol=1e-7)  # float32


class Slices:
    """A volume whose slices are images."""

    spacing_mm = None

    def __init__(self, images):
        self.images, self.shape = images, images.shape[:3]

    def read(self, index, **_):
        return self.images[index]

    def close(self):
        pass


def masking(**more):
    options = {"image_size": 2, "channels": 1, "classes": ("a", "b"), "activation": "softmax", "threshold": 0.5}
    return Masking(**options | {"largest_component": False} | more)


def undecided(images):
    """Background 0.20, a 0.45, b 0.35 everywhere."""
    return np.broadcast_to(np.float32([0.45, 0.35]), (*images.shape[:3], 2))


@pytest.mark.parametrize(
    ("more", "expected"),
    [
        pytest.param({}, [1, 0], id="exclusive"),
        pytest.param({"activation": "sigmoid"}, [0, 0], id="each by itself"),
        pytest.param({"activation": "sigmoid", "threshold": 0.35}, [1, 1], id="each by itself, lower"),
    ],
)
def test_pictures_volumes_and_clips_are_decided_by_one_rule(more, expected):
    image = np.full((3, 5, 1), 0.5, np.float32)
    spec = masking(**more)
    volume = Slices(np.stack([image, image]))
    found = [
        spec.mask(undecided, image),
        *mask_volume(undecided, spec, volume),
        *(mask for _, mask in mask_frames(undecided, spec, [image])),
    ]
    for mask in found:
        np.testing.assert_array_equal(mask, np.broadcast_to(expected, (3, 5, 2)))


def test_the_largest_component_is_kept_where_the_masking_says_so():
    image = np.float32([[1, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 1], [1, 1, 0, 1]])[..., None]
    for largest, column in ((False, 1), (True, 0)):
        spec = masking(classes=("a",), image_size=4, largest_component=largest)
        assert spec.mask(lambda images: images, image)[0, :, 0].tolist() == [1, 1, 0, column]
