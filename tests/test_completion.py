"""tfseg completion: the scripts run in the shells that they are for, and offer what the parser knows."""

import shutil
import subprocess

import pytest

from tfseg import models
from tfseg.data import DATASETS

BASH = """
source "$1"; shift
COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMP_LINE="$*"; COMP_POINT=${#COMP_LINE}
function=$(complete -p tfseg | sed 's/.*-F \\([^ ]*\\) .*/\\1/')
"$function" tfseg "${COMP_WORDS[COMP_CWORD]}" "${COMP_WORDS[COMP_CWORD - 1]}"
printf '%s\\n' "${COMPREPLY[@]}"
"""


def shell(name):
    found = shutil.which(name)
    if found is None:
        pytest.skip(f"{name} is not installed")
    return found


@pytest.fixture(scope="module")
def script(tfseg, tmp_path_factory):
    """Where the script of a shell lies."""
    folder = tmp_path_factory.mktemp("completion")

    def write(name):
        path = folder / f"tfseg.{name}"
        if not path.exists():
            path.write_text(tfseg("completion", name).stdout)
        return path

    return write


@pytest.fixture(scope="module")
def complete(script):
    """What bash offers for the last of the words."""

    def run(*words, cwd="."):
        command = [shell("bash"), "--norc", "-c", BASH, "bash", script("bash").absolute(), "tfseg", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=True, cwd=cwd)
        assert done.stderr == ""
        return done.stdout.split()

    return run


def test_bash_completes_commands_and_flags(complete):
    assert complete("kf") == ["kfold"]
    assert complete("data", "p") == ["phantom"]
    assert complete("kfold", "--ep") == ["--epochs"]
    assert complete("benchmark", "--target", "") == ["host", "android"]


def test_bash_completes_the_names_that_the_parser_leaves_open(complete):
    assert complete("kfold", "--dataset", "") == list(DATASETS)
    assert complete("train", "--model", "") == models.names()
    assert complete("data", "get", "us") == ["usgra"]


def test_bash_completes_files_and_folders(complete, tmp_path):
    (tmp_path / "weights.tflite").touch()
    (tmp_path / "wanted").mkdir()
    assert set(complete("inspect", "w", cwd=tmp_path)) == {"weights.tflite", "wanted"}
    assert complete("kfold", "--data", "w", cwd=tmp_path) == ["wanted"]  # a folder is asked for: no files


def test_fish_completes(script, tmp_path):
    said = subprocess.run(
        [shell("fish"), "--no-config", "-c", f"source {script('fish')}; complete -C 'tfseg data p'"],
        capture_output=True,
        text=True,
        check=True,
        env={"HOME": str(tmp_path), "PATH": "/usr/bin:/bin"},
    )
    assert [line.split("\t")[0] for line in said.stdout.splitlines()] == ["phantom"]


def test_zsh_loads_its_script(script):
    path = script("zsh")
    load = f'autoload -Uz compinit; compinit -u -D; eval "$(cat {path})"; print $_comps[tfseg]'
    said = subprocess.run([shell("zsh"), "-f", "-c", load], capture_output=True, text=True, check=True)
    assert said.stdout.strip().startswith("_shtab_tfseg")


def test_another_shell_gets_one_line(tfseg):
    refused = tfseg("completion", "tcsh", status=2)
    assert "'tcsh'" in refused.stderr
    assert len(refused.stderr.splitlines()) == 1
