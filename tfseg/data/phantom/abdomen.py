"""The phantom's abdomen: a CT volume with a liver, tumours in it, and organs beside it, in Hounsfield units.

Shapes are rough ellipsoids and values those of the portal venous phase, set by eye: nothing learned here says anything
about a patient.
"""

import numpy as np
from scipy import ndimage

AIR, FAT, MUSCLE, LIVER, TUMOUR, VESSEL, SPLEEN, KIDNEY, BONE = -1000, -100, 55, 110, 55, 165, 125, 185, 450
_SIZE = 96  # rows and columns
_NOISE_HU = 14
Rng = np.random.Generator
Point = tuple[float, float, float]  # (slice, row, column) as shares of the volume


def abdomen(rng: Rng, slices: int, *, tumours: bool) -> tuple[np.ndarray, np.ndarray, tuple[float, float, float]]:
    """Draw one subject.

    Args:
        rng: draws everything.
        slices: of the volume; the liver lies in about two thirds of them.
        tumours: whether there are any, one to three.

    Returns:
        Values int16 (D, H, W) in Hounsfield units, labels uint8 (D, H, W) of 0, 1 (liver) and 2 (tumour), and the
        (slice, row, column) spacing in mm.
    """
    shape = (slices, _SIZE, _SIZE)
    pixel_mm = float(rng.uniform(3.4, 4.2))
    bumps = ndimage.gaussian_filter(rng.standard_normal(shape), (0.1 * slices, 9, 9))
    bumps *= 0.12 / max(bumps.std(), 1e-6)
    values = np.full(shape, AIR, np.float32)
    values[_ball(shape, (0.5, 0.5, 0.5), (9.0, 0.37, 0.46))] = FAT
    values[_ball(shape, (0.5, 0.5, 0.5), (9.0, 0.33, 0.42))] = MUSCLE
    values[_ball(shape, (0.5, 0.74, 0.5), (9.0, 0.07, 0.07))] = BONE
    for side, level, place in ((0.72, SPLEEN, 0.68), (0.3, KIDNEY, 0.28), (0.7, KIDNEY, 0.3)):
        centre = (place + rng.normal(0, 0.03), 0.62 + rng.normal(0, 0.02), side)
        values[_ball(shape, centre, (0.2, 0.08, 0.07), bumps)] = level
    centre = (0.57 + rng.normal(0, 0.03), 0.46 + rng.normal(0, 0.02), 0.35 + rng.normal(0, 0.02))
    reach = (rng.uniform(0.3, 0.36), rng.uniform(0.18, 0.23), rng.uniform(0.2, 0.26))
    liver = _ball(shape, centre, reach, bumps)
    values[liver] = LIVER + rng.normal(0, 8)
    labels = liver.astype(np.uint8)
    for _ in range(int(rng.integers(1, 4)) if tumours else 0):
        deep, down, across = (
            middle + rng.uniform(-0.45, 0.45) * half for middle, half in zip(centre, reach, strict=True)
        )
        size = rng.uniform(0.05, 0.1)
        tumour = liver & _ball(shape, (deep, down, across), (max(1.2 * size, 1.2 / slices), size, size), bumps)
        values[tumour], labels[tumour] = TUMOUR + rng.normal(0, 8), 2
    vessel = _ball(shape, (centre[0], centre[1], centre[2] + 0.05), (0.5 * reach[0], 0.025, 0.14)) & (labels == 1)
    values[vessel] = VESSEL
    blurred = ndimage.gaussian_filter(values, (0, 0.6, 0.6))
    noise = ndimage.gaussian_filter(rng.standard_normal(shape), (0, 0.5, 0.5))
    values = blurred + _NOISE_HU * noise / noise.std()
    return np.rint(values).astype(np.int16), labels, (160 / slices, pixel_mm, pixel_mm)


def _ball(shape: tuple[int, ...], centre: Point, radii: Point, bumps: np.ndarray | float = 0.0) -> np.ndarray:
    """Return an ellipsoid, bool (D, H, W); `bumps` stray its radius, as shares of it."""
    axes = np.ogrid[tuple(slice(0, size) for size in shape)]
    away = sum(
        (((axis + 0.5) / size - middle) / radius) ** 2
        for axis, size, middle, radius in zip(axes, shape, centre, radii, strict=True)
    )
    return np.sqrt(away) < 1 + bumps
