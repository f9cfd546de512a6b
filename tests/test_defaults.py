"""What the plain command does by itself: the default recipe, published weights, decisions on emptiness, time limits."""

import csv
import json
import zipfile

import numpy as np
import pytest
from PIL import Image

from tfseg import runs
from tfseg.data import DATASETS
from tfseg.data.source import open_source
from tfseg.job import Job, training_part
from tfseg.lite import metadata
from tfseg.metrics import read_rows
from tfseg.progress import silent

SMALL = ("--image-size", "32", "--folds", "2", "--batch-size", "4")


@pytest.fixture(scope="module")
def plain(tfseg, write_folder, tmp_path_factory):
    """One epoch of the default recipe on a user's own folder."""
    data = write_folder(tmp_path_factory.mktemp("data") / "mine")
    run = tmp_path_factory.mktemp("runs") / "run"
    tfseg("train", "--dataset", "folder", "--data", data, *SMALL, "--epochs", "1", "--deploy", "int8", "--out", run)
    return data, run


def card(path):
    with zipfile.ZipFile(path) as archive:
        return json.loads(archive.read("tfseg.json"))


def test_a_users_folder_is_learned_by_a_pretrained_network(plain):
    _, run = plain
    recipe = runs.read_recipe(run)
    assert (recipe.model, recipe.weights, recipe.loss) == ("lite_unet", "imagenet", "dice_bce")
    assert (recipe.presence, recipe.decide, recipe.validation) == ("no", "no", 0)  # no mask is empty
    assert card(run / "fold_0" / "model.keras")["weights"] == "imagenet"
    assert metadata.read(run / "fold_0" / "int8.tflite").weights == "imagenet"
    assert recipe.min_steps == 0  # --epochs 1 asked for one epoch


def test_a_presence_head_without_empty_masks_is_refused_in_one_line(tfseg, plain, tmp_path):
    data, _ = plain
    arguments = ("--set", "presence=yes", "--set", "decide=yes", "--set", "validation=0.3")
    done = tfseg("train", "--dataset", "folder", "--data", data, *SMALL, *arguments, "--out", tmp_path / "r", status=2)
    assert "presence = 'yes', but none of the masks is empty" in done.stderr
    assert not (tmp_path / "r").exists()


def test_weights_that_a_network_does_not_have_are_refused_in_one_line(tfseg, plain, tmp_path):
    data, _ = plain
    arguments = ("--model", "nerve_unet", "--weights", "imagenet")
    done = tfseg("train", "--dataset", "folder", "--data", data, *SMALL, *arguments, "--out", tmp_path / "r", status=2)
    assert "weights = 'imagenet': nerve_unet takes the path of a .keras file of tfseg only" in done.stderr


def test_weights_for_other_channels_are_refused_in_one_line(tfseg, plain, tmp_path):
    data, run = plain
    other = tmp_path / "other"
    arguments = ("--set", "channels=3", "--epochs", "1", "--weights", run / "fold_0" / "model.keras")
    done = tfseg("train", "--dataset", "hc18", *SMALL, *arguments, "--out", other, status=2)
    assert "does not fit lite_unet: stem_conv/kernel (3x3x3x32 here, 3x3x1x32 there)" in done.stderr
    assert data.exists()


def test_decisions_are_made_on_validation_patients_and_obeyed_by_every_file(tfseg, nerve, tmp_path):
    run = tmp_path / "run"
    tfseg(
        *("train", "--dataset", "nerve", "--data", nerve, *SMALL, "--epochs", "2", "--model", "lite_unet"),
        *("--set", "presence=yes", "--set", "decide=yes", "--set", "validation=0.3", "--deploy", "int8", "--out", run),
    )
    decision = json.loads((run / "fold_0" / "decision.json").read_text())
    shipped, kept = metadata.read(run / "fold_0" / "int8.tflite"), card(run / "fold_0" / "model.keras")
    for key in ("threshold", "smallest_area", "presence"):
        assert kept[key] == decision[key]
        assert json.loads(json.dumps(getattr(shipped, key))) == decision[key]
    training = {
        name for fold, names in json.loads((run / "folds.json").read_text()).items() if fold != "0" for name in names
    }
    assert 0 < decision["images"] < len(training)
    tfseg("predict", run, nerve / "train" / "1_1.tif", "--out", tmp_path / "masks")  # by a process that built no head
    assert (tmp_path / "masks" / "1_1_nerve.png").exists()
    assert decision["dice"] >= decision["dice_before"] - 0.01  # neighbours of a gate are averaged


def test_minutes_end_a_training_with_its_schedule(tfseg, nerve, tmp_path):
    run = tmp_path / "run"
    arguments = ("--epochs", "100000", "--minutes", "0.3", "--set", "warmup=0.05", "--set", "decide=no")
    arguments += ("--set", "presence=yes")
    tfseg("train", "--dataset", "nerve", "--data", nerve, *SMALL, *arguments, "--out", run)
    with (run / "fold_0" / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert 2 < len(rows) < 10_000
    rates = [float(row["learning_rate"]) for row in rows]
    assert card(run / "fold_0" / "model.keras")["presence"] == [0.5]  # nothing was decided
    assert rates[-1] < 0.2 * max(rates)  # the cosine came down in the time that there was


def test_near_duplicates_with_contradicting_masks_are_not_trained_on_but_scored(tfseg, write_folder, tmp_path):
    data = write_folder(tmp_path / "mine")
    for folder, change in (("images", lambda pixels: pixels), ("masks", lambda pixels: 0 * pixels)):
        with Image.open(data / folder / "0_0.png") as image:
            Image.fromarray(change(np.asarray(image))).save(data / folder / "0_9.png")
    with (data / "samples.csv").open("a") as table:
        table.write("0_9.png,0\n")
    run = tmp_path / "run"
    done = tfseg(
        *("kfold", "--dataset", "folder", "--data", data, *SMALL, "--epochs", "1", "--model", "simple_unet@16"),
        *("--out", run),
    )
    assert "2 images are not trained on: a near-duplicate of each has a contradicting mask" in done.stderr
    scored = {row.image for row in read_rows(run / "metrics.csv")}
    assert {"images/0_0.png", "images/0_9.png"} <= scored
    assert len(scored) == 13
    source = open_source(DATASETS["folder"], data, channels=1, watch=lambda done, total: None)
    job = Job(recipe=runs.read_recipe(run), source=source, run=run, watch=silent)
    split = json.loads((run / "folds.json").read_text())
    for fold in range(2):
        assert not {"images/0_0.png", "images/0_9.png"} & set(training_part(job, split, fold)[0])
