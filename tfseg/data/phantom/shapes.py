"""Drawing tools of the phantom's anatomy: random curves, outlines and textures, and ways to put them into a tissue map.

Points are (n, 2) of (x, y) in pixels; maps are float32 (H, W) and are changed in place.
"""

import math
from collections.abc import Callable

import cv2
import numpy as np

from tfseg.data.phantom.scan import Tissue

Rng = np.random.Generator
Points = np.ndarray
Radii = np.ndarray | tuple[float, float]  # of an ellipse, along and across its axis, in pixels
Paint = Callable[[tuple[int, int]], np.ndarray]  # from the shape of a map's part to the part itself


def curve(rng: Rng, length: int, level: float, swing: float) -> np.ndarray:
    """Return a smooth random line about `level` that strays by `swing` (standard deviation): float32 (length,)."""
    wanders = np.zeros(length)
    for waves in (0.7, 1.6, 3.1):
        wanders += (
            np.sin(np.linspace(0, 2 * np.pi * waves * rng.uniform(0.8, 1.2), length) + rng.uniform(0, 2 * np.pi))
            / waves
        )
    return (level + swing * wanders / max(wanders.std(), 1e-6)).astype(np.float32)


def ellipse(centre: Points, radii: Radii, degrees: float, *, points: int = 120) -> Points:
    """Return the outline of an ellipse: its first radius points `degrees` below the right."""
    angles = np.linspace(0, 2 * np.pi, points, endpoint=False)
    return centre + _turned(np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)]), degrees)


def blob(rng: Rng, centre: Points, radii: Radii, degrees: float, *, roughness: float, harmonics: int = 5) -> Points:
    """Return an ellipse whose radius strays by `roughness` (a share), in random waves of up to `harmonics` a turn."""
    angles = np.linspace(0, 2 * np.pi, 120, endpoint=False)
    waves = np.arange(2, harmonics + 1)
    phases = angles[:, None] * waves + rng.uniform(0, 2 * np.pi, len(waves))
    stray = (rng.normal(0, 1, len(waves)) / np.sqrt(waves) * np.sin(phases)).sum(1)
    scale = 1 + roughness * stray / max(stray.std(), 1e-6)
    return centre + _turned(
        np.column_stack([radii[0] * np.cos(angles), radii[1] * np.sin(angles)]) * scale[:, None], degrees
    )


def _turned(points: Points, degrees: float) -> Points:
    angle = math.radians(degrees)
    return points @ np.array([[math.cos(angle), math.sin(angle)], [-math.sin(angle), math.cos(angle)]])


def texture(rng: Rng, shape: tuple[int, int], *, along: float, across: float, degrees: float = 0.0) -> np.ndarray:
    """Return noise of mean 0 and variance 1, blurred by `along` and `across` pixels and turned: float32 (H, W)."""
    shrink = 2 if across < 6 else 4
    side = [math.ceil(n / shrink) for n in shape]
    slope = abs(math.tan(math.radians(degrees)))
    height, width = side[0] + math.ceil(side[1] * slope) + 2, side[1] + math.ceil(side[0] * slope) + 2
    noise = rng.standard_normal((height, width), dtype=np.float32)
    noise = cv2.GaussianBlur(noise, (0, 0), sigmaX=along / shrink, sigmaY=max(across / shrink, 0.3))
    turn = cv2.getRotationMatrix2D((width / 2, height / 2), -degrees, 1.0)
    turn[:, 2] += [side[1] / 2 - width / 2, side[0] / 2 - height / 2]
    noise = cv2.warpAffine(noise, turn, side[::-1], borderMode=cv2.BORDER_REFLECT)
    noise = (noise - noise.mean()) / noise.std()
    return cv2.resize(noise, shape[::-1], interpolation=cv2.INTER_LINEAR)


def fibres(rng: Rng, shape: tuple[int, int], degrees: float, unit: float) -> np.ndarray:
    """Return the backscattered power of muscle, about 1: bright strands of perimysium along its fibres."""
    strands = texture(rng, shape, along=30 * unit, across=1.1 * unit, degrees=degrees)
    bellies = texture(rng, shape, along=60 * unit, across=14 * unit, degrees=degrees)
    return np.exp(0.7 * strands + 2.2 * np.maximum(strands - 1.2, 0) + 0.5 * bellies - 0.4)


def fill(target: np.ndarray, outline: Points, value: float | Paint, *, softness: float) -> None:
    """Set what an outline encloses to a value, or to what `value` paints; its edge is blurred by `softness` pixels."""
    reach = math.ceil(3 * softness) + 1
    left, top = np.maximum(np.floor(outline.min(0)).astype(int) - reach, 0)
    right, bottom = np.ceil(outline.max(0)).astype(int) + reach + 1
    part = target[top : max(bottom, 0), left : max(right, 0)]
    if part.size == 0:
        return
    cover = np.zeros(part.shape, np.uint8)
    cv2.fillPoly(cover, [np.rint((outline - [left, top]) * 16).astype(np.int32)], (255,), shift=4)
    cover = cv2.GaussianBlur(cover.astype(np.float32) / 255, (0, 0), sigmaX=softness)
    part += cover * ((value(part.shape) if callable(value) else value) - part)


