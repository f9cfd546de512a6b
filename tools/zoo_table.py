"""Every network of the zoo as every kind of .tflite file: its size, and how far it is from the network.

    python tools/zoo_table.py [--models NAME ...] [--keep DIR] [--out tools/readme/zoo.json]

Each network learns for a moment to find the simulated nerves of `tfseg data phantom`, so that its numbers are not those
of noise; then it is converted at 256x256 for the four precisions, calibrated on 64 images for int8, and compared on
images of subjects that it never saw: the largest difference of a probability, and the Dice of the file's mask against
the network's own. This measures the conversion, not the network: what a network is worth, `tfseg kfold` measures.
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
LEARNED_SIZE, CONVERTED_SIZE = 128, 256
CALIBRATION_IMAGES = 64
CARD = Card(
    model="",
    classes=("nerve",),
    activation="sigmoid",
    threshold=0.5,
    largest_component=False,
    dataset="nerve",
    fingerprint="",
    phantom=True,
    fold=None,
)


def main() -> None:
    """Measure every network, print the table and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--models", nargs="+", default=list(models.MODELS), metavar="NAME")
    parser.add_argument("--steps", type=int, default=20, help="of training, with batches of 8")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="leave the files there, for `tfseg benchmark`")
    parser.add_argument("--out", type=Path, metavar="FILE.json", help="rows of networks not named stay in it")
    arguments = parser.parse_args()
    rows: list[dict[str, Any]] = []
    if arguments.out and arguments.out.exists():  # of networks that are not measured now
        kept = json.loads(arguments.out.read_text())["networks"]
        rows = [row for row in kept if row["name"] not in arguments.models]
    result: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        small, large = images(Path(folder))
        for name in arguments.models:
            files, row = measure(name, arguments.steps, small, large)
            rows.append(row)
            rows.sort(key=lambda row: list(models.MODELS).index(row["name"]) if row["name"] in models.MODELS else 99)
            if arguments.keep:
                arguments.keep.mkdir(parents=True, exist_ok=True)
                for precision, content in files.items():
                    (arguments.keep / f"{name}-{precision}.tflite").write_bytes(content)
            print(json.dumps(row), file=sys.stderr, flush=True)
            result = {"image_size": CONVERTED_SIZE, "calibration_images": CALIBRATION_IMAGES, "networks": rows}
            if arguments.out:  # after each network: what is measured is kept
                arguments.out.write_text(json.dumps(result | {"table": table(result)}, indent=1) + "\n")
            keras.backend.clear_session()
    print(table(result))


def images(folder: Path) -> tuple[Pixels, Pixels]:
    """Simulate the images, and decode them at both sizes."""
    phantom.generate("nerve", folder / "nerve", subjects=SUBJECTS, frames=FRAMES)
    dataset = DATASETS["nerve"]
    samples = dataset.samples(folder / "nerve")
    small, large = (
        decode(folder / f"{size}.bin", samples, dataset, classes=("nerve",), size=size, view=View(channels=1))
        for size in (LEARNED_SIZE, CONVERTED_SIZE)
    )
    return small, large


def measure(name: str, steps: int, small: Pixels, large: Pixels) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Train a network for a moment, convert it to every precision, and compare."""
    keras.utils.set_random_seed(0)
    network = models.build(name, (LEARNED_SIZE, LEARNED_SIZE, 1), 1)
    network.compile(keras.optimizers.Adam(1e-3), losses.loss("dice_bce").load(), jit_compile=False)
    for layer in network.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum = 0.8  # or its averages would be far behind after so few steps
    learned = range(small.count - UNSEEN)
    batches = training_batches(small, learned, batch_size=8, augment="none", seed=0)
    network.fit(batches, steps_per_epoch=steps, verbose=0)
    model = models.build(name, (CONVERTED_SIZE, CONVERTED_SIZE, 1), 1)
    model.set_weights(network.get_weights())
    unseen = np.stack([large.read(index)[0] for index in range(large.count - UNSEEN, large.count)])
    expected = 1 / (1 + np.exp(-model.predict(unseen.astype(np.float32) / 255, batch_size=4, verbose=0)))
    chosen = [int(index) for index in np.linspace(0, len(learned) - 1, CALIBRATION_IMAGES)]
    calibration = Calibration(names=tuple(map(str, chosen)), images=[large.read(index)[0] for index in chosen])
    files: dict[str, bytes] = {}
    row: dict[str, Any] = {"name": name, "files": {}}
    for precision in PRECISIONS:
        start = time.perf_counter()
        card = dataclasses.replace(CARD, model=name)
        content = files[precision] = convert(model, card, Options(precision=precision), calibration=calibration)
        seconds = time.perf_counter() - start
        found = interpret.predict(content, metadata.parse(content, name), threads=2)(unseen.astype(np.float32) / 255)
        row["files"][precision] = {
            "megabytes": len(content) / 1e6,
            "largest_difference": float(np.abs(found - expected).max()),
            "dice": float(dice(found >= CARD.threshold, expected >= CARD.threshold)),
            "partitions": partitions(content),
            "seconds": seconds,
        }
    return files, row


def dice(one: np.ndarray, other: np.ndarray) -> float:
    """Return the Dice of two sets of pixels; of two empty ones 1."""
    total = one.sum() + other.sum()
    return 2 * (one & other).sum() / total if total else 1.0


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
            f" {file['megabytes']:.2f} | {file['largest_difference']:.1g} | {file['dice']:.3f} |"
            for file in row["files"].values()
        )
        counts = Counter(file["partitions"] for file in row["files"].values())
        ones = "1" if set(counts) == {1} else ", ".join(str(file["partitions"]) for file in row["files"].values())
        lines.append(f"| {row['name']} |{cells} {ones} |")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
