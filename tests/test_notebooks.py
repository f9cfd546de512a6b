"""The notebooks run from a clean kernel, one after the other as a reader would, and are committed without outputs."""

import re
import time
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))
EPOCHS = re.compile(r"^EPOCHS = \d+$", re.MULTILINE)


def read(path):
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    return notebook


def execute(notebook, folder):
    """Run every cell in a kernel of its own, in `folder`; an error in a cell is raised. Return the pictures' types."""
    NotebookClient(
        notebook, timeout=240, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    ).execute()
    outputs = [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]
    assert [output for output in outputs if output.output_type == "error"] == []
    return [kind for output in outputs for kind in output.get("data", {}) if kind in ("image/png", "image/svg+xml")]


@pytest.fixture(autouse=True)
def _quiet(monkeypatch):
    """The kernel's own warnings are no business of the notebooks; sockets stay on this machine."""
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")


def test_there_are_three_and_they_are_short():
    assert [path.name for path in NOTEBOOKS] == ["1_data.ipynb", "2_kfold.ipynb", "3_phone.ipynb"]
    assert all(len(read(path).cells) < 15 for path in NOTEBOOKS)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_are_committed_without_outputs(path):
    code = [cell for cell in read(path).cells if cell.cell_type == "code"]
    assert all(cell.outputs == [] and cell.execution_count is None for cell in code)
    assert not (FOLDER / "runs").exists() or "/notebooks/runs/" in (FOLDER.parent / ".gitignore").read_text()


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_they_teach(path):
    """Text before every piece of code, after the first that only imports."""
    kinds = [cell.cell_type for cell in read(path).cells]
    assert kinds[0] == "markdown"
    assert not [place for place in range(1, len(kinds)) if kinds[place - 1] == kinds[place] == "code"]


@pytest.mark.timeout(600)  # three kernels, two of which load TensorFlow
def test_they_run_one_after_the_other(tmp_path):
    """With one epoch instead of theirs: every call and every picture, and no quality."""
    pictures = {}
    for path in NOTEBOOKS:
        notebook = read(path)
        for cell in notebook.cells:
            cell.source = EPOCHS.sub("EPOCHS = 1", cell.source)
        pictures[path.stem] = execute(notebook, tmp_path)
        said = "".join(output.get("text", "") for cell in notebook.cells for output in cell.get("outputs", ()))
        assert ("simulated: True" in said) == (path.stem == "1_data")
    assert pictures == {
        "1_data": ["image/png"] * 2,
        "2_kfold": ["image/svg+xml", "image/png"],
        "3_phone": ["image/png"],
    }
    card = (tmp_path / "runs/notebook/run/MODEL_CARD.md").read_text()
    assert "PHANTOM" in card
    assert "## Latency" in card
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]  # they write nowhere else


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("path", NOTEBOOKS[-1:], ids=lambda path: path.stem)
def test_they_run_as_they_are_within_five_minutes(path, tmp_path):
    """The third alone, which trains what the second has not: from nothing, with its own number of epochs."""
    begun = time.monotonic()
    execute(read(path), tmp_path)
    assert time.monotonic() - begun < 300
