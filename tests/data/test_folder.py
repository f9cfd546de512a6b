from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import folder
from tfseg.errors import InputError


def save(root: Path, *paths: str, value: int = 0) -> None:
    for path in paths:
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((4, 6), value, np.uint8)).save(root / path)


def test_images_and_masks_pair_whatever_their_format(tmp_path):
    save(tmp_path, "images/1.png", "images/2.JPG", "images/3.jpeg", "images/4.tif", "images/5.tiff", "images/6.bmp")
    save(
        tmp_path,
        "masks/1.bmp",
        "masks/2_mask.png",
        "masks/3_segmentation.tif",
        "masks/4_mask_1.png",
        "masks/4_mask_2.png",
    )
    listed = folder.samples(tmp_path)
    assert [[mask.name for mask in sample.masks] for sample in listed] == [
        ["1.bmp"],
        ["2_mask.png"],
        ["3_segmentation.tif"],
        ["4_mask_1.png", "4_mask_2.png"],
        [],
        [],
    ]
    assert all(sample.patient is None and sample.spacing_mm is None for sample in listed)
    assert folder.DATASET.read_mask(listed[0], (4, 6)).shape == (4, 6, 1)


def test_subfolders_pair_with_their_namesakes(tmp_path):
    save(tmp_path, "images/a/1.png", "images/b/1.png", "masks/a/1.png", "masks/b/1_mask.png", "masks/c/1.png")
    listed = folder.samples(tmp_path)
    assert [sample.masks for sample in listed] == [(tmp_path / "masks/a/1.png",), (tmp_path / "masks/b/1_mask.png",)]
    assert folder.orphans(tmp_path) == [tmp_path / "masks/c/1.png"]


@pytest.mark.parametrize(
    ("images", "mask"),
    [
        pytest.param(("images/1.png", "images/1.jpg"), "masks/1.png", id="equal-stems"),
        pytest.param(("images/1.png", "images/1_mask.png"), "masks/1_mask.png", id="image-named-as-a-mask"),
    ],
)
def test_a_mask_that_two_images_could_claim_is_refused(tmp_path, images, mask):
    save(tmp_path, *images, mask)
    with pytest.raises(InputError, match=r"could be the mask of .*images/1.* and of .*images/1"):
        folder.samples(tmp_path)


def test_an_image_named_as_a_mask_is_an_image_where_nothing_is_ambiguous(tmp_path):
    save(tmp_path, "images/1_mask.png", "masks/1_mask_mask.png")
    (sample,) = folder.samples(tmp_path)
    assert sample.masks == (tmp_path / "masks/1_mask_mask.png",)


def test_the_table_tells_patient_stratum_and_spacing(tmp_path):
    save(tmp_path, "images/a/1.png", "images/2.png", "masks/a/1.png")
    (tmp_path / "samples.csv").write_text("image,patient,stratum,spacing_mm\na/1.png,p1,benign,0.1\n2.png,p2,,\n")
    first, second = sorted(folder.samples(tmp_path), key=lambda sample: sample.patient or "")
    assert (first.patient, first.stratum, first.spacing_mm) == ("p1", "benign", (0.1, 0.1))
    assert (second.patient, second.stratum, second.spacing_mm) == ("p2", "", None)


def test_spacing_may_differ_between_rows_and_columns(tmp_path):
    save(tmp_path, "images/1.png")
    (tmp_path / "samples.csv").write_text("image,spacing_row_mm,spacing_column_mm\n1.png,0.1,0.2\n")
    assert folder.samples(tmp_path)[0].spacing_mm == (0.1, 0.2)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        pytest.param("name\n1.png\n", "the columns are name, not image", id="no-image-column"),
        pytest.param("image;patient\n1.png;p\n", "the columns are image;patient, not image", id="semicolons"),
        pytest.param("image,colour\n1.png,red\n", "the columns are image, colour, not image", id="unknown-column"),
        pytest.param("image\n9.png\n", r"line 2: '9\.png' is no image in", id="unknown-image"),
        pytest.param("image\n1.png\n2.png\n1.png\n", r"line 4: '1\.png' has a row already", id="twice"),
        pytest.param("image\n1.png\n", r"has no row for 2\.png", id="missing-row"),
        pytest.param("image,patient\n1.png,p\n2.png,\n", r"line 3: the patient of '2\.png' is empty", id="no-patient"),
        pytest.param("image,spacing_mm\n1.png,0\n", "line 2: row spacing: '0' is not a number", id="zero-spacing"),
        pytest.param("image,spacing_row_mm\n1.png,1\n", "line 2: column spacing: '' is not", id="one-direction"),
        pytest.param("image,patient\n1.png\n", "line 2 has more or fewer fields", id="short-row"),
    ],
)
def test_a_wrong_table_is_refused_by_line(tmp_path, table, message):
    save(tmp_path, "images/1.png", "images/2.png")
    (tmp_path / "samples.csv").write_text(table)
    with pytest.raises(InputError, match=rf"samples\.csv: .*{message}"):
        folder.samples(tmp_path)
