"""What a fresh machine relies on: the pins, the Makefile's targets, the wheel, and no machine's address in any file."""

import re
import shutil
import subprocess
import sys
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


@pytest.mark.slow
def test_the_wheel_holds_the_package_its_recipes_and_nothing_else(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", tmp_path]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("tfseg-*.whl")
    names = set(zipfile.ZipFile(wheel).namelist())
    assert {f"tfseg/recipes/{path.name}" for path in (ROOT / "tfseg" / "recipes").glob("*.toml")} <= names
    assert {"tfseg/cli.py", "tfseg/recipes/demo.toml", "tfseg/report/report.css"} <= names
    page = ROOT / "tflite" / "web" / "page"
    assert {f"tfseg/web/page/{path.name}" for path in page.iterdir()} <= names  # the live demo
    others = {"tfseg/web/package.json", "tfseg/web/package-lock.json"}
    assert {
        name for name in names if name.startswith("tfseg/web/") and "/page/" not in name
    } == others  # npm's stay out
    assert {name.partition("/")[0] for name in names} == {"tfseg", f"tfseg-{PROJECT['version']}.dist-info"}
