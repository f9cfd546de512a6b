"""Recipe: everything that decides what a training does, in one frozen dataclass read from TOML."""

import dataclasses
import difflib
import re
import tomllib
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, Self

from tfseg.errors import InputError

FILES = ("fp32", "fp16", "dynamic", "int8", "int8-qat")  # that a network is converted to
_PRUNED = re.compile(r"(fp32|fp16|dynamic|int8)-pruned-0?\.[0-9]+")
AUGMENTATIONS = ("none", "nerve", "mobile", "probe", "strong", "four")
OPTIMIZERS = ("adam", "adamw", "sgd")
SCHEDULES = ("constant", "cosine", "plateau")
SELECTIONS = ("last", "best")
ANSWERS = ("no", "auto", "yes")
FEW_EMPTY = 10, 0.05  # masks, and share of all, below which "auto" takes no presence head
PRECISIONS = ("float32", "bfloat16", "auto")
BFLOAT16 = ("avx512_bf16", "amx_bf16")  # what Linux calls the instructions that oneDNN multiplies in bfloat16 with


@dataclasses.dataclass(frozen=True, kw_only=True)
class Recipe:
    """What is trained, on what and how; equal recipes on equal data give equal networks.

    Attributes:
        dataset: name in tfseg.data.DATASETS.
        classes: names of the classes to learn, in the order of the network's channels; () means the data set's default.
        model: name in tfseg.models.MODELS, with "@variant" where the network has variants.
        weights: what the encoder starts from: "imagenet", a preset of keras-cv, the path of a .keras file of the same
            network (see tfseg.models.pretrained), or "none" for random numbers. "" is what the network's row in
            tfseg.models.MODELS says: published weights where tfseg is installed with them, else random numbers.
        teacher: a run folder with the same data, folds, classes, image_size and channels, whose fold k teaches fold k:
            to the loss comes the cross-entropy with the probabilities of that network, which has not seen the fold's
            held-out patients either (see tfseg.teacher); "" for none.
        teacher_weight: what that cross-entropy is multiplied by.
        image_size: height and width, in pixels, of what the network sees.
        channels: 1 (grey) or 3 (RGB).
        folds: number of patient-wise folds.
        holdout: share of the patients set aside before the folds are drawn, in [0, 1).
        validation: share of a fold's training patients kept out of training to steer it, in [0, 1). With 0 the
            held-out patients are watched in the curves and never obeyed: early stopping, "plateau" and "best" need > 0.
        epochs: passes over the training images, at least.
        min_steps: steps of a training, at least: a small data set is passed over more often than `epochs` says.
        minutes: how long the training of a network takes, at most: passes that do not fit are left out, and the
            learning rate falls in the time that there is; 0 sets no limit. The clock is read after each pass, so the
            last may end up to one pass late. How many passes fit depends on the machine, so two runs differ.
        batch_size: images per step.
        loss: name in tfseg.losses.LOSSES.
        optimizer: "adam", "adamw" or "sgd" (Nesterov momentum 0.9).
        learning_rate: of the first step after any warm-up.
        warmup: share of all steps over which the learning rate rises linearly from 0, in [0, 0.5]; not with "plateau".
        schedule: "constant", "cosine" (to 0 over all steps) or "plateau" (halved after `patience` epochs without gain).
        patience: epochs without a lower validation loss before "plateau" halves the learning rate.
        weight_decay: with "adamw" decoupled: each step takes learning_rate * weight_decay of every weight away. With
            "adam" and "sgd" it is L2: weight_decay times the weight is added to the gradient, as PyTorch's optimizers
            do (see tfseg.models.adam).
        ema: decay per step of an exponential moving average of the weights, which is then the network that is kept,
            in [0, 1); 0 keeps the weights themselves. Batch norm's statistics are then estimated again, with the
            averaged weights. Curves show the weights themselves. Not with select = "best".
        early_stopping: stop after that many epochs without a lower validation loss; 0 never stops.
        select: "last" keeps the last epoch's weights, "best" those of the lowest validation loss.
        augment: "none", "nerve", "mobile", "probe", "strong" or "four" (see tfseg.data.augment).
        presence: "yes" to learn, too, whether each class is in the image at all, and draw nothing where it is not (see
            tfseg.models.presence): for data with empty masks. Below a probability of one half nothing is drawn, unless
            `decide` finds a better one. "auto" does so where at least 1 of 20 masks, and 10 in
            all, are empty. "no" does not.
        presence_weight: what the cross-entropy of presence is multiplied by in the loss.
        decide: "yes" to choose `threshold`, `smallest_area` and the threshold of presence in each fold by the Dice on
            its validation patients, who learn nothing: needs validation > 0 (see tfseg.decide). "auto" does so with a
            presence head and validation > 0 only; otherwise it sets no patients aside. "no" does not.
        threshold: probability from which a pixel counts as foreground, in (0, 1). Several classes that exclude each
            other (the losses "ce" and "dice_ce") have none: a pixel gets the most probable of them and the background.
        smallest_area: share of the image, in [0, 1), below which a class's whole mask counts as nothing drawn.
        largest_component: keep only the largest connected component of each class, in a volume in three dimensions.
        window_low_hu, window_high_hu: the values of a volume's voxels that become 0 and 1, -4096 to 32767 (Hounsfield
            units in CT); what lies outside is cut off. Pictures have no window.
        region: the class of a volume whose bounding box is all that the network learns from and predicts in; "" is the
            whole volume.
        region_margin_mm: how far that box reaches beyond the class on every side, 0 to 1000.
        tried_on: folds, of this data set with this seed, whose scores chose these settings: reports say so beside the
            score.
        seed: of folds, weights, order and augmentation.
        precision: "float32", or "bfloat16" to multiply in bfloat16 and keep the weights in float32 (the saved network
            is a float32 network either way): up to twice as fast where the processor has the instructions, many times
            slower where it has not. "auto" is the one that is faster on the processor that starts the run (see
            `settled`), which the run then says.
        deterministic: same bytes on every run on the same machine, at some cost in speed.
        deploy: files to convert each fold's network to and to score on the images that it never saw, beside fp32: any
            of "fp16", "dynamic" and "int8".
        final: train once more on all images, for the file to ship; what it is worth, only the folds can tell.
    """

    dataset: str = "nerve"
    classes: tuple[str, ...] = ()
    model: str = "nerve_unet"
    weights: str = ""
    teacher: str = ""
    teacher_weight: float = 1.0
    image_size: int = 128
    channels: int = 1
    folds: int = 5
    holdout: float = 0.0
    validation: float = 0.0
    epochs: int = 30
    min_steps: int = 0
    minutes: float = 0.0
    batch_size: int = 8
    loss: str = "dice"
    optimizer: str = "adam"
    learning_rate: float = 1e-3
    warmup: float = 0.0
    schedule: str = "cosine"
    patience: int = 5
    weight_decay: float = 0.0
    ema: float = 0.0
    early_stopping: int = 0
    select: str = "last"
    augment: str = "nerve"
    presence: str = "no"
    presence_weight: float = 0.5
    decide: str = "no"
    threshold: float = 0.5
    smallest_area: float = 0.0
    largest_component: bool = False
    window_low_hu: float = -100.0
    window_high_hu: float = 400.0
    region: str = ""
    region_margin_mm: float = 10.0
    tried_on: tuple[str, ...] = ()
    seed: int = 0
    precision: str = "float32"
    deterministic: bool = False
    deploy: tuple[str, ...] = ()
    final: bool = False

    def __post_init__(self) -> None:
        for name, low, high in _RANGES:
            value = getattr(self, name)
            if not low <= value <= high:
                raise InputError(f"{name} = {value} is outside {low} to {high}")
        for name, known in _CHOICES.items():
            if getattr(self, name) not in known:
                raise InputError(f"{name} = {getattr(self, name)!r} is none of {', '.join(map(str, known))}")
        if self.steered and not self.validation:
            raise InputError(
                "early_stopping, schedule = 'plateau' and select = 'best' look at a validation loss: "
                "set validation to a share of the training patients, for example validation = 0.1"
            )

        if self.decide == "yes" and not self.validation:
            raise InputError(
                "decide looks at validation patients: set validation to a share of the training patients, "
                "for example validation = 0.15"
            )
        for name in self.deploy:
            if name not in FILES and not _PRUNED.fullmatch(name):
                raise InputError(f"deploy = {name!r} is none of {', '.join(FILES)} or, for example, int8-pruned-0.5")
        if self.window_low_hu >= self.window_high_hu:
            raise InputError(
                f"window_low_hu = {self.window_low_hu:g} is not below window_high_hu = {self.window_high_hu:g}"
            )
        if self.warmup and self.schedule == "plateau":
            raise InputError(
                "warmup goes with schedule = 'constant' or 'cosine'; 'plateau' sets the learning rate itself"
            )
        if self.ema and self.select == "best":
            raise InputError("ema keeps an average of all weights, select = 'best' those of one epoch: choose one")

    @property
    def steered(self) -> bool:
        """Whether a training obeys its validation loss."""
        return self.early_stopping > 0 or self.schedule == "plateau" or self.select == "best"

    @classmethod
    def from_mapping(cls, mapping: Mapping[str, Any], *, base: Self | None = None) -> Self:
        """Return `base` (or the defaults) with the values of `mapping`, each checked by name and type."""
        fields = typing.get_type_hints(cls)
        for key in mapping:
            if key not in fields:
                near = difflib.get_close_matches(key, fields, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known keys: {', '.join(fields)}"
                raise InputError(f"unknown recipe key {key!r}: {hint}")
        values = {key: _typed(key, value, fields[key]) for key, value in mapping.items()}
        return dataclasses.replace(base, **values) if base else cls(**values)

    @classmethod
    def load(cls, path: Path, *, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read a TOML file of recipe keys, then apply `overrides`."""
        try:
            table = tomllib.loads(path.read_text(encoding="utf-8"))
        except OSError as error:
            raise InputError(f"{path}: cannot read the recipe ({error.strerror})") from error
        except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a TOML recipe ({error})") from error
        try:
            return cls.from_mapping({**table, **(overrides or {})})
        except InputError as error:
            raise InputError(f"{path}: {error}") from error

    def settled(self, flags: Collection[str]) -> Self:
        """Return the recipe with the precision that "auto" means on a processor with these vector instructions.

        >>> Recipe(precision="auto").settled(["avx2", "avx512_bf16"]).precision
        'bfloat16'
        """
        if self.precision != "auto":
            return self
        return dataclasses.replace(self, precision="bfloat16" if {*BFLOAT16} & {*flags} else "float32")

    def for_empties(self, empty: int, masks: int) -> Self:
        """Return the recipe with what "auto" means for data with so many empty masks out of so many.

        >>> recipe = Recipe(presence="auto", decide="auto", validation=0.15)
        >>> settled = recipe.for_empties(30, 100)
        >>> settled.presence, settled.decide, settled.validation
        ('yes', 'yes', 0.15)
        >>> settled = recipe.for_empties(2, 100)
        >>> settled.presence, settled.decide, settled.validation
        ('no', 'no', 0.0)

        Raises:
            InputError: presence = "yes", and no mask is empty.
        """
        if self.presence == "yes" and not empty:
            raise InputError(
                "presence = 'yes', but none of the masks is empty: there is nothing to learn; set presence = 'no'"
            )
        fewest, share = FEW_EMPTY
        some = empty >= fewest and empty >= share * masks
        presence = {"auto": "yes" if some else "no"}.get(self.presence, self.presence)
        decide = {"auto": presence if self.validation else "no"}.get(self.decide, self.decide)
        unused = self.decide == "auto" and decide == "no" and not self.steered
        return dataclasses.replace(
            self, presence=presence, decide=decide, validation=0.0 if unused else self.validation
        )

    def training_epochs(self, images: int) -> int:
        """Return how often a training passes over `images`: `epochs` times, or as often as `min_steps` needs.

        >>> Recipe(epochs=30, batch_size=8, min_steps=1000).training_epochs(160)
        50
        """
        return max(self.epochs, -(-self.min_steps // max(1, images // self.batch_size)))

    def to_toml(self) -> str:
        """Return the recipe as TOML, one key a line, in the order of the fields."""
        return "".join(f"{key} = {_toml(value)}\n" for key, value in dataclasses.asdict(self).items())


def parse_assignments(assignments: Sequence[str]) -> dict[str, Any]:
    """Turn `key=value` strings into a mapping; values are TOML, and bare words are strings.

    >>> parse_assignments(["epochs=3", "loss=focal", "classes=nerve,vessel"])
    {'epochs': 3, 'loss': 'focal', 'classes': 'nerve,vessel'}
    """
    mapping = {}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key.strip():
            raise InputError(f"--set {assignment}: write --set key=value")
        try:
            value = tomllib.loads(f"value = {text}")["value"]
        except tomllib.TOMLDecodeError:
            value = text.strip()
        mapping[key.strip()] = value
    return mapping


_RANGES: tuple[tuple[str, float, float], ...] = (
    ("teacher_weight", 0, 1e3),
    ("image_size", 8, 4096),
    ("folds", 2, 1000),
    ("holdout", 0, 0.9),
    ("validation", 0, 0.9),
    ("epochs", 1, 100_000),
    ("min_steps", 0, 10_000_000),
    ("minutes", 0, 100_000),
    ("warmup", 0, 0.5),
    ("batch_size", 1, 4096),
    ("learning_rate", 0, 1e3),
    ("patience", 1, 100_000),
    ("weight_decay", 0, 10),
    ("ema", 0, 0.99999),
    ("early_stopping", 0, 100_000),
    ("presence_weight", 0, 1e3),
    ("threshold", 1e-6, 1 - 1e-6),
    ("smallest_area", 0, 0.99),
    ("window_low_hu", -4096, 32767),
    ("window_high_hu", -4096, 32767),
    ("region_margin_mm", 0, 1000),
    ("seed", 0, 2**31 - 1),
)
_CHOICES: dict[str, tuple[Any, ...]] = {
    "channels": (1, 3),
    "optimizer": OPTIMIZERS,
    "schedule": SCHEDULES,
    "select": SELECTIONS,
    "presence": ANSWERS,
    "decide": ANSWERS,
    "augment": AUGMENTATIONS,
    "precision": PRECISIONS,
}


def _typed(key: str, value: Any, hint: Any) -> Any:
    if isinstance(hint, types.GenericAlias):  # tuple[str, ...]
        words = value.split(",") if isinstance(value, str) else value
        if isinstance(words, list | tuple) and all(isinstance(word, str) for word in words):
            return tuple(word.strip() for word in words if word.strip())
    elif hint is float and isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    elif isinstance(value, hint) and (hint is bool or not isinstance(value, bool)):
        return value
    name = getattr(hint, "__name__", str(hint))
    raise InputError(f"{key} = {value!r} is not of type {name}")


def _toml(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, tuple):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    return repr(value)
