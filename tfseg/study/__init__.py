"""The table of studies: each repeats a published one on the user's data, or on phantoms, and ends in its table."""

import difflib
from typing import Any

from tfseg.errors import InputError
from tfseg.study.form import Row, Study

# Li et al., ISBI 2021, sections 3.1 and 4.2: what their tuning ended with. Validation takes a quarter of the training
# patients, as their 70 of 278.
_TUNED: dict[str, Any] = {
    "channels": 3,
    "image_size": 256,
    "folds": 5,
    "validation": 0.25,
    "epochs": 200,
    "early_stopping": 15,
    "select": "best",
    "largest_component": True,
    "augment": "nerve",
    "loss": "dice",
    "optimizer": "adam",
    "learning_rate": 1e-4,
    "schedule": "plateau",
    "patience": 5,
    "batch_size": 8,
    "weight_decay": 1e-4,
}
_KEPT = "k folds, where the paper has one split; the epoch with the lowest validation loss is kept"
_QUICK: dict[str, Any] = {"image_size": 32, "folds": 2, "epochs": 2}

# Rows of the study of small networks, each in the form that ships, beside the U-Net that they are measured against.
_TINY = (
    "unet",
    "lite_unet",
    "lite_unet@80",
    "cmunext_s_relu",
    "mk_unet_relu",
    "mk_unet_relu@s",
    "mk_unet_relu@t",
    "mobile_cmunext",
    "simple_unet@64",
    "simple_unet@32",
    "simple_unet@16",
)


def _networks(*names: str) -> tuple[Row, ...]:
    return tuple(Row(name=name, keys={"model": name}) for name in names)


def _ladder(*steps: tuple[str, dict[str, Any]]) -> tuple[Row, ...]:
    """Return a row a step: each has every key that any step changes, as the steps up to it have left them."""
    keys: dict[str, Any] = {}
    rows = []
    for name, change in steps:
        keys |= change
        rows.append(Row(name=name, keys=dict(keys)))
    return tuple(rows)


