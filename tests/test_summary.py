"""Summaries of a few rows whose means one can take in the head, and the bootstrap against a slow loop."""

import dataclasses
import json
import math

import pytest

from tfseg.commands.output import print_summary
from tfseg.metrics import METRICS, Row
from tfseg.summary import summarise
from tfseg.tables import EARLIER_RULE, comparison_table, fold_tables, measure_tables

COUNTS = {("keras", "nerve"): {"tp": 10, "fp": 2, "fn": 3, "tn": 85}}
NERVE = {"name": "nerve", "phantom": False}
# Two folds of two patients: fold 0 has a mean Dice of 0.4 over three images, fold 1 of 0.8 over one.
ROWS = (("a", "p", "0", 0.2), ("b", "p", "0", 0.4), ("c", "q", "0", 0.6), ("d", "r", "1", 0.8))


def row(image, patient, fold, dice, *, file="keras", class_name="nerve", **changes):
    values = dict.fromkeys(METRICS, dice) | {"truth_empty": False, "prediction_empty": False} | changes
    return Row(image=image, patient=patient, fold=fold, file=file, class_name=class_name, **values)


def summary_of(rows, *, data=NERVE, confusion=COUNTS, classes=("nerve",), **options):
    return summarise(rows, confusion, classes=classes, data=data, hausdorff_unit="px", **options)


def test_the_mean_is_over_images_and_the_spread_over_folds():
    summary = summary_of([row(*values) for values in ROWS])
    nerve = summary["files"]["keras"]["nerve"]
    assert nerve["images"] == 4
    assert nerve["fold_images"] == {"0": 3, "1": 1}
    assert nerve["confusion"] == {"tp": 10, "fp": 2, "fn": 3, "tn": 85}
    assert nerve["dice"]["mean"] == pytest.approx(0.5)  # and not 0.6, the mean of the folds
    assert nerve["dice"]["folds"] == {"0": pytest.approx(0.4), "1": pytest.approx(0.8)}
    assert nerve["dice"]["sd_folds"] == pytest.approx(0.4 / math.sqrt(2))  # of two values: their difference / sqrt(2)
    assert nerve["dice"]["count"] == 4
    assert nerve["dice"]["low"] < 0.5 < nerve["dice"]["high"]


def test_the_form_is_that_of_summary_json():
    summary = summary_of([row(*values) for values in ROWS])
    assert list(summary) == ["schema", "data", "classes", "hausdorff_unit", "rule", "interval", "files", "cautions"]
    assert (summary["schema"], summary["data"], summary["classes"]) == (1, NERVE, ["nerve"])
    shares = ["images", "fold_images", "truth_empty", "prediction_empty", "missed", "false_alarms", "confusion"]
    assert list(summary["files"]["keras"]["nerve"]) == [*shares, *METRICS, "kaggle_score"]
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary


def test_empties_are_shares_of_the_images():
    rows = [row(*values, truth_empty=values[0] == "a", prediction_empty=values[0] in "ab") for values in ROWS]
    nerve = summary_of(rows)["files"]["keras"]["nerve"]
    assert (nerve["truth_empty"], nerve["prediction_empty"]) == (0.25, 0.5)


def test_an_undefined_hausdorff_distance_is_left_out_and_counted():
    distances = {"a": 1.0, "b": math.nan, "c": 5.0, "d": math.nan}
    rows = [row(*values, hausdorff95=distances[values[0]]) for values in ROWS]
    hausdorff = summary_of(rows)["files"]["keras"]["nerve"]["hausdorff95"]
    assert (hausdorff["mean"], hausdorff["count"]) == (3, 2)
    assert hausdorff["folds"] == {"0": 3, "1": None}
    assert hausdorff["sd_folds"] is None  # only one fold has a mean
    # Two patients, at 1 and 5: Student's t of one degree of freedom is 12.7 and the standard error 2; none is below 0.
    assert (hausdorff["low"], hausdorff["high"]) == pytest.approx((0, 3 + 12.706 * 2), abs=1e-3)


