"""From a run to the files that ship, as a user types it: `kfold --deploy --final`, `convert`, `evaluate`, `predict`."""

import json
import shutil

import numpy as np
import pytest
from PIL import Image

from tfseg.lite import metadata
from tfseg.metrics import read_rows

TRAINING = (
    *("--model", "segresnet_bn", "--image-size", "32", "--epochs", "4", "--folds", "2", "--batch-size", "4"),
    *("--set", "learning_rate=3e-3"),
)


@pytest.fixture(scope="module")
def data(write_folder, tmp_path_factory):
    return write_folder(tmp_path_factory.mktemp("data") / "mine")


@pytest.fixture(scope="module")
def deployed(tfseg, data, tmp_path_factory):
    """A finished run with its deployed files and the final network, and what it printed."""
    run = tmp_path_factory.mktemp("runs") / "run"
    done = tfseg(
        *("kfold", "--dataset", "folder", "--data", data, *TRAINING, "--out", run, "--deploy", "int8", "--final")
    )
    return run, done


def test_the_files_of_each_fold_are_scored_on_what_it_never_saw(deployed):
    run, done = deployed
    rows = read_rows(run / "metrics.csv")
    folds = json.loads((run / "folds.json").read_text())
    assert {row.file for row in rows} == {"keras", "fp32", "int8"}
    for file in ("keras", "fp32", "int8"):
        assert sorted((row.fold, row.image) for row in rows if row.file == file) == sorted(
            (fold, image) for fold, images in folds.items() for image in images
        )
    paired = json.loads((run / "summary.json").read_text())["comparisons"]
    # fp32 differs from the network by the rounding of sums: no pixel of these images is that near to the threshold.
    assert paired["fp32"]["foreground"]["dice"]["mean"] == pytest.approx(0, abs=1e-3)
    assert "the files that ship" in done.stdout
    assert "The files that ship" in (run / "report.html").read_text()


def test_each_file_was_calibrated_on_images_that_its_network_learned_from(deployed):
    run, _ = deployed
    folds = json.loads((run / "folds.json").read_text())
    for fold in folds:
        about = metadata.read(run / f"fold_{fold}" / "int8.tflite")
        assert about.fold == int(fold)
        assert about.calibration
        assert not set(about.calibration) & set(folds[fold])
    final = metadata.read(run / "final" / "int8.tflite")
    assert final.fold is None
    assert set(final.calibration) <= {image for images in folds.values() for image in images}


@pytest.fixture(scope="module")
def shipped(tfseg, deployed, tmp_path_factory):
    """The int8 file of the run, and what `convert` printed."""
    out = tmp_path_factory.mktemp("out") / "nerve.tflite"
    done = tfseg("convert", deployed[0], "--int8", "--out", out, "--max-drop", "1", "--json")
    return out, json.loads(done.stdout)


def test_convert_ships_the_final_network_with_the_folds_proof(deployed, shipped):
    out, summary = shipped
    about = metadata.read(out)
    assert (about.fold, about.precision, about.input, about.training) == (None, "int8", "uint8", "run")
    assert about.proof == summary["comparisons"]["int8"]
    rows = read_rows(deployed[0] / "metrics.csv")
    assert len([row for row in rows if row.file == "int8"]) == 12  # scored again, not twice


def test_the_file_draws_what_its_network_draws(tfseg, deployed, shipped, data, tmp_path):
    image = data / "images" / "0_0.png"
    tfseg("predict", shipped[0], image, "--out", tmp_path / "tflite")
    tfseg("predict", deployed[0] / "final" / "model.keras", image, "--out", tmp_path / "keras")
    masks = []
    for folder in ("tflite", "keras"):
        with Image.open(tmp_path / folder / "0_0_foreground.png") as mask:
            masks.append(np.asarray(mask) > 0)
    # 8 bits move a boundary by a part of a pixel: of 1,920 pixels some 50 lie on the disk's.
    assert np.count_nonzero(masks[0] != masks[1]) <= 20


def test_a_file_is_scored_on_other_data_and_never_on_what_it_learned_from(
    tfseg, deployed, shipped, data, write_folder, tmp_path
):
    refused = tfseg("evaluate", shipped[0], "--dataset", "folder", "--data", data, status=2)
    assert "learned from these very images" in refused.stderr
    of_fold = json.loads(tfseg("evaluate", deployed[0] / "fold_1" / "int8.tflite", "--data", data, "--json").stdout)
    kept = json.loads((deployed[0] / "summary.json").read_text())["files"]["int8"]["foreground"]["dice"]["folds"]["1"]
    assert of_fold["files"]["int8"]["foreground"]["dice"]["mean"] == pytest.approx(kept, abs=1e-9)  # the same file
    other = write_folder(tmp_path / "other", seed=8)
    summary = json.loads(tfseg("evaluate", shipped[0], "--dataset", "folder", "--data", other, "--json").stdout)
    assert summary["holdout"]["int8"]["foreground"]["images"] == 12


