"""Ten times the images do not take ten times the memory."""

import subprocess
import sys

import pytest

SCRIPT = """
import resource, sys
from pathlib import Path
import numpy as np
from PIL import Image
from tfseg.data import dataset
from tfseg.data.frames import View
from tfseg.data.pipeline import training_batches
from tfseg.data.pixels import decode
from tfseg.data.source import open_source

root, count = Path(sys.argv[1]), int(sys.argv[2])
rng = np.random.default_rng(0)
for folder in ("images", "masks"):
    (root / folder).mkdir(parents=True)
for number in range(count):
    Image.fromarray(rng.integers(0, 256, (64, 64), np.uint8)).save(root / "images" / f"{number}.png")
    Image.fromarray((255 * (rng.random((64, 64)) > 0.5)).astype(np.uint8)).save(root / "masks" / f"{number}.png")
row = dataset("folder")
source = open_source(row, root, channels=1, watch=lambda done, total: None)
samples = list(source.samples.values())
pixels = decode(root / "pixels.bin", samples, row, classes=("foreground",), size=512, view=View(channels=1))
for _ in training_batches(pixels, range(count), batch_size=4, augment="none", seed=0).take(count // 4):
    pass
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)  # KiB
"""


@pytest.mark.slow
def test_memory_stays_flat(tmp_path):
    def peak_mib(count):
        command = [sys.executable, "-c", SCRIPT, str(tmp_path / str(count)), str(count)]
        result = subprocess.run(command, capture_output=True, text=True, check=True)
        return int(result.stdout.split()[-1]) / 1024

    few, many = peak_mib(60), peak_mib(600)
    # The 540 images more are 270 MiB of pixels, which stay on disk. The data check keeps thumbnails, 20 KiB an image
    # and a few times that while it compares them: 34 MiB were seen.
    assert many - few < 70
