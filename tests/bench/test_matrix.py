"""Many cells: which ones a matrix means, and the script that measures them whatever happens to the phone."""

import functools
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tfseg.bench import matrix, result
from tfseg.errors import InputError

ROOT = Path(__file__).parents[2]
TOML = """\
precisions = ["fp32", "int8"]
delegates = ["cpu", "gpu"]
threads = [1, 2]
runs = 5
"""


@pytest.fixture
def write_run(write_network, tmp_path):
    """Write what a run folder holds of networks."""

    def write(name, files=("fold_0/fp32", "fold_0/int8", "fold_1/fp32"), seed=0):
        for number, file in enumerate(files):
            write_network(tmp_path / name / f"{file}.tflite", Path(file).name, seed=seed + number)
        return tmp_path / name

    return write


@pytest.fixture
def table(tmp_path):
    """Write a matrix of two precisions, and lines that replace its own."""

    def write(text=TOML):
        (tmp_path / "matrix.toml").write_text(text)
        return tmp_path / "matrix.toml"

    return write


def test_a_matrix_is_models_by_precisions_by_delegates_and_threads(table, write_run):
    found = matrix.tasks(matrix.load(table()), [write_run("a"), write_run("b", ("final/fp32", "fold_0/fp32"))])
    assert [(task.name, task.delegate, task.threads) for task in found] == [
        ("a/fold_0/fp32.tflite", "cpu", 1),
        ("a/fold_0/fp32.tflite", "cpu", 2),
        ("a/fold_0/fp32.tflite", "gpu", None),
        ("a/fold_0/int8.tflite", "cpu", 1),
        ("a/fold_0/int8.tflite", "cpu", 2),
        ("a/fold_0/int8.tflite", "gpu", None),
        ("b/final/fp32.tflite", "cpu", 1),
        ("b/final/fp32.tflite", "cpu", 2),
        ("b/final/fp32.tflite", "gpu", None),
    ]
    assert {task.runs for task in found} == {5}


def test_the_matrix_beside_the_script_is_read():
    assert matrix.load(ROOT / "tflite/matrix.toml").precisions == ("fp32", "fp16", "int8")


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        pytest.param("runs = 5\n", "", "holds delegates, precisions, threads instead of", id="missing"),
        pytest.param("runs = 5", "runs = 0", "runs = 0: it must be one of a whole number from 1", id="no-runs"),
        pytest.param("[1, 2]", "[]", "threads = []: it must be a list of whole numbers", id="no-threads"),
        pytest.param("[1, 2]", "4", "threads = 4: it must be a list", id="no-list"),
        pytest.param('"gpu"', '"npu"', "delegates = ['cpu', 'npu']: it must be a list of cpu, gpu", id="delegate"),
        pytest.param('"int8"', '"int4"', "must be a list of fp32, fp16, dynamic, int8", id="precision"),
        pytest.param("runs =", "runs", "damaged TOML", id="damaged"),
    ],
)
def test_a_matrix_that_means_nothing_is_refused(table, old, new, said):
    with pytest.raises(InputError, match=r"matrix\.toml: ") as caught:
        matrix.load(table(TOML.replace(old, new)))
    assert said in str(caught.value)


