"""Networks that draw nothing or everything are named, with their folds and what to change."""

import pytest

from tfseg.cautions import cautions, collapsed, few_patients, tuned
from tfseg.metrics import METRICS, Row


def row(image, *, fold="0", file="keras", class_name="nerve", shown=True, drawn=True, specificity=0.9):
    scores = dict.fromkeys(METRICS, 0.5) | {"specificity": specificity}
    empty = {"truth_empty": not shown, "prediction_empty": not drawn}
    return Row(image=image, patient=image, fold=fold, file=file, class_name=class_name, **scores, **empty)


def images(count, **options):
    return [row(str(number), **options) for number in range(count)]


def test_folds_that_draw_nothing_are_named_together():
    rows = [row for fold in ("0", "1", "2") for row in images(3, fold=fold, drawn=fold == "1")]
    rows += [row("empty", fold="2", shown=False, drawn=False)]
    (found,) = collapsed(rows)
    assert (found.file, found.class_name) == ("keras", "nerve")
    assert found.text.startswith("folds 0, 2, keras: drew nothing on all 7 images, 6 of which show nerve; it learned")
    assert "--set loss=dice_bce" in found.text


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        pytest.param([*images(3, drawn=False), row("a")], [], id="one is drawn"),
        pytest.param(images(3, shown=False, drawn=False), [], id="rightly nothing"),
        pytest.param(images(3, specificity=0.05), ["nearly everything"], id="everything"),
        pytest.param([*images(3, specificity=0.01), row("a", specificity=0.06)], [], id="not everywhere"),
        pytest.param(images(3, fold="holdout", drawn=False), ["the hold-out, keras"], id="hold-out"),
        pytest.param(images(3, file="int8", drawn=False), ["it learned nothing"], id="a file alone"),
        pytest.param([*images(3), *images(3, file="int8", drawn=False)], ["int8: drew nothing"], id="a file"),
        pytest.param([*images(3), *images(3, file="int8", drawn=False)], ["tfseg convert"], id="by conversion"),
        pytest.param(
            [*images(3, drawn=False), *images(3, file="int8", drawn=False)], ["learned", "learned"], id="both"
        ),
        pytest.param([*images(2), *images(2, class_name="vessel", drawn=False)], ["show vessel"], id="one class"),
        pytest.param([], [], id="no rows"),
    ],
)
def test_what_is_named(rows, expected):
    found = collapsed(rows)
    assert len(found) == len(expected)
    for caution, words in zip(found, expected, strict=True):
        assert words in caution.text
        assert "fold holdout" not in caution.text


def test_fewer_than_ten_patients_are_few():
    ten, nine = images(10), [*images(9), row("8")]
    assert cautions(ten) == []
    (found,) = cautions(nine)
    assert "the 95 % intervals rest on 9 patients" in found.text
    (found,) = few_patients([*ten, *images(1, fold="holdout")])
    assert "of the hold-out rest on 1 patients" in found.text


def test_folds_that_chose_the_settings_are_named():
    rows = [*images(2), *images(2, fold="1")]
    (caution,) = tuned(rows, ["0"])
    assert "by the scores of fold 0 of these very images" in caution.text
    assert caution in cautions(rows, ["0"])
    assert "folds 0, 1" in tuned(rows, ["0", "1"])[0].text
    assert tuned(rows, []) == []
    assert tuned(rows, ["7"]) == []
