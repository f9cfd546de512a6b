"""tfseg doctor: what it says was tried, what is missing has a remedy, and nothing broken breaks it."""

import json
import os
import sys
from importlib import metadata
from pathlib import Path

import pytest

from tfseg import doctor, places
from tfseg.cli import main
from tfseg.doctor import BROKEN, MISSING, OK, Part

BASE = (
    "tensorflow",
    "keras",
    "numpy",
    "scipy",
    "scikit-learn",
    "ai-edge-litert",
    "opencv-python-headless",
    "kagglehub",
)


@pytest.fixture(scope="module")
def parts(tfseg):
    """What it says of this machine, by name."""
    told = json.loads(tfseg("doctor", "--json").stdout)
    assert told["ok"] is True
    return {part["name"]: part for part in told["parts"]}


@pytest.fixture
def programs(tmp_path, monkeypatch):
    """An empty PATH, and a function that puts a program there."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    (tmp_path / "bin").mkdir()

    def write(name, text):
        path = tmp_path / "bin" / name
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)

    return write


@pytest.fixture
def modules(tmp_path, monkeypatch):
    """Write a module that a new Python process finds before any other."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")]))
    return lambda name, text: (tmp_path / f"{name}.py").write_text(text)


def adb():
    return next(doctor._program(row) for row in doctor._PROGRAMS if row[0] == ("adb",))


@pytest.mark.timeout(700)  # a busy machine needs minutes to load TensorFlow, and is not broken
def test_what_tfseg_needs_is_tried_and_has_its_version(parts):
    for name in BASE:
        assert (parts[name]["state"], parts[name]["detail"]) == (OK, metadata.version(name))
        assert parts[name]["needed_for"] == ""
    assert parts["machine"]["detail"].startswith(f"{len(os.sched_getaffinity(0))} CPU cores, ")


def test_everything_that_is_not_there_says_for_what_and_how_to_mend_it(parts):
    names = {"adb", "node", "npm", "chromium", "ray", "keras-cv", "tensorflow-model-optimization", "@litertjs/core"}
    wanted = {*names, "GPU for training", "GPU for files", "oneDNN", "Kaggle credentials", "benchmark_model", "disk"}
    assert wanted <= parts.keys()
    for name in wanted:
        assert parts[name]["needed_for"], name
        assert not parts[name]["fatal"], name
        assert parts[name]["state"] == OK or parts[name]["remedy"] or name == "GPU for training"
    assert parts["Kaggle credentials"]["state"] == MISSING  # the tests have an empty home


def test_a_program_is_run(programs):
    assert (adb().state, adb().detail) == (MISSING, "not installed")
    assert adb().remedy.endswith(("apt-get install adb", "brew install android-platform-tools"))
    programs("adb", "echo Example Bridge $1")
    assert adb().detail.startswith("Example Bridge version (/")
    assert (adb().state, adb().remedy) == (OK, "")
    programs("adb", "exit 3")
    assert (adb().state, adb().detail[-8:]) == (BROKEN, "status 3")


def test_a_program_that_hangs_is_ended(programs, monkeypatch):
    monkeypatch.setattr(doctor, "PROGRAM_S", 0.2)
    programs("adb", "while :; do :; done")
    assert adb().state == BROKEN
    assert "timed out" in adb().detail


def test_broken_packages_are_told_and_the_others_tried(modules):
    modules("first_broken", "raise OSError('libfirst.so: cannot open')")
    modules("sound", "")
    modules("deadly", "import os, signal; print('{', flush=False); os.kill(os.getpid(), signal.SIGSEGV)")
    assert doctor._probe("packages", ["first_broken", "sound", "deadly", "never_tried"]) == {
        "first_broken": {"error": "OSError: libfirst.so: cannot open"},
        "sound": {"found": True},
        "deadly": {"error": "its process died of SIGSEGV"},
    }


