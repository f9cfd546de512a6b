"""Decoded once, read often: every image, slice and mask at the network's size, in one flat file outside of memory."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from tfseg.data.frames import View, frames
from tfseg.data.images import network_input, resize_mask
from tfseg.data.sample import Dataset, Sample
from tfseg.runs import replacing

Watch = Callable[[int, int], None]
_NOTE = np.dtype([("sample", "<i4"), ("shown", "<i4")])
_END = b"tfseg, areas of masks in 255ths\n"  # of the file: one that an earlier version left holds masks of 0 and 1


class Pixels:
    """Images (N, S, S, C) and masks (N, S, S, K), uint8, read one by one from disk; memory stays flat as N grows.

    The operating system's page cache keeps what is hot, and gives it up when memory is short. A picture is one record,
    and a volume one for each slice. After them stands, for each record, which sample it is of and whether an annotator
    drew anything in it, two int32; then a line that names the format.
    """

    def __init__(self, path: Path, *, size: int, channels: int, classes: int) -> None:
        self.image_shape = (size, size, channels)
        self.mask_shape = (size, size, classes)
        self._image_bytes = size * size * channels
        self._record_bytes = self._image_bytes + size * size * classes
        self._file = path.open("rb")
        self.count = max(0, path.stat().st_size - len(_END)) // (self._record_bytes + _NOTE.itemsize)
        notes = os.pread(self._file.fileno(), self.count * _NOTE.itemsize, self.count * self._record_bytes)
        self._notes = np.frombuffer(notes, _NOTE)

    def holds(self, samples: Sequence[Sample]) -> bool:
        """Tell whether this file can be the decoded form of these samples, and not of others or at another size."""
        numbers = self._notes["sample"]
        pictures = [number for number, sample in enumerate(samples) if not sample.slices]
        notes_end = self.count * (self._record_bytes + _NOTE.itemsize)
        return (
            notes_end + len(_END) == os.fstat(self._file.fileno()).st_size
            and os.pread(self._file.fileno(), len(_END), notes_end) == _END
            and set(pictures) <= set(numbers.tolist()) <= set(range(len(samples)))
            and bool((np.diff(numbers) >= 0).all())
        )

    def records(self, samples: Iterable[int], *, shown: bool = False) -> list[int]:
        """Return the records of samples, in the order of the samples; with `shown`, those in which something is drawn.

        Where nothing is drawn in any of them, `shown` changes nothing.
        """
        found = [index for sample in samples for index in self._span(sample)]
        return [index for index in found if self._notes["shown"][index]] or found if shown else found

    def _span(self, sample: int) -> range:
        """The records of one sample, which stand together."""
        start, stop = np.searchsorted(self._notes["sample"], [sample, sample + 1])
        return range(int(start), int(stop))

    def read(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        """Return image (S, S, C) in 0..255 and mask (S, S, K) of one sample, the shares of areas in 255ths."""
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
    view: View,
    watch: Watch = lambda done, total: None,
) -> Pixels:
    """Decode and resize all samples into `path` (written whole, kept when it is already there), and open it.

    Args:
        path: the flat file, in a folder that is one's own.
        samples: what to decode, in the order of the indices.
        dataset: reads the masks.
        classes: which of the data set's classes to keep, in this order.
        size: height and width, in pixels, of the network's input.
        view: how images are looked at.
        watch: called with (done, total).
    """
    channel = [dataset.classes.index(name) for name in classes]

    def records(sample: Sample) -> Iterator[tuple[bytes, bool]]:
        for image, mask in frames(sample, dataset, view):
            resized = network_input(image, size).tobytes() + resize_mask(mask[..., channel], size).tobytes()
            yield resized, bool(mask.any())

    opened = {"size": size, "channels": view.channels, "classes": len(channel)}
    if path.exists():
        pixels = Pixels(path, **opened)
        if pixels.holds(samples):
            return pixels
        pixels.close()
    with replacing(path) as temporary, temporary.open("wb") as file:
        notes = []
        for done, found in enumerate(_decoded(samples, records)):
            for content, shown in found:
                file.write(content)
                notes.append((done, shown))
            watch(done + 1, len(samples))
        file.write(np.array(notes, _NOTE).tobytes() + _END)
    return Pixels(path, **opened)


def _decoded(
    samples: Sequence[Sample], records: Callable[[Sample], Iterator[tuple[bytes, bool]]]
) -> Iterator[Iterable[tuple[bytes, bool]]]:
    """Yield the records of every sample: pictures by two threads, sixteen at a time, and volumes slice by slice."""
    if any(sample.slices for sample in samples):
        yield from map(records, samples)
        return
    with ThreadPoolExecutor(2) as pool:
        for start in range(0, len(samples), 16):  # in parts, so that finished records do not pile up in memory
            yield from pool.map(lambda sample: list(records(sample)), samples[start : start + 16])
