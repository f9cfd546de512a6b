"""tools/bench/accuracy.py: the peers get our images and folds, and their masks are scored as ours are."""

import argparse
import dataclasses
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg import runs
from tfseg.data import DATASETS, folds
from tfseg.data.source import open_source
from tfseg.metrics import COLUMNS, row_values

BENCH = Path(__file__).parents[2] / "tools/bench"
sys.path.append(str(BENCH))
import accuracy  # noqa: E402
import accuracy_data  # noqa: E402
import peer_job  # noqa: E402


@pytest.fixture
def trial(tmp_path, write_folder):
    """Twelve images of six patients, in two folds."""
    root = write_folder(tmp_path / "data")
    source = open_source(DATASETS["folder"], root, channels=1, watch=lambda done, total: None)
    split = folds.draw(list(source.samples.values()), list(source.groups.values()), root, folds=2, seed=0)
    return accuracy_data.Trial(
        run=tmp_path / "run",
        source=source,
        split=split,
        scored=("0", "1"),
        class_name=source.dataset.classes[0],
        file="int8",
        largest_component=True,
        minutes=15,
        seed=0,
    )


def test_folds_become_splits():
    split = {"0": ["b.png"], "1": ["a.png", "test/a.png"]}
    cases = accuracy_data.case_names(["a.png", "b.png", "c.png", "test/a.png"], ["a.png", "b.png", "test/a.png"])
    assert cases == {"a.png": "0000", "b.png": "0001", "test/a.png": "0003"}
    assert accuracy_data.splits(split, cases) == [
        {"train": ["0000", "0003"], "val": ["0001"]},
        {"train": ["0001"], "val": ["0000", "0003"]},
    ]


def test_the_data_set_of_nnunet():
    assert accuracy_data.dataset_json("nerve", 244) == {
        "channel_names": {"0": "ultrasound"},
        "labels": {"background": 0, "nerve": 1},
        "numTraining": 244,
        "file_ending": ".png",
    }


