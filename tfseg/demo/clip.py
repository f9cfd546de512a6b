"""The test video: a phantom that is simulated once and kept, or a file that was given."""

import functools
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np

from tfseg.data.locate import cache_root
from tfseg.data.phantom import VERSION
from tfseg.data.phantom.anatomy import Anatomy
from tfseg.data.phantom.exam import Plan, film
from tfseg.data.phantom.grid import Grid, fan_grid, linear_grid
from tfseg.data.phantom.limb import limb
from tfseg.data.phantom.organs import breast, head, kidney
from tfseg.data.phantom.shapes import Rng
from tfseg.demo.page import Clip
from tfseg.errors import InputError, WorkError
from tfseg.progress import Watch
from tfseg.quiet import silent_stderr
from tfseg.runs import replacing

FRAMES, RATE = 72, 12.0  # six seconds, at a rate that a linear array reaches at this depth
SUBJECT = 1000  # no data set that tfseg simulates has so many, so no network has seen it
_CODEC = "VP80"  # the only one that OpenCV's wheels write and every browser reads
_VERSION = 1  # of the clip; a kept one of another version is not used again

_Draw = Callable[[Rng, tuple[int, int]], Anatomy]
_BREAST: _Draw = functools.partial(breast, stratum="benign", lesions=1)
_SCENES: dict[str, tuple[_Draw, Callable[[], Grid]]] = {
    "busi": (_BREAST, lambda: linear_grid((480, 560))),
    "ct2us": (kidney, lambda: fan_grid((480, 640))),
    "open_kidney": (kidney, lambda: fan_grid((480, 640))),
    "open_kidney_2": (kidney, lambda: fan_grid((480, 640))),
    "hc18": (head, lambda: fan_grid((480, 712))),
}
_LIMB: tuple[_Draw, Callable[[], Grid]] = (limb, lambda: linear_grid((420, 580)))


def open_clip(dataset: str, given: Path | None, watch: Watch) -> Clip:
    """Return the clip that suits a data set, simulated unless it lies in the cache, or the one that is given.

    Raises:
        InputError: the given file is not there.
        WorkError: this computer's OpenCV writes no such video.
    """
    if given is not None:
        if not given.is_file():
            raise InputError(f"--clip {given}: no such file")
        return Clip(path=given, name=given.name, phantom=False)
    name = dataset if dataset in _SCENES else "nerve"
    path = cache_root() / "phantom" / f"clip-{name}-{FRAMES}-{VERSION}.{_VERSION}.webm"
    if not path.is_file():
        write_clip(path, name, watch)
    return Clip(path=path, name=f"phantom of {name}", phantom=True)


def write_clip(path: Path, name: str, watch: Watch, *, frames: int = FRAMES) -> None:
    """Write a simulated clip as WebM; the same arguments give the same frames.

    Raises:
        WorkError: as `open_clip`.
    """
    draw, make_grid = _SCENES.get(name, _LIMB)
    grid = make_grid()
    height, width = grid.shape
    with replacing(path) as temporary:
        with silent_stderr():  # OpenCV wonders about the container's name for the codec
            writer = cv2.VideoWriter(str(temporary), cv2.VideoWriter.fourcc(*_CODEC), RATE, (width, height))
        if not writer.isOpened():
            raise WorkError("this computer's OpenCV writes no WebM video; name a video with --clip FILE")
        plan = Plan(subjects=1, frames=frames, seed=0, empty_share=0.0)
        for done, image in enumerate(film(plan, SUBJECT, draw, grid), 1):
            writer.write(np.repeat(image[..., None], 3, axis=-1))
            watch("simulating the test video", done, frames)
        writer.release()
