"""Runs side by side, on numbers that one can check in the head."""

import json
from pathlib import Path

import pytest

from tfseg import runs
from tfseg.cli import main
from tfseg.compare import Contestant, compare, contestant, difference, tables
from tfseg.config import Recipe
from tfseg.metrics import COLUMNS, Row, row_values

FLAGS = {"truth_empty": False, "prediction_empty": False}
OTHER = dict.fromkeys(("iou", "accuracy", "sensitivity", "specificity", "precision", "efficiency", "hausdorff95"), 0.5)


def row(image, dice, *, file="keras", fold="0", class_name="nerve", **flags):
    patient = image.split("_")[0]
    return Row(
        image=image, patient=patient, fold=fold, file=file, class_name=class_name, dice=dice, **OTHER, **FLAGS | flags
    )


FIRST = [row("a_1", 0.5), row("a_2", 0.5), row("b_1", 0.5), row("c_1", 0.5)]
SECOND = [row("a_1", 0.6), row("a_2", 0.5), row("b_1", 0.7), row("c_1", 0.0, prediction_empty=True)]


@pytest.fixture
def write_run(tmp_path):
    def write(name, rows, *, classes=("nerve",), fingerprint="f", phantom=False):
        run = tmp_path / name
        data = {"name": "nerve", "root": ".", "phantom": phantom, "fingerprint": fingerprint}
        runs.write_whole(run / runs.RECIPE, Recipe().to_toml())
        runs.write_json(run / runs.PROVENANCE, {"schema": runs.SCHEMA, "data": data})
        runs.write_json(run / runs.SUMMARY, {"data": data, "classes": list(classes)})
        runs.write_csv(run / runs.METRICS, COLUMNS, map(row_values, rows))
        return str(run)

    return write


def test_differences_wins_and_flips(write_run):
    apart = row("z_1", 0.9, fold="holdout")
    names = [write_run("one", [*FIRST, apart]), write_run("two", [*SECOND, apart])]
    found = compare([contestant(name) for name in names])
    assert (found["against"], found["phantom"]) == (names[0], False)
    (entry,) = found["classes"]["nerve"]
    assert (entry["wins"], entry["ties"], entry["losses"], entry["flipped"], entry["images"]) == (2, 1, 1, 1, 4)
    assert entry["score"] == pytest.approx(0.45)  # (0.6 + 0.5 + 0.7 + 0) / 4
    assert entry["dice"]["mean"] == pytest.approx(-0.05)  # (0.1 + 0 + 0.2 - 0.5) / 4
    # Patient b alone, 0.25 above the mean, is 1 of 27 draws; its standard error counts as a quarter of that of all. So
    # the lower end would be 4 * 0.25 below the mean, and the upper one, for c alone, 4 * 0.45 above it.
    assert (entry["dice"]["low"], entry["dice"]["high"]) == (-1, 1)
    assert entry["worst"] == pytest.approx(-0.5)
    (shown,) = tables(found)
    assert shown.note.endswith("CAUTION: with 3 patients or groups of images the intervals are rough.")
    assert shown.rows == ((names[1], "0.450", "-0.0500 [-1.0000, +1.0000]", "2", "1", "1", "-0.500", "1 of 4"),)


def test_files_within_a_run_and_phantoms(write_run):
    rows = [row("a_1", 0.5), row("a_1", 0.25, file="int8")]
    run = write_run("both", rows, phantom=True)
    found = compare([contestant(f"{run}:keras"), contestant(f"{run}:int8")])
    (entry,) = found["classes"]["nerve"]
    assert entry["dice"] == {"mean": -0.25, "low": None, "high": None}  # one patient says nothing of others
    (shown,) = tables(found)
    assert shown.title.startswith("PHANTOM nerve, nerve")
    assert shown.rows[0][2] == "-0.2500"


def test_seeds_are_averaged_image_by_image():
    def seeds(*dice):
        data, name = {"fingerprint": "f", "name": "nerve", "phantom": False}, "run"
        rows = (tuple(map(row, ("a_1", "b_1"), pair)) for pair in dice)
        return [Contestant(name=name, data=data, classes=("nerve",), rows=part) for part in rows]

    found = difference(seeds((0.2, 0.4), (0.4, 0.4)), seeds((0.1, 0.4), (0.1, 0.4)))
    assert found["mean"] == pytest.approx(0.1)  # a: 0.3 - 0.1, b: 0.4 - 0.4
    assert (found["low"], found["high"]) == (-1, 1)  # two patients, of whom one does not differ: it may be anything


@pytest.mark.parametrize(
    ("others", "expected"),
    [
        pytest.param([], "at least two", id="one"),
        pytest.param(["one"], "named twice", id="twice"),
        pytest.param(["one:int8"], "holds no scores of 'int8'; it has keras", id="file"),
        pytest.param(["nowhere"], "no such run folder", id="run"),
        pytest.param(["else"], "scored on other images", id="data"),
        pytest.param(["vessel"], "its classes are vessel", id="classes"),
        pytest.param(["apart"], "no image in common", id="images"),
        pytest.param(["begun"], "not scored yet", id="begun"),
    ],
)
def test_what_cannot_be_paired_is_refused_in_one_line(write_run, capsys, others, expected):
    one = write_run("one", FIRST)
    write_run("else", SECOND, fingerprint="g")
    write_run("vessel", [row("a_1", 0.5, class_name="vessel")], classes=["vessel"])
    write_run("apart", [row("q_1", 0.5)])
    (Path(write_run("begun", SECOND)) / runs.SUMMARY).unlink()
    assert main(["compare", one, *(one.removesuffix("one") + other for other in others)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert expected in line


def test_the_command_prints_what_the_function_returns(write_run, capsys):
    names = [write_run("one", FIRST), write_run("two", SECOND)]
    expected = compare([contestant(name) for name in names])
    assert main(["compare", *names, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == expected
    assert main(["compare", *names]) == 0
    assert "-0.0500" in capsys.readouterr().out
