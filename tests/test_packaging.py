"""What a fresh machine relies on: the pins, the Makefile's targets, the wheel, and no machine's address in any file."""

import os
import re
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
# Every machine has package indexes of its own. The brackets keep this line from matching itself.
INDEX_HOST = re.compile(r"py[p]i\.org|python[h]osted|--(extra-)?index[-]url|--find[-]links")


def constraints() -> dict[str, str]:
    """Return the version of each package, by its name in the one spelling that pip compares."""
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = (re.fullmatch(r"([\w.-]+)==([\w.]+)", line) for line in lines if not line.startswith("#"))
    return {canonical(pin[1]): pin[2] for pin in pins if pin}


def canonical(requirement: str) -> str:
    """Return the package name that a requirement starts with, as PEP 503 spells it."""
    name = re.match(r"[\w.-]+", requirement)
    assert name, requirement
    return re.sub(r"[-_.]+", "-", name[0]).lower()


def test_every_line_of_the_constraints_is_a_plain_pin():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    assert len(constraints()) == len([line for line in lines if not line.startswith("#")])


@pytest.mark.parametrize("group", ["base", *PROJECT["optional-dependencies"]])
def test_every_dependency_is_pinned(group):
    requirements = PROJECT["dependencies"] if group == "base" else PROJECT["optional-dependencies"][group]
    assert {canonical(requirement) for requirement in requirements} <= constraints().keys()