def test_what_is_exported_is_what_we_learn_from(trial, tmp_path):
    work = tmp_path / "work"
    data = accuracy_data.export(trial, work)
    assert len(list(data.glob("imagesTr/*.png"))) == len(list(data.glob("labelsTr/*.png"))) == 12
    name, case = next(iter(trial.cases.items()))
    with Image.open(trial.source.samples[name].image) as image, Image.open(trial.source.samples[name].masks[0]) as mask:
        assert np.array_equal(peer_job.read(peer_job.image_path(data, case)), np.asarray(image))
        assert np.array_equal(peer_job.read(peer_job.label_path(data, case)), np.asarray(mask) // 255)
    written = json.loads((work / "preprocessed/Dataset001_folder/splits_final.json").read_text())
    patients = {case: trial.source.groups[name] for name, case in trial.cases.items()}
    for part in written:
        assert sorted(part["train"] + part["val"]) == sorted(patients)
        assert not {patients[case] for case in part["train"]} & {patients[case] for case in part["val"]}

    assert accuracy_data.export(trial, work) == data  # again: nothing to do
    swapped = dataclasses.replace(trial, split={"0": trial.split["1"], "1": trial.split["0"]})
    with pytest.raises(SystemExit, match="holds the images or folds of another run: name another folder with --work"):
        accuracy_data.export(swapped, work)


@pytest.mark.parametrize(
    ("mask", "message"),
    [
        pytest.param(None, r"missing: remove .*fold_0 and run this again", id="missing"),
        pytest.param(
            np.zeros((3, 2), np.uint8), r"uint8 \(3, 2\) with values up to 0, expected uint8 \(2, 3\)", id="size"
        ),
        pytest.param(np.full((2, 3), 255, np.uint8), "with values up to 255", id="0-and-255"),
    ],
)
def test_a_wrong_prediction_is_refused(tmp_path, mask, message):
    path = tmp_path / "fold_0" / "predictions" / "0000.png"
    path.parent.mkdir(parents=True)
    if mask is not None:
        Image.fromarray(mask).save(path)
    with pytest.raises(SystemExit, match=message):
        accuracy_data.read_prediction(path, (2, 3))


def test_a_hand_made_prediction_scores_what_it_should(trial, tmp_path):
    """Right on the first image, nothing on the second, half of the mask's rows on the others."""
    names = trial.split["0"]
    for number, name in enumerate(names):
        with Image.open(trial.source.samples[name].masks[0]) as file:
            mask = np.asarray(file) // 255
        rows = np.flatnonzero(mask.any(1))
        cut = {0: len(rows), 1: 0}.get(number, len(rows) // 2)
        mask[rows[cut:]] = 0
        peer_job.write_prediction(_job(largest_component=False), tmp_path, trial.cases[name], mask)
    rows = accuracy_data.score_fold(trial, "smp", "0", tmp_path / "predictions")
    assert [row.image for row in rows] == names
    assert {(row.file, row.fold, row.patient) for row in rows} == {("smp", "0", trial.source.groups[n]) for n in names}
    assert (rows[0].dice, rows[0].hausdorff95, rows[1].dice) == (1, 0, 0)
    assert np.isnan(rows[1].hausdorff95)
    assert all(0.6 < row.dice < 0.7 for row in rows[2:])  # 2 * 1 / (2 + 1), but for an odd number of rows

    ours = [dataclasses.replace(row, file="tfseg", dice=1.0) for row in rows]
    found = accuracy_data.summary([*ours, *rows], "smp", "tfseg", seed=0)
    mean = sum(row.dice for row in rows) / len(rows)
    assert found["dice"]["mean"] == found["dice"]["folds"]["0"] == pytest.approx(mean)
    assert found["dice"]["low"] < mean < found["dice"]["high"]
    assert found["less_ours"]["mean"] == pytest.approx(mean - 1)
    assert (found["images"], found["hausdorff95"]["count"], found["empty"]) == (len(rows), len(rows) - 1, 1)
    assert "less_ours" not in accuracy_data.summary(ours, "tfseg", "tfseg", seed=0)


def test_our_scores_are_those_of_the_file_that_ships(trial, tmp_path):
    for case in trial.cases.values():
        peer_job.write_prediction(_job(), tmp_path, case, np.zeros((40, 48), np.uint8))
    rows = [row for fold in "01" for row in accuracy_data.score_fold(trial, "int8", fold, tmp_path / "predictions")]
    others = [dataclasses.replace(row, file="fp32") for row in rows]
    runs.write_csv(trial.run / runs.METRICS, COLUMNS, map(row_values, [*others, *rows]))
    assert [row.image for row in accuracy_data.our_rows(trial)] == [row.image for row in rows]
    one = dataclasses.replace(trial, scored=("1",))
    assert [row.image for row in accuracy_data.our_rows(one)] == trial.split["1"]
    runs.write_csv(trial.run / runs.METRICS, COLUMNS, map(row_values, rows[1:]))
    with pytest.raises(SystemExit, match="11 of 12 images are scored: finish it with --resume"):
        accuracy_data.our_rows(trial)


def _job(**changes):
    job = peer_job.Job(
        row="smp",
        settings={"image_size": 64},
        fold=0,
        train=["0001"],
        test=["0000"],
        seconds=60,
        threads=2,
        largest_component=True,
    )
    return dataclasses.replace(job, **changes)


def test_the_largest_component_is_kept_where_that_is_asked_for(tmp_path):
    mask = np.array([[1, 0, 0, 1], [0, 0, 1, 0]], np.uint8)  # one pixel, and two that touch at a corner
    for asked, expected in ((True, [[0, 0, 0, 1], [0, 0, 1, 0]]), (False, mask.tolist())):
        peer_job.write_prediction(_job(largest_component=asked), tmp_path, "0000", mask)
        assert peer_job.read(tmp_path / "predictions/0000.png").tolist() == expected
    assert not peer_job.largest_component(np.zeros((2, 2), np.uint8)).any()


WORKER = """
import json, pathlib, sys
folder, data = map(pathlib.Path, sys.argv[1:])
job = json.loads((folder / "job.json").read_text())
print("learning")
if job["seconds"] < 60: sys.exit("no time")
(folder / "facts.json").write_text(json.dumps({"row": job["row"]}))
open(data / "calls", "a").write(".")
"""


def test_a_finished_fold_is_not_done_again(monkeypatch, tmp_path):
    (tmp_path / "worker.py").write_text(WORKER)
    monkeypatch.setattr(accuracy, "WORKERS", {"smp": tmp_path / "worker.py"})
    with pytest.raises(SystemExit, match=r"^smp, fold 1: failed: no time \(the whole log: .*fold_0/log.txt\)$"):
        accuracy.train_fold(_job(seconds=1), tmp_path, tmp_path, sys.executable)
    for _ in range(2):
        accuracy.train_fold(_job(), tmp_path, tmp_path, sys.executable)
    assert (tmp_path / "calls").read_text() == "."
    assert (tmp_path / "rows/smp/fold_0/log.txt").read_text() == "learning\n"
    with pytest.raises(SystemExit, match="fold_0: was done with other settings: remove it, or name another folder"):
        accuracy.train_fold(_job(seconds=120), tmp_path, tmp_path, sys.executable)


def test_a_job_arrives_as_it_was_sent(monkeypatch, tmp_path):
    (tmp_path / "job.json").write_text(json.dumps(dataclasses.asdict(_job())))
    monkeypatch.setattr(sys, "argv", ["worker.py", str(tmp_path), "data"])
    assert peer_job.arguments() == (_job(), tmp_path, Path("data"))


def test_tuned_rows_clean_masks_up_as_ours_are(trial):
    arguments = argparse.Namespace(minutes=15, threads=2)
    first = accuracy.job(trial, "smp_tuned", 0, arguments)
    assert (first.seconds, first.threads, first.largest_component) == (900, 2, True)
    assert sorted(first.test) == sorted(trial.cases[name] for name in trial.split["0"])
    assert sorted(first.train) == sorted(trial.cases[name] for name in trial.split["1"])
    assert not accuracy.job(trial, "nnunet", 0, arguments).largest_component


def test_another_time_than_the_peers_is_said(trial):
    assert accuracy.our_title(trial, 15) == "tfseg, int8"
    assert accuracy.our_title(trial, 20) == "tfseg, int8, 15 minutes a fold"
    assert accuracy.our_title(dataclasses.replace(trial, minutes=0), 15) == "tfseg, int8, without a time limit"


@pytest.mark.parametrize(
    ("rows", "pythons", "message"),
    [
        pytest.param(None, {}, "no peer to measure: name an interpreter with --smp or --nnunet", id="none"),
        pytest.param(
            ["nnunet"], {"smp": "A"}, "--nnunet: is missing: name an interpreter that has nnunetv2", id="other"
        ),
        pytest.param(None, {"smp": "A"}, "A: lacks segmentation_models_pytorch, torch or onnx", id="lacks"),
    ],
)
def test_rows_need_an_interpreter(monkeypatch, rows, pythons, message):
    monkeypatch.setattr(accuracy, "python_with", lambda packages, pythons: None)
    with pytest.raises(SystemExit, match=f"^{message}"):
        accuracy.chosen(rows, pythons)


def test_all_rows_of_the_named_interpreters_are_measured(monkeypatch):
    monkeypatch.setattr(accuracy, "python_with", lambda packages, pythons: pythons[0])
    assert accuracy.chosen(None, {"nnunet": "A"}) == ["nnunet", "nnunet_tuned"]


def test_the_words_of_kfold_come_last(monkeypatch, tmp_path):
    words = ["--dataset", "hc18", "--data", "DIR", "--deploy", "int8"]
    monkeypatch.setattr(sys, "argv", ["accuracy.py", "RUN", "--minutes", "15", "--smp", "A", "--kfold", *words])
    arguments = accuracy.parsed()
    assert (arguments.run, arguments.minutes, arguments.smp, arguments.kfold) == (Path("RUN"), 15, "A", words)
    called = []
    done = argparse.Namespace(returncode=0)
    monkeypatch.setattr(accuracy.subprocess, "run", lambda command, check: called.append(command) or done)
    for file in (None, runs.FOLDS, runs.METRICS):  # not begun, begun, finished
        if file:
            (tmp_path / file).touch()
        accuracy.run_ours(tmp_path, words)
    command = [sys.executable, "-m", "tfseg", "kfold", *words, "--out", str(tmp_path)]
    assert called == [command, [*command, "--resume"]]
    monkeypatch.setattr(done, "returncode", 2)
    (tmp_path / runs.METRICS).unlink()
    with pytest.raises(SystemExit, match=r"kfold .* --resume: ended with 2$"):
        accuracy.run_ours(tmp_path, words)


def test_another_machine_s_figures_are_not_mixed(tmp_path):
    about = {"settings": {"threads": 2, "rounds": 5}, "processor": "a CPU"}
    (tmp_path / "empty.json").touch()
    assert (
        accuracy.other_data(tmp_path / "new.json", about) == accuracy.other_data(tmp_path / "empty.json", about) == []
    )
    (tmp_path / "a.json").write_text(json.dumps(about | {"data": [{"name": "usgra"}]}))
    assert accuracy.other_data(tmp_path / "a.json", about) == [{"name": "usgra"}]
    with pytest.raises(SystemExit, match="was measured elsewhere or otherwise, by its processor: name another file"):
        accuracy.other_data(tmp_path / "a.json", about | {"processor": "another"})


def test_the_table_holds_every_row():
    ours = {
        "title": "tfseg, int8",
        "dice": {"mean": 0.95, "low": 0.94, "high": 0.96},
        "hausdorff95": {"mean": 1.6},
        "parameters": 727889,
        "file_mb": 0.981,
        "ms": 7.62,
        "passes": 1,
    }
    peer = ours | {
        "title": "nnU-Net, default",
        "less_ours": {"mean": -0.01, "low": -0.02, "high": 0.001},
        "hausdorff95": {"mean": None},
        "passes": 8.0,
        "steps": [100, 110, 300],
    }
    data = {"name": "hc18", "class": "head", "images": 117, "folds": 5, "of_folds": 5, "minutes": 15.0}
    result = {
        "settings": {"threads": 2, "rounds": 5},
        "processor": "a CPU",
        "data": [data | {"phantom": True, "unit": "mm", "rows": [ours, peer]}],
    }
    lines = accuracy.table(result).splitlines()
    assert lines[2] == "PHANTOM hc18, head: 117 images, 5 of 5 folds, 15 minutes a fold."
    assert lines[-2:] == [
        "| tfseg, int8 | 0.950 [0.940, 0.960] |  | 1.6 | 727,889 | 0.98 | 7.6 | 1 |  |",
        "| nnU-Net, default | 0.950 [0.940, 0.960] | -0.010 [-0.020, +0.001] | n/a | 727,889 | 0.98 | 7.6 | 8 | 110 |",
    ]
