"""Decoded once, read often: every image and mask at the network's size, in one flat file outside of memory."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.data.images import network_input, read_image, resize_mask
from tfseg.data.sample import Dataset, Sample
from tfseg.runs import replacing

Watch = Callable[[int, int], None]


class Pixels:
    """Images (N, S, S, C) and masks (N, S, S, K), uint8, read one by one from disk; memory stays flat as N grows.

    The operating system's page cache keeps what is hot, and gives it up when memory is short.
    """

    def __init__(self, path: Path, *, size: int, channels: int, classes: int) -> None:
        self.image_shape = (size, size, channels)
        self.mask_shape = (size, size, classes)
        self._image_bytes = size * size * channels
        self._record_bytes = self._image_bytes + size * size * classes
        self._file = path.open("rb")
        self.count = path.stat().st_size // self._record_bytes

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image (S, S, C) in 0..255 and mask (S, S, K) of 0 and 1 of one sample."""
        assert 0 <= index < self.count
        record = np.frombuffer(os.pread(self._file.fileno(), self._record_bytes, index * self._record_bytes), np.uint8)
        return record[: self._image_bytes].reshape(self.image_shape), record[self._image_bytes :].reshape(
            self.mask_shape
        )

    def close(self) -> None:
        """Close the file."""
        self._file.close()


def decode(
    path: Path,
    samples: Sequence[Sample],
    dataset: Dataset,
    *,
    classes: Sequence[str],
    size: int,
    channels: int,
    watch: Watch = lambda done, total: None,
) -> Pixels:
    """Decode and resize all samples into `path` (written whole, kept when it is already there), and open it.

    Args:
        path: the flat file, in a folder that is one's own.
        samples: what to decode, in the order of the indices.
        dataset: reads the masks.
        classes: which of the data set's classes to keep, in this order.
        size: height and width, in pixels, of the network's input.
        channels: 1 or 3.
        watch: called with (done, total).
    """
    channel = [dataset.classes.index(name) for name in classes]

    def record(sample: Sample) -> bytes:
        image = read_image(sample.image, channels=channels)
        mask = dataset.read_mask(sample, image.shape[:2])[..., channel]
        return network_input(image, size).tobytes() + resize_mask(mask, size).tobytes()

    expected = len(samples) * size * size * (channels + len(channel))
    if not (path.exists() and path.stat().st_size == expected):
        with replacing(path) as temporary, temporary.open("wb") as file, ThreadPoolExecutor(2) as pool:
            for start in range(0, len(samples), 16):  # in slices, so that finished records do not pile up in memory
                for done, content in enumerate(pool.map(record, samples[start : start + 16]), start + 1):
                    file.write(content)
                    watch(done, len(samples))
    return Pixels(path, size=size, channels=channels, classes=len(channel))
