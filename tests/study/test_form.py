"""What the studies ask for: recipes, rows and published numbers that belong together."""

import dataclasses
import json

import pytest

from tfseg.config import Recipe
from tfseg.errors import InputError
from tfseg.models import network
from tfseg.study import STUDIES, form, study
from tfseg.study.form import Order
from tfseg.study.table import COLUMNS

OF_ROWS = [one for one in STUDIES.values() if one.rows]
QUICK = [False, True]


def order(asked, **changes):
    asked_for = {
        "study": asked,
        "out": None,
        "sources": {},
        "quick": False,
        "seeds": (0,),
        "rows": asked.rows,
        "overrides": {},
        "base": None,
        "engine": None,
        "command": (),
        "watch": None,
    }
    return Order(**asked_for | changes)


@pytest.mark.parametrize("asked", OF_ROWS, ids=lambda one: one.name)
@pytest.mark.parametrize("quick", QUICK)
def test_every_row_is_a_recipe_that_its_network_takes(asked, quick):
    for row in asked.rows:
        recipe = order(asked, quick=quick).recipe(row, asked.datasets[0], 7)
        assert (recipe.dataset, recipe.seed) == (asked.datasets[0], 7)
        network(recipe.model, image_size=recipe.image_size)
        assert recipe.deploy == (("int8",) if asked.ships else ())
    names = [row.name for row in asked.rows]
    assert len(set(names)) == len(names)
    assert not any("," in name for name in names)  # --models takes them apart there


@pytest.mark.parametrize("asked", OF_ROWS, ids=lambda one: one.name)
def test_published_numbers_stand_beside_rows_of_the_table(asked):
    table = form.published(asked)
    assert table["source"]
    assert set(table["rows"]) <= {"any", *asked.datasets}
    names = {row.name for row in asked.rows}
    for figures in (figures for rows in table["rows"].values() for figures in rows.items()):
        assert figures[0] in names
        assert set(figures[1]) <= set(asked.columns)
    assert set(asked.columns) <= set(COLUMNS)


def test_the_ladder_is_that_of_the_paper():
    rows = study("ladder").rows
    first = {
        "loss": "bce",
        "optimizer": "sgd",
        "learning_rate": 1e-3,
        "schedule": "constant",
        "batch_size": 2,
        "weight_decay": 0.0,
        "augment": "none",
    }
    steps = [
        {"augment": "nerve"},
        {"loss": "dice"},
        {"optimizer": "adam", "learning_rate": 1e-4},
        {"schedule": "plateau"},
        {"batch_size": 8},
        {"weight_decay": 1e-4},
    ]
    assert dict(rows[0].keys) == first
    for before, row, step in zip(rows[:-1], rows[1:], steps, strict=True):
        assert {key: value for key, value in row.keys.items() if before.keys[key] != value} == step
    last = order(study("ladder")).recipe(rows[-1], "usgra", 0)
    assert (last.early_stopping, last.patience, last.largest_component, last.select) == (15, 5, True, "best")
    assert last == dataclasses.replace(
        order(study("lighter")).recipe(study("lighter").rows[0], "usgra", 0), deploy=()
    )  # section 4.3: the same settings
    published = [form.published_row(form.published(study("ladder")), "usgra", row)["dice"] for row in rows]
    assert published == [0.855, 0.877, 0.891, 0.911, 0.917, 0.928, [0.929, 0.002]]


def test_the_mobile_study_is_that_of_the_paper():
    asked = study("mobile")
    recipe = order(asked).recipe(asked.rows[0], "busi", 0)
    assert (recipe.optimizer, recipe.learning_rate, recipe.schedule) == ("adamw", 1e-3, "cosine")
    assert (recipe.loss, recipe.batch_size, recipe.image_size, recipe.epochs) == ("dice_ce", 16, 256, 80)
    assert asked.datasets == ("busi", "ct2us", "open_kidney")


def test_what_stands_later_wins(tmp_path):
    asked = study("lighter")
    file = tmp_path / "mine.toml"
    file.write_text('epochs = 7\nimage_size = 64\nmodel = "nerve_unet"\nloss = "focal"\n')
    base = form.read_base(asked, file)
    recipe = order(asked, base=base).recipe(asked.rows[2], "usgra", 0)
    assert (recipe.model, recipe.epochs, recipe.loss) == ("lighter_unet@128", 7, "focal")
    assert recipe.optimizer == Recipe.optimizer  # the file stands for all of the paper's settings
    quick = order(asked, base=base, quick=True, overrides={"epochs": 3})
    assert quick.recipe(asked.rows[2], "usgra", 0).epochs == 3
    assert quick.recipe(asked.rows[2], "usgra", 0).image_size == asked.quick["image_size"]


def test_an_image_size_becomes_one_that_the_network_takes():
    mobile = study("mobile")
    sizes = {row.name: order(mobile, quick=True).recipe(row, "busi", 0).image_size for row in mobile.rows}
    assert sizes["segresnet"] == 32
    assert sizes["mobilevitv2"] == 64  # its stride


@pytest.mark.parametrize("key", ["model", "dataset", "seed", "deploy"])
def test_a_key_that_rows_differ_in_is_refused(key):
    with pytest.raises(InputError, match=f"--set {key}"):
        form.refuse_varied(study("lighter"), [key])


def test_a_folder_of_something_else_is_refused(tmp_path):
    form.refuse_foreign(tmp_path / "new")
    (tmp_path / "study.json").touch()
    form.refuse_foreign(tmp_path)
    (tmp_path / "holiday.png").touch()
    with pytest.raises(InputError, match=r"holds holiday\.png"):
        form.refuse_foreign(tmp_path)


def test_an_unknown_study_names_the_nearest():
    with pytest.raises(InputError, match="did you mean ladder"):
        study("lader")


def test_instructions_come_from_the_file_of_the_tool(tmp_path):
    rows = [{"name": "unet", "tfseg": {"instructions": 3_289_287_621}}, {"name": "resunet", "tfseg": None}]
    kept = {"settings": {"image_size": 256, "cpu": "cortex-a76"}, "networks": rows}
    (tmp_path / "arm.json").write_text(json.dumps(kept))
    counts, note = form.read_instructions(tmp_path / "arm.json")
    assert counts == {"unet": 3_289_287_621}
    assert "256x256" in note
    assert "cortex-a76" in note


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param(None, "cannot read", id="missing"),
        pytest.param("{", "is not a file of instructions", id="damaged"),
        pytest.param('{"networks": [{"name": "unet"}]}', "is not a file of instructions", id="foreign"),
        pytest.param("[]", "is not a file of instructions", id="list"),
    ],
)
def test_another_file_of_instructions_is_refused(tmp_path, text, expected):
    path = tmp_path / "arm.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(InputError, match=f"arm.json: {expected}"):
        form.read_instructions(path)


def test_the_study_of_small_networks_holds_forms_that_ship():
    rows = [row.name for row in study("tiny").rows]
    assert rows[0] == "unet"
    assert {"mk_unet_relu@t", "mobile_cmunext", "cmunext_s_relu", "simple_unet@16"} < set(rows)
    assert not {"mk_unet", "cmunext_s"} & set(rows)
    assert study("tiny").columns[:4] == ("int8_dice", "int8_loss", "parameters", "gmac")
