"""Several pieces of work at a time on this computer: they end as one after the other, and none outlives its parent."""

import contextlib
import json
import os
import signal
import sys
import time
from functools import partial
from pathlib import Path

import pytest

from tfseg.cli import main
from tfseg.engine import Local, Piece
from tfseg.errors import InputError, WorkError

KFOLD = (
    *("kfold", "--dataset", "nerve", "--model", "segresnet_bn", "--folds", "2", "--epochs", "4", "--image-size", "32"),
    *("--batch-size", "2", "--set", "deterministic=true", "--deploy", "int8"),
)
DEEDS = '''
import os, signal, time
from pathlib import Path
from tfseg.errors import InputError

def meet(run, where, watch, me, other):
    """Can only end while the other one is at work, too."""
    print("hello from", me)
    (run / me).touch()
    begun = time.monotonic()
    while not (run / other).exists():
        assert time.monotonic() < begun + 60
        time.sleep(0.01)
    watch("meeting", 1, 1, "met")

def wait(run, where, watch):
    (run / "pid").write_text(str(os.getpid()))
    time.sleep(600)

def refuse(run, where, watch):
    raise InputError("no such thing")

def break_(run, where, watch):
    return 1 / 0

def fill(run, where, watch):
    raise OSError(28, "No space left on device", "full.bin")

def die(run, where, watch):
    os.kill(os.getpid(), signal.SIGKILL)
'''


@pytest.fixture
def do(tmp_path, monkeypatch):
    """Do pieces two at a time; return their names, and what was told of their progress."""
    (tmp_path / "deeds.py").write_text(DEEDS)
    monkeypatch.syspath_prepend(tmp_path)  # processes that are started look there, too
    import deeds  # pyright: ignore[reportMissingImports]

    def run(**works):
        told = []
        pieces = [
            Piece(name=name, run=tmp_path, folder=name, work=work(deeds), files=(), share=lambda watch: watch)
            for name, work in works.items()
        ]
        done = Local(workers=2).run(pieces, watch=lambda *words: told.append(words))
        return sorted(piece.name for piece in done), told

    yield run
    del sys.modules["deeds"]


def meeting(me, other):
    return lambda deeds: partial(deeds.meet, me=me, other=other)


def test_two_are_at_work_at_the_same_time_and_a_third_follows(do, tmp_path):
    (tmp_path / "c").touch()
    done, told = do(one=meeting("a", "b"), two=meeting("b", "a"), three=meeting("d", "c"))
    assert done == ["one", "three", "two"]
    assert told[-1][:3] == ("meeting", 3, 3)
    assert {detail for *_, detail in told} >= {"one met", "two met", "three met"}
    assert (tmp_path / "one" / "worker.log").read_text() == "hello from a\n"


@pytest.mark.parametrize(
    ("deed", "kind", "said"),
    [
        ("refuse", InputError, "no such thing"),
        ("break_", ZeroDivisionError, "division by zero"),
        ("fill", OSError, "No space left on device"),
        ("die", WorkError, "two: its process was ended from outside"),
    ],
)
def test_what_fails_there_fails_here_and_ends_the_others(do, tmp_path, deed, kind, said):
    with pytest.raises(kind, match=said) as caught:
        do(one=lambda deeds: deeds.wait, two=lambda deeds: getattr(deeds, deed))
    if (tmp_path / "pid").exists():
        with pytest.raises(ProcessLookupError):
            os.kill(int((tmp_path / "pid").read_text()), 0)
    if kind is ZeroDivisionError:
        assert "in break_" in caught.value.__notes__[0]


@pytest.mark.parametrize("words", [["--workers", "0"], ["--workers", "2", "--engine", "ray"]])
def test_workers_that_cannot_be_are_refused(words, capsys):
    assert main(["kfold", "--dataset", "nerve", *words]) == 2
    assert "--workers" in capsys.readouterr().err.splitlines()[-1]


def outcome(run):
    """Everything that must not depend on which process made it."""
    names = ["folds.json", "metrics.csv", "summary.json"]
    names += [f"fold_{fold}/{name}" for fold in range(2) for name in ("history.csv", "model.keras", "int8.tflite")]
    return {name: (run / name).read_bytes() for name in names}


def children(process):
    """The folders in /proc of what a process started and still runs."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):  # it ends while we look
            state, parent, *_ = path.read_text().rpartition(")")[2].split()
            found += [path.parent] if int(parent) == process.pid and state != "Z" else []
    return found


def running(processes):
    return [path for path in processes if path.exists() and "\nState:\tZ" not in (path / "status").read_text()]


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_run_of_two_workers_ended_and_resumed_is_that_of_one(tfseg, start_tfseg, nerve, tmp_path, how):
    one = ("env", "TF_NUM_INTRAOP_THREADS=1")  # as many threads as each of two workers has
    two = ("env", "TF_NUM_INTRAOP_THREADS=2")
    tfseg(*KFOLD, "--data", nerve, "--out", tmp_path / "a" / "run", prefix=one)
    words = (*KFOLD, "--data", nerve, "--out", tmp_path / "b" / "run", "--workers", "2")
    process = start_tfseg(*words, prefix=two)
    while not all((tmp_path / "b" / "run" / f"fold_{fold}" / "history.csv").exists() for fold in range(2)):
        assert process.poll() is None, process.communicate()
        time.sleep(0.05)
    workers = children(process)
    assert len(running(workers)) >= 2
    process.send_signal(how)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == (130 if how == signal.SIGINT else -signal.SIGKILL)
    assert "Traceback" not in stderr
    begun = time.monotonic()
    while running(workers):
        assert time.monotonic() < begun + 20
        time.sleep(0.05)
    result = tfseg(*words, "--resume", "--json", prefix=two)
    assert json.loads(result.stdout) == json.loads((tmp_path / "b" / "run" / "summary.json").read_text())
    assert outcome(tmp_path / "a" / "run") == outcome(tmp_path / "b" / "run")
