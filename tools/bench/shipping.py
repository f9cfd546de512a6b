"""Write the .tflite files of the networks that ship, with random weights: how fast they are does not depend on these.

    python tools/bench/shipping.py DIR [--models NAME ...] [--image-size 256]

leaves NAME-fp32.tflite, NAME-fp16.tflite and NAME-int8.tflite in DIR, for `tfseg benchmark DIR/*.tflite`.
"""

import argparse
import os
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfseg asks, which comes too late here

import keras
import numpy as np

from tfseg import models
from tfseg.lite.calibration import Calibration
from tfseg.lite.convert import Options, convert
from tfseg.models.files import Card


def main() -> None:
    """Write the files that the command line asks for."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folder", type=Path, metavar="DIR")
    parser.add_argument("--models", nargs="+", default=shipping(), metavar="NAME")
    parser.add_argument("--image-size", type=int, default=256)
    arguments = parser.parse_args()
    arguments.folder.mkdir(parents=True, exist_ok=True)
    for name in arguments.models:
        for precision, content in files(name, arguments.image_size, ("fp32", "fp16", "int8")).items():
            path = arguments.folder / f"{name}-{precision}.tflite"
            path.write_bytes(content)
            print(path, flush=True)


def shipping() -> list[str]:
    """Return the networks that ship: of two forms of one, that which leaves out what phones run badly."""
    faithful = {name.rpartition("_")[0] for name in models.MODELS if name.endswith(("_bn", "_relu"))}
    return [*(name for name in models.MODELS if name not in faithful), "lighter_unet@1", "lighter_unet@16"]


def files(name: str, size: int, precisions: Sequence[str]) -> dict[str, bytes]:
    """Convert a network with random weights, the same ones each time: from (size, size, 3) bytes to logits."""
    keras.utils.set_random_seed(0)
    model = models.build(name, (size, size, 3), 1)
    card = Card(
        model=name,
        classes=("object",),
        activation="sigmoid",
        threshold=0.5,
        largest_component=False,
        dataset="random",
        fingerprint="",
        phantom=False,
        fold=None,
    )
    noise = np.random.default_rng(0).integers(0, 256, (2, size, size, 3), np.uint8)
    images = Calibration(names=("0", "1"), images=list(noise))
    return {
        precision: convert(model, card, Options(precision=precision, head="logits"), calibration=images)
        for precision in precisions
    }


if __name__ == "__main__":
    main()