def test_no_file_names_a_package_index():
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        pytest.skip("not a git checkout")
    ours = [git, "-C", ROOT, "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(ours, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip(f"git cannot list the files: {listed.stderr.strip()}")
    named = [name for name in listed.stdout.split("\0") if name and INDEX_HOST.search(text_of(ROOT / name))]
    assert named == []


def text_of(path: Path) -> str:
    """Return a file's text, or "" for binary files and for files deleted but still tracked."""
    content = path.read_bytes() if path.is_file() else b""
    return "" if b"\0" in content else content.decode(errors="replace")


def test_make_help_lists_every_target():
    make = shutil.which("make")
    if make is None:
        pytest.skip("make is not installed")
    help_target = [make, "-C", ROOT, "--no-print-directory"]
    listed = subprocess.run(help_target, capture_output=True, text=True, check=True).stdout
    phony = re.search(r"^\.PHONY: (.*)$", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert phony
    assert re.findall(r"^make (\S+) +\S", listed, re.MULTILINE) == phony[1].split()


@pytest.mark.parametrize("version", [(3, 10, 13), (3, 14, 0)])
def test_setup_refuses_another_python_in_one_line(version, tmp_path):
    name = "Python " + ".".join(map(str, version))
    python = tmp_path / "python3"
    python.write_text(
        f"#!/bin/sh\n"
        f'[ "$1" = -V ] && echo {name} && exit\n'
        f'exec "{sys.executable}" -c "import sys; sys.version_info = {version}; $2"\n',
        encoding="utf-8",
    )
    python.chmod(0o755)
    setup = ["sh", ROOT / "tools" / "setup.sh", tmp_path / "venv"]
    environment = {"PYTHON": str(python), "PATH": "/usr/bin:/bin"}
    refused = subprocess.run(setup, env=environment, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert refused.stdout == ""
    assert refused.stderr.startswith(f"tfseg needs Python 3.11, 3.12 or 3.13 (found: {name})")
    assert refused.stderr.count("\n") == 1
    assert not (tmp_path / "venv").exists()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The wheel and the sdist, made as `make build` makes them."""
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run([sys.executable, "-m", "hatchling", "build", "--directory", folder], cwd=ROOT, check=True)
    (wheel,), (archive,) = folder.glob("tfseg-*.whl"), folder.glob("tfseg-*.tar.gz")
    return wheel, archive


def test_the_wheel_holds_the_package_its_recipes_the_devices_side_and_nothing_else(built):
    names = set(zipfile.ZipFile(built[0]).namelist())
    assert {f"tfseg/recipes/{path.name}" for path in (ROOT / "tfseg" / "recipes").glob("*.toml")} <= names
    assert {"tfseg/cli.py", "tfseg/recipes/demo.toml", "tfseg/report/report.css"} <= names
    assert {"tfseg/tflite/matrix.toml", "tfseg/tflite/bench_android.py", "tfseg/tflite/android/get_harness.sh"} <= names
    page = ROOT / "tflite" / "web" / "page"
    assert {f"tfseg/tflite/web/page/{path.name}" for path in page.glob("*.*")} <= names
    assert {"tfseg/tflite/web/package.json", "tfseg/tflite/web/package-lock.json"} <= names
    assert {name.partition("/")[0] for name in names} == {"tfseg", f"tfseg-{PROJECT['version']}.dist-info"}
    assert not [name for name in names if re.search(r"node_modules|/results/|web/test/|benchmark_model", name)]


def test_the_sdist_holds_what_its_tests_need(built):
    with tarfile.open(built[1]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    wanted = ("tfseg/cli.py", "tests/conftest.py", "tools/readme.py", "docs/benchmarks.md", "tflite/matrix.toml")
    assert {*wanted, "README.md", "LICENSE", "Makefile", "constraints.txt"} <= names
    assert not [name for name in names if "node_modules" in name]


def test_the_sdist_gives_the_same_wheel(built, tmp_path):
    with tarfile.open(built[1]) as archive:
        archive.extractall(tmp_path, filter="data")
    (source,) = tmp_path.iterdir()
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path / "dist"]
    subprocess.run(build, cwd=source, check=True, capture_output=True)
    (again,) = (tmp_path / "dist").iterdir()
    assert sorted(zipfile.ZipFile(again).namelist()) == sorted(zipfile.ZipFile(built[0]).namelist())


def test_what_is_installed_from_the_wheel_finds_its_files(built, tmp_path):
    """The unpacked wheel alone on the path, in another folder: recipes, styles and the device's side are there."""
    zipfile.ZipFile(built[0]).extractall(tmp_path / "site")
    script = (
        "import tfseg, tfseg.places as places; from importlib import resources;"
        "print(tfseg.__file__); print(places.device_side() / 'matrix.toml');"
        "print(resources.files('tfseg') / 'recipes' / 'nerve.toml')"
    )
    environment = os.environ | {"PYTHONPATH": str(tmp_path / "site")}
    said = subprocess.run(
        [sys.executable, "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=True
    )
    paths = [Path(line) for line in said.stdout.splitlines()]
    assert len(paths) == 3
    assert all(path.is_file() and path.is_relative_to(tmp_path / "site") for path in paths)


@pytest.mark.slow
@pytest.mark.timeout(1800)  # an empty environment is filled: TensorFlow and all that it needs
def test_the_wheel_works_in_an_empty_environment(built, tmp_path):
    """The commands that a newcomer types, one after the other, with nothing but the wheel."""
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True)
    pip = [tmp_path / "venv/bin/python", "-m", "pip", "install", "--quiet", "-c", ROOT / "constraints.txt", built[0]]
    installed = subprocess.run(pip, capture_output=True, text=True, check=False)
    if installed.returncode and re.search("Connection|No matching distribution", installed.stderr):
        pytest.skip(f"no package index to install from: {installed.stderr.splitlines()[-1]}")
    assert installed.returncode == 0, installed.stderr
    there = tmp_path / "elsewhere"
    there.mkdir()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    said = {}
    for words in (
        "kfold --dataset nerve --epochs 1 --folds 2",
        "convert --int8 --max-drop 1",  # after one epoch a network is worth nothing, and its file may be worth less
        "benchmark --runs 5 --json results",
        "card --benchmark results",
        "doctor",
    ):
        command = [tmp_path / "venv/bin/tfseg", *words.split()]
        done = subprocess.run(command, cwd=there, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{words}: {done.stderr}"
        said[words.split()[0]] = done.stdout
    run = there / "runs" / "nerve-nerve_unet-1"
    assert (run / "nerve_unet-int8.tflite").is_file()
    assert "nerve-nerve_unet-1/nerve_unet-int8.tflite" in said["benchmark"]
    assert "PHANTOM" in (run / "MODEL_CARD.md").read_text()
