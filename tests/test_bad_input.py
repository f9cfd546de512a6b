"""What users get wrong, or what their machines do to them: one line, the right status, nothing lost."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

TINY = ("--image-size", "16", "--epochs", "1", "--folds", "2", "--batch-size", "2")


@pytest.fixture
def data(write_folder, tmp_path):
    return write_folder(tmp_path / "data")


def tree(root: Path) -> dict[str, bytes]:
    """Every file below `root`, to see that nothing was lost or changed."""
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.fixture
def refused(tfseg, tmp_path):
    """Run a training that must be refused; return its one line."""

    def run(*arguments, data=None, status=2, **environment):
        before = tree(data) if data else None
        out = tmp_path / "run"
        given = ("--dataset", "folder", "--data", data) if data else ()
        result = tfseg("kfold", *given, *TINY, "--out", out, *arguments, status=status, **environment)
        lines = [line for line in result.stderr.splitlines() if line.startswith("tfseg: ")]
        assert len(lines) == 1, result.stderr
        assert result.stderr.splitlines()[-1] == lines[0]
        assert "Traceback" not in result.stderr
        if data:
            assert tree(data) == before
        return lines[0]

    return run


def test_missing_folder(refused, tmp_path):
    assert "nowhere" in refused("--dataset", "nerve", "--data", tmp_path / "nowhere")


def test_empty_folder(refused, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "empty" in refused("--dataset", "nerve", "--data", tmp_path / "empty")


def test_truncated_tiff(refused, data):
    image = Image.open(data / "images/0_0.png")
    path = data / "images/0_0.tif"
    image.save(path)
    (data / "images/0_0.png").unlink()
    path.write_bytes(path.read_bytes()[:700])
    table = data / "samples.csv"
    table.write_text(table.read_text().replace("0_0.png", "0_0.tif"))
    line = refused(data=data)
    assert "0_0.tif" in line
    assert "tfseg data check" in line


def test_zero_byte_png(refused, data):
    (data / "images/3_1.png").write_bytes(b"")
    assert "3_1.png" in refused(data=data)


def test_mask_of_another_size(refused, data):
    Image.new("L", (48, 41)).save(data / "masks/1_0.png")
    line = refused(data=data)
    assert "1_0.png" in line
    assert "41" in line


def test_grey_level_mask(refused, data):
    Image.open(data / "images/2_0.png").save(data / "masks/2_0.png")
    assert "2_0.png" in refused(data=data)


def test_no_masks_at_all(refused, data):
    shutil.rmtree(data / "masks")
    assert "mask" in refused(data=data)


def test_one_patient_for_five_folds(refused, write_folder, tmp_path):
    data = write_folder(tmp_path / "one", subjects=1)
    assert "1 patient" in refused("--folds", "5", data=data)


def test_sixteen_bit_image_is_read_and_a_dark_one_is_told(tfseg, data):
    pixels = np.asarray(Image.open(data / "images/4_0.png")).astype(np.uint16)
    Image.fromarray(pixels).save(data / "images/4_0.png")  # 8-bit values in a 16-bit file: almost black
    result = tfseg("data", "check", data, "--dataset", "folder", "--json")
    findings = json.loads(result.stdout)["findings"]
    assert [finding["files"] for finding in findings if "4_0.png" in str(finding) and "16" in finding["message"]]


def test_image_named_as_a_mask(refused, tmp_path):
    train = tmp_path / "nerve" / "train"
    train.mkdir(parents=True)
    for name in ("1_1.tif", "1_1_mask.tif", "1_1_mask_mask.tif"):
        Image.new("L", (58, 42)).save(train / name)
    assert "1_1_mask" in refused("--dataset", "nerve", "--data", tmp_path / "nerve")


@pytest.fixture
def unprivileged():
    """Words before a command that make it heed permissions, which root otherwise does not."""
    if os.geteuid() != 0:
        return ()
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        pytest.skip("root ignores permissions; setpriv (Debian's util-linux) would take that right away")
    rights = "-dac_override,-dac_read_search"
    return (setpriv, "--bounding-set", rights, "--inh-caps", rights)


def test_unreadable_folder(tfseg, unprivileged, data, tmp_path):
    (data / "images").chmod(0)
    arguments = ("kfold", "--dataset", "folder", "--data", data, *TINY, "--out", tmp_path / "run")
    result = tfseg(*arguments, status=2, prefix=unprivileged)
    (data / "images").chmod(0o755)
    assert len(result.stderr.splitlines()) == 1
    assert result.stderr.startswith(f"tfseg: {data}/images")


def test_unreadable_image(tfseg, unprivileged, data, tmp_path):
    (data / "images/5_1.png").chmod(0)
    arguments = ("kfold", "--dataset", "folder", "--data", data, *TINY, "--out", tmp_path / "run")
    result = tfseg(*arguments, status=2, prefix=unprivileged)
    assert "5_1.png" in result.stderr.splitlines()[-1]
    assert "permission" in result.stderr.splitlines()[-1].lower()


def test_full_disk_keeps_what_was_there_and_says_how_to_go_on(tfseg, data, small_disk):
    kept = small_disk / "kept.txt"
    kept.write_text("mine")
    out = small_disk / "run"
    result = tfseg("kfold", "--dataset", "folder", "--data", data, *TINY, "--out", out, status=1)
    last = result.stderr.splitlines()[-1]
    assert last.startswith("tfseg: ")
    assert "No space left" in last
    assert "--resume" in last
    assert "Traceback" not in result.stderr
    assert kept.read_text() == "mine"
    assert not [path for path in out.rglob("*") if ".tmp" in path.name]  # the half-written file was taken away


def test_read_only_output(tfseg, data, small_disk):
    subprocess.run(["mount", "-o", "remount,ro", small_disk], check=True)
    result = tfseg("kfold", "--dataset", "folder", "--data", data, *TINY, "--out", small_disk / "run", status=2)
    assert "Read-only" in result.stderr.splitlines()[-1]
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("--model", "nerve_unett"), "did you mean nerve_unet", id="model"),
        pytest.param(("--model", "nerve_unet@8"), "no variants", id="variant"),
        pytest.param(("--dataset", "nerv"), "did you mean nerve", id="dataset"),
        pytest.param(("--set", "loss=dise"), "did you mean dice", id="loss"),
        pytest.param(("--set", "learningrate=1"), "did you mean learning_rate", id="key"),
        pytest.param(("--set", "epochs=many"), "epochs = 'many' is not of type int", id="type"),
        pytest.param(("--set", "epochs"), "key=value", id="assignment"),
        pytest.param(("--set", "classes=vein"), "no class 'vein'", id="class"),
        pytest.param(("--image-size", "100"), "multiples of 16", id="image-size"),
        pytest.param(("--folds", "1"), "folds = 1", id="folds"),
        pytest.param(("--epochs", "0"), "epochs = 0", id="epochs"),
        pytest.param(("--folds", "two"), "invalid int value", id="not-a-number"),
        pytest.param(("--recipe", "absent.toml"), "absent.toml", id="recipe"),
        pytest.param(("--fold", "3"), "unrecognized|ambiguous", id="flag"),
        pytest.param(("--set", "early_stopping=3", "--set", "validation=0"), "validation", id="steered-by-nothing"),
    ],
)
def test_wrong_words(refused, arguments, expected):
    import re

    assert re.search(expected, refused("--dataset", "nerve", *arguments))


def test_batch_larger_than_a_fold(refused, data):
    assert "batch_size = 64" in refused("--batch-size", "64", data=data)


def test_nan_loss(refused, data, tmp_path):
    settings = ("--set", "optimizer=sgd", "--set", "learning_rate=1000", "--set", "loss=bce", "--epochs", "20")
    line = refused(*settings, data=data, status=1)
    assert "learning_rate" in line
    assert (tmp_path / "run" / "folds.json").exists()


def test_a_run_folder_of_an_older_schema(tfseg, tmp_path):
    run = tmp_path / "old"
    run.mkdir()
    (run / "recipe.toml").write_text('dataset = "nerve"\n')
    (run / "folds.json").write_text("{}")
    (run / "provenance.json").write_text('{"schema": 0}')
    before = tree(run)
    for command in (("evaluate", run), ("report", run), ("predict", run, run, "--out", tmp_path / "masks")):
        result = tfseg(*command, status=2)
        assert "schema 0" in result.stderr or "no image" in result.stderr
        assert len(result.stderr.splitlines()) == 1
    assert tree(run) == before


def test_a_folder_that_is_no_run_is_not_written_to(refused, data, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.tex").write_text("mine")
    assert "thesis.tex" in refused(data=data)
    assert tree(tmp_path / "run") == {"thesis.tex": b"mine"}


def test_a_size_that_only_the_recipe_asked_for_is_fitted_to_the_network(tfseg, tmp_path):
    recipe = tmp_path / "recipe.toml"
    recipe.write_text('dataset = "folder"\nimage_size = 112\n')
    words = ("train", "--recipe", recipe, "--model", "mobilevitv2", "--data", tmp_path / "nowhere")
    said = tfseg(*words, status=2).stderr.splitlines()
    assert said[0] == "image_size = 128: the recipe's 112 is no multiple of 64, which mobilevitv2 takes"
    refused = tfseg(*words, "--image-size", "112", status=2).stderr.splitlines()
    assert len(refused) == 1
    assert "image_size = 112" in refused[0]
