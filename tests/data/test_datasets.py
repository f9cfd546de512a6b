import subprocess
import sys

import pytest

from tfseg.data import DATASETS, dataset
from tfseg.errors import InputError


@pytest.mark.parametrize("name", DATASETS)
def test_every_row_is_whole(name):
    row = DATASETS[name]
    assert row.name == name
    assert row.default_classes
    assert set(row.default_classes) <= set(row.classes)
    assert all((row.layout, row.citation, row.licence, row.source))
    assert "\n" not in row.layout


def test_an_unknown_name_brings_those_that_come_close():
    assert dataset("busi") is DATASETS["busi"]
    with pytest.raises(InputError, match="unknown data set 'nerves': did you mean nerve"):
        dataset("nerves")
    with pytest.raises(InputError, match="unknown data set 'xyz': known are nerve, busi"):
        dataset("xyz")


@pytest.mark.parametrize("name", DATASETS)
def test_an_empty_folder_and_another_layout_are_told_apart_in_one_line(tmp_path, name):
    row = DATASETS[name]
    for content, reason in ((None, "the folder is empty"), ("photo.dat", "the images are not where they should be")):
        if content:
            (tmp_path / content).touch()
        with pytest.raises(InputError) as refusal:
            row.samples(tmp_path)
        assert str(refusal.value) == f"{tmp_path}: {reason}; expected {row.layout}"
        assert row.orphans(tmp_path) == []


@pytest.mark.parametrize("name", DATASETS)
def test_a_missing_folder_is_named(tmp_path, name):
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        DATASETS[name].samples(tmp_path / "nowhere")


def test_importing_the_table_imports_neither_opencv_nor_tensorflow():
    heavy = "{'cv2', 'PIL', 'tensorflow', 'kagglehub'}"
    code = f"import sys, tfseg.data, tfseg.data.locate; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
