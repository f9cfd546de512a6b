"""Every network of the zoo as every kind of .tflite file: its size, and how far it is from the network.

    python tools/zoo_table.py [--models NAME ...] [--keep DIR] [--out tools/readme/zoo.json]

Each network learns for a moment to find the simulated fetal heads of `tfseg data phantom hc18`, so that its numbers
are not those of noise; then it is converted for the four precisions, calibrated on 64 images for int8, and compared
on eight images of a subject that it never saw: the largest difference of a probability, and the Dice of the file's
mask and the network's own. This measures the conversion, not the network: what that is worth, `tfseg kfold` measures.
"""

import argparse
import dataclasses
import json
import os
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfseg asks, which comes too late here

import keras
import numpy as np

from tfseg import losses, models
from tfseg.data import DATASETS, phantom
from tfseg.data.frames import View
from tfseg.data.pipeline import training_batches
from tfseg.data.pixels import Pixels, decode
from tfseg.lite import interpret, metadata
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import PRECISIONS, Options, convert
from tfseg.lite.inspect import inspect
from tfseg.models.files import Card

SUBJECTS, FRAMES, UNSEEN = 12, 8, 8  # the last images, those of one subject, are not learned from
BATCH_SIZE = 8
CALIBRATION_IMAGES = 64
CARD = Card(
    model="",
    classes=("head",),
    activation="sigmoid",
    threshold=0.5,
    largest_component=False,
    dataset="hc18",
    fingerprint="",
    phantom=True,
    fold=None,
)


def main() -> None:
    """Measure every network, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(models.MODELS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=40, help="of training, with batches of 8 (default 40)")
    parser.add_argument("--image-size", type=int, default=64, help="of learning and of the files (default 64)")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files there, for `tfseg benchmark`")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows of networks not named stay in it")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if arguments.out and arguments.out.exists():  # of networks that are not measured now
        kept = json.loads(arguments.out.read_text())["networks"]
        rows = [row for row in kept if row["name"] not in arguments.models]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        pixels = images(Path(folder), arguments.image_size)
        for name in arguments.models:
            files, row = measure(name, arguments.steps, pixels)
            rows.append(row)
            rows.sort(key=lambda row: list(models.MODELS).index(row["name"]) if row["name"] in models.MODELS else 99)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                for precision, content in files.items():
                    (arguments.keep / f"{name}-{precision}.tflite").write_bytes(content)
            print(json.dumps(row), file=sys.stderr, flush=True)
            about = {
                "image_size": arguments.image_size,
                "steps": arguments.steps,
                "calibration_images": CALIBRATION_IMAGES,
            }
            result = about | {"networks": rows}
            if arguments.out:  # after each network: what is measured is kept
                arguments.out.write_text(json.dumps(result | {"table": table(result)}, indent=1) + "\n")
            keras.backend.clear_session()
    print(table(result))


def images(folder: Path, size: int) -> Pixels:
    """Simulate the images, and decode them."""
    phantom.generate("hc18", folder / "hc18", subjects=SUBJECTS, frames=FRAMES)
    dataset = DATASETS["hc18"]
    samples, view = dataset.samples(folder / "hc18"), View(channels=1)
    return decode(folder / "pixels.bin", samples, dataset, classes=("head",), size=size, view=view)


def measure(name: str, steps: int, pixels: Pixels) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Train a network for a moment, convert it to every precision, and compare."""
    keras.utils.set_random_seed(0)
    model = models.build(name, pixels.image_shape, 1)
    model.compile(keras.optimizers.Adam(1e-3), losses.loss("dice_bce").load(), jit_compile=False)
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # or its averages would be far behind after so few steps
    learned = range(pixels.count - UNSEEN)
    batches = training_batches(pixels, learned, batch_size=BATCH_SIZE, augment="none", seed=0)
    model.fit(batches, steps_per_epoch=steps, shuffle=False, verbose=0)
    unseen = np.stack([pixels.read(index)[0] for index in range(pixels.count - UNSEEN, pixels.count)])
    unseen = unseen.astype(np.float32) / 255
    expected = keras.ops.convert_to_numpy(keras.ops.sigmoid(model.predict(unseen, batch_size=4, verbose=0)))
    if not np.isfinite(expected).all():
        raise SystemExit(f"{name}: its results are not finite; other --steps or --image-size may help")
    chosen = [int(index) for index in np.linspace(0, len(learned) - 1, CALIBRATION_IMAGES)]
    calibration = Calibration(names=tuple(map(str, chosen)), images=[pixels.read(index)[0] for index in chosen])
    files: dict[str, bytes] = {}
    row: dict[str, Any] = {"name": name, "image_size": pixels.image_shape[0], "files": {}}
    for precision in PRECISIONS:
        start = time.perf_counter()
        card = dataclasses.replace(CARD, model=name)
        content = files[precision] = convert(model, card, Options(precision=precision), calibration=calibration)
        seconds = time.perf_counter() - start
        found = interpret.predict(content, metadata.parse(content, name), threads=2)(unseen)
        row["files"][precision] = {
            "megabytes": len(content) / 1e6,
            "largest_difference": float(np.abs(found - expected).max()),
            "dice": dice(found >= CARD.threshold, expected >= CARD.threshold),
            "partitions": partitions(content),
            "seconds": seconds,
        }
    return files, row


def dice(found: np.ndarray, expected: np.ndarray) -> float | None:
    """Return the Dice of two sets of pixels; None where nothing was expected, which shows nothing."""
    return 2 * float((found & expected).sum()) / float(found.sum() + expected.sum()) if expected.any() else None


def score(value: float | None) -> str:
    """Write a Dice."""
    return "n/a" if value is None else f"{value:.3f}"


def partitions(content: bytes) -> int | None:
    """Return into how many parts XNNPACK takes the file."""
    with tempfile.NamedTemporaryFile(suffix=".tflite") as file:
        Path(file.name).write_bytes(content)
        return inspect(Path(file.name)).partitions


def table(result: dict[str, Any]) -> str:
    """Return the figures as Markdown."""
    head = "".join(f" {precision}, MB | difference | Dice |" for precision in PRECISIONS)
    lines = [f"| network |{head} partitions |", f"|---|{'---:|' * (3 * len(PRECISIONS) + 1)}"]
    for row in result["networks"]:
        cells = "".join(
            f" {file['megabytes']:.2f} | {file['largest_difference']:.1g} | {score(file['dice'])} |"
            for file in row["files"].values()
        )
        counts = Counter(file["partitions"] for file in row["files"].values())
        ones = "1" if set(counts) == {1} else ", ".join(str(file["partitions"]) for file in row["files"].values())
        lines.append(f"| {row['name']} |{cells} {ones} |")
    sizes = Counter(row["image_size"] for row in result["networks"])
    for size in sizes:
        names = ", ".join(row["name"] for row in result["networks"] if row["image_size"] == size)
        lines.append(f"\n{size}x{size} pixels: {names}.")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
