"""What counts as unseen: whole commands on data that changed after the training."""

import json
import shutil

import pytest

TRAINING = (
    *("--dataset", "folder", "--image-size", "32", "--epochs", "1", "--folds", "2", "--batch-size", "4"),
    *("--set", "holdout=0.2", "--set", "deterministic=true"),
)


@pytest.fixture(scope="module")
def data(write_folder, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "mine")


@pytest.fixture(scope="module")
def run(tfseg, data, tmp_path_factory):
    """A run that failed, was corrected, trained one fold, and was then gone on with."""
    run = tmp_path_factory.mktemp("runs") / "run"
    words = ("--data", data, *TRAINING, "--out", run)
    refused = tfseg("train", *words, "--batch-size", "1000", status=2)
    assert "1000" in refused.stderr
    assert not run.exists()
    tfseg("train", *words)
    tfseg("kfold", *words, "--resume")
    return run


def test_the_hold_out_is_scored_by_all_folds_that_the_run_has(tfseg, run):
    """Not by the network of the first fold, which was alone when it was scored before."""
    again = json.loads(tfseg("evaluate", run, "--json").stdout)
    assert again["holdout"] == json.loads((run / "summary.json").read_text())["holdout"]


def test_warnings_come_before_the_training(tfseg, data, tmp_path):
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
