"""What counts as unseen: whole commands, in this process, on data that changed after the training."""

import contextlib
import dataclasses
import io
import json
import shutil
import subprocess
import warnings
import zipfile

import pytest
from PIL import Image

from tfseg.cli import main
from tfseg.lite import metadata

TRAINING = (
    *("--dataset", "folder", "--image-size", "32", "--epochs", "1", "--folds", "2", "--batch-size", "4"),
    *("--set", "holdout=0.2", "--set", "deterministic=true"),
)


def tfseg(*arguments, status=0):
    """Run a command, assert its exit status, and return what it printed."""
    stdout, stderr = io.StringIO(), io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(stdout), contextlib.redirect_stderr(stderr):
        warnings.simplefilter("ignore")  # Keras's own, as in a process of its own
        found = main(list(map(str, arguments)))
    assert found == status, stderr.getvalue()
    return subprocess.CompletedProcess(arguments, found, stdout.getvalue(), stderr.getvalue())


@pytest.fixture(scope="module")
def data(write_folder, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "mine")


@pytest.fixture(scope="module")
def run(data, tmp_path_factory):
    """A run that failed, was corrected, trained one fold, and was then gone on with."""
    run = tmp_path_factory.mktemp("runs") / "run"
    words = ("--data", data, *TRAINING, "--out", run)
    refused = tfseg("train", *words, "--batch-size", "1000", status=2)
    assert "1000" in refused.stderr
    assert not run.exists()
    tfseg("train", *words)
    tfseg("kfold", *words, "--resume")
    tfseg("convert", run, "--fp32", "--out", run / "first.tflite", "--max-drop", "1")
    return run


@pytest.fixture(scope="module")
def changed(data, write_folder, tmp_path_factory):
    """The data elsewhere: some images saved otherwise, others mirrored, and two images of a new patient."""
    folder = shutil.copytree(data, tmp_path_factory.mktemp("changed") / "mine")
    for patient in range(6):
        for kind in ("images", "masks"):
            path = folder / kind / f"{patient}_0.png"
            with Image.open(path) as image:
                image.resize((96, 80), Image.Resampling.NEAREST).save(path)
            path = folder / kind / f"{patient}_1.png"
            if patient % 2:
                with Image.open(path) as image:
                    image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(path)
    new = write_folder(tmp_path_factory.mktemp("new"), subjects=1, seed=8)
    for kind in ("images", "masks"):
        for frame in range(2):
            shutil.copy(new / kind / f"0_{frame}.png", folder / kind / f"new_{frame}.png")
    with (folder / "samples.csv").open("a") as table:
        table.write("new_0.png,new\nnew_1.png,new\n")
    return folder


def test_a_run_scores_changed_data_by_the_networks_that_never_saw_them(run, data, changed):
    split = json.loads((run / "folds.json").read_text())
    result = tfseg("evaluate", run, "--data", changed, "--json")
    summary = json.loads(result.stdout)
    assert summary["unseen"] == {"scored": 14, "left_out": []}
    assert summary["files"]["keras"]["foreground"]["images"] == len(split["0"]) + len(split["1"])
    assert summary["holdout"]["keras"]["foreground"]["images"] == len(split["holdout"]) + 2
    # the same folder but for the table: not one score changes
    moved = shutil.copytree(data, changed.parent / "moved")
    header, *rows = (moved / "samples.csv").read_text().splitlines()
    (moved / "samples.csv").write_text("\n".join([f"{header},stratum", *(f"{row},seen" for row in rows)]) + "\n")
    again = json.loads(tfseg("evaluate", run, "--data", moved, "--json").stdout)
    before = json.loads((run / "summary.json").read_text())
    for place in ("files", "holdout"):
        assert again[place]["keras"]["foreground"]["dice"] == before[place]["keras"]["foreground"]["dice"]


def test_a_file_leaves_out_what_it_learned_from_and_says_so(run, changed):
    split = json.loads((run / "folds.json").read_text())
    result = tfseg("evaluate", run / "first.tflite", "--data", changed, "--json")
    summary = json.loads(result.stdout)
    assert summary["unseen"]["scored"] == len(split["0"]) + len(split["holdout"]) + 2
    assert sorted(summary["unseen"]["left_out"]) == sorted(split["1"])
    assert f"{len(split['1'])} of 14 images are left out" in result.stderr
    assert split["1"][0] in result.stderr


