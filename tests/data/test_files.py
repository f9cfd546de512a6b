import os
from pathlib import Path

import pytest

from tfseg.data.files import folders_in, images_in, positive_number, read_table, require_folder, wrong_layout
from tfseg.errors import InputError


@pytest.fixture
def locked(tmp_path):
    """A folder that nobody may list; as root, who may do everything, the test becomes somebody else."""
    folder = tmp_path / "images" / "locked"
    folder.parent.mkdir()
    folder.mkdir(mode=0)
    root = os.geteuid() == 0
    if root:
        for parent in [tmp_path, *tmp_path.parents][:4]:  # pytest's own folders, one more where it runs in parallel
            if not parent.stat().st_mode & 0o001:
                parent.chmod(0o755)
        os.seteuid(65534)
    yield folder
    if root:
        os.seteuid(0)
    folder.chmod(0o700)


def touch(*paths: Path) -> None:
    for path in paths:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()


def test_images_are_listed_in_natural_order_and_hidden_files_left_out(tmp_path):
    names = ["10_2.tif", "2_10.tif", "2_9.TIF", "._2_9.tif", ".DS_Store", "notes.txt", "sub/1.png", ".git/1.png"]
    touch(*(tmp_path / name for name in names))
    assert [path.name for path in images_in(tmp_path)] == ["2_9.TIF", "2_10.tif", "10_2.tif"]
    assert [path.relative_to(tmp_path).as_posix() for path in images_in(tmp_path, nested=True)] == [
        "2_9.TIF", "2_10.tif", "10_2.tif", "sub/1.png",
    ]  # fmt: skip


def test_a_superscript_digit_is_no_number(tmp_path):
    touch(tmp_path / "5 cm².png", tmp_path / "²3.png")
    assert len(images_in(tmp_path)) == 2


def test_a_missing_folder_holds_no_images(tmp_path):
    assert images_in(tmp_path / "nowhere") == []


def test_links_into_other_folders_are_followed(tmp_path):
    touch(tmp_path / "elsewhere/1.png")
    (tmp_path / "images").mkdir()
    (tmp_path / "images/more").symlink_to(tmp_path / "elsewhere")
    assert [path.name for path in images_in(tmp_path / "images", nested=True)] == ["1.png"]


@pytest.mark.parametrize("look", [images_in, folders_in, lambda folder: wrong_layout(folder, "a.png")])
def test_an_unreadable_folder_is_refused_by_name(locked, look):
    with pytest.raises(InputError, match=r"locked: cannot read this folder \(Permission denied\)"):
        look(locked)


def test_an_unreadable_subfolder_is_not_skipped(locked):
    with pytest.raises(InputError, match="locked: cannot read this folder"):
        images_in(locked.parent, nested=True)


def test_a_folder_within_an_unreadable_one_is_refused(locked):
    with pytest.raises(InputError, match=r"train: cannot be looked at \(Permission denied\)"):
        images_in(locked / "train")


def test_what_is_no_folder_is_told_apart(tmp_path):
    touch(tmp_path / "file.png", tmp_path / "full/other.dat")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"nowhere: no such folder"):
        require_folder(tmp_path / "nowhere")
    with pytest.raises(InputError, match=r"file.png: is a file, not a folder"):
        require_folder(tmp_path / "file.png")
    assert str(wrong_layout(tmp_path / "empty", "a.png")).endswith("empty: the folder is empty; expected a.png")
    assert "full: the images are not where they should be" in str(wrong_layout(tmp_path / "full", "a.png"))


def test_a_table_is_read_with_its_line_numbers(tmp_path):
    table = tmp_path / "t.csv"
    table.write_bytes(b'\xef\xbb\xbfimage, patient\r\na.png, p 1 \r\n\r\n"b,1.png",p2\r\n')  # as spreadsheets save it
    assert read_table(table) == [
        (2, {"image": "a.png", "patient": "p 1"}),
        (4, {"image": "b,1.png", "patient": "p2"}),
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        pytest.param(b"image,patient\na.png\n", "line 2 has more or fewer fields", id="short"),
        pytest.param(b"image\na.png\nb.png,p,q\n", "line 3 has more or fewer fields", id="long"),
        pytest.param("image\nö.png\n".encode("latin-1"), "not a CSV file in UTF-8", id="latin-1"),
        pytest.param(None, r"cannot read this table \(No such file or directory\)", id="missing"),
    ],
)
def test_a_wrong_table_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "t.csv").write_bytes(content)
    with pytest.raises(InputError, match=rf"t\.csv: .*{message}"):
        read_table(tmp_path / "t.csv")


@pytest.mark.parametrize("text", ["", "0", "-1", "nan", "inf", "0,1", "one"])
def test_only_finite_numbers_above_zero_pass(text):
    with pytest.raises(InputError, match=f"t.csv: line 7: '{text}' is not a number above zero"):
        positive_number(text, where="t.csv: line 7")


def test_a_number_is_read():
    assert positive_number("0.0691358041432", where="") == 0.0691358041432
