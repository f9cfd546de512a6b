"""Network files: a .keras archive with the same bytes for the same weights, and what one must know to use it."""

import dataclasses
import io
import json
import tempfile
import zipfile
from pathlib import Path
from typing import Any

import keras

from tfseg.errors import InputError
from tfseg.models import builder
from tfseg.runs import write_whole

_CARD = "tfseg.json"
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip archive can hold


@dataclasses.dataclass(frozen=True, kw_only=True)
class Card:
    """What travels inside a network's file beside its weights.

    Attributes:
        model: its name in MODELS.
        classes: what its channels stand for.
        activation: "sigmoid" or "softmax", from logits to probabilities (tfseg.activation).
        threshold: probability from which a pixel counts; exclusive classes have none (tfseg.postprocess.binarize).
        largest_component: whether only the largest component of each class is kept.
        smallest_area: share of the image below which a class's whole mask counts as nothing.
        presence: probability of presence, one for each class, below which the network draws nothing; () where it has no
            presence head.
        weights: what its training started from.
        dataset: what it was trained on, or the file that its weights were imported from.
        fingerprint: of those data, or of that file.
        phantom: whether they were simulated.
        fold: the fold whose images it never saw; None for imported weights.
        window: the values of a volume that became 0 and 1; None where it learned from pictures.
        region: the class of a volume whose box it sees, or "" for all.
        margin_mm: how far that box reaches beyond the class.
        seen: what recognises the images that it learned from, and those that the weights did from which it started (see
            tfseg.data.seen); None where nobody noted them.
    """

    model: str
    classes: tuple[str, ...]
    activation: str
    threshold: float
    largest_component: bool
    dataset: str
    fingerprint: str
    phantom: bool
    fold: int | None
    window: tuple[float, float] | None = None
    region: str = ""
    margin_mm: float = 0.0
    smallest_area: float = 0.0
    presence: tuple[float, ...] = ()
    weights: str = ""
    seen: tuple[dict[str, str], ...] | None = None


def save(model: keras.Model, path: Path, card: Card) -> None:
    """Write a network and its card as a .keras archive, whole or not at all; equal weights give equal bytes."""
    with tempfile.TemporaryDirectory() as folder:
        raw = Path(folder) / "model.keras"
        model.save(raw)
        packed = io.BytesIO()
        with zipfile.ZipFile(raw) as source, zipfile.ZipFile(packed, "w") as target:
            for name in sorted(source.namelist()):
                content = source.read(name)
                if name == "metadata.json":  # holds the time of saving
                    content = json.dumps({"keras_version": keras.__version__}).encode()
                elif name == "config.json":
                    content = json.dumps(_renumbered(json.loads(content), {})).encode()
                target.writestr(zipfile.ZipInfo(name, _EPOCH), content)
            target.writestr(zipfile.ZipInfo(_CARD, _EPOCH), json.dumps(dataclasses.asdict(card), indent=2))
    write_whole(path, packed.getvalue())


def open_file(path: Path) -> tuple[keras.Model, Card]:
    """Read a network and its card; InputError names the file when it is missing, damaged or another tool's."""
    card = read_card(path)
    import tfseg.models.presence  # noqa: F401 - registers what a presence head is made of

    builder(card.model)  # its module registers the layers that the file names
    return keras.saving.load_model(path, compile=False, safe_mode=True), card


def read_card(path: Path) -> Card:
    """Read the card of a network's file; errors are those of `open_file`."""
    try:
        with zipfile.ZipFile(path) as archive:
            table: dict[str, Any] = json.loads(archive.read(_CARD))
        window = tuple(table["window"]) if table.get("window") else None
        seen = tuple(table["seen"]) if table.get("seen") is not None else None
        tuples = {"classes": tuple(table["classes"]), "window": window, "presence": tuple(table.get("presence", ()))}
        return Card(**{**table, **tuples, "seen": seen})
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except KeyError as error:
        raise InputError(f"{path}: a .keras file, but not one of tfseg (it has no {_CARD})") from error
    except (OSError, zipfile.BadZipFile, ValueError, TypeError) as error:
        raise InputError(f"{path}: not a network file of tfseg ({error})") from error


def _renumbered(config: Any, numbers: dict[int, int]) -> Any:
    """Number shared objects 0, 1, ... in a Keras configuration: Keras takes their addresses in memory."""
    if isinstance(config, list):
        return [_renumbered(item, numbers) for item in config]
    if not isinstance(config, dict):
        return config
    return {
        key: numbers.setdefault(value, len(numbers)) if key == "shared_object_id" else _renumbered(value, numbers)
        for key, value in config.items()
    }