def test_fine_tuned_files_are_scored_like_the_others(tfseg, deployed, data, tmp_path):
    pytest.importorskip("tf_keras", reason="needs the extra qat: pip install 'tfseg[qat]'")
    run = shutil.copytree(deployed[0], tmp_path / "run")
    tfseg("convert", run, "--int8-qat", "--prune", "0.5", "--max-drop", "1")
    assert {row.file for row in read_rows(run / "metrics.csv")} == {
        "keras",
        "fp32",
        "int8",
        "int8-qat",
        "int8-pruned-0.5",
    }
    names = {path.name: metadata.read(path) for path in run.glob("*.tflite")}
    assert names["segresnet_bn-int8-qat.tflite"].precision == "int8-qat"
    assert names["segresnet_bn-int8-pruned-0.5.tflite"].proof["foreground"]["images"] == 12
    assert not (run / "pixels.bin").exists()
    plain, tuned = ((run / "fold_0" / f"{kind}.tflite").read_bytes() for kind in ("int8", "int8-qat"))
    assert plain != tuned
    refused = tfseg("convert", run, "--int8-qat", "--image-size", "64", "--out", tmp_path / "x.tflite", status=2)
    assert "at the size of its training, 32 pixels" in refused.stderr


def test_sensitivity_ranks_the_layers(tfseg, deployed):
    changes = json.loads(tfseg("convert", deployed[0], "--sensitivity", "--json").stdout)["sensitivity"]
    assert "logits" in changes
    losses = [by_class["foreground"] for by_class in changes.values()]
    assert losses == sorted(losses)
    assert all(-1 <= loss <= 1 for loss in losses)


def test_a_file_that_loses_too_much_is_kept_and_fails(tfseg, deployed, tmp_path):
    out = tmp_path / "lossy.tflite"
    done = tfseg("convert", deployed[0], "--fp16", "--out", out, "--max-drop", "-1", status=1)
    assert "more than --max-drop -1" in done.stderr.splitlines()[-1]
    assert out.exists()


def test_one_network_is_converted_with_images_of_a_folder(tfseg, deployed, data, tmp_path):
    model = shutil.copy(deployed[0] / "fold_0" / "model.keras", tmp_path / "model.keras")
    tfseg("convert", model, "--int8", "--head", "mask", "--calibration", data / "images")
    about = metadata.read(tmp_path / "model-int8.tflite")
    assert (about.head, len(about.calibration)) == ("mask", 12)


BAD = {
    "no-kind": ([], "say what kind of file"),
    "prune-all": (["RUN", "--prune", "1.5", "--out", "TMP/x.tflite"], "no kind of file"),
    "prune-what": (["RUN", "--prune", "most", "--out", "TMP/x.tflite"], "--prune"),
    "sensitivity-of-a-file": (["RUN/fold_0/model.keras", "--sensitivity"], "name its run"),
    "no-run": (["nowhere", "--int8"], "nowhere"),
    "two-kinds-one-name": (["RUN", "--int8", "--fp16", "--out", "x.tflite"], "one kind of file"),
    "other-suffix": (["RUN", "--int8", "--out", "x.onnx"], "ends in .tflite"),
    "input": (["RUN", "--int8", "--input", "int16", "--out", "TMP/x.tflite"], "none of uint8, float32"),
    "no-images": (["RUN/fold_0/model.keras", "--int8", "--out", "TMP/x.tflite"], "--calibration DIR"),
    "image-size": (["RUN", "--fp32", "--image-size", "33", "--out", "TMP/x.tflite"], "multiples of 8"),
}


@pytest.mark.parametrize(("words", "message"), BAD.values(), ids=BAD)
def test_bad_calls_of_convert_get_one_line(tfseg, deployed, tmp_path, words, message):
    words = [word.replace("RUN", str(deployed[0])).replace("TMP", str(tmp_path)) for word in words]
    done = tfseg("convert", *words, status=2)
    assert message in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr


def test_a_full_disk_gets_no_half_file(tfseg, deployed, small_disk):
    filler = small_disk / "filler"
    filler.write_bytes(bytes(shutil.disk_usage(small_disk).free - 500_000))  # the file takes three times as much
    out = small_disk / "x.tflite"
    done = tfseg("convert", deployed[0] / "fold_0" / "model.keras", "--fp32", "--out", out, status=1)
    assert "No space left" in done.stderr.splitlines()[-1]
    assert list(small_disk.iterdir()) == [filler]


@pytest.mark.parametrize(
    ("content", "message"), [(b"", "not a .tflite file"), (b"\x1c\0\0\0TFL3" + bytes(40), "damaged|not one of tfseg")]
)
def test_a_file_that_is_no_model_gets_one_line(tfseg, data, tmp_path, content, message):
    path = tmp_path / "model.tflite"
    path.write_bytes(content)
    for words in (("evaluate", path, "--data", data), ("predict", path, data, "--out", tmp_path / "masks")):
        done = tfseg(*words, status=2)
        assert any(part in done.stderr for part in message.split("|")), done.stderr
        assert len(done.stderr.strip().splitlines()) == 1