def test_nothing_is_said_where_nothing_is_known():
    rows = [row(*values, hausdorff95=math.nan) for values in ROWS]
    hausdorff = summary_of(rows)["files"]["keras"]["nerve"]["hausdorff95"]
    nothing = dict.fromkeys(["mean", "sd_folds", "low", "high"])
    assert hausdorff == {**nothing, "count": 0, "folds": {"0": None, "1": None}}


def test_one_patient_has_a_mean_and_no_interval():
    dice = summary_of([row("a", "p", "0", 0.2), row("b", "p", "0", 0.4)])["files"]["keras"]["nerve"]["dice"]
    assert dice["mean"] == pytest.approx(0.3)
    assert (dice["low"], dice["high"], dice["sd_folds"]) == (None, None, None)


def test_the_kaggle_score_is_the_dice_and_belongs_to_the_nerve_challenge():
    rows = [row(*values) for values in ROWS]
    nerve = summary_of(rows)["files"]["keras"]["nerve"]
    assert nerve["kaggle_score"] == nerve["dice"]
    assert "kaggle_score" not in summary_of(rows, data={"name": "usgra", "phantom": False})["files"]["keras"]["nerve"]


def test_files_and_classes_are_kept_apart():
    rows = [row(*ROWS[0]), row(*ROWS[0], class_name="vessel"), row(*ROWS[3], file="int8")]
    rows += [row(*ROWS[3], file="int8", class_name="vessel")]
    counts = {(file, name): {"tp": 1} for file in ("keras", "int8") for name in ("nerve", "vessel")}
    files = summary_of(rows, confusion=counts, classes=("vessel", "nerve"))["files"]
    assert list(files) == ["keras", "int8"]
    assert list(files["int8"]) == ["vessel", "nerve"]
    assert files["keras"]["vessel"]["dice"]["mean"] == 0.2
    assert files["int8"]["nerve"]["dice"]["mean"] == 0.8


def test_files_are_compared_image_by_image():
    losses = {"a": 0.0, "b": 0.1, "c": 0.3, "d": -0.2}
    rows = [row(*values) for values in ROWS]
    rows += [
        row(image, patient, fold, dice - losses[image], file="int8", prediction_empty=image == "c")
        for image, patient, fold, dice in ROWS
    ]
    summary = summary_of(rows, confusion=COUNTS | {("int8", "nerve"): {}})
    paired = summary["comparisons"]["int8"]["nerve"]
    assert paired["against"] == "keras"
    assert paired["images"] == 4
    assert paired["score"] == summary["files"]["int8"]["nerve"]["dice"]["mean"]
    assert paired["dice"]["mean"] == pytest.approx(-0.05)
    # Patients lose 0 and 0.1 (p), 0.3 (q), and gain 0.2 (r). One draw of 27 holds q alone, 0.25 below the mean, and its
    # standard error counts as a quarter of that of all: the ends are 4 * 0.25 away, and no difference is below -1.
    assert (paired["dice"]["low"], paired["dice"]["high"]) == pytest.approx((-1, -0.05 + 4 * 0.25))
    assert paired["worst"] == pytest.approx(-0.3)
    assert paired["flipped"] == 1
    table = comparison_table(summary)
    assert [cells[1] for cells in table.rows] == ["keras", "int8"]
    assert table.rows[1][4].startswith("-0.0500 [-")
    assert table.rows[1][5:] == ("-0.300", "1 of 4")


def test_one_file_has_nothing_to_be_compared_with():
    summary = summary_of([row(*values) for values in ROWS])
    assert "comparisons" not in summary
    assert comparison_table(summary) is None


def test_the_holdout_never_mixes_with_the_folds():
    rows = [row(*values) for values in ROWS]
    mixed = [row("y", "s", "holdout", 0.1), *rows, row("z", "t", "holdout", 0.3)]
    summary = summary_of(mixed)
    assert summary["files"] == summary_of(rows)["files"]
    kept_apart = summary["holdout"]["keras"]["nerve"]
    assert kept_apart["dice"]["mean"] == pytest.approx(0.2)
    assert kept_apart["dice"]["folds"] == {"holdout": pytest.approx(0.2)}
    assert kept_apart["dice"]["sd_folds"] is None
    assert "confusion" not in kept_apart
    counted = summary_of(mixed, holdout_confusion={("keras", "nerve"): {"tp": 7}})["holdout"]["keras"]["nerve"]
    assert counted == {**kept_apart, "confusion": {"tp": 7}}


