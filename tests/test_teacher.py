"""Distillation: what a student's loss is, who may teach it, and that a taught run is scored like any other."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfseg import runs
from tfseg.config import Recipe
from tfseg.data import DATASETS
from tfseg.data.source import open_source
from tfseg.errors import InputError
from tfseg.losses import loss
from tfseg.metrics import read_rows
from tfseg.teacher import check_teacher, distilled, network, networks, taught

SPLIT = {"0": ["images/0_0.png"], "1": ["images/1_0.png"]}
RECIPE = Recipe(dataset="folder", model="nerve_unet", image_size=32, folds=2, loss="dice")


def test_the_loss_is_the_tasks_plus_the_cross_entropy_with_soft_masks():
    truth = np.array([1.0, 0.0], np.float32).reshape(1, 1, 2, 1)
    soft = np.array([0.75, 0.25], np.float32).reshape(1, 1, 2, 1)
    logits = np.zeros((1, 1, 2, 1), np.float32)  # probability 0.5: cross-entropy ln 2 with any target
    both = distilled(loss("dice").load(), "sigmoid", 3.0)
    task = 1 - (0.5 + 0.5) / (0.5 + 0.25 + 0.25 + 0.5)  # overlap 0.5, half of 0.5 spurious, half of 0.5 missed
    taught_loss = both(tf.constant(np.concatenate([truth, soft], -1)), tf.constant(logits))
    assert float(taught_loss[0]) == pytest.approx(task + 3 * np.log(2), abs=1e-6)  # float32
    assert float(both(tf.constant(truth), tf.constant(logits))[0]) == pytest.approx(task, abs=1e-6)


@pytest.mark.parametrize(("activation", "expected"), [("sigmoid", 0.75), ("softmax", 0.75)])
def test_the_teacher_sees_the_augmented_image(activation, expected):
    image = keras.Input((1, 2, 1))
    teacher = keras.Model(image, keras.layers.Rescaling(np.log(3.0))(image))  # white: odds of 3 to 1
    images = np.array([1.0, 0.0], np.float32).reshape(1, 1, 2, 1)
    masks = np.array([0, 1], np.uint8).reshape(1, 1, 2, 1)
    batches = tf.data.Dataset.from_tensors((images, masks))
    (shown, both), *_ = taught(batches, teacher, activation)
    np.testing.assert_array_equal(shown, images)
    np.testing.assert_allclose(both[0, 0], [[0, expected], [1, 0.5]], atol=1e-6)  # float32


@pytest.fixture
def source(write_folder, tmp_path):
    root = write_folder(tmp_path / "data", subjects=2)
    return open_source(DATASETS["folder"], root, channels=1, watch=lambda done, total: None)


@pytest.fixture
def teacher(tmp_path, source):
    """A finished run as far as `check_teacher` looks."""
    run = tmp_path / "teacher"
    runs.write_whole(run / runs.RECIPE, RECIPE.to_toml())
    runs.write_json(run / runs.PROVENANCE, {"schema": runs.SCHEMA, "data": source.about()})
    runs.write_json(run / runs.FOLDS, SPLIT)
    for fold in range(2):
        runs.write_whole(runs.fold_folder(run, fold) / runs.MODEL, b"")
    return run


def test_the_network_that_never_saw_the_held_out_patients_teaches(teacher, source):
    recipe = Recipe.from_mapping({"teacher": str(teacher)}, base=RECIPE)
    check_teacher(recipe, SPLIT, source)
    assert network(recipe, 1) == teacher / "fold_1" / "model.keras"
    assert len(networks(recipe)) == 2


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        pytest.param({"image_size": 64}, "image_size: 32; ours: 64", id="size"),
        pytest.param({"channels": 3}, "channels: 1; ours: 3", id="channels"),
        pytest.param({"loss": "ce"}, "activation: sigmoid; ours: softmax", id="activation"),
        pytest.param({"final": True}, "final/model.keras: no network to learn from", id="final"),
        pytest.param({"folds": 3}, "fold_2/model.keras: no network", id="unfinished"),
        pytest.param({"teacher": "nowhere"}, "no such run folder", id="run"),
    ],
)
def test_a_teacher_that_does_not_fit_is_refused(teacher, source, change, expected):
    recipe = Recipe.from_mapping({"teacher": str(teacher), **change}, base=RECIPE)
    with pytest.raises(InputError) as error:
        check_teacher(recipe, SPLIT, source)
    assert expected in str(error.value)


def test_a_teacher_that_may_have_seen_the_held_out_patients_is_refused(teacher, source):
    recipe = Recipe.from_mapping({"teacher": str(teacher)}, base=RECIPE)
    with pytest.raises(InputError, match="other folds"):
        check_teacher(recipe, {"0": SPLIT["1"], "1": SPLIT["0"]}, source)
    runs.write_json(teacher / runs.PROVENANCE, {"schema": runs.SCHEMA, "data": source.about() | {"fingerprint": "x"}})
    with pytest.raises(InputError, match="other images"):
        check_teacher(recipe, SPLIT, source)


@pytest.mark.slow  # 40 s: five trainings in three processes
def test_a_taught_run_is_scored_like_any_other(tfseg, write_folder, tmp_path):
    data = write_folder(tmp_path / "data")
    settings = ("--dataset", "folder", "--data", data, "--folds", "2", "--image-size", "32", "--epochs", "2")
    settings = ("kfold", *settings, "--batch-size", "4")
    tfseg(*settings, "--model", "unet", "--out", tmp_path / "teacher")
    student = (*settings, "--model", "lighter_unet@1", "--teacher", tmp_path / "teacher")
    tfseg(*student, "--out", tmp_path / "student")
    rows = read_rows(tmp_path / "student" / "metrics.csv")
    assert sorted({row.fold for row in rows}) == ["0", "1"]
    assert "other folds" in tfseg(*student, "--seed", "5", "--out", tmp_path / "else", status=2).stderr
    assert not (tmp_path / "else" / "folds.json").exists()
    found = tfseg("compare", tmp_path / "teacher", tmp_path / "student").stdout
    assert "of 12" in found
