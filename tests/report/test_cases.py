import dataclasses
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tfseg import runs
from tfseg.metrics import Row, read_rows
from tfseg.report.cases import BEST, MEDIAN, WORST, choose, draw


def row(image: str, dice: float, *, class_name: str = "nerve", truth_empty: bool = False, fold: str = "0") -> Row:
    others = dict.fromkeys(("iou", "accuracy", "sensitivity", "specificity", "precision", "efficiency"), 0.5)
    return Row(
        image=image, patient="1", fold=fold, file="keras", class_name=class_name, dice=dice, hausdorff95=1.0,
        truth_empty=truth_empty, prediction_empty=False, **others,
    )  # fmt: skip


def test_best_median_and_worst_are_three_each():
    rows = [row(f"{k:02}.png", k / 20) for k in range(20)]
    chosen = {
        kind: [case.image for case in choose(rows, file="keras") if case.kind == kind] for kind in (BEST, MEDIAN, WORST)
    }
    assert chosen == {
        BEST: ["19.png", "18.png", "17.png"],
        MEDIAN: ["08.png", "09.png", "10.png"],
        WORST: ["00.png", "01.png", "02.png"],
    }


@pytest.mark.parametrize("images", range(12))
def test_no_image_stands_twice(images):
    cases = choose([row(f"{k}.png", k / 20) for k in range(images)], file="keras")
    assert len({case.image for case in cases}) == len(cases) == min(images, 3 * max(1, min(3, images // 3)))


def test_images_without_truth_of_the_hold_out_or_of_other_files_are_not_ranked():
    rows = [row("empty", 1.0, truth_empty=True), row("kept", 0.9, fold="holdout"), row("shown", 0.5)]
    assert [case.image for case in choose(rows, file="keras")] == ["shown"]
    assert choose(rows, file="int8") == []


def test_rank_is_the_mean_over_the_classes_that_were_drawn():
    rows = [
        row("a", 0.8), row("a", 0.4, class_name="vessel"),
        row("b", 0.7), row("b", 0.0, class_name="vessel", truth_empty=True),
    ]  # fmt: skip
    assert {case.image: pytest.approx(case.dice) for case in choose(rows, file="keras")} == {"a": 0.6, "b": 0.7}


def drawn(run: Path, root: Path, mark: str = ""):
    return draw(choose(read_rows(run / runs.METRICS), file="keras"), run, dataset="nerve", root=root, mark=mark)


def test_pictures_are_drawn_and_kept_as_figures(fake_run, pristine_run):
    cases = drawn(fake_run, pristine_run.parent / "data")
    assert [one.case.kind for one in cases] == [BEST] * 3 + [MEDIAN] * 3 + [WORST] * 3
    assert not any(one.earlier for one in cases)
    assert (fake_run / runs.FIGURES / "case_best_1.png").read_bytes() == cases[0].outlined
    plain = np.asarray(Image.open(fake_run / runs.FIGURES / "case_best_1_plain.png"))
    assert (plain == np.asarray(Image.open(pristine_run.parent / "data" / cases[0].case.image))).all()


def test_pictures_of_data_that_are_gone_are_those_drawn_before(fake_run, pristine_run, tmp_path):
    before = drawn(fake_run, pristine_run.parent / "data")
    after = drawn(fake_run, tmp_path / "gone")
    assert after == [dataclasses.replace(one, earlier=True) for one in before]


def test_picture_of_another_image_is_not_taken_up(fake_run, pristine_run, tmp_path):
    best, second, *_ = drawn(fake_run, pristine_run.parent / "data")
    figures = fake_run / runs.FIGURES
    (figures / "case_best_2.png").replace(figures / "case_best_1.png")
    shown = {one.case.image for one in drawn(fake_run, tmp_path / "gone")}
    assert len(shown) == 7
    assert not {best.case.image, second.case.image} & shown


def test_data_that_changed_are_not_shown_under_the_old_score(fake_run, pristine_run):
    cases = choose(read_rows(fake_run / runs.METRICS), file="keras")
    path = runs.fold_folder(fake_run, int(cases[0].rows[0].fold)) / runs.PREDICTIONS / cases[0].image
    path = path.with_name(f"{path.stem}_nerve.png")
    pixels = np.array(Image.open(path))
    pixels[0, 0] = 255 - pixels[0, 0]
    Image.fromarray(pixels).save(path)
    assert cases[0].image not in {one.case.image for one in drawn(fake_run, pristine_run.parent / "data")}


def test_truncated_prediction_leaves_its_case_out(fake_run, pristine_run):
    case = choose(read_rows(fake_run / runs.METRICS), file="keras")[0]
    path = runs.fold_folder(fake_run, int(case.rows[0].fold)) / runs.PREDICTIONS / case.image
    path.with_name(f"{path.stem}_nerve.png").write_bytes(b"")
    assert len(drawn(fake_run, pristine_run.parent / "data")) == 8


def test_mark_is_on_every_picture(fake_run, pristine_run):
    drawn(fake_run, pristine_run.parent / "data", mark="PHANTOM")
    for path in (fake_run / runs.FIGURES).glob("case_*.png"):
        assert tuple(np.asarray(Image.open(path).convert("RGB"))[-1, 0]) == (255, 212, 0), path
