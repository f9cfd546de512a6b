"""A run killed at any instant and resumed ends in the same bytes as one that was never killed."""

import hashlib
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

COMMAND = (
    *("kfold", "--dataset", "nerve", "--folds", "2", "--epochs", "3", "--image-size", "32", "--batch-size", "2"),
    *("--set", "deterministic=true", "--set", "validation=0.4", "--set", "schedule=plateau", "--set", "patience=1"),
    *("--set", "select=best", "--set", "holdout=0.2"),
)


def outcome(run: Path) -> dict[str, str]:
    """Hashes of everything that must not depend on how often a run was interrupted."""
    files = [*run.glob("fold_*/model.keras"), *run.glob("**/*.csv"), *run.glob("**/predictions/**/*.png")]
    files += [run / "folds.json", run / "summary.json"]
    return {str(path.relative_to(run)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.fixture(scope="module")
def reference(tfseg, nerve, tmp_path_factory):
    """A run that nobody disturbed: its folder and how long it took."""
    run = tmp_path_factory.mktemp("reference") / "run"
    start = time.monotonic()
    tfseg(*COMMAND, "--data", nerve, "--out", run)
    return run, time.monotonic() - start


def kill_and_resume(tfseg, start_tfseg, nerve, reference, run, moments):
    """Start a run, kill it after each of the given shares of a whole run's time, resume it, and compare."""
    whole, seconds = reference
    arguments = (*COMMAND, "--data", nerve, "--out", run)
    killed = 0
    for moment in moments:
        process = start_tfseg(*arguments, *(["--resume"] if killed else []))
        try:
            process.wait(moment * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            killed += 1
        process.communicate()
    tfseg(*arguments, "--resume")
    expected, found = outcome(whole), outcome(run)
    assert found == expected
    assert len(expected) > 20  # two networks, their curves, masks and scores: the comparison compared something
    leftovers = [
        path.name for path in run.rglob("*") if ".tmp" in path.name or path.name in ("state.npz", "pixels.bin")
    ]
    assert leftovers == []
    return killed


def test_a_killed_run_ends_in_the_same_bytes(tfseg, start_tfseg, nerve, reference, tmp_path):
    assert kill_and_resume(tfseg, start_tfseg, nerve, reference, tmp_path / "run", [0.5, 0.7]) > 0


@pytest.mark.slow
@pytest.mark.timeout(3600)
def test_twenty_kills_at_random_instants(tfseg, start_tfseg, nerve, reference, tmp_path):
    moments = random.Random(2026)
    killed = 0
    for trial in range(20):
        killed += kill_and_resume(tfseg, start_tfseg, nerve, reference, tmp_path / f"run{trial}", [moments.random()])
    assert killed >= 15  # a kill that comes after the end is no kill; speeds vary from run to run


def test_another_process_on_the_same_folder_is_refused(tfseg, start_tfseg, nerve, tmp_path):
    run = tmp_path / "run"
    first = start_tfseg(*COMMAND, "--data", nerve, "--out", run)
    while not (run / "folds.json").exists():
        assert first.poll() is None
        time.sleep(0.05)
    second = tfseg(*COMMAND, "--data", nerve, "--out", run, "--resume", status=2)
    assert "another process" in second.stderr
    assert first.poll() is None
    first.kill()
    first.communicate()


def test_ctrl_c_says_in_one_line_how_to_go_on(start_tfseg, nerve, tmp_path):
    run = tmp_path / "run"
    process = start_tfseg(*COMMAND, "--data", nerve, "--out", run)
    while not (run / "fold_0" / "history.csv").exists():
        assert process.poll() is None
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, stderr = process.communicate(timeout=60)
    last = stderr.splitlines()[-1]
    assert process.returncode == 130
    assert last.startswith("tfseg: stopped")
    assert f"--out {run} --resume" in last
    assert "Traceback" not in stderr


def test_a_run_is_not_resumed_with_another_recipe_or_other_data(tfseg, nerve, reference, tmp_path):
    run, _ = reference
    before = outcome(run)
    changed = tfseg(*COMMAND, "--data", nerve, "--out", run, "--resume", "--set", "learning_rate=0.1", status=2)
    assert "another recipe" in changed.stderr
    again = tfseg(*COMMAND, "--data", nerve, "--out", run, status=2)
    assert "--resume" in again.stderr
    assert outcome(run) == before
