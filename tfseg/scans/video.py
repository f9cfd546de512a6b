"""Video files: decoded frame by frame with OpenCV, and written the same way."""

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np

from tfseg.errors import InputError, WorkError
from tfseg.quiet import silent_stderr
from tfseg.runs import replacing

os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # else every damaged frame brings a line that nobody can read
_DEFAULT_FPS = 25.0  # of a file that does not say


class Video:
    """A video file.

    Attributes:
        path: the file.
        fps: frames a second of the film, as the file says.
        frames: how many the file says it holds; 0 where it does not say.
        size: (H, W).
    """

    def __init__(self, path: Path) -> None:
        """Open it; InputError names the file where it is missing or nothing here can decode it."""
        if not path.is_file():
            raise InputError(f"{path}: no such file")
        self.path = path
        with silent_stderr(), _opened(path) as capture:  # OpenCV tells its own story of a damaged file
            decodes, first = capture.read()
            if not decodes or first is None:
                raise InputError(
                    f"{path}: cannot be decoded: cut short, or coded in a way that OpenCV does not know; "
                    "convert it, for example with ffmpeg to H.264 in .mp4"
                )
            self.size = first.shape[:2]
            self.fps = float(capture.get(cv2.CAP_PROP_FPS)) or _DEFAULT_FPS
            self.frames = max(int(capture.get(cv2.CAP_PROP_FRAME_COUNT)), 0)

    def read(self) -> Iterator[np.ndarray]:
        """Yield every frame that can be decoded, uint8 (H, W, 3), RGB."""
        with _opened(self.path) as capture:
            while True:
                decodes, frame = capture.read()
                if not decodes:
                    return
                yield cv2.cvtColor(frame, cv2.COLOR_BGR2RGB)


@contextlib.contextmanager
def writing(path: Path, *, fps: float, size: tuple[int, int]) -> Iterator[cv2.VideoWriter]:
    """Yield a writer of frames, uint8 (H, W, 3) BGR; the file takes its place when the block ends well.

    Args:
        path: .mp4.
        fps: frames a second.
        size: (H, W) of the frames.

    Raises:
        WorkError: OpenCV cannot write here.
    """
    with replacing(path) as temporary, tempfile.TemporaryDirectory(dir=path.parent, prefix=".") as folder:
        place = Path(folder) / f"video{path.suffix}"  # OpenCV chooses the container by the name
        writer = cv2.VideoWriter(str(place), cv2.VideoWriter.fourcc(*"mp4v"), fps, size[::-1])
        if not writer.isOpened():
            raise WorkError(f"{path}: OpenCV cannot write this video")
        try:
            yield writer
        finally:
            writer.release()
        place.replace(temporary)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[cv2.VideoCapture]:
    capture = cv2.VideoCapture(str(path))
    try:
        yield capture
    finally:
        capture.release()