def test_a_run_of_holdout_rows_alone_has_no_files():
    summary = summary_of([row("y", "s", "holdout", 0.1)], confusion={}, holdout_confusion=COUNTS)
    assert summary["files"] == {}
    assert [table.title for table in fold_tables(summary)] == ["nerve: nerve, keras, hold-out"]


def test_an_image_that_counts_twice_is_refused():
    with pytest.raises(ValueError, match="a is there twice for file keras and class nerve"):
        summary_of([row(*ROWS[0]), row(*ROWS[0])])


def test_fold_10_comes_after_fold_9():
    rows = [row(f"image{fold}", "p", str(fold), 0.5) for fold in (10, 9, 0)]
    assert list(summary_of(rows)["files"]["keras"]["nerve"]["fold_images"]) == ["0", "9", "10"]


def test_the_table_has_a_row_a_fold_and_one_for_all():
    distances = {"a": 1.0, "b": math.nan, "c": 5.0, "d": 12.0}
    rows = [row(*values, hausdorff95=distances[values[0]], truth_empty=values[0] == "b") for values in ROWS]
    (table,) = fold_tables(summary_of(rows, resamples=200))
    assert table.title == "nerve: nerve, keras"
    assert table.header[:3] == ("fold", "n", "Dice")
    assert table.header[-3:] == ("HD95 (px)", "missed", "false alarms")
    assert table.header[4] == "Sensitivity"
    assert table.rows[0][:5] == ("0", "3", "0.400", "0.400", "0.400")  # sensitivity: of 0.2 and 0.6
    assert table.rows[0][-3:] == ("3.0", "0 of 2", "1 of 1")
    assert table.rows[1] == ("1", "1", *["0.800"] * 7, "12.0", "0 of 1", "0 of 0")
    assert table.rows[2][:2] == ("all", "4")
    assert table.rows[2][2].startswith("0.500 ± 0.283 [")
    assert table.rows[2][-3].startswith("6.0 ± 6.4 [")
    assert table.rows[2][-2:] == ("0 of 3", "1 of 1")
    assert "25% of the true and 0% of the predicted masks are empty" in table.note
    assert "images that show the class" in table.note
    assert {len(cells) for cells in table.rows} == {len(table.header)}


def test_the_table_reads_the_file_as_it_reads_the_summary():
    rows = [row(*values, hausdorff95=math.nan) for values in ROWS]
    summary = summary_of(rows)
    (table,) = fold_tables(json.loads(json.dumps(summary)))
    assert [table] == fold_tables(summary)
    assert [cells[-3] for cells in table.rows] == ["n/a", "n/a", "n/a"]


def test_a_network_that_never_draws_has_neither_distance_nor_sensitivity():
    # One of four images shows the nerve; nothing is drawn anywhere: the measures of each image are those of `score`.
    right = {"hausdorff95": 0.0, "truth_empty": True, "prediction_empty": True}
    missed = {"hausdorff95": math.nan, "prediction_empty": True}
    rows = [row(*one, dice) for one, dice in zip([values[:3] for values in ROWS], (1.0, 1.0, 1.0, 0.0), strict=True)]
    rows = [dataclasses.replace(one, **(missed if one.image == "d" else right)) for one in rows]
    summary = summary_of(rows)
    nerve = summary["files"]["keras"]["nerve"]
    assert summary["rule"] == "shown"
    assert (nerve["hausdorff95"]["mean"], nerve["hausdorff95"]["count"]) == (None, 0)
    assert (nerve["sensitivity"]["mean"], nerve["sensitivity"]["count"]) == (0, 1)
    assert nerve["dice"]["mean"] == 0.75  # the share of empty truths, as the challenge of 2016 has it
    assert nerve["missed"] == {"count": 1, "of": 1, "folds": {"0": [0, 0], "1": [1, 1]}}
    assert nerve["false_alarms"] == {"count": 0, "of": 3, "folds": {"0": [0, 3], "1": [0, 0]}}


