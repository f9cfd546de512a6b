"""Whole commands as a user types them."""

import csv
import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg.config import Recipe
from tfseg.metrics import COLUMNS, read_rows, score

TRAINING = ("--image-size", "32", "--epochs", "3", "--folds", "2", "--batch-size", "4", "--set", "learning_rate=1e-3")


def read_mask(path):
    with Image.open(path) as image:
        return np.asarray(image)


@pytest.fixture(scope="module")
def data(write_folder, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "mine")


@pytest.fixture(scope="module")
def finished(tfseg, data, tmp_path_factory):
    """A finished cross-validation with a hold-out, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    result = tfseg(
        *("kfold", "--dataset", "folder", "--data", data, *TRAINING, "--out", run, "--json"),
        *("--set", "holdout=0.2", "--set", "ema=0.9", "--set", "precision=bfloat16"),
    )
    return run, result


def test_kfold_writes_the_run_folder(finished):
    run, result = finished
    names = {path.name for path in run.iterdir()}
    assert {"recipe.toml", "provenance.json", "folds.json", "metrics.csv", "summary.json", "report.html"} <= names
    assert json.loads(result.stdout) == json.loads((run / "summary.json").read_text())
    assert json.loads((run / "summary.json").read_text())["data"]["phantom"] is False


def test_every_image_is_scored_once_by_a_network_that_never_saw_its_patient(finished):
    run, _ = finished
    folds = json.loads((run / "folds.json").read_text())
    rows = read_rows(run / "metrics.csv")
    assert sorted(row.image for row in rows) == sorted(image for images in folds.values() for image in images)
    assert len(rows) == 12
    patients = {fold: {image.split("/")[1].split("_")[0] for image in images} for fold, images in folds.items()}
    assert set(patients) == {"0", "1", "holdout"}
    assert not (patients["0"] & patients["1"]) | (patients["holdout"] & (patients["0"] | patients["1"]))
    assert {row.fold for row in rows} == set(patients)
    assert all(row.image in folds[row.fold] for row in rows)


def test_metrics_csv_keeps_its_columns(finished):
    run, _ = finished
    header = (run / "metrics.csv").read_text().splitlines()[0]
    assert header == (
        "image,patient,fold,file,class,dice,iou,accuracy,sensitivity,specificity,precision,efficiency,hausdorff95,"
        "truth_empty,prediction_empty,"
        "true_area,predicted_area,true_longest_diameter,predicted_longest_diameter,"
        "true_diameter_across,predicted_diameter_across,true_circumference,predicted_circumference,listed_circumference"
    )
    assert tuple(header.split(",")) == COLUMNS


def test_scores_are_those_of_the_stored_masks(finished, data):
    """Each row of metrics.csv again, from the PNG files that anyone can open."""
    run, _ = finished
    for row in read_rows(run / "metrics.csv"):
        folder = run / ("holdout" if row.fold == "holdout" else f"fold_{row.fold}")
        prediction = read_mask(folder / "predictions" / f"{row.image.removesuffix('.png')}_foreground.png")
        truth = read_mask(data / row.image.replace("images", "masks"))
        assert prediction.shape == truth.shape == (40, 48)
        assert set(np.unique(prediction)) <= {0, 255}
        assert score(truth > 0, prediction > 0).dice == row.dice


def test_the_summary_is_the_mean_of_its_rows(finished):
    run, _ = finished
    summary = json.loads((run / "summary.json").read_text())["files"]["keras"]["foreground"]
    dice = [row.dice for row in read_rows(run / "metrics.csv") if row.fold != "holdout"]
    assert summary["dice"]["mean"] == pytest.approx(statistics.mean(dice), abs=1e-12)  # float64 sums of 10 terms
    assert sum(summary["confusion"].values()) == 40 * 48 * len(dice)


def test_a_final_network_learns_from_all_images_and_brings_no_score(tfseg, finished, data, write_folder, tmp_path):
    """It starts from a network of other images; weights that have seen these very images are refused."""
    run, seen = tmp_path / "final", finished[0] / "fold_0" / "model.keras"
    one_epoch = (
        "--dataset",
        "folder",
        *TRAINING[:2],
        "--epochs",
        "1",
        "--folds",
        "2",
        "--batch-size",
        "4",
        "--out",
        run,
    )
    refused = tfseg("kfold", "--data", data, *one_epoch, "--weights", seen, status=2)
    assert "learned from these same images" in refused.stderr
    assert len(refused.stderr.strip().splitlines()[-1:]) == 1
    other = write_folder(tmp_path / "other", seed=8)
    tfseg("kfold", "--data", other, *one_epoch, "--weights", seen, "--final")
    assert (run / "final" / "model.keras").stat().st_size > 1_000_000
    assert not (run / "final" / "state.npz").exists()
    assert {row.fold for row in read_rows(run / "metrics.csv")} == {"0", "1"}
    assert "learned from all images" in (run / "report.html").read_text()


def test_curves_have_one_row_an_epoch(finished):
    run, _ = finished
    with (run / "fold_1" / "history.csv").open() as file:
        history = list(csv.DictReader(file))
    assert [row["epoch"] for row in history] == ["1", "2", "3"]
    assert float(history[0]["learning_rate"]) > float(history[2]["learning_rate"])  # cosine
    assert list((run / "fold_1" / "tensorboard").rglob("events.out.tfevents.*"))


def test_evaluate_finds_the_scores_of_the_run_again(tfseg, finished):
    run, _ = finished
    before = (run / "summary.json").read_bytes()
    again = json.loads(tfseg("evaluate", run, "--json").stdout)
    assert again == json.loads(before)
    assert (run / "summary.json").read_bytes() == before


def test_evaluate_on_other_data_counts_as_hold_out(tfseg, finished, write_folder, tmp_path):
    run, _ = finished
    other = write_folder(tmp_path / "other", subjects=2, seed=8)
    summary = json.loads(tfseg("evaluate", run, "--data", other, "--json").stdout)
    assert summary["files"] == {}
    assert summary["holdout"]["keras"]["foreground"]["images"] == 4


def test_predict_writes_masks_overlays_and_run_lengths(tfseg, finished, data, tmp_path):
    run, _ = finished
    out, rle = tmp_path / "masks", tmp_path / "rle.csv"
    tfseg("predict", run, data / "images", "--out", out, "--overlay", "--rle", rle, "--fold", "0")
    with rle.open() as file:
        lines = {row["img"]: row["pixels"] for row in csv.DictReader(file)}
    assert len(lines) == 12
    for image, pixels in lines.items():
        mask = read_mask(out / f"{image}_foreground.png")
        assert mask.shape == (40, 48)
        decoded = np.zeros(mask.size, np.uint8)
        numbers = [int(number) for number in pixels.split()]
        for start, length in zip(numbers[::2], numbers[1::2], strict=True):
            decoded[start - 1 : start - 1 + length] = 255
        np.testing.assert_array_equal(decoded.reshape(mask.shape, order="F"), mask)
        assert read_mask(out / f"{image}_overlay.png").shape == (40, 48, 3)
    held_out = json.loads((run / "folds.json").read_text())["0"][0]
    stem = held_out.removeprefix("images/").removesuffix(".png")
    stored = read_mask(run / "fold_0" / "predictions" / "images" / f"{stem}_foreground.png")
    np.testing.assert_array_equal(read_mask(out / f"{stem}_foreground.png"), stored)


def test_predict_takes_a_single_network_and_never_overwrites(tfseg, finished, data, tmp_path):
    run, _ = finished
    command = ("predict", run / "fold_1" / "model.keras", data / "images" / "0_0.png", "--out", tmp_path)
    written = json.loads(tfseg(*command, "--json").stdout)["written"]
    assert written == [str(tmp_path / "0_0_foreground.png")]
    before = (tmp_path / "0_0_foreground.png").read_bytes()
    assert "exists already" in tfseg(*command, status=2).stderr
    assert (tmp_path / "0_0_foreground.png").read_bytes() == before


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        pytest.param(("{run}", "absent.png", "--out", "{tmp}"), "absent.png", id="image"),
        pytest.param(("{tmp}/none", "{data}", "--out", "{tmp}/m"), "no such run folder", id="run"),
        pytest.param(("{tmp}", "{data}", "--out", "{tmp}/m"), "not a run folder", id="other-folder"),
        pytest.param(("{run}", "{data}/images", "{data}/masks", "--out", "{tmp}/m"), "overwrite", id="same-names"),
        pytest.param(
            ("{run}/recipe.toml", "{data}/images", "--out", "{tmp}/m"), "a file, not a run folder", id="no-network"
        ),
        pytest.param(("{run}", "{data}/images", "--out", "{tmp}/m", "--class", "vein"), "vein", id="class"),
        pytest.param(("{run}", "{data}/images", "--out", "{tmp}/m", "--fold", "7"), "fold 7", id="fold"),
    ],
)
def test_predict_refuses(tfseg, finished, data, tmp_path, arguments, expected):
    words = [word.format(run=finished[0], data=data, tmp=tmp_path) for word in arguments]
    result = tfseg("predict", *words, status=2)
    assert expected in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_damaged_network_is_named(tfseg, finished, data, tmp_path):
    path = tmp_path / "broken.keras"
    path.write_bytes((finished[0] / "fold_0" / "model.keras").read_bytes()[:5000])
    result = tfseg("predict", path, data / "images", "--out", tmp_path / "masks", status=2)
    assert result.stderr.startswith(f"tfseg: {path}: ")
    assert len(result.stderr.splitlines()) == 1


def test_report_is_written_again_with_the_same_bytes(tfseg, finished):
    run, _ = finished
    before = (run / "report.html").read_bytes()
    (run / "report.html").unlink()
    tfseg("report", run)
    assert (run / "report.html").read_bytes() == before


def test_a_finished_run_resumed_does_nothing_and_says_the_same(tfseg, finished, data):
    run, first = finished
    start = time.monotonic()
    again = tfseg(
        *("kfold", "--dataset", "folder", "--data", data, *TRAINING, "--out", run, "--json", "--resume"),
        *("--set", "holdout=0.2", "--set", "ema=0.9", "--set", "precision=bfloat16"),
    )
    assert json.loads(again.stdout) == json.loads(first.stdout)
    assert "epoch" not in again.stderr
    assert time.monotonic() - start < 60


def test_progress_is_plain_lines_where_there_is_no_terminal(finished):
    _, result = finished
    lines = [line for line in result.stderr.splitlines() if line.startswith("training: fold ")]
    assert len(lines) == 6  # two folds of three epochs
    assert re.match(r"training: fold 1/2 epoch 1/3 loss \d\.\d+ dice \d\.\d+ val_dice \d\.\d+, .* left", lines[0])
    assert "\x1b" not in result.stderr


def test_train_is_the_first_fold_alone(tfseg, data, tmp_path):
    tfseg("train", "--dataset", "folder", "--data", data, *TRAINING, "--epochs", "1", "--out", tmp_path / "run")
    rows = read_rows(tmp_path / "run" / "metrics.csv")
    assert {row.fold for row in rows} == {"0"}
    assert not (tmp_path / "run" / "fold_1").exists()


def test_precision_auto_is_what_the_processor_is_made_for_and_the_run_says_which(tfseg, data, tmp_path):
    words = ("train", "--dataset", "folder", "--data", data, *TRAINING, "--epochs", "1", "--set", "precision=auto")
    said = tfseg(*words, "--out", tmp_path / "run").stderr
    listed = Path("/proc/cpuinfo")
    able = listed.exists() and re.search(r"\b(avx512_bf16|amx_bf16)\b", listed.read_text()) is not None
    precision = "bfloat16" if able else "float32"
    assert f'\nprecision = "{precision}"\n' in (tmp_path / "run" / "recipe.toml").read_text()
    assert f"precision = {precision}: this processor has" in said
    tfseg(*words, "--out", tmp_path / "run", "--resume")


@pytest.mark.parametrize(("flags", "precision"), [(["avx2"], "float32"), (["amx_bf16", "avx2"], "bfloat16")])
def test_only_precision_auto_depends_on_the_processor(flags, precision):
    assert Recipe(precision="auto").settled(flags).precision == precision
    assert Recipe(precision="bfloat16").settled([]).precision == "bfloat16"


def test_without_data_a_run_says_phantom_first_and_everywhere(tfseg, tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    run = tmp_path / "run"
    result = tfseg("train", "--dataset", "nerve", *TRAINING, "--epochs", "1", "--out", run)
    assert result.stderr.startswith("PHANTOM: no --data was named")
    assert "PHANTOM" in result.stdout
    assert json.loads((run / "summary.json").read_text())["data"]["phantom"] is True
    assert "PHANTOM" in (run / "report.html").read_text()
    assert "kaggle_score" in json.loads((run / "summary.json").read_text())["files"]["keras"]["nerve"]


def test_data_phantom_then_check(tfseg, tmp_path):
    tfseg("data", "phantom", "busi", tmp_path / "busi", "--subjects", "3", "--frames", "2")
    report = json.loads(tfseg("data", "check", tmp_path / "busi", "--dataset", "busi", "--json").stdout)
    assert report["ok"] is True
    assert report["images"] == 6
    again = tfseg("data", "phantom", "busi", tmp_path / "busi", status=2)
    assert str(tmp_path / "busi") in again.stderr


def test_data_check_ends_in_status_two_when_training_would_be_wrong(tfseg, data, tmp_path):
    broken = tmp_path / "broken"
    shutil.copytree(data, broken)
    (broken / "images" / "0_0.png").write_bytes(b"")
    result = tfseg("data", "check", broken, "--dataset", "folder", status=2)
    assert "0_0.png" in result.stdout
    assert result.stderr.splitlines()[-1].startswith("tfseg: ")


def test_data_list_knows_all(tfseg):
    names = [row["name"] for row in json.loads(tfseg("data", "list", "--json").stdout)]
    assert {"nerve", "busi", "ct2us", "open_kidney", "usgra", "hc18", "folder"} <= set(names)


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("kfold", "--help"), ("--version",), ("kfold", "--dataset", "nerv"), ("nonsense",)],
    ids=str,
)
def test_help_and_wrong_calls_answer_at_once(arguments):
    """Under 0.3 s beside `python -c pass`: processor time, which on an idle machine is the time a user waits."""

    def seconds(command):
        before = os.times()
        subprocess.run(command, capture_output=True, check=False)
        after = os.times()
        return after.children_user + after.children_system - before.children_user - before.children_system

    ours = min(seconds([sys.executable, "-m", "tfseg", *arguments]) for _ in range(3))
    assert ours - min(seconds([sys.executable, "-c", "pass"]) for _ in range(3)) < 0.3


def test_usgra_keeps_the_crops_of_one_picture_in_one_fold(shared_data):
    """Real data: each of these grey images is a crop of the colour image beside it (tests/data/test_hygiene.py)."""
    from tfseg.data import dataset, folds
    from tfseg.data.source import open_source

    source = open_source(dataset("usgra"), shared_data / "usgra", channels=1, watch=lambda done, total: None)
    split = folds.draw(list(source.samples.values()), list(source.groups.values()), source.root, folds=5, seed=0)
    fold_of = {image: fold for fold, images in split.items() for image in images}
    assert len(fold_of) == 244
    for crop, whole in (("images/0002.png", "test/images/0047.png"), ("images/0011.png", "test/images/0068.png")):
        assert fold_of[crop] == fold_of[whole]


def test_flips_make_a_mirrored_image_a_mirrored_mask(tfseg, finished, data, tmp_path):
    """What an image and its mirror image get is the same, turned over; without --flips it is not."""
    run, _ = finished
    mirrored = tmp_path / "mirrored"
    mirrored.mkdir()
    for path in sorted((data / "images").iterdir())[:3]:
        with Image.open(path) as image:
            image.transpose(Image.Transpose.FLIP_LEFT_RIGHT).save(mirrored / f"{path.stem}_mirrored.png")
            image.save(mirrored / path.name)
    same = {}
    for words in ((), ("--flips",)):
        out = tmp_path / "".join(("out", *words))
        tfseg("predict", run, mirrored, "--out", out, *words)
        masks = {path.name: read_mask(path) for path in out.iterdir()}
        assert len(masks) == 6
        same[words] = [
            np.mean(mask == masks[name.replace("_fore", "_mirrored_fore")][:, ::-1])
            for name, mask in masks.items()
            if "mirrored" not in name
        ]
    assert min(same[("--flips",)]) > 0.999  # sums in another order may turn a pixel at the threshold
    assert min(same[()]) < 0.999


def test_evaluate_with_flips_scores_other_masks(tfseg, finished):
    run, result = finished
    scores = json.loads(tfseg("evaluate", run, "--flips", "--json").stdout)["files"]["keras"]["foreground"]
    plain = json.loads(result.stdout)["files"]["keras"]["foreground"]
    assert scores["images"] == plain["images"]
    assert scores["dice"]["mean"] != plain["dice"]["mean"]
