"""Masks for what scanners write: NIfTI volumes, DICOM files and series, and video, each answered in its own form."""

import dataclasses
import functools
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from tfseg.errors import InputError
from tfseg.inference import Masking, Predict
from tfseg.progress import Watch
from tfseg.scans.kinds import is_dicom, is_video, is_volume, stem
from tfseg.scans.stack import Stack
from tfseg.stacks import mask_frames, mask_volume

_WHOLE = 0.9  # of a film's frames: a container that does not count its frames estimates them


@dataclasses.dataclass(frozen=True, kw_only=True)
class Drawer:
    """What draws masks.

    Attributes:
        predict, masking: the network of pictures, frames and volumes; of a cascade, the second one.
        volume: from a stack, and `watch`, to the mask of a volume, uint8 (D, H, W, all classes); None stands for the
            network alone.
        classes: those of `volume`, or of the network alone.
        chosen: which of the classes are written.
        name: of the network, for the file.
    """

    predict: Predict
    masking: Masking
    classes: tuple[str, ...]
    chosen: tuple[str, ...]
    name: str
    volume: Callable[..., np.ndarray] | None = None

    @property
    def channels(self) -> list[int]:
        """The chosen classes' places among all."""
        return [self.classes.index(name) for name in self.chosen]

    def mask_volume(self, stack: Stack, watch: Watch) -> np.ndarray:
        """Return the mask of a volume, uint8 (D, H, W, chosen classes); components are three-dimensional."""
        if self.volume is None and self.masking.region:
            raise InputError(
                f"this network looks at the region of {self.masking.region}: give --region RUN, which finds it"
            )
        whole = self.volume or functools.partial(mask_volume, self.predict, self.masking)
        return whole(stack, watch=watch)[..., self.channels]

    def mask_frames(self, frames: Iterator[np.ndarray]) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield every frame of a clip and its mask, uint8 (H, W, chosen classes)."""
        if self.volume is not None or self.masking.region:
            raise InputError("a clip has no region: a network that looks at one needs a volume (NIfTI, or a series)")
        for image, mask in mask_frames(self.predict, self.masking, frames):
            yield image, mask[..., self.channels]


class Input(Protocol):
    """One volume, series, clip or film."""

    def outputs(self, stem: Path, classes: Sequence[str]) -> list[Path]:
        """Return the files that `draw` will write."""
        ...

    def draw(self, drawer: Drawer, stem: Path, watch: Watch) -> int:
        """Write the masks and return of how many frames or slices they are."""
        ...


@dataclasses.dataclass(frozen=True)
class Nifti:
    """A NIfTI volume: one NIfTI mask a class."""

    path: Path

    def outputs(self, stem: Path, classes: Sequence[str]) -> list[Path]:
        return [stem.with_name(f"{stem.name}_{name}.nii.gz") for name in classes]

    def draw(self, drawer: Drawer, stem: Path, watch: Watch) -> int:
        from tfseg.scans.nifti import Volume
        from tfseg.stacks import write_volume_masks

        volume = Volume(self.path)
        try:
            mask = drawer.mask_volume(volume, watch)
            write_volume_masks(mask, self.path, stem, drawer.chosen)
        finally:
            volume.close()
        return len(mask)


@dataclasses.dataclass(frozen=True)
class Dicom:
    """A DICOM file or series: one DICOM Segmentation object for all classes."""

    scan: Stack

    def outputs(self, stem: Path, classes: Sequence[str]) -> list[Path]:
        return [stem.with_name(f"{stem.name}_seg.dcm")]

    def draw(self, drawer: Drawer, stem: Path, watch: Watch) -> int:
        from tfseg.scans.dicom import Scan
        from tfseg.scans.segmentation import write_segmentation

        scan = self.scan
        assert isinstance(scan, Scan)
        if scan.is_volume:
            mask = drawer.mask_volume(scan, watch)
        else:
            mask = np.empty((*scan.shape, len(drawer.chosen)), np.uint8)
            frames = (scan.read(index, window=drawer.masking.window) for index in range(len(mask)))
            for index, (_, found) in enumerate(drawer.mask_frames(frames)):
                mask[index] = found
                watch("predicting frames", index + 1, len(mask))
        (path,) = self.outputs(stem, drawer.chosen)
        write_segmentation(mask, scan.headers, path, classes=drawer.chosen, network=drawer.name)
        return len(mask)


@dataclasses.dataclass(frozen=True)
class Film:
    """A video: the same with the masks drawn into it."""

    path: Path

    def outputs(self, stem: Path, classes: Sequence[str]) -> list[Path]:
        return [stem.with_name(f"{stem.name}_overlay.mp4")]

    def draw(self, drawer: Drawer, stem: Path, watch: Watch) -> int:
        from tfseg.overlays import overlay
        from tfseg.scans.video import Video, writing

        video, done = Video(self.path), 0
        (path,) = self.outputs(stem, drawer.chosen)
        frames = (frame.astype(np.float32) / 255 for frame in video.read())
        with writing(path, fps=video.fps, size=video.size) as writer:
            for image, mask in drawer.mask_frames(frames):
                writer.write(overlay(image, None, mask)[..., ::-1].copy())
                done += 1
                watch("predicting frames", done, max(video.frames, done))
            if done < _WHOLE * video.frames:
                raise InputError(
                    f"{self.path}: only {done} of {video.frames} frames can be decoded: cut short or damaged; "
                    "copy it again, or convert what is left of it with ffmpeg"
                )
        return done


def split_inputs(inputs: Sequence[Path]) -> tuple[dict[str, Input], list[Path]]:
    """Part a command's inputs into scans, by the name of their outputs, and pictures or folders of pictures.

    A folder counts as scans when a NIfTI, DICOM or video file lies in it.

    Raises:
        InputError: a scan cannot be read, or two would write the same outputs.
    """
    scans: dict[str, Input] = {}
    pictures = []
    for given in inputs:
        found = list(_scans(given, len(scans)))
        if not found:
            pictures.append(given)
        for name, scan in found:
            if name in scans:
                raise InputError(f"{given}: two inputs would write {name}; predict them into two folders")
            scans[name] = scan
    return scans, pictures


def _scans(given: Path, before: int) -> Iterator[tuple[str, Input]]:
    if given.is_dir():
        for path in sorted(path for path in given.iterdir() if is_volume(path) or is_video(path)):
            yield from _scans(path, before)
        yield from _series(given)
    elif is_volume(given):
        from tfseg.scans.nifti import Volume

        Volume(given)  # refuses a damaged header before anything heavy is loaded
        yield stem(given), Nifti(given)
    elif is_video(given):
        from tfseg.scans.video import Video

        Video(given)
        yield stem(given), Film(given)
    elif given.is_file() and is_dicom(given):
        from tfseg.scans.dicom import Scan, neutral_name

        scan = Scan([given])
        yield neutral_name(given, before + 1), Dicom(scan)


def _series(folder: Path) -> Iterator[tuple[str, Input]]:
    if not any(is_dicom(path) for path in folder.rglob("*") if path.is_file()):
        return
    from tfseg.scans.dicom import scans_in

    for name, scan in scans_in(folder).items():
        yield name, Dicom(scan)


def draw_all(scans: dict[str, Input], drawer: Drawer, out: Path, watch: Watch) -> tuple[list[Path], int, float]:
    """Write the masks of all scans; return the files, how many frames and slices they are of, and the seconds taken."""
    written, frames, start = [], 0, time.monotonic()
    for name, scan in scans.items():
        stem = out / name
        stem.parent.mkdir(parents=True, exist_ok=True)
        frames += scan.draw(drawer, stem, watch)
        written += scan.outputs(stem, drawer.chosen)
    return written, frames, time.monotonic() - start