def test_where_nothing_is_left_it_refuses(run, changed, tmp_path):
    split = json.loads((run / "folds.json").read_text())
    folder = shutil.copytree(changed, tmp_path / "seen")
    kept = [image.removeprefix("images/") for image in split["1"]]
    for kind in ("images", "masks"):
        for path in (folder / kind).iterdir():
            if path.name not in kept:
                path.unlink()
    (folder / "samples.csv").unlink()
    refused = tfseg("evaluate", run / "first.tflite", "--data", folder, status=2).stderr.splitlines()[-1]
    assert "learned from these very images" in refused
    assert split["1"][0] in refused


def test_weights_that_learned_from_some_of_the_images_are_refused(run, changed, write_folder, tmp_path):
    split = json.loads((run / "folds.json").read_text())
    words = (*TRAINING, "--out", tmp_path / "run", "--weights", run / "fold_0" / "model.keras")
    refused = tfseg("train", "--data", changed, *words, status=2).stderr.splitlines()[-1]
    assert f"learned from these same images ({len(split['1'])} of the 14, or nearly, " in refused
    other = write_folder(tmp_path / "other", seed=9)
    tfseg("train", "--data", other, *words)
    # what learned from them through weights has seen them
    grandchild = ("--out", tmp_path / "next", "--weights", tmp_path / "run" / "fold_0" / "model.keras")
    again = tfseg("train", "--data", changed, *TRAINING, *grandchild, status=2).stderr.splitlines()[-1]
    assert f"({len(split['1'])} of the 14, or nearly, " in again
    summary = json.loads(tfseg("evaluate", tmp_path / "run", "--data", changed, "--json").stdout)
    assert sorted(summary["unseen"]["left_out"]) == sorted(split["1"])


def test_runs_and_files_made_before_say_that_all_counts_as_unseen(run, changed, tmp_path):
    weights = tmp_path / "old.keras"
    with zipfile.ZipFile(run / "fold_0" / "model.keras") as new, zipfile.ZipFile(weights, "w") as old:
        for name in new.namelist():
            content = new.read(name)
            if name == "tfseg.json":
                content = json.dumps({key: value for key, value in json.loads(content).items() if key != "seen"})
            old.writestr(name, content)
    words = ("--data", changed, *TRAINING, "--out", tmp_path / "next", "--weights", weights)
    assert f"{weights}: does not list the images that it learned from" in tfseg("train", *words).stderr
    old = shutil.copytree(run, tmp_path / "run")
    (old / "images.npz").unlink()
    content = (run / "first.tflite").read_bytes()
    about = dataclasses.replace(metadata.parse(content, "first"), seen=None)
    (tmp_path / "old.tflite").write_bytes(metadata.attach(content, about))
    for path in (old, tmp_path / "old.tflite"):
        result = tfseg("evaluate", path, "--data", changed, "--json")
        assert json.loads(result.stdout)["unseen"] == {"scored": 14, "left_out": None}
        assert "made before tfseg noted each image" in result.stderr


def test_the_hold_out_is_scored_by_all_folds_that_the_run_has(run):
    """Not by the network of the first fold, which was alone when it was scored before."""
    again = json.loads(tfseg("evaluate", run, "--json").stdout)
    assert again["holdout"] == json.loads((run / "summary.json").read_text())["holdout"]


def test_warnings_come_before_the_training(data, tmp_path):
    twice = tmp_path / "twice"
    shutil.copytree(data, twice)
    for folder in ("images", "masks"):
        shutil.copy(twice / folder / "0_0.png", twice / folder / "9_0.png")
    with (twice / "samples.csv").open("a") as table:
        table.write("9_0.png,9\n")
    words = ("--data", twice, *TRAINING, "--out", tmp_path / "run")
    stderr = tfseg("train", *words).stderr
    warned = stderr.index("warning: near-duplicate across patients: 1, first images/0_0.png, images/9_0.png: ")
    assert warned < stderr.index("training: ")
    split = json.loads((tmp_path / "run" / "folds.json").read_text())
    assert [sum(f"images/{patient}_0.png" in images for patient in "09") for images in split.values()].count(2) == 1
