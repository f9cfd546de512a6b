"""An examination: one simulated subject, seen in frames that differ as little as those of a real clip."""

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np

from tfseg.data.phantom.anatomy import MUSCLE, Anatomy
from tfseg.data.phantom.grid import BEAMS, SAMPLES, Grid, Pose, filled, in_image
from tfseg.data.phantom.scan import Scanner, scan, scatterers, view
from tfseg.data.phantom.shapes import Points, Rng

LOOKS = 3  # spatial compounding as most scanners have it on
_KEPT = 0.8  # share of the speckle's power that stays with the tissue from frame to frame
_TURN = 10  # frames from one visit of the nerve to the next
_GOLDEN = 0.618034  # spreads the subjects evenly over the turn


@dataclass(frozen=True, kw_only=True)
class Plan:
    """How much to simulate: subjects, frames of each, the seed, and the share of frames without the nerve."""

    subjects: int
    frames: int
    seed: int
    empty_share: float


@dataclass(frozen=True, kw_only=True)
class Shot:
    """One frame.

    Attributes:
        subject, frame: its numbers, from 0.
        image: uint8 (H, W).
        grid: where its scan lines run.
        outlines: of every class, in pixels of the image.
    """

    subject: int
    frame: int
    image: np.ndarray
    grid: Grid
    outlines: dict[str, tuple[Points, ...]]

    def mask(self, name: str) -> np.ndarray:
        """Return the mask of one class: uint8 (H, W), 0 or 1."""
        return filled(self.outlines[name], self.grid)


def shots(plan: Plan, subject: int, draw: Callable[[Rng, tuple[int, int]], Anatomy], grid: Grid) -> Iterator[Shot]:
    """Simulate the frames of one subject.

    A frame depends on the seed and on the numbers of subject and frame, and not on how many of them there are.

    Args:
        plan: the counts and the seed; `empty_share` matters where the anatomy has a place to slide away to.
        subject: its number, from 0.
        draw: draws the anatomy from a generator and the (H, W) of the image.
        grid: where the scan lines run.
    """
    visit = _begin(_generator(plan, subject), draw, grid)
    phase = visit.rng.uniform(0, 2 * np.pi)
    for frame in range(plan.frames):
        rng = _generator(plan, subject, frame)
        away = is_away(subject, frame, plan.empty_share)
        pose = draw_pose(rng, visit.anatomy, grid, away=away, phase=phase + 0.5 * frame)
        image = _look(visit, grid, pose, rng)
        outlines = {
            name: tuple(in_image(p, grid, pose) for p in polygons) for name, polygons in visit.anatomy.outlines.items()
        }
        yield Shot(subject=subject, frame=frame, image=image, grid=grid, outlines=outlines)


def film(plan: Plan, subject: int, draw: Callable[[Rng, tuple[int, int]], Anatomy], grid: Grid) -> Iterator[np.ndarray]:
    """Simulate the frames of a clip, uint8 (H, W), in which the probe moves smoothly; its end leads into its beginning.

    The first half sways about what is looked for. In the second the probe slides off to where it is not, and comes
    back, if the anatomy has such a place. Args are those of `shots`.
    """
    visit = _begin(_generator(plan, subject), draw, grid)
    anatomy, unit = visit.anatomy, grid.shape[0] / 420
    for frame in range(plan.frames):
        rng, turn = _generator(plan, subject, frame), frame / plan.frames
        slide = math.sin(math.pi * max(2 * turn - 1, 0)) ** 2 * ((anatomy.away or anatomy.home) - anatomy.home)
        pose = Pose(
            right=anatomy.home + slide + 14 * unit * math.sin(4 * math.pi * turn),
            down=2 * unit * (1 + math.sin(6 * math.pi * turn)),
            tilt_degrees=1.5 * math.sin(2 * math.pi * turn),
        )
        yield _look(visit, grid, pose, rng)


@dataclass(frozen=True, kw_only=True)
class _Visit:
    """What stays through an examination: the subject, the scanner's settings and the scatterers of the tissue."""

    anatomy: Anatomy
    scanner: Scanner
    speckle: np.ndarray
    rng: Rng


def _begin(rng: Rng, draw: Callable[[Rng, tuple[int, int]], Anatomy], grid: Grid) -> _Visit:
    anatomy, scanner = draw(rng, grid.shape), draw_scanner(rng)
    (down, across), (height, width) = _per_pixel(grid), anatomy.tissue.power.shape
    speckle = scatterers(rng, (LOOKS, math.ceil(height * down), math.ceil(width * across)))
    return _Visit(anatomy=anatomy, scanner=scanner, speckle=speckle, rng=rng)


def _look(visit: _Visit, grid: Grid, pose: Pose, rng: Rng) -> np.ndarray:
    """Return one frame, uint8 (H, W); what changes from frame to frame comes from `rng`."""
    down, across = _per_pixel(grid)
    left, top = round(pose.right * across), round(pose.down * down)
    kept = visit.speckle[:, top : top + SAMPLES, left : left + BEAMS]  # speckle moves with the tissue
    field = math.sqrt(_KEPT) * kept + math.sqrt(1 - _KEPT) * scatterers(rng, kept.shape[:-1])
    gain = replace(visit.scanner, gain_db=visit.scanner.gain_db + rng.normal(0, 0.4))
    return scan(view(visit.anatomy.tissue, grid, pose), grid, gain, field=field, rng=rng)


def _per_pixel(grid: Grid) -> tuple[float, float]:
    """Return how many samples (down) and scan lines (across) a pixel of the image is."""
    return SAMPLES / grid.shape[0], BEAMS / grid.shape[1]


def is_away(subject: int, frame: int, share: float) -> bool:
    """Tell whether the probe stands away from the nerve: a `share` of every ten frames in a row, anywhere in the turn.

    >>> [is_away(0, frame, 0.4) for frame in range(10)].count(True)
    4
    """
    return (subject * _GOLDEN + (frame + 0.5) / _TURN) % 1 < share


def draw_scanner(rng: Rng) -> Scanner:
    """Draw what differs between examinations: gain, dynamic range, focus, and how well the depth gain was set."""
    expected = MUSCLE * np.linspace(0, 1, 8)
    knobs = expected * rng.uniform(0.6, 1.0) + rng.normal(0, 1.5, 8)
    return Scanner(
        focus=rng.uniform(0.3, 0.6),
        looks=LOOKS,
        gain_db=rng.uniform(-13, -6),
        tgc_db=tuple(float(knob) for knob in knobs),
        range_db=rng.uniform(50, 60),
    )


def draw_pose(rng: Rng, anatomy: Anatomy, grid: Grid, *, away: bool, phase: float) -> Pose:
    """Draw where the probe stands: it sways slowly about its place (`phase` in radians) and trembles a little."""
    unit = grid.shape[0] / 420
    place = anatomy.away if away and anatomy.away is not None else anatomy.home
    return Pose(
        right=place + (4 * math.sin(phase) + rng.normal(0, 0.5)) * unit,
        down=abs(rng.normal(0, 0.5)) * unit,
        tilt_degrees=rng.normal(0, 0.25),
    )


def _generator(plan: Plan, *numbers: int) -> Rng:
    return np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=numbers))