def test_a_summary_of_the_earlier_rule_says_so():
    summary = summary_of([row(*values) for values in ROWS])
    del summary["rule"]
    for name in ("missed", "false_alarms"):
        del summary["files"]["keras"]["nerve"][name]
    (table,) = fold_tables(summary)
    assert table.header[-1] == "HD95 (px)"
    assert table.note.endswith(EARLIER_RULE)
    assert {len(cells) for cells in table.rows} == {len(table.header)}


def test_phantoms_are_marked():
    (table,) = fold_tables(summary_of([row(*ROWS[0])], data={"name": "nerve", "phantom": True}))
    assert table.title == "PHANTOM nerve: nerve, keras"


def measured(true, predicted, **more):
    """A row's columns of an area of mm² and a circumference of a tenth of it."""
    areas = {"true_area": true, "predicted_area": predicted}
    return areas | {"true_circumference": true / 10, "predicted_circumference": predicted / 10} | more


def test_measures_are_compared_where_both_are_drawn():
    values = {
        "a": measured(100.0, 110.0, listed_circumference=9.0),
        "b": measured(200.0, 190.0, listed_circumference=19.0),
        "c": measured(300.0, 330.0, listed_circumference=29.0),
        "d": measured(400.0, 0.0, prediction_empty=True),  # missed: counted among the misses, no error of 400
    }
    summary = summary_of([row(*one, **values[one[0]]) for one in ROWS])
    found = summary["files"]["keras"]["nerve"]["measures"]
    assert list(found) == ["area", "circumference", "listed_circumference"]  # no diameter was measured
    # Errors 10, -10 and 30: their mean is 10 and their standard deviation 20.
    assert found["area"] == pytest.approx(
        {"count": 3, "reference": 200, "error": 10, "absolute_error": 50 / 3, "low": 10 - 39.2, "high": 10 + 39.2}
    )
    assert found["listed_circumference"]["error"] == pytest.approx(2)  # 11 - 9, 19 - 19, 33 - 29
    assert found["listed_circumference"]["annotated_error"] == pytest.approx(1)
    assert json.loads(json.dumps(summary, allow_nan=False)) == summary
    (table,) = measure_tables(summary | {"hausdorff_unit": "mm"})
    assert table.title == "nerve: measures"
    assert table.rows[0] == ("nerve", "keras", "area (mm²)", "3", "200.0", "+10.0", "16.7", "-29.2 to +49.2")
    assert table.rows[2][2:6] == ("circumference, against the table (mm)", "3", "19.00", "+2.00")
    assert "is +1.00 mm off it" in table.note
    assert {len(cells) for cells in table.rows} == {len(table.header)}


def test_rows_without_measures_have_no_table():
    summary = summary_of([row(*values) for values in ROWS])
    assert "measures" not in summary["files"]["keras"]["nerve"]
    assert measure_tables(summary) == []
    missed = [row(*values, **measured(100.0, 0.0, prediction_empty=True)) for values in ROWS]
    (table,) = measure_tables(summary_of(missed))
    assert table.rows[0] == ("nerve", "keras", "area (px²)", "0", "n/a", "n/a", "n/a", "n/a")
    assert "table" not in table.note


def test_a_fold_that_draws_nothing_stands_below_its_table(capsys):
    rows = [row(*values, prediction_empty=values[2] == "1") for values in ROWS]
    rows += [dataclasses.replace(one, file="int8", prediction_empty=False) for one in rows]
    summary = summary_of(rows, confusion=COUNTS | {("int8", "nerve"): {}})
    caution, few = summary["cautions"]
    assert caution["text"].startswith("fold 1, keras: drew nothing on all 1 images")
    assert "rest on 3 patients" in few["text"]
    keras, int8 = fold_tables(json.loads(json.dumps(summary)))
    assert keras.note.startswith("CAUTION: fold 1, keras: drew nothing")
    assert "CAUTION" not in int8.note
    for as_json in (True, False):
        print_summary(summary, as_json=as_json)
        printed = capsys.readouterr()
        assert printed.err == f"CAUTION: {caution['text']}\nCAUTION: {few['text']}\n"
        assert "drew nothing" in printed.out
    assert "cautions" not in summary_of([row(str(number), str(number), "0", 0.5) for number in range(10)])
