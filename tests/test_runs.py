"""The run folder: which run is gone on with, and what a failed start leaves."""

import os

import pytest

from tfseg import runs
from tfseg.config import Recipe
from tfseg.errors import InputError


def begin(run, recipe, fingerprint):
    run.mkdir(parents=True)
    runs.write_json(run / runs.PROVENANCE, {"schema": runs.SCHEMA, "data": {"fingerprint": fingerprint}})
    runs.write_whole(run / runs.RECIPE, recipe.to_toml())


def test_the_newest_run_is_that_of_the_same_recipe_and_data(tmp_path):
    begun = {"first": (Recipe(), "a"), "second": (Recipe(seed=1), "a"), "third": (Recipe(), "b")}
    for hour, (name, (recipe, fingerprint)) in enumerate(begun.items()):
        begin(tmp_path / name, recipe, fingerprint)
        os.utime(tmp_path / name / runs.RECIPE, (3600 * hour, 3600 * hour))
    assert runs.newest(tmp_path) == tmp_path / "third"
    assert runs.newest(tmp_path, recipe=Recipe()) == tmp_path / "third"
    assert runs.newest(tmp_path, recipe=Recipe(), fingerprint="a") == tmp_path / "first"
    assert runs.newest(tmp_path, recipe=Recipe(), fingerprint="c") is None


def test_an_error_before_the_begin_leaves_no_folder(tmp_path):
    with pytest.raises(InputError), runs.locked(tmp_path / "run"):
        raise InputError("batch_size = 1000")
    assert not (tmp_path / "run").exists()


def test_an_error_later_leaves_what_was_done(tmp_path):
    begin(tmp_path / "run" / "more", Recipe(), "a")
    with pytest.raises(InputError), runs.locked(tmp_path / "run"):
        raise InputError("no network to learn from")
    assert (tmp_path / "run" / "more" / runs.RECIPE).exists()
