import csv
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import open_kidney
from tfseg.errors import InputError

NAMES = ("100_IM-0246-0030_anon.png", "100_IM-0246-0082_anon.png", "7_IM-0001-0001_anon.png")
COLUMNS = ("filename", "region_shape_attributes", "region_attributes")


def save(path: Path, pixels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def polygon(anatomy: str, left: int, top: int, right: int, bottom: int) -> tuple[str, str]:
    shape = {"name": "polygon", "all_points_x": [left, right, right, left], "all_points_y": [top, top, bottom, bottom]}
    return json.dumps(shape), json.dumps({"Anatomy": anatomy})


def write_table(path: Path, rows: list[tuple[str, str, str]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        csv.writer(file).writerows([COLUMNS, *rows])


@pytest.fixture
def root(tmp_path):
    capsule = np.zeros((12, 16), np.uint8)
    capsule[2:10, 2:14] = 1
    for name in NAMES:
        save(tmp_path / "images" / name, np.zeros((12, 16, 3), np.uint8))
    for name in NAMES[:2]:
        save(tmp_path / "labels/reviewed_masks_1/capsule" / name, capsule)
    save(tmp_path / "labels/reviewed_masks_1/capsule" / NAMES[2], 0 * capsule)  # a mask of nothing, for the poor image
    save(tmp_path / "labels/reviewed_masks_2/capsule" / NAMES[2], capsule)
    rows = [
        (NAMES[0], *polygon("Capsule", 2, 2, 13, 9)),
        (NAMES[0], *polygon("Cortex", 2, 2, 5, 5)),
        (NAMES[0], *polygon("Central Echo Complex", 6, 6, 7, 9)),
        (NAMES[0], '{"name":"rect","x":3,"y":4,"width":0,"height":0}', "{}"),
        (NAMES[1], *polygon("Capsule", 2, 2, 13, 9)),
        (NAMES[2], "{}", "{}"),  # too poor, said sonographer 1
    ]
    write_table(tmp_path / "labels/reviewed_labels_1.csv", rows)
    write_table(tmp_path / "labels/reviewed_labels_2.csv", [(NAMES[2], *polygon("Medulla", 0, 0, 1, 1))])
    return tmp_path


def test_each_sonographer_is_a_data_set(root):
    first, second = open_kidney.SONOGRAPHER_1.samples(root), open_kidney.SONOGRAPHER_2.samples(root)
    assert [sample.image.name for sample in first] == list(NAMES[:2])
    assert [sample.image.name for sample in second] == [NAMES[2]]
    assert [sample.patient for sample in first] == ["100", "100"]


def test_the_capsule_comes_from_the_mask_and_the_rest_from_polygons(root):
    sample, *_ = open_kidney.SONOGRAPHER_1.samples(root)
    assert [polygon.channel for polygon in sample.polygons] == [1, 3]
    mask = open_kidney.SONOGRAPHER_1.read_mask(sample, (12, 16))
    areas = dict(zip(open_kidney.CLASSES, mask.sum(axis=(0, 1)), strict=True))
    assert areas == {"capsule": 8 * 12, "cortex": 4 * 4, "medulla": 0, "central_echo_complex": 2 * 4}
    assert open_kidney.SONOGRAPHER_1.default_classes == ("capsule",)


def test_an_outlined_image_without_its_mask_file_is_listed_without(root):
    (root / "labels/reviewed_masks_1/capsule" / NAMES[1]).unlink()
    assert [len(sample.masks) for sample in open_kidney.SONOGRAPHER_1.samples(root)] == [1, 0]


def test_an_image_that_the_table_does_not_know_is_listed_when_it_has_a_mask(root):
    write_table(root / "labels/reviewed_labels_2.csv", [])
    assert [sample.image.name for sample in open_kidney.SONOGRAPHER_2.samples(root)] == [NAMES[2]]


def test_masks_without_image_are_orphans(root):
    (root / "images" / NAMES[1]).unlink()
    assert [path.name for path in open_kidney.SONOGRAPHER_1.orphans(root)] == [NAMES[1]]


@pytest.mark.parametrize(
    ("row", "message"),
    [
        pytest.param((NAMES[0], *polygon("Bladder", 0, 0, 1, 1)), "line 2: 'Bladder' is no column", id="anatomy"),
        pytest.param((NAMES[0], "{", "{}"), "line 2: not a region of the VGG Image Annotator", id="no-json"),
        pytest.param((NAMES[0], "[]", "[]"), "line 2: not a region of the VGG Image Annotator", id="list"),
        pytest.param(
            (NAMES[0], '{"name": "polygon", "all_points_x": [1, 2, 3], "all_points_y": [1]}', '{"Anatomy": "Cortex"}'),
            "line 2: not a region of the VGG Image Annotator",
            id="points-that-do-not-pair",
        ),
        pytest.param(
            (NAMES[0], '{"name": "polygon"}', '{"Anatomy": "Cortex"}'), "'all_points_x' is no", id="no-points"
        ),
    ],
)
def test_a_wrong_table_is_refused_by_line(root, row, message):
    write_table(root / "labels/reviewed_labels_1.csv", [row])
    with pytest.raises(InputError, match=rf"reviewed_labels_1\.csv: .*{message}"):
        open_kidney.SONOGRAPHER_1.samples(root)


def test_a_missing_table_is_refused(root):
    (root / "labels/reviewed_labels_2.csv").unlink()
    with pytest.raises(InputError, match=r"reviewed_labels_2\.csv: cannot read this table"):
        open_kidney.SONOGRAPHER_2.samples(root)
