"""What a mask measures: area, diameters, the circumference of its ellipse; and how far measures agree."""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

_Z = 1.96  # 95 % of a normal distribution lie within so many standard deviations


@dataclass(frozen=True, kw_only=True)
class Shape:
    """What one mask measures; `shape` says how. NaN is what was not measured.

    Attributes:
        area: mm², or pixels.
        longest_diameter, diameter_across, circumference: mm, or pixels.
    """

    area: float = math.nan
    longest_diameter: float = math.nan
    diameter_across: float = math.nan
    circumference: float = math.nan


MEASURES = tuple(field.name for field in dataclasses.fields(Shape))


def shape(mask: np.ndarray, *, spacing_mm: tuple[float, ...] | None = None, ellipse: bool = False) -> Shape:
    """Measure a mask at the original resolution.

    - area: of all foreground pixels; 0 where there are none, and then nothing else is measured.
    - The other measures are those of the largest connected area (8 neighbours), so that a speck elsewhere does not
      stretch them.
    - longest_diameter: the largest distance of two points of its outline, which runs through the middles of the
      pixels' outer edges: the maximum Feret diameter of its convex hull. A row of n pixels is n long, and 1 across.
    - diameter_across: its extent perpendicular to the longest diameter: the distance of the two parallels to that
      diameter that touch it. Departure from RECIST 1.1 (Eisenhauer et al., Eur J Cancer 45, 2009), which draws the
      longest perpendicular chord: the extent is no shorter, and is equal for an ellipse.
    - circumference: with `ellipse`, the perimeter of the ellipse that has its second central moments, by the complete
      elliptic integral. On the 117 annotations of fetal heads in a part of HC18, less the half width of the line that
      they were drawn with, it is 0.004 mm off the circumferences that HC18 lists (mean absolute error; 0.2 pixels at
      most); the ellipse that OpenCV's fitEllipse lays through the outline is 0.019 mm off.

    A volume, (D, H, W), has neither: all is NaN.

    Args:
        mask: (H, W) or (D, H, W), uint8 or bool, 0 or 1.
        spacing_mm: (row, column) distance of pixel centres in mm; None measures in pixels.
        ellipse: whether the shape is an ellipse.

    >>> shape(np.array([[1, 1, 1, 1]], bool), spacing_mm=(1.0, 0.5))
    Shape(area=2.0, longest_diameter=2.0, diameter_across=1.0, circumference=nan)
    """
    if mask.ndim == 3:
        return Shape()
    row_mm, column_mm = spacing_mm or (1.0, 1.0)
    area = float(np.count_nonzero(mask)) * row_mm * column_mm
    if not area:
        return Shape(area=0.0)
    largest = _largest(mask)
    longest, across = _diameters(largest, (row_mm, column_mm))
    return Shape(
        area=area,
        longest_diameter=longest,
        diameter_across=across,
        circumference=_circumference(largest, (row_mm, column_mm)) if ellipse else math.nan,
    )


def agreement(measured: Sequence[float], reference: Sequence[float]) -> dict[str, Any]:
    """Return how far measured values are from the reference, over the images where both are there.

    The limits of agreement (Bland and Altman, Lancet 327, 1986) are the mean error ± 1.96 standard deviations of the
    errors (n - 1): 95 % of the errors lie within them where errors are normal. Departure: images of one patient count
    as independent ones.

    Args:
        measured: (N,) one number an image; NaN where there is none.
        reference: (N,) the same of the truth.

    Returns:
        "count" of the images; "reference", the mean of their true values; "error", the mean of measured less true (the
        bias); "absolute_error", the mean of its absolute values; "low" and "high", the limits. None is what so few
        images do not say.

    >>> agreement([11.0, 9.0, math.nan], [10.0, 10.0, 10.0])["absolute_error"]
    1.0
    """
    pairs = np.stack([measured, reference], axis=1).astype(float).reshape(-1, 2)
    pairs = pairs[~np.isnan(pairs).any(axis=1)]
    if not len(pairs):
        return {"count": 0} | dict.fromkeys(("reference", "error", "absolute_error", "low", "high"))
    errors = pairs[:, 0] - pairs[:, 1]
    error = float(errors.mean())
    spread = _Z * float(errors.std(ddof=1)) if len(errors) > 1 else None
    return {
        "count": len(errors),
        "reference": float(pairs[:, 1].mean()),
        "error": error,
        "absolute_error": float(np.abs(errors).mean()),
        "low": None if spread is None else error - spread,
        "high": None if spread is None else error + spread,
    }


def _largest(mask: np.ndarray) -> np.ndarray:
    """Return the largest connected area of a mask that is not empty, the first of equal ones: uint8 (H, W)."""
    import cv2

    _, labels, statistics, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=8)
    return (labels == 1 + int(statistics[1:, cv2.CC_STAT_AREA].argmax())).astype(np.uint8)


def _diameters(mask: np.ndarray, spacing: tuple[float, float]) -> tuple[float, float]:
    """The longest diameter of one connected area, and its extent across it."""
    import cv2

    contours, _ = cv2.findContours(mask, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
    centres = 2 * contours[0].reshape(-1, 2)[:, ::-1]  # (N, 2) rows and columns in half pixels, which are whole numbers
    edges = np.concatenate([centres + step for step in ((-1, 0), (1, 0), (0, -1), (0, 1))])
    hull = cv2.convexHull(edges.astype(np.int32)).reshape(-1, 2) * (np.array(spacing) / 2)  # (P, 2)
    apart = hull[:, None] - hull[None]  # (P, P, 2)
    distances = np.hypot(apart[..., 0], apart[..., 1])
    one, other = np.unravel_index(int(distances.argmax()), distances.shape)
    along = apart[one, other] / distances[one, other]
    return float(distances[one, other]), float(np.ptp(hull @ np.array([-along[1], along[0]])))


def _circumference(mask: np.ndarray, spacing: tuple[float, float]) -> float:
    """The perimeter of the ellipse with the second moments of one area: a variance is a semi-axis squared over 4."""
    import cv2
    from scipy.special import ellipe

    moments = cv2.moments(mask, binaryImage=True)
    row, column = spacing
    mixed = moments["mu11"] * row * column
    covariance = np.array([[moments["mu02"] * row**2, mixed], [mixed, moments["mu20"] * column**2]]) / moments["m00"]
    minor, major = 2 * np.sqrt(np.maximum(np.linalg.eigvalsh(covariance), 0.0))
    return float(4 * major * ellipe(1 - (minor / major) ** 2)) if major else 0.0
