"""tfseg study as a user types it: the whole table, resumed where it was stopped, and what it refuses."""

import csv
import json
import signal
import time

import pytest

from tfseg import runs
from tfseg.cli import main
from tfseg.metrics import read_rows
from tfseg.study import STUDIES, table

TINY = ("--quick", "--set", "epochs=1")


def test_a_study_goes_on_where_it_stands(tfseg, write_folder, tmp_path):
    """One seed first; then two, of which the first is not trained again."""
    data, out = write_folder(tmp_path / "data"), tmp_path / "out"
    words = ("study", "nerve", *TINY, "--dataset", "folder", "--data", data, "--out", out)
    first = json.loads(tfseg(*words, "--json").stdout)
    run = out / "runs" / "folder-nerve_unet-seed0"
    before = {path: path.stat().st_mtime_ns for path in run.rglob("model.keras")}
    assert len(before) == 2
    result = tfseg(*words, "--seeds", "2")
    assert {path: path.stat().st_mtime_ns for path in before} == before
    study = json.loads((out / table.STUDY).read_text())
    (row,) = study["rows"]
    dice = row["ours"]["dice"]
    assert dice["seeds"][0] == first["rows"][0]["ours"]["dice"]["mean"]
    assert row["runs"] == [f"runs/folder-nerve_unet-seed{seed}" for seed in (0, 1)]
    means = []
    for name in row["runs"]:
        scores = [row.dice for row in read_rows(out / name / runs.METRICS)]
        assert len(scores) == 12
        means.append(sum(scores) / 12)
    assert dice["seeds"] == pytest.approx(means)
    assert dice["sd"] == pytest.approx(abs(means[0] - means[1]) / 2**0.5)  # of two numbers
    assert study["phantom"] is False
    assert "PHANTOM" not in (out / table.MARKDOWN).read_text() + result.stdout
    assert "0.618" in result.stdout  # published
    assert 'aria-label="Loss over the epochs' in (out / table.PAGE).read_text()
    refused = tfseg(*words, "--set", "epochs=2", status=2)
    assert "begun with another recipe" in refused.stderr


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        pytest.param(["lightr"], "did you mean lighter", id="study"),
        pytest.param(["lighter", "--models", "unet,vnet"], "--models vnet", id="row"),
        pytest.param(["lighter", "--seeds", "0"], "--seeds 0: at least 1", id="seeds"),
        pytest.param(["lighter", "--set", "model=unet"], "--set model: the rows of study lighter differ", id="varied"),
        pytest.param(["lighter", "--set", "epoch=3", "--quick"], "did you mean epochs", id="key"),
        pytest.param(["lighter", "--data", "{tmp}/none"], "none", id="folder"),
        pytest.param(["mobile", "--data", "{tmp}"], "busi, ct2us, open_kidney", id="folders"),
        pytest.param(["lighter", "--dataset", "lungs"], "unknown data set", id="dataset"),
        pytest.param(["lighter", "--out", "{tmp}/full"], "is not a study's folder", id="out"),
        pytest.param(["lighter", "--out", "{tmp}/full/x"], "is no folder", id="file"),
        pytest.param(["lighter", "--recipe", "{tmp}/no.toml"], "no.toml: cannot read", id="recipe"),
        pytest.param(["tiny", "--instructions", "{tmp}/arm.json"], "arm.json: cannot read", id="instructions"),
        pytest.param(["lighter", "--ray-cpus", "2"], "--engine ray", id="engine"),
    ],
)
def test_what_a_study_cannot_do_is_refused_in_one_line(tmp_path, capsys, words, expected):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "x").touch()
    assert main(["study", *(word.format(tmp=tmp_path) for word in words)]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert expected in line
    assert line.startswith("tfseg: ")


@pytest.mark.slow  # a quarter of an hour on a slow machine
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", STUDIES)
def test_quick_gives_the_whole_table_on_phantoms(tfseg, tmp_path, name):
    begun = time.monotonic()
    tfseg("study", name, "--quick", "--out", tmp_path / "out")
    with (tmp_path / "out" / table.CSV).open() as file:
        (mark, *_), *rows = csv.reader(file)
    study = STUDIES[name]
    assert mark == "PHANTOM"
    if study.rows:
        names = [row.name for row in study.rows]
        assert [row[0] for row in rows] == names * (len(study.datasets) if study.several else 1)
    assert all(all(cells) for cells in rows if cells[0] != rows[0][0])  # only the first has no difference to itself
    print(f"{name}: {time.monotonic() - begun:.0f} s")


@pytest.mark.slow  # a minute
def test_a_killed_study_ends_with_the_same_table(tfseg, start_tfseg, write_folder, tmp_path):
    data = write_folder(tmp_path / "data")
    words = ("study", "lighter", *TINY, "--dataset", "folder", "--data", data, "--set", "deterministic=true")
    words = (*words, "--set", "batch_size=4", "--models", "lighter_unet@1,lighter_unet@2")
    tfseg(*words, "--out", tmp_path / "whole")
    process = start_tfseg(*words, "--out", tmp_path / "killed")
    wanted = tmp_path / "killed" / "runs" / "folder-lighter_unet_1-seed0" / "fold_0" / runs.METRICS
    while not wanted.exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert not (tmp_path / "killed" / table.STUDY).exists()
    tfseg(*words, "--out", tmp_path / "killed")
    whole, killed = (json.loads((tmp_path / name / table.STUDY).read_text())["rows"] for name in ("whole", "killed"))
    for one, other in zip(whole, killed, strict=True):
        for row in (one, other):
            del row["ours"]["latency"], row["ours"]["fps"]  # no two measurements are the same
        assert one == other
