"""What travels inside a .tflite file beside its numbers: how to feed it, what comes out, and where it comes from."""

import dataclasses
import hashlib
import json
import struct
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ai_edge_litert import schema_py_generated as schema

from tfseg.errors import InputError
from tfseg.lite.flatbuffer import IDENTIFIER, File

SCHEMA = 1
BUFFER = b"tfseg.json"  # the entry of the file's metadata
_NO_DIGEST = "0" * 64


@dataclasses.dataclass(frozen=True, kw_only=True)
class Metadata:
    """What a file of tfseg says of itself.

    Attributes:
        model: name of the network in MODELS.
        image_size: height and width of the input, in pixels.
        channels: of the input: 1 (grey) or 3 (RGB).
        classes: what the output's channels stand for, in order.
        input: "uint8" (0 to 255, as a camera gives them) or "float32" (0 to 1).
        head: "probability" (1, H, W, K) in [0, 1]; "mask", see `activation`; or "logits" (1, H, W, K).
        activation: "sigmoid" or "softmax": what makes probabilities of logits (tfseg.activation). A mask is uint8: with
            "softmax" and several classes (1, H, W, 1), the most probable of 0, the background, and 1 to K; otherwise
            (1, H, W, K), 1 where a class reaches the threshold.
        threshold: probability from which a pixel counts; exclusive classes have none (tfseg.postprocess.binarize).
        largest_component: whether only the largest component of each class is kept, which no file does by itself.
        smallest_area: share of the image below which a class's whole mask counts as nothing, which no file does by
            itself.
        presence: probability of presence, one for each class, below which the file draws nothing; () where its network
            has no presence head.
        weights: what the network's training started from.
        precision: "fp32", "fp16", "dynamic" or "int8".
        keep_float: regular expression of the layers that an int8 file computes in float; "" for none.
        training: name of the run that trained the network.
        dataset: what it was trained on.
        fingerprint: of those data.
        phantom: whether they were simulated.
        fold: the fold whose images it never saw; None where there is no such fold.
        calibration: the training images that set the ranges of an int8 file.
        versions: of what made the file, by package.
        proof: what the file was found to be worth, or {}.
        window: the values of a volume that become 0 and 1 before the file sees them, in Hounsfield units for CT; None
            where the network learned from pictures.
        region: the class of a volume whose box the network sees, or "" for all.
        margin_mm: how far that box reaches beyond the class.
        seen: what recognises the images that it learned from, 40 bytes each (see tfseg.data.seen); None where nobody
            noted them.
    """

    model: str
    image_size: int
    channels: int
    classes: tuple[str, ...]
    input: str
    head: str
    activation: str
    threshold: float
    largest_component: bool
    precision: str
    keep_float: str
    training: str
    dataset: str
    fingerprint: str
    phantom: bool
    fold: int | None
    calibration: tuple[str, ...]
    versions: Mapping[str, str]
    proof: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    window: tuple[float, float] | None = None
    region: str = ""
    margin_mm: float = 0.0
    smallest_area: float = 0.0
    presence: tuple[float, ...] = ()
    weights: str = ""
    seen: tuple[Mapping[str, str], ...] | None = None


def attach(content: bytes, metadata: Metadata) -> bytes:
    """Return a .tflite file with this metadata, in place of any that it had, and with a digest of all of it."""
    return sealed(File(content), metadata)


def sealed(file: File, metadata: Metadata) -> bytes:
    """Return the content of an open .tflite file as `attach` does."""
    entries = [entry for entry in file.model.metadata or [] if entry.name != BUFFER]
    table = {"schema": SCHEMA, "sha256": _NO_DIGEST} | dataclasses.asdict(metadata)
    buffer = schema.BufferT()
    buffer.data = json.dumps(table, indent=1).encode()
    kept = {entry.name: entry for entry in file.model.metadata or []}.get(BUFFER)
    if kept is None:
        file.model.buffers.append(buffer)
        kept = schema.MetadataT()
        kept.name, kept.buffer = BUFFER, len(file.model.buffers) - 1
    else:
        file.model.buffers[kept.buffer] = buffer
    file.model.metadata = [*entries, kept]
    content = file.content()
    digest = hashlib.sha256(content).hexdigest()
    return content.replace(_quoted(_NO_DIGEST), _quoted(digest), 1)


def read(path: Path) -> Metadata:
    """Read the metadata of a .tflite file.

    Raises:
        InputError: the file is missing, no model, another tool's, of another version of tfseg, or damaged: what passes
            is byte for byte what tfseg wrote.
    """
    return parse(read_bytes(path), str(path))


def read_bytes(path: Path) -> bytes:
    """Read a file; InputError names it when it cannot be read."""
    try:
        return path.read_bytes()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror})") from error


def parse(content: bytes, name: str) -> Metadata:
    """Return the metadata of a .tflite file's content; errors name it `name`, and are those of `read`."""
    if content[4:8] != IDENTIFIER:
        raise InputError(f"{name}: not a .tflite file; `tfseg convert` writes one")
    try:
        text = _entry(content)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError) as error:
        raise InputError(f"{name}: a damaged .tflite file; convert or copy it again") from error
    if text is None:
        raise InputError(f"{name}: a .tflite file, but not one of tfseg; make one with `tfseg convert`")
    try:
        table = json.loads(text)
        digest, version = table.pop("sha256"), table.pop("schema")
    except (ValueError, KeyError, AttributeError) as error:
        raise InputError(f"{name}: a damaged .tflite file; convert or copy it again") from error
    plain = content.replace(_quoted(str(digest)), _quoted(_NO_DIGEST), 1)
    if hashlib.sha256(plain).hexdigest() != digest:
        raise InputError(f"{name}: a damaged .tflite file; convert or copy it again")
    if version != SCHEMA:
        raise InputError(f"{name}: its metadata are of schema {version}, and this version of tfseg reads {SCHEMA}")
    tuples = {
        key: tuple(table[key])
        for key in ("classes", "calibration", "window", "presence", "seen")
        if table.get(key) is not None
    }
    return Metadata(**table | tuples)


def _entry(content: bytes) -> bytes | None:
    """Return tfseg's entry of the metadata, or None."""
    model = schema.Model.GetRootAs(content, 0)
    for index in range(model.MetadataLength()):
        entry = model.Metadata(index)
        if entry is not None and entry.Name() == BUFFER:
            data = model.Buffers(entry.Buffer())
            return b"" if data is None else bytes(data.DataAsNumpy())
    return None


def _quoted(digest: str) -> bytes:
    return json.dumps({"sha256": digest}).encode()[1:-1]
