from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import busi


def save(path: Path, *, mode: str = "RGB", columns: slice = slice(0)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.zeros((8, 10), np.uint8)
    pixels[:, columns] = 255
    Image.fromarray(pixels).convert(mode).save(path)


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "Dataset_BUSI_with_GT"
    save(folder / "benign" / "benign (10).png")
    save(folder / "benign" / "benign (10)_mask.png", mode="1", columns=slice(0, 2))
    save(folder / "benign" / "benign (10)_mask_1.png", mode="RGBA", columns=slice(5, 6))
    save(folder / "benign" / "benign (2).png")
    save(folder / "benign" / "benign (2)_mask.png", columns=slice(0, 2))
    save(folder / "malignant" / "malignant (1).png")
    save(folder / "malignant" / "malignant (1)_mask.png", columns=slice(0, 10))
    save(folder / "normal" / "normal (1).png")
    save(folder / "normal" / "normal (1)_mask.png", mode="1")
    return tmp_path


def test_images_are_listed_by_stratum_and_number(root):
    listed = busi.samples(root)
    assert [(sample.image.stem, sample.stratum) for sample in listed] == [
        ("benign (2)", "benign"),
        ("benign (10)", "benign"),
        ("malignant (1)", "malignant"),
        ("normal (1)", "normal"),
    ]
    assert all(sample.patient is None for sample in listed)
    assert busi.orphans(root) == []


def test_masks_of_one_image_are_united_and_normal_is_empty(root):
    foreground = [busi.DATASET.read_mask(sample, (8, 10)).sum() for sample in busi.samples(root)]
    assert foreground == [2 * 8, (2 + 1) * 8, 10 * 8, 0]


def test_the_root_may_be_the_inner_folder(root):
    assert busi.samples(root / "Dataset_BUSI_with_GT") == busi.samples(root)


def test_masks_without_image_are_orphans(root):
    folder = root / "Dataset_BUSI_with_GT" / "normal"
    save(folder / "normal (7)_mask.png")
    save(folder / "normal (1)_mask_mask.png")
    assert [path.stem for path in busi.orphans(root)] == ["normal (1)_mask_mask", "normal (7)_mask"]
    assert len(busi.samples(root)) == 4
