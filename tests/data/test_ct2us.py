from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import ct2us
from tfseg.errors import InputError


def save(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.full((4, 4), 255, np.uint8)).save(path)


@pytest.mark.parametrize(
    ("images", "masks"),
    [("images", "masks"), ("Images", "Masks"), ("IMAGE", "mask"), ("slice/slice", "mask/mask")],
)
def test_images_and_masks_pair_by_name(tmp_path, images, masks):
    for name in ("2.png", "10.png"):
        save(tmp_path / images / name)
        save(tmp_path / masks / name)
    listed = ct2us.samples(tmp_path)
    assert [sample.image.name for sample in listed] == ["2.png", "10.png"]
    assert [sample.masks for sample in listed] == [(tmp_path / masks / "2.png",), (tmp_path / masks / "10.png",)]
    assert ct2us.DATASET.read_mask(listed[0], (4, 4)).sum() == 16


def test_what_has_no_partner_is_told(tmp_path):
    for path in ("images/1.png", "images/2.png", "masks/2.png", "masks/3.png"):
        save(tmp_path / path)
    assert [len(sample.masks) for sample in ct2us.samples(tmp_path)] == [0, 1]
    assert ct2us.orphans(tmp_path) == [tmp_path / "masks/3.png"]


def test_images_without_a_folder_of_masks_are_another_layout(tmp_path):
    save(tmp_path / "images/1.png")
    with pytest.raises(InputError, match=r"the images are not where they should be; expected images/NAME\.png"):
        ct2us.samples(tmp_path)
