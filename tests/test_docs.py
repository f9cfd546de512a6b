"""What the pages tell a reader to type is understood, what they point at exists, and the how-to pages run."""

import re
import shlex
import shutil
from pathlib import Path

import pytest
from PIL import Image

from tfseg.cli import _parser

ROOT = Path(__file__).parents[1]
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "tflite/README.md",
    *sorted(f"docs/{path.name}" for path in ROOT.glob("docs/*.md")),
]
HOW_TO = ("docs/own-data.md", "docs/shipping.md")
SHORT = ("--epochs", "1", "--folds", "2", "--image-size", "32", "--batch-size", "4")  # instead of a recipe's hours


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
def place(write_folder, tmp_path_factory):
    """A folder with `mine`, and with `elsewhere`: other images of the same kind."""
    folder = tmp_path_factory.mktemp("reader")
    write_folder(folder / "mine")
    shutil.copytree(folder / "mine", folder / "elsewhere")
    for path in (folder / "elsewhere").glob("*/*.png"):
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    return folder


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("page", HOW_TO)
def test_a_how_to_page_runs_as_it_stands(tfseg, place, page):
    """In the order of the page; trainings shortened. A file after one epoch may lose more than --max-drop allows."""
    for words in commands(page):
        shorter = SHORT if words[0] == "kfold" else ("--max-drop", "1") if words[:1] == ["convert"] else ()
        tfseg(*words, *shorter, prefix=("env", "-C", place))
