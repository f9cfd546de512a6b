"""Geometry: where the scan lines of an image run, and where on a subject the probe stands."""

import functools
import math
from collections.abc import Iterable
from dataclasses import dataclass

import cv2
import numpy as np

SAMPLES, BEAMS = 420, 288  # the scan grid: depth samples and scan lines of every frame, whatever the size of its image


@dataclass(frozen=True, kw_only=True)
class Grid:
    """Where the scan lines of an image run.

    Attributes:
        shape: (H, W) of the image.
        x, y: the image position of every sample, in pixels: float32 (SAMPLES, BEAMS).
        beams, samples: the scan position of every pixel: float32 (H, W); None where lines are columns (a linear array).
    """

    shape: tuple[int, int]
    x: np.ndarray
    y: np.ndarray
    beams: np.ndarray | None = None
    samples: np.ndarray | None = None

    @functools.cached_property
    def seen(self) -> np.ndarray:
        """The pixels that a scan line reaches: bool (H, W)."""
        if self.beams is None or self.samples is None:
            return np.ones(self.shape, bool)
        inside = (self.beams >= 0) & (self.beams <= BEAMS - 1) & (self.samples >= 0) & (self.samples <= SAMPLES - 1)
        return inside.astype(bool)


@dataclass(frozen=True, kw_only=True)
class Pose:
    """Where the probe stands on a subject: the image's left upper corner on the tissue, in pixels, and the tilt."""

    right: float = 0.0
    down: float = 0.0
    tilt_degrees: float = 0.0

    def matrix(self, shape: tuple[int, int]) -> np.ndarray:
        """Return the affine map (2, 3) from image (x, y) to tissue (x, y); the probe tilts about the top's middle."""
        cosine, sine = math.cos(math.radians(self.tilt_degrees)), math.sin(math.radians(self.tilt_degrees))
        middle = (shape[1] - 1) / 2
        turn = np.array([[cosine, -sine], [sine, cosine]])
        offset = np.array([middle + self.right, self.down]) - turn @ [middle, 0]
        return np.column_stack([turn, offset])


@functools.lru_cache(maxsize=8)
def linear_grid(shape: tuple[int, int]) -> Grid:
    """Return the grid of a linear array: parallel scan lines that fill an image of `shape` (H, W)."""
    height, width = shape
    x = (np.arange(BEAMS, dtype=np.float32) + 0.5) * (width / BEAMS) - 0.5
    y = (np.arange(SAMPLES, dtype=np.float32) + 0.5) * (height / SAMPLES) - 0.5
    columns, rows = np.meshgrid(x, y)
    return Grid(shape=shape, x=columns, y=rows)


@functools.lru_cache(maxsize=8)
def fan_grid(shape: tuple[int, int], *, radius: float = 0.45, degrees: float = 64.0) -> Grid:
    """Return the grid of a curved array: lines that fan out from an arc at the top of an image of `shape` (H, W).

    Args:
        shape: (H, W) of the image.
        radius: of the arc, as a share of H.
        degrees: the angle between the outermost lines.
    """
    height, width = shape
    near, half = radius * height, math.radians(degrees) / 2
    far = height + near * math.cos(
        half
    )  # the fan's lowest point touches the lower edge, its upper corners the upper one
    apex_x, apex_y = (width - 1) / 2, -near * math.cos(half)
    angle = np.linspace(-half, half, BEAMS, dtype=np.float32)
    distance = np.linspace(near, far, SAMPLES, dtype=np.float32)[:, None]
    columns, rows = np.meshgrid(
        np.arange(width, dtype=np.float32) - apex_x, np.arange(height, dtype=np.float32) - apex_y
    )
    return Grid(
        shape=shape,
        x=(apex_x + distance * np.sin(angle)).astype(np.float32),
        y=(apex_y + distance * np.cos(angle)).astype(np.float32),
        beams=((np.arctan2(columns, rows) + half) * ((BEAMS - 1) / (2 * half))).astype(np.float32),
        samples=((np.hypot(columns, rows) - near) * ((SAMPLES - 1) / (far - near))).astype(np.float32),
    )


def in_image(outline: np.ndarray, grid: Grid, pose: Pose) -> np.ndarray:
    """Return points (n, 2) of (x, y) on the tissue as points in the image."""
    matrix = pose.matrix(grid.shape)
    return (outline - matrix[:, 2]) @ matrix[:, :2]  # the inverse of a rotation is its transpose


def filled(outlines: Iterable[np.ndarray], grid: Grid) -> np.ndarray:
    """Return what closed outlines in the image enclose and a scan line reaches: uint8 (H, W), 0 or 1."""
    mask = np.zeros(grid.shape, np.uint8)
    for outline in outlines:
        cv2.fillPoly(mask, [np.rint(outline * 16).astype(np.int32)], (1,), shift=4)
    return mask * grid.seen