def test_a_folder_without_files_is_refused(table, tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds none of fp32, int8 as \.tflite"):
        matrix.tasks(matrix.load(table()), [tmp_path / "empty"])
    with pytest.raises(InputError, match=r"nowhere: no run folder"):
        matrix.tasks(matrix.load(table()), [tmp_path / "nowhere"])


@pytest.fixture
def start(write_harness, table, tmp_path):
    """Start tflite/bench_android.py with the matrix, a harness and a folder for results."""
    started = []

    def run(*arguments, **limits):
        flags = [f"--{name.replace('_', '-')}={value}" for name, value in limits.items()]
        fixed = ["--harness", write_harness(), "--out", tmp_path / "results"]
        fixed += [] if "--matrix" in arguments else ["--matrix", table()]
        command = [sys.executable, "tflite/bench_android.py", *arguments, *fixed, *flags]
        process = subprocess.Popen(
            list(map(str, command)),
            cwd=ROOT,
            env=os.environ | {"PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            stdin=subprocess.DEVNULL,
            text=True,
            preexec_fn=functools.partial(signal.signal, signal.SIGINT, signal.SIG_DFL),  # a background shell ignores it
        )
        started.append(process)
        return process

    yield run
    for process in started:
        if process.poll() is None:
            process.kill()
        process.communicate()


def end(process, status):
    """Wait for the end and return what was printed."""
    stdout, stderr = process.communicate()
    assert process.returncode == status, stdout + stderr
    assert "Traceback" not in stderr
    return stdout, stderr


def cells(tmp_path):
    return result.read_all(tmp_path / "results")


def test_a_matrix_is_measured_once(phone, start, write_run, tmp_path):
    run = write_run("net", ("final/fp32",))
    stdout, stderr = end(start(run), 0)
    assert len(stdout.splitlines()) == 3
    assert stdout.startswith("net/final/fp32.tflite cpu x1: ")
    assert "0 of 256 pixels differ from the host" in stdout
    assert "3 of 3 cells measured" in stderr
    assert [cell.status for cell in cells(tmp_path)] == ["ok"] * 3
    for path in (tmp_path / "results").rglob("*.json"):
        assert str(tmp_path) not in path.read_text()
        assert "Inference timings in us" in path.with_suffix(".log").read_text()
    assert phone.state("runs") == "3"
    stdout, stderr = end(start(run), 0)
    assert (stdout, phone.state("runs")) == ("", "3")
    assert "0 of 3 cells measured" in stderr
    assert phone.files() == []


def test_a_phone_that_goes_for_good_keeps_what_is_done(plug, start, write_run, tmp_path):
    plug(unplug_in_run=0.3, unplug_at_run=2, run={"at": {"2": {"slow_s": 20}}})
    run = write_run("net", ("final/fp32",))
    _, stderr = end(start(run, return_limit=1), 1)
    last = [line for line in stderr.splitlines() if line.startswith("bench_android.py: ")]
    assert len(last) == 1
    assert "2 of 3 cells are left, and what is done is kept: say the same again to go on" in last[0]
    assert "is still on the phone" in stderr
    assert len(cells(tmp_path)) == 1
    plug()  # on another port, and with the same serial number: the same phone
    _, stderr = end(start(run), 0)
    assert "2 of 3 cells measured, the others were there already" in stderr
    assert [cell.status for cell in cells(tmp_path)] == ["ok"] * 3


def test_a_phone_unplugged_in_mid_run_is_waited_for(plug, start, write_run, tmp_path):
    phone = plug(unplug_in_run=0.3, unplug_at_run=2, back_after=0.5, run={"at": {"2": {"slow_s": 20}}})
    _, stderr = end(start(write_run("net", ("final/fp32",)), return_limit=60), 0)
    assert "waiting for it for 60 s at most" in stderr
    noted = [cell.notes for cell in cells(tmp_path)]
    assert sorted(noted) == [(), (), ("measured again after the phone had been gone",)]
    assert [cell.status for cell in cells(tmp_path)] == ["ok"] * 3
    assert phone.files() == []


def test_ctrl_c_ends_the_run_and_puts_everything_back(plug, start, write_run, tmp_path):
    phone = plug(run={"slow_s": 60})
    phone.state("wakefulness", "Asleep")
    process = start(write_run("net", ("final/fp32",)), "--prepare")
    deadline = time.monotonic() + 60
    while not (phone.root / "state/runs").exists():
        assert time.monotonic() < deadline
        assert process.poll() is None
        time.sleep(0.05)
    assert phone.state("wakefulness") == "Awake"
    process.send_signal(signal.SIGINT)
    _, stderr = end(process, 130)
    assert stderr.splitlines()[-1] == "bench_android.py: stopped; what is done is kept: say the same again to go on"
    assert phone.state("wakefulness") == "Asleep"
    assert not (phone.root / "state/settings/stay_on_while_plugged_in").exists()
    assert phone.files() == []
    running = subprocess.run(["pgrep", "-f", f"benchmark_model.py {phone.root}"], capture_output=True, text=True)
    assert running.stdout == ""


@pytest.mark.slow
def test_twenty_four_cells_with_an_unplug_a_hot_phone_and_a_fallback(plug, start, write_run, tmp_path):
    at = {"3": {"slow_s": 20}, "7": {"heat": 150}, "12": {"gpu": "partial"}}  # the third is run twice
    phone = plug(unplug_in_run=0.3, unplug_at_run=3, back_after=0.5, run={"at": at})
    files = ("final/fp32", "final/fp16", "final/int8")
    models = [write_run("a", files), write_run("b", files, seed=10)]
    text = 'precisions = ["fp32", "fp16", "int8"]\ndelegates = ["cpu", "gpu", "gpu-fp32"]\nthreads = [1, 2]\nruns = 5\n'
    (tmp_path / "big.toml").write_text(text)
    process = start(*models, "--matrix", tmp_path / "big.toml", return_limit=60, cool_limit=1)
    stdout, stderr = end(process, 0)
    assert "24 of 24 cells measured" in stderr
    assert len(stdout.splitlines()) == 24
    found = {(cell.file, cell.delegate, cell.threads): cell for cell in cells(tmp_path)}
    assert len(found) == 24
    wrong = {key: (cell.status, cell.notes) for key, cell in found.items() if (cell.status, cell.notes) != ("ok", ())}
    assert wrong == {
        ("a/final/fp32.tflite", "gpu", None): ("ok", ("measured again after the phone had been gone",)),
        ("a/final/fp16.tflite", "gpu", None): ("unsteady", ()),
        ("a/final/int8.tflite", "gpu", None): ("ran on CPU", ()),
    }
    assert "started warm: the battery at 42.1" in found["a/final/fp16.tflite", "gpu", None].reason
    assert phone.state("runs") == "25"
    assert phone.files() == []
    before = {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")}
    stdout, stderr = end(start(*models, "--matrix", tmp_path / "big.toml"), 0)
    assert (stdout, phone.state("runs")) == ("", "25")
    assert {path: path.read_bytes() for path in (tmp_path / "results").rglob("*.json")} == before


def test_a_cell_that_failed_is_told_and_tried_again(plug, start, write_run, tmp_path):
    phone = plug(run={"at": {"2": {"unknown": "num_threads"}}})
    run = write_run("net", ("final/fp32",))
    stdout, stderr = end(start(run), 1)
    assert "net/final/fp32.tflite cpu x2: failed: the harness did not know --num_threads=2" in stdout
    assert stderr.splitlines()[-1] == "bench_android.py: 1 of them failed; say the same again to try these once more"
    _, stderr = end(start(run), 0)
    assert "1 of 3 cells measured" in stderr
    assert phone.state("runs") == "4"
    assert [cell.status for cell in cells(tmp_path)] == ["ok"] * 3


def test_one_file_is_measured_by_the_command(phone, tfseg, write_harness, write_proved, tmp_path):
    file = write_proved(tmp_path / "ours.tflite", dice=0.75)
    words = ("--target", "android", "--harness", write_harness(), "--runs", 5, "--threads", "1,2")
    done = tfseg("benchmark", file, *words, "--json", tmp_path / "results")
    assert "Example Stand-in 5" in done.stdout
    assert done.stdout.count("ok; 0 of 256 pixels differ") == 2
    assert [(cell.target, cell.dice, cell.threads) for cell in cells(tmp_path)] == [
        ("android", 0.75, 1),
        ("android", 0.75, 2),
    ]
    assert phone.files() == []
    done = tfseg("benchmark", file, *words[:2], "--harness", tmp_path / "nothing", status=2)
    assert done.stderr.startswith(f"tfseg: {tmp_path}/nothing: cannot be read")


def test_of_a_run_the_file_that_ships_is_measured(write_run, write_network, table):
    run = write_run("a", ("final/fp32", "fold_0/fp32"))
    for folder in (run / "final", run):
        write_network(folder / ("int8.tflite" if folder.name == "final" else "net-int8.tflite"), "int8")
    found = matrix.tasks(matrix.load(table()), [run])
    assert list(dict.fromkeys(task.name for task in found)) == ["a/final/fp32.tflite", "a/net-int8.tflite"]


def test_wrong_calls_have_one_line(start, tmp_path):
    _, stderr = end(start(tmp_path / "nowhere"), 2)
    assert stderr == f"bench_android.py: {tmp_path}/nowhere: no run folder and no .tflite file\n"
