"""The table of a study: what was run, what was published, and nothing else."""

import csv
import json

import pytest

from tfseg.report.tradeoff import Point
from tfseg.study import table


def score(mean, sd=None):
    return {"mean": mean, "sd": sd, "seeds": [mean]}


def content(**changes):
    rows = [
        {
            "name": "unet",
            "data": "usgra",
            "phantom": False,
            "published": {"dice": [0.929, 0.002], "parameters": "17.3 M"},
            "ours": {
                "dice": score(0.61234, 0.0123),
                "hausdorff95": score(12.345),
                "latency": {"median_ms": 8.25, "status": "ok", "reason": "", "threads": 1},
            },
            "runs": ["runs/a"],
        },
        {
            "name": "lighter_unet@1",
            "data": "usgra",
            "phantom": False,
            "published": {"dice": 0.917},
            "ours": {
                "dice": score(None),
                "difference": {"mean": -0.01, "low": -0.03, "high": 0.01, "against": "unet"},
                "latency": {"median_ms": 4.0, "status": "unsteady", "reason": "busy", "threads": 1},
            },
            "runs": ["runs/b"],
        },
    ]
    return {
        "title": "Light and Lighter U-Net",
        "phantom": False,
        "quick": False,
        "seeds": [0, 1, 2],
        "columns": ["parameters", "gmac", "dice", "difference", "hausdorff95", "latency", "fps"],
        "curves": False,
        "departures": "one weight decay for all",
        "data": {"usgra": {}},
        "cpu": "Some CPU",
        "command": ["tfseg", "study", "lighter"],
        "hausdorff_unit": "px",
        "image_size": [128],
        "folds": [3],
        "published": {"source": "Li et al., table 2", "data": "private images"},
        "rows": rows,
    } | changes


def test_ours_and_published_stand_apart_and_what_was_not_run_is_not_there():
    shown = table.table(content())
    assert shown.header == (
        *("", "Dice", "Dice less the first row's", "HD95 (px)", "int8, ms"),
        *("published: Parameters", "published: Dice"),
    )  # no column of a figure that no row has: GMAC, FPS and our parameters were not counted
    assert shown.rows == (
        ("unet", "0.612 ± 0.012", "", "12.35", "8.25", "17.3 M", "0.929 ± 0.002"),
        ("lighter_unet@1", "n/a", "-0.010 [-0.030, +0.010]", "", "4~", "–", "0.917"),
    )
    assert "mean ± standard deviation over 3 seeds" in shown.note
    assert "Li et al., table 2" in shown.note
    assert "Departures: one weight decay for all." in shown.note
    assert "PHANTOM" not in f"{shown.title} {shown.note}"


def test_several_data_sets_have_a_column_and_phantoms_are_marked():
    study = content(phantom=True, quick=True, seeds=[0])
    study["rows"][0] |= {"data": "busi", "phantom": True}
    shown = table.table(study)
    assert shown.title == "PHANTOM Light and Lighter U-Net: usgra, quick"
    assert [row[1] for row in shown.rows] == ["busi PHANTOM", "usgra"]
    assert "one seed" in shown.note
    assert "PHANTOM" in shown.note


@pytest.mark.parametrize("phantom", [False, True])
def test_every_file_of_a_study_says_the_same(tmp_path, phantom):
    study = content(phantom=phantom)
    shown = table.write(study, tmp_path)
    assert json.loads((tmp_path / table.STUDY).read_text()) == study
    with (tmp_path / table.CSV).open() as file:
        (_, *header), *rows = csv.reader(file)
    assert (tuple(header), tuple(map(tuple, rows))) == (shown.header[1:], shown.rows)
    page, text = ((tmp_path / name).read_text() for name in (table.PAGE, table.MARKDOWN))
    for words in ("0.612 ± 0.012", "-0.010 [-0.030, +0.010]", "4~"):
        assert words in page
        assert words in text
    for name in (table.STUDY, table.CSV, table.PAGE, table.MARKDOWN):
        assert ("PHANTOM" in (tmp_path / name).read_text()) == (phantom and name != table.STUDY)


def test_frames_a_second_are_those_of_the_latency():
    study = content()
    for row in study["rows"]:
        row["ours"]["fps"] = row["ours"]["latency"]
        row["published"] = {"fps": 21}
    shown = table.table(study)
    assert [row[-2:] for row in shown.rows] == [("121", "21"), ("250~", "21")]


def small_networks(**changes):
    study = content(columns=["int8_dice", "latency", "instructions"], instructions="Instructions: counted.", **changes)
    for row, dice in zip(study["rows"], (0.61, 0.58), strict=True):
        row["ours"]["int8_dice"] = score(dice)
    return study


def test_the_files_that_were_timed_and_scored_are_drawn():
    study = small_networks()
    assert table.points(study) == [
        Point(file="unet", device="Some CPU", latency_ms=8.25, dice=0.61),
        Point(file="lighter_unet@1", device="Some CPU", latency_ms=4.0, dice=0.58),
    ]
    study["rows"][0]["data"] = "busi"
    study["rows"][1]["ours"]["latency"] = {"median_ms": None, "status": "died", "reason": "", "threads": 1}
    assert [point.device for point in table.points(study)] == ["Some CPU, busi"]


def test_the_picture_stands_in_a_file_and_on_the_page(tmp_path):
    table.write(small_networks(phantom=True), tmp_path / "timed")
    assert "PHANTOM" in (tmp_path / "timed" / table.PICTURE).read_text()
    page = (tmp_path / "timed" / table.PAGE).read_text()
    assert 'aria-label="Median latency against Dice of 2 pairs' in page
    assert "1 lighter_unet@1 (4 ms, 0.580); 2 unet (8.25 ms, 0.610)" in page
    table.write(content(), tmp_path / "not")  # nothing has the Dice of an int8 file
    assert not (tmp_path / "not" / table.PICTURE).exists()
    assert "Pareto" not in (tmp_path / "not" / table.PAGE).read_text()


def test_instructions_have_a_column_and_a_note_where_any_were_given():
    study = small_networks()
    assert "Instructions" not in table.table(study).note
    study["rows"][1]["ours"]["instructions"] = 1_234_567_890
    shown = table.table(study)
    assert shown.header[3] == "int8 on Arm, million instructions"
    assert [row[3] for row in shown.rows] == ["", "1,235"]
    assert "Instructions: counted." in shown.note