STUDIES: dict[str, Study] = {
    study.name: study
    for study in (
        Study(
            name="nerve",
            title="U-Net with Dice loss for nerves",
            datasets=("nerve",),
            recipe={
                "image_size": 128,
                "folds": 5,
                "epochs": 30,
                "batch_size": 8,
                "loss": "batch_dice",
                "optimizer": "adam",
                "learning_rate": 1e-4,
                "warmup": 0.1,
                "schedule": "cosine",
                "augment": "nerve",
            },
            rows=_networks("nerve_unet"),
            columns=("accuracy", "loss", "iou", "dice", "hausdorff95"),
            seeds=1,
            quick=_QUICK | {"epochs": 12, "batch_size": 4, "learning_rate": 1e-3},
            curves=True,
        ),
        Study(
            name="ladder",
            title="The tuning ladder of U-Net",
            datasets=("usgra",),
            recipe=_TUNED | {"model": "unet"},
            rows=_ladder(
                (
                    "BCE + SGD 1e-3 + batch 2",
                    {
                        "loss": "bce",
                        "optimizer": "sgd",
                        "learning_rate": 1e-3,
                        "schedule": "constant",
                        "batch_size": 2,
                        "weight_decay": 0.0,
                        "augment": "none",
                    },
                ),
                ("+ augmentation", {"augment": "nerve"}),
                ("+ Dice loss", {"loss": "dice"}),
                ("+ Adam 1e-4", {"optimizer": "adam", "learning_rate": 1e-4}),
                ("+ halving on plateau", {"schedule": "plateau"}),
                ("+ batch 8", {"batch_size": 8}),
                ("+ weight decay 1e-4", {"weight_decay": 1e-4}),
            ),
            columns=("dice", "difference", "hausdorff95"),
            quick=_QUICK,
            quick_seeds=2,
            departures="SGD has Nesterov momentum 0.9, of which the paper says nothing; weight decay is L2 in the "
            f"gradient, the older of the two that the paper cites; {_KEPT}",
        ),
        Study(
            name="lighter",
            title="Light and Lighter U-Net",
            datasets=("usgra",),
            recipe=_TUNED,
            rows=_networks("unet", "light_unet", *(f"lighter_unet@{size}" for size in (128, 64, 32, 16, 8, 4, 2, 1))),
            columns=("parameters", "gmac", "dice", "difference", "hausdorff95", "int8_dice", "int8_loss", "latency"),
            quick=_QUICK,
            ships=True,
            departures=f"one weight decay for all networks, the paper tunes it for each; {_KEPT}",
        ),
        Study(
            name="networks",
            title="U-Net against DeepLab v3+ and FCN",
            datasets=("usgra",),
            recipe=_TUNED,
            rows=_networks("unet", "deeplabv3plus_mobilenet", "deeplabv3plus_resnet101", "fcn32s", "fcn16s", "fcn8s"),
            columns=("parameters", "gmac", "dice", "difference", "hausdorff95"),
            quick=_QUICK,
            departures=f"encoders start from random numbers; one weight decay for all networks; {_KEPT}",
        ),
        Study(
            name="mobile",
            title="Networks for phones",
            datasets=("busi", "ct2us", "open_kidney"),
            several=True,
            recipe={
                "channels": 3,
                "image_size": 256,
                "folds": 5,
                "epochs": 80,
                "batch_size": 16,
                "loss": "dice_ce",
                "optimizer": "adamw",
                "learning_rate": 1e-3,
                "weight_decay": 0.01,
                "schedule": "cosine",
                "augment": "mobile",
            },
            rows=_networks("segresnet", "lraspp_mobilenetv3", "resunet", "mobilevitv2", "segformer_b0"),
            columns=("parameters", "gmac", "dice", "difference", "int8_dice", "latency", "fps"),
            seeds=1,
            quick=_QUICK | {"batch_size": 8},
            ships=True,
            departures="k folds, where the paper has one split; weight decay 0.01, which the paper does not name",
        ),
        Study(
            name="tiny",
            title="Small networks",
            datasets=("usgra",),
            recipe={
                "channels": 1,
                "image_size": 128,
                "folds": 5,
                "epochs": 80,
                "batch_size": 8,
                "loss": "dice_bce",
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "ema": 0.99,
                "augment": "probe",
            },
            rows=_networks(*_TINY),
            columns=("int8_dice", "int8_loss", "parameters", "gmac", "latency", "instructions"),
            seeds=1,
            quick=_QUICK,
            ships=True,
            departures=(
                "one recipe for all networks; the forms that ship; lite_unet starts from ImageNet weights, all others "
                "from random numbers"
            ),
        ),
        Study(
            name="liver",
            title="Two Mobile U-Nets in cascade: liver, region of interest, tumour",
            datasets=("lits",),
            recipe={
                "model": "mobile_unet",
                "image_size": 256,
                "folds": 5,
                "epochs": 50,
                "batch_size": 8,
                "loss": "dice_bce",
                "optimizer": "adam",
                "learning_rate": 1e-3,
                "schedule": "cosine",
                "augment": "mobile",
            },
            rows=(
                Row(name="liver", keys={"classes": ("liver",), "region": "", "largest_component": True}),
                Row(name="tumour", keys={"classes": ("tumour",), "region": "liver", "largest_component": False}),
            ),
            columns=("parameters", "gmac", "dice", "hausdorff95", "accuracy", "sensitivity", "efficiency"),
            seeds=1,
            quick={"image_size": 48, "folds": 2, "epochs": 4, "learning_rate": 3e-3},
            work="liver:liver",
            departures="loss, optimizer, rate and augmentation, which the paper does not name; k folds of patients and "
            "scores by volume, where it has slices",
        ),
    )
}


def study(name: str) -> Study:
    """Return a row of STUDIES; InputError, with the names that come close, for one we do not know."""
    if name not in STUDIES:
        near = difflib.get_close_matches(name, STUDIES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(STUDIES)}"
        raise InputError(f"unknown study {name!r}: {hint}")
    return STUDIES[name]
