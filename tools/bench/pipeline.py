"""How much the input pipeline costs: images/s of it alone, and the training step with it and with cached tensors.

    python tools/bench/pipeline.py [--model nerve_unet] [--image-size 128] [--batch-size 8] [--steps 10] [--rounds 5]

The two steps are timed in turn, in one process, and the median of the rounds is given, so that a noisy machine hits
both alike. Images are simulated; what is measured is reading, augmenting, batching and moving them.
"""

import argparse
import json
import os
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as tfseg asks, which comes too late here

import keras
import numpy as np
import tensorflow as tf

from tfseg import models
from tfseg.data import DATASETS, phantom
from tfseg.data.frames import View
from tfseg.data.pipeline import training_batches
from tfseg.data.pixels import decode
from tfseg.losses import loss


def main() -> None:
    """Measure and print, as JSON on request."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--model", default="nerve_unet")
    parser.add_argument("--image-size", type=int, default=128)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--augment", default="nerve")
    parser.add_argument("--steps", type=int, default=10, help="steps of one timing")
    parser.add_argument("--rounds", type=int, default=5, help="timings of each kind, of which the median counts")
    parser.add_argument("--json", action="store_true")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        result = measure(arguments, Path(folder))
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    print(f"pipeline alone          {result['pipeline_images_per_s']:8.0f} images/s")
    print(f"step, cached tensors    {result['step_cached_ms']:8.1f} ms")
    print(f"step, with the pipeline {result['step_pipeline_ms']:8.1f} ms   ({result['ratio']:.3f} of the cached step)")


def measure(arguments: argparse.Namespace, folder: Path) -> dict[str, Any]:
    """Return the rates, the two step times and their ratio (the median over rounds of paired ratios)."""
    phantom.generate("nerve", folder / "nerve", subjects=4, frames=8)
    pixels = decode(
        folder / "pixels.bin",
        DATASETS["nerve"].samples(folder / "nerve"),
        DATASETS["nerve"],
        classes=("nerve",),
        size=arguments.image_size,
        view=View(channels=1),
    )

    def stream() -> Iterator[Any]:
        batches = training_batches(
            pixels, range(pixels.count), batch_size=arguments.batch_size, augment=arguments.augment, seed=0
        )
        return iter(batches)

    model = models.build(arguments.model, pixels.image_shape, 1)
    model.compile("adam", loss("dice").load(), jit_compile=False)
    cached, live = next(stream()), stream()

    def timed(take: Any) -> float:
        start = time.perf_counter()
        for _ in range(arguments.steps):
            model.train_on_batch(*take())
        return (time.perf_counter() - start) / arguments.steps

    timed(lambda: cached)  # traces
    pairs = [(timed(lambda: cached), timed(lambda: next(live))) for _ in range(arguments.rounds)]
    rates = [_rate(stream(), arguments) for _ in range(3)]
    return {
        "model": arguments.model,
        "image_size": arguments.image_size,
        "batch_size": arguments.batch_size,
        "augment": arguments.augment,
        "pipeline_images_per_s": statistics.median(rates),
        "step_cached_ms": 1000 * statistics.median(cached for cached, _ in pairs),
        "step_pipeline_ms": 1000 * statistics.median(live for _, live in pairs),
        "ratio": statistics.median(live / cached for cached, live in pairs),
        "versions": {"tensorflow": tf.__version__, "keras": keras.__version__, "numpy": np.__version__},
        "cpus": os.cpu_count(),
    }


def _rate(batches: Iterator[Any], arguments: argparse.Namespace) -> float:
    next(batches)
    count = 40
    start = time.perf_counter()
    for _ in range(count):
        next(batches)
    return count * arguments.batch_size / (time.perf_counter() - start)


if __name__ == "__main__":
    main()
