import re
import xml.etree.ElementTree as ElementTree

import matplotlib as mpl
import numpy as np
import pytest

from tfseg.errors import InputError
from tfseg.report import curves
from tfseg.report.curves import dice_distribution, fold_colour, read_history

SVG = "{http://www.w3.org/2000/svg}"
HEADER = "epoch,loss,accuracy,iou,dice,val_loss,val_accuracy,val_iou,val_dice,learning_rate"


def history(epochs: int) -> dict[str, np.ndarray]:
    rise = np.linspace(0.1, 0.9, epochs)
    names = ("loss", "accuracy", "iou", "dice")
    return {"epoch": np.arange(1.0, epochs + 1), **dict.fromkeys(names, rise), **{f"val_{n}": rise**2 for n in names}}


def words(svg: str) -> list[str]:
    return ["".join(text.itertext()) for text in ElementTree.fromstring(svg).iter(f"{SVG}text")]


def bars(svg: str, colour: str) -> list[float]:
    """The heights of the bars of one colour, in points, from left to right."""
    heights = []
    for path in ElementTree.fromstring(svg).iter(f"{SVG}path"):
        if f"fill: {colour}" in path.get("style", ""):
            rows = [float(y) for _, y in re.findall(r"[ML] (\S+) (\S+)", path.get("d", ""))]
            heights.append(max(rows) - min(rows))
    return heights


def test_history_is_read_by_column(tmp_path):
    path = tmp_path / "history.csv"
    path.write_text(f"{HEADER}\n1,.9,.8,.1,.2,.95,.7,.05,.1,.001\n2,.8,.9,.3,.4,nan,.8,.2,.3,.001\n")
    columns = read_history(path)
    assert columns["epoch"].tolist() == [1, 2]
    assert columns["val_dice"].tolist() == [0.1, 0.3]
    assert np.isnan(columns["val_loss"][1])


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        pytest.param("epoch,loss\n1,0.5\n", "'accuracy' is not in list", id="column"),
        pytest.param(f"{HEADER}\n1,.9,.8,.1,.2,.95,.7,.05,much,.001\n", "could not convert", id="word"),
        pytest.param(f"{HEADER}\n1,.9,.8,.1\n", "damaged", id="cut-short"),
        pytest.param(f'{HEADER}\n1,".9', "damaged", id="quote"),
        pytest.param("", "damaged", id="empty"),
        pytest.param("\udcff", "damaged", id="bytes"),
    ],
)
def test_damaged_history_is_one_line_with_its_name(tmp_path, text, complaint):
    path = tmp_path / "history.csv"
    path.write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=complaint) as caught:
        read_history(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_missing_history_is_named(tmp_path):
    with pytest.raises(InputError, match=r"none\.csv: cannot read it"):
        read_history(tmp_path / "none.csv")


def test_every_chart_stands_for_its_measure_and_every_fold_in_the_legend():
    svg = curves.curves({f"fold {fold}": history(9) for fold in range(3)})
    text = words(svg)
    assert [name for name in text if name in curves.CURVES.values()] == ["Loss", "Pixel accuracy", "IoU", "Dice"]
    assert [name for name in text if name.startswith("fold ")] == ["fold 0", "fold 1", "fold 2"]
    # 4 charts of one solid and one dashed line, and a solid one in the legend
    styles = [path.get("style", "") for path in ElementTree.fromstring(svg).iter(f"{SVG}path")]
    first = [style for style in styles if f"stroke: {fold_colour(0)}" in style]
    assert len(first) == 9
    assert sum("stroke-dasharray" in style for style in first) == 4


def test_one_epoch_is_a_point_and_not_an_invisible_line():
    svg = curves.curves({"fold 0": history(1)}, names=["dice"])
    drawn = [use for use in ElementTree.fromstring(svg).iter(f"{SVG}use") if fold_colour(0) in use.get("style", "")]
    assert len(drawn) == 2  # of training and of validation


def test_colours_begin_again_after_the_last():
    assert fold_colour(len(curves.FOLDS)) == fold_colour(0)


def test_histogram_counts_images_in_bins_of_a_twentieth():
    svg = dice_distribution([0.15, 0.8, 0.84, 1.0], missed=0, title="nerve")
    heights = bars(svg, curves.BAR)
    unit = max(heights) / 2  # 0.8 and 0.84 share a bin, the tallest
    assert [round(height / unit) for height in heights] == [0, 0, 0, 1, *[0] * 12, 2, 0, 0, 1]
    assert "median 0.82" in words(svg)
    assert "nothing to find" not in words(svg)


def test_missed_images_are_stacked_on_the_first_bar_and_count_in_the_median():
    svg = dice_distribution([0.6], missed=2, title="nerve")
    (missed,) = bars(svg, curves.MISSED)
    assert missed == pytest.approx(2 * max(bars(svg, curves.BAR)), abs=1e-4)  # six decimals are written
    assert "median 0.00" in words(svg)


def test_empties_stand_apart_as_right_and_wrong():
    svg = dice_distribution([0.6], missed=0, rightly_empty=9, false_alarms=3, title="nerve")
    (right,), (wrong,) = bars(svg, curves.RIGHT), bars(svg, curves.MISSED)
    assert right == pytest.approx(3 * wrong, abs=1e-4)
    assert {"9", "3", "nothing to find"} <= set(words(svg))
    assert right < 216  # points: the chart is less than 3 inches high, and a tall bar stays within


def test_only_empties_can_be_drawn():
    assert "median" not in dice_distribution([], missed=0, rightly_empty=2, title="nerve")


def test_mark_stands_in_every_chart_that_asks_for_it():
    folds = {"fold 0": history(3)}
    assert "PHANTOM" in words(curves.curves(folds, mark="PHANTOM"))
    assert "PHANTOM" in words(dice_distribution([0.5], missed=0, title="nerve", mark="PHANTOM"))
    assert "PHANTOM" not in words(curves.curves(folds))


def test_equal_numbers_give_equal_bytes_and_leave_matplotlib_as_it_was():
    before = mpl.rcParams["svg.hashsalt"], mpl.rcParams["font.size"]
    first, second = (curves.curves({"fold 0": history(5)}) for _ in range(2))
    assert first == second
    assert "<metadata>" not in first
    assert (mpl.rcParams["svg.hashsalt"], mpl.rcParams["font.size"]) == before


def test_title_is_taken_as_it_is():
    svg = dice_distribution([0.5], missed=0, title='<script>$\\x$"')
    assert '<script>$\\x$"' in words(svg)
