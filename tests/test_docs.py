"""What the pages tell a reader to type is understood, what they point at exists, and the how-to pages run."""

import re
import shlex
from pathlib import Path

import cv2
import numpy as np
import pytest

from tfseg.cli import _parser
from tfseg.scans.nifti import write_volume

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "tflite/README.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]
HOW_TO = tuple(page for page in PAGES if page.startswith("docs/") and page != "docs/benchmarks.md")
SETTINGS = {"epochs": 1, "folds": 2, "image_size": 32, "batch_size": 4}  # instead of a recipe's hours
SHORT = {
    "kfold": [f"--{name.replace('_', '-')}={value}" for name, value in SETTINGS.items()],
    "study": [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")],
    "convert": ["--max-drop", "1"],  # a file after one epoch may lose more
}


def text_of(page):
    return (ROOT / page).read_text(encoding="utf-8")


def commands(page):
    """The words of each line that starts with `tfseg`, without the comment behind it."""
    lines = re.findall(r"^ {4,}tfseg (.+?)(?: +#.*)?$", text_of(page), re.MULTILINE)
    return [[word for word in shlex.split(line.replace("IMAGES...", "IMAGES")) if word != "..."] for line in lines]


@pytest.mark.parametrize("page", PAGES)
def test_every_command_is_understood(page):
    for words in commands(page):
        assert _parser().parse_args(words).run_command, words


def test_the_pages_hold_commands():
    assert len(commands("README.md")) > 20
    assert len(HOW_TO) == 4
    assert all(len(commands(page)) > 4 for page in HOW_TO)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    text = text_of(page)
    headings = {re.sub(r"[^\w -]", "", line.lower()).replace(" ", "-") for line in re.findall(r"^#+ (.+)$", text, re.M)}
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        path, _, anchor = target.partition("#")
        if "://" not in target:
            assert ((ROOT / page).parent / path).exists() if path else anchor in headings, target


def test_what_the_readme_says_of_speed_is_in_the_tables():
    """Every network faster than PyTorch, and fewer instructions than ONNX Runtime: each ratio is above 1."""
    for section, column in (("training", 4), ("arm", 3)):
        table = re.search(rf"<!-- {section} -->\n(.*?)<!-- /{section} -->", text_of("docs/benchmarks.md"), re.DOTALL)
        assert table
        rows = [line.split("|")[1:-1] for line in table[1].splitlines() if re.match(r"\| [a-z]\w+(@\d+)? \|", line)][1:]
        assert len(rows) > 5
        assert all(float(row[column]) > 1 for row in rows), section


@pytest.fixture(scope="module")
def place(tfseg, write_folder, write_dicom, tmp_path_factory):
    """A folder with what the pages name: `mine`, other images of the same kind in `elsewhere`, a run, and scans."""
    folder = tmp_path_factory.mktemp("reader")
    write_folder(folder / "mine")
    write_folder(folder / "elsewhere", seed=8)
    tfseg("train", "--dataset", "folder", "--data", folder / "mine", *SHORT["kfold"], "--out", folder / "RUN")
    values = np.zeros((3, 32, 32), np.int16)
    write_volume(values, folder / "ct.nii.gz", spacing_mm=(5, 1, 1), axes="RAS")
    write_dicom(folder / "scan.dcm", values[0])
    for k, plane in enumerate(values):
        at = {"ImagePositionPatient": [0, 0, 5.0 * k], "ImageOrientationPatient": [1, 0, 0, 0, 1, 0]}
        write_dicom(folder / "SERIES_DIR" / f"{k}.dcm", plane, PixelSpacing=[1, 1], FrameOfReferenceUID="1.2.3", **at)
    film = cv2.VideoWriter(str(folder / "clip.mp4"), cv2.VideoWriter.fourcc(*"mp4v"), 12, (64, 48))
    for _ in range(3):
        film.write(np.zeros((48, 64, 3), np.uint8))
    film.release()
    return folder


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("page", HOW_TO)
def test_a_how_to_page_runs_as_it_stands(tfseg, place, page, request):
    """In the order of the page; trainings shortened, studies to a row and a seed where the page does not choose."""
    for words in commands(page):
        if "HOST:6379" in words:
            words = [word.replace("HOST:6379", request.getfixturevalue("cluster").address) for word in words]
        shorter = list(SHORT.get(words[0], []))
        if words[:2] == ["study", "lighter"]:
            shorter += [] if "--models" in words else ["--models", "lighter_unet@1"]
            shorter += [] if "--seeds" in words else ["--seeds", "1"]
        tfseg(*words, *shorter, prefix=("env", "-C", place))