def test_a_package_that_hangs_is_given_up(modules, monkeypatch):
    monkeypatch.setattr(doctor, "PROBE_S", 2)
    modules("endless", "while True: pass")
    assert doctor._probe("packages", ["endless"])["endless"] == {
        "error": "not done after 2 s: it hangs, or the machine is busy"
    }


def test_a_package_is_ok_only_if_its_version_fits_and_it_was_imported():
    version = metadata.version("numpy")
    found = {"numpy": {"found": True}}
    assert doctor._package("numpy>=2", "numpy", "", found).state == OK
    old = doctor._package("numpy<1", "numpy", "", found)
    assert (old.state, old.detail) == (BROKEN, f"{version} is installed, and numpy<1 is wanted")
    assert old.fatal
    assert doctor._package("numpy>=2", "numpy", "", {}).state == BROKEN
    absent = doctor._package("nonesuch>=2", "nonesuch", "tfseg dream", {})
    assert (absent.state, absent.remedy, absent.fatal) == (MISSING, "pip install 'nonesuch>=2'", False)


def test_credentials_are_looked_for_and_never_shown(tmp_path, monkeypatch):
    monkeypatch.setenv("KAGGLE_CONFIG_DIR", str(tmp_path))
    (tmp_path / "kaggle.json").write_text('{"username": "me", "key": "secret"}')
    found = doctor._probe("kaggle")
    assert doctor._kaggle(found["kaggle"]).state == OK
    assert "secret" not in str(found)
    (tmp_path / "kaggle.json").write_text('{"username": "me"')
    broken = doctor._kaggle(doctor._probe("kaggle")["kaggle"])
    assert broken.state == BROKEN
    assert str(tmp_path) in broken.detail


def test_the_pages_runtime_has_the_version_of_its_package(tmp_path, monkeypatch):
    assert doctor._web().remedy in ("", "make demo-web")  # of the checkout
    for module in (doctor, places):
        monkeypatch.setattr(module, "device_side", lambda: tmp_path)
    assert (doctor._web().state, doctor._web().remedy) == (MISSING, f"npm ci --omit=dev --prefix {tmp_path}/web")
    about = tmp_path / "web/node_modules/@litertjs/core/package.json"
    about.parent.mkdir(parents=True)
    about.write_text('{"version": "2.5.3"}')
    assert (doctor._web().state, doctor._web().detail) == (OK, "2.5.3")
    about.write_text("{}")
    assert doctor._web().state == BROKEN


def test_a_place_where_nothing_can_be_written_is_told(tmp_path):
    assert doctor._writable(tmp_path).state == OK
    assert list(tmp_path.iterdir()) == []
    gone = doctor._writable(tmp_path / "nowhere")
    assert (gone.state, gone.fatal) == (BROKEN, False)


@pytest.mark.parametrize(("needed_for", "status"), [("", 1), ("tfseg dream", 0)])
def test_only_what_all_need_makes_it_fail(monkeypatch, capsys, needed_for, status):
    part = Part(name="dreamer", state=BROKEN, detail="asleep", needed_for=needed_for, remedy="wake it")
    monkeypatch.setattr(doctor, "examine", lambda: [part])
    assert main(["doctor"]) == status
    out, err = capsys.readouterr()
    assert "mend it:    wake it" in out
    assert ("without it: tfseg dream" in out) == (status == 0)
    assert err == ("tfseg: tfseg does not work here: dreamer; see above\n" if status else "")


def test_what_was_not_tried_is_not_said_to_be_slow():
    assert doctor._powers({})[1].detail == "not tried"
    assert doctor._powers({"onednn": {"found": False}})[1].detail == "TensorFlow splits convolutions by groups"
    assert doctor._powers({"onednn": {"found": True}})[1].state == OK


def test_python_is_told_with_its_place():
    assert doctor._python() == Part(name="python", state=OK, detail=f"{sys.version.split()[0]} in {Path(sys.prefix)}")