def mottled(rng: Rng, level: float, contrast: float, *, along: float, across: float, degrees: float = 0.0) -> Paint:
    """Return a paint for `fill`: log-normal about `level`, in spots of `along` by `across` pixels."""
    return lambda shape: level * np.exp(contrast * texture(rng, shape, along=along, across=across, degrees=degrees))


def solid(tissue: Tissue, outline: Points, power: float | Paint, *, attenuation: float, softness: float) -> None:
    """Set power and attenuation of what an outline encloses, and erase the interfaces that were drawn there."""
    fill(tissue.specular, outline, 0.0, softness=softness)
    fill(tissue.power, outline, power, softness=softness)
    fill(tissue.attenuation, outline, attenuation, softness=softness)


def line(tissue: Tissue, rng: Rng, points: Points, strength: float, *, thickness: float, floor: float = 0.05) -> None:
    """Draw a smooth interface: it shines where it lies across the beam, and with `floor` of its strength along it."""
    steps = np.diff(points, axis=0)
    facing = np.abs(steps[:, 0]) / np.maximum(np.hypot(*steps.T), 1e-6)
    patches = np.interp(np.linspace(0, 1, len(steps)), np.linspace(0, 1, 9), rng.uniform(0.2, 1.2, 9))
    width = max(round(thickness), 1)
    for start, end, level in zip(
        points[:-1], points[1:], strength * patches * np.maximum(facing**3, floor), strict=True
    ):
        ends = [tuple(np.rint(point * 16).astype(int).tolist()) for point in (start, end)]
        cv2.line(tissue.specular, ends[0], ends[1], (float(level),), width, shift=4)


def rim(tissue: Tissue, rng: Rng, outline: Points, strength: float, *, thickness: float, floor: float = 0.05) -> None:
    """Draw a closed interface, as `line` does."""
    line(tissue, rng, np.vstack([outline, outline[:1]]), strength, thickness=thickness, floor=floor)


def interface(tissue: Tissue, rng: Rng, depth: np.ndarray, strength: float, *, unit: float) -> None:
    """Draw a fascia along a whole boundary, `depth` being its row in every column: several sheets that come and go."""
    columns = np.arange(0, len(depth), max(round(5 * unit), 1))
    for _ in range(3):
        levels = np.interp(columns, np.linspace(0, len(depth), 30), rng.uniform(-0.6, 1, 30))
        sheet = depth + curve(rng, len(depth), rng.normal(0, 2.5 * unit), 1.5 * unit)
        shining = levels > 0
        for run in np.split(np.arange(len(columns)), np.flatnonzero(np.diff(shining)) + 1):
            if shining[run[0]] and len(run) > 1:
                points = np.column_stack([columns[run], sheet[columns[run]]])
                line(tissue, rng, points, strength * levels[run].max(), thickness=rng.uniform(1, 2) * unit)


def septa(tissue: Tissue, rng: Rng, rows: tuple[float, float], count: int, *, strength: float, unit: float) -> None:
    """Draw short bright fascia strands, nearly level, between two rows."""
    for _ in range(count):
        length, tilt = rng.uniform(15, 110) * unit, rng.normal(0, 0.1)
        x, y = rng.uniform(-0.1, 1) * tissue.power.shape[1], rng.uniform(*rows)
        t = np.linspace(0, 1, 12)
        bend = rng.normal(0, 4) * unit * np.sin(np.pi * t) + rng.normal(0, 1.5) * unit * np.sin(3 * np.pi * t)
        points = np.column_stack([x + length * t, y + length * tilt * t + bend])
        line(tissue, rng, points, strength * rng.uniform(0.1, 1) ** 1.5, thickness=rng.uniform(1, 2) * unit)


def weather(tissue: Tissue, rng: Rng, *, unit: float) -> None:
    """Make drawn tissue less clean: echogenicity drifts, interfaces are rough, the contact with the skin is uneven."""
    shape = tissue.power.shape
    drift = texture(rng, shape, along=70 * unit, across=40 * unit)
    grain = texture(rng, shape, along=9 * unit, across=2 * unit)
    rough = cv2.GaussianBlur(tissue.specular, (0, 0), sigmaX=1.2 * unit, sigmaY=0.6 * unit)
    rough *= np.exp(0.7 * grain - 0.25)
    tissue.power[:] = tissue.power * np.exp(0.45 * drift) + 0.5 * rough**2
    tissue.specular[:] = 0.7 * rough
    contact = np.maximum(texture(rng, (8, shape[1]), along=40 * unit, across=40 * unit)[0] - 1.0, 0)
    top = max(round(8 * unit), 1)
    tissue.attenuation[:top] += contact * rng.uniform(0, 5) * shape[0] / top  # lost in the gel: dark beams all the way
