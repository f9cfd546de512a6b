from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import usgra
from tfseg.data.images import image_size

REAL = Path(__file__).parents[2] / "../shared/data/usgra"


def save(path: Path, indices: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(indices.astype(np.uint8), "P")
    image.putpalette([0, 0, 0, 255, 255, 0, 255, 0, 0])
    image.save(path)


def test_both_folders_are_listed(tmp_path):
    for part in (tmp_path, tmp_path / "test"):
        save(part / "images" / "0001.png", np.zeros((2, 2)))
        save(part / "masks" / "0001.png", np.array([[0, 1], [2, 2]]))
    save(tmp_path / "test/masks/0009.png", np.zeros((2, 2)))
    listed = usgra.samples(tmp_path)
    assert [sample.image.relative_to(tmp_path).as_posix() for sample in listed] == [
        "images/0001.png",
        "test/images/0001.png",
    ]
    assert listed[1].masks == (tmp_path / "test/masks/0001.png",)
    assert usgra.orphans(tmp_path) == [tmp_path / "test/masks/0009.png"]
    np.testing.assert_array_equal(usgra.DATASET.read_mask(listed[0], (2, 2)).sum(axis=(0, 1)), [1, 2])


@pytest.mark.skipif(not REAL.is_dir(), reason="usgra is not beside this checkout")
def test_the_real_data():
    listed = usgra.samples(REAL)
    assert len(listed) == 244
    assert sum("test" in sample.image.relative_to(REAL).parts for sample in listed) == 40
    assert usgra.orphans(REAL) == []
    areas = np.array([usgra.DATASET.read_mask(s, image_size(s.image)).sum(axis=(0, 1)) for s in listed])  # (N, 2)
    assert (areas[:, 1] == 0).sum() == 25  # as its authors say: 25 without vessel, none without anything
    assert np.all(areas.sum(axis=1) > 0)
