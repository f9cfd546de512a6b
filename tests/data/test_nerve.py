from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.data import nerve
from tfseg.errors import InputError


def frames(folder: Path, *names: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        Image.fromarray(np.zeros((420, 580), np.uint8)).save(folder / name)


def test_frames_are_listed_by_subject_and_frame(tmp_path):
    frames(tmp_path / "train", "10_1.tif", "10_1_mask.tif", "2_10.tif", "2_10_mask.tif", "2_9.tif", "2_9_mask.tif")
    frames(tmp_path / "test", "1.tif", "2.tif")
    listed = nerve.samples(tmp_path)
    assert [sample.image.name for sample in listed] == ["2_9.tif", "2_10.tif", "10_1.tif"]
    assert [sample.patient for sample in listed] == ["2", "2", "10"]
    assert [sample.masks[0].name for sample in listed] == ["2_9_mask.tif", "2_10_mask.tif", "10_1_mask.tif"]
    assert nerve.orphans(tmp_path) == []
    assert nerve.DATASET.read_mask(listed[0], (420, 580)).shape == (420, 580, 1)


def test_the_root_may_be_the_train_folder_itself(tmp_path):
    frames(tmp_path / "train", "1_1.tif", "1_1_mask.tif")
    assert nerve.samples(tmp_path / "train") == nerve.samples(tmp_path)


def test_a_frame_without_mask_is_listed_and_a_mask_without_frame_is_an_orphan(tmp_path):
    frames(tmp_path / "train", "1_1.tif", "1_2_mask.tif")
    assert nerve.samples(tmp_path)[0].masks == ()
    assert [path.name for path in nerve.orphans(tmp_path)] == ["1_2_mask.tif"]


def test_an_image_named_as_a_mask_takes_no_part(tmp_path):
    frames(tmp_path / "train", "7_31.tif", "7_31_mask.tif", "7_31_mask_mask.tif")
    assert [sample.image.name for sample in nerve.samples(tmp_path)] == ["7_31.tif"]
    assert [path.name for path in nerve.orphans(tmp_path)] == ["7_31_mask_mask.tif"]


def test_a_name_without_a_subject_is_refused(tmp_path):
    frames(tmp_path / "train", "1_1.tif", "scan.tif")
    with pytest.raises(InputError, match=r"scan\.tif: not named SUBJECT_FRAME, as 7_31\.tif is"):
        nerve.samples(tmp_path)


def test_47_subjects_are_told_apart(tmp_path):
    (tmp_path / "train").mkdir()
    for number in range(1000):
        (tmp_path / "train" / f"{number % 47 + 1}_{number // 47 + 1}.tif").touch()
        (tmp_path / "train" / f"{number % 47 + 1}_{number // 47 + 1}_mask.tif").touch()
    listed = nerve.samples(tmp_path)
    assert len(listed) == 1000
    assert len({sample.patient for sample in listed}) == 47
    assert all(len(sample.masks) == 1 for sample in listed)
