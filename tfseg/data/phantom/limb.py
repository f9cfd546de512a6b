"""The phantom's limb: a nerve between muscles, vessels beside it, and things that resemble it.

A nerve in cross-section is a honeycomb, hypoechoic fascicles in hyperechoic epineurium (Silvestri et al., Radiology
197(1), 1995). Our departures: shapes are ellipses and smooth random curves and no atlas, and echoes are set by eye, so
nothing learned here says anything about a patient.
"""

import numpy as np

from tfseg.data.phantom.anatomy import BONE, FAT, FLUID, MUSCLE, Anatomy, slab
from tfseg.data.phantom.scan import Tissue
from tfseg.data.phantom.shapes import (
    Points,
    Rng,
    blob,
    curve,
    fibres,
    fill,
    interface,
    mottled,
    rim,
    septa,
    solid,
    texture,
    weather,
)


def limb(rng: Rng, shape: tuple[int, int]) -> Anatomy:
    """Draw a subject with outlines "nerve" (one) and "vessel" (none to two).

    Tendons, lymph nodes and bellies of muscle within bright fascia are the distractors: they stand where the nerve is
    in view and where it is not.
    """
    height, width = shape
    unit = height / 420
    tissue = slab(height, round(2.4 * width), attenuation=MUSCLE)
    _layers(tissue, rng, unit)
    bones = [_bone(tissue, rng, unit)] if rng.random() < 0.6 else []
    centre = np.array([width * rng.uniform(0.4, 0.8), height * rng.uniform(0.27, 0.55)])
    _bed(tissue, rng, centre, unit)
    nerve = _nerve(tissue, rng, centre, unit)
    taken = [nerve, *bones]
    vessels = []
    for _ in range(rng.choice([0, 1, 2], p=[0.15, 0.55, 0.3])):
        place = _free(rng, tissue, taken, near=centre, reach=150 * unit)
        if place is not None:
            vessels.append(_vessel(tissue, rng, place, unit))
            taken.append(vessels[-1])
    for draw in (_tendon, _node, _belly, _tendon, _node, _belly):
        place = _free(rng, tissue, taken)
        if place is not None:
            taken.append(draw(tissue, rng, place, unit))
    place = _free(rng, tissue, taken, near=np.array([1.8 * width, 0.4 * height]), reach=0.4 * width)
    if place is not None:  # a vessel without a nerve, where the probe slides to
        _vessel(tissue, rng, place, unit)
    weather(tissue, rng, unit=unit)
    outlines = {"nerve": (nerve,), "vessel": tuple(vessels)}
    return Anatomy(tissue=tissue, outlines=outlines, home=0.1 * width, away=1.3 * width)


def _layers(tissue: Tissue, rng: Rng, unit: float) -> None:
    """Skin, fat with its septa, and three muscles with fasciae between."""
    height, width = tissue.power.shape
    rows = np.arange(height, dtype=np.float32)[:, None]
    skin = curve(rng, width, rng.uniform(12, 22) * unit, 1.5 * unit)
    fat = skin + np.maximum(curve(rng, width, rng.uniform(25, 75) * unit, 9 * unit), 6 * unit)
    middle = np.maximum(curve(rng, width, rng.uniform(170, 240) * unit, 16 * unit), fat + 40 * unit)
    deep = curve(rng, width, rng.uniform(290, 370) * unit, 16 * unit)
    lobules = texture(rng, (height, width), along=26 * unit, across=9 * unit)
    tissue.power[:] = 0.5 * np.exp(0.5 * lobules)
    for top, bottom in ((fat, middle), (middle, deep), (deep, np.full_like(deep, height))):
        part = slice(int(top.min()), int(bottom.max()) + 1)
        inside = (rows[part] >= top) & (rows[part] < bottom)
        belly = rng.uniform(0.3, 0.9) * fibres(rng, inside.shape, rng.uniform(-14, 14), unit)
        tissue.power[part] = np.where(inside, belly, tissue.power[part])
    tissue.power[:] = np.where(rows < skin, 4 * np.exp(0.3 * lobules), tissue.power)
    tissue.attenuation[:] = np.where(rows < fat, FAT, MUSCLE)
    septa(tissue, rng, (float(skin.mean()), float(fat.mean())), 40, strength=4.0, unit=unit)
    septa(tissue, rng, (float(fat.mean()), height), 90, strength=4.0, unit=unit)
    for depth, strength in ((skin, 4.0), (fat, 9.0), (middle, 9.0), (deep, 7.0)):
        interface(tissue, rng, depth, strength, unit=unit)


def _bone(tissue: Tissue, rng: Rng, unit: float) -> Points:
    """A bright surface that lets next to nothing through."""
    height, width = tissue.power.shape
    centre = np.array([rng.uniform(0.1, 0.9) * width, height * rng.uniform(0.95, 1.1)])
    outline = blob(rng, centre, rng.uniform((110, 90), (200, 150)) * unit, rng.uniform(-15, 15), roughness=0.05)
    solid(tissue, outline, 0.3, attenuation=BONE, softness=unit)
    rim(tissue, rng, outline, 15.0, thickness=2.5 * unit)
    return outline


def _bed(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> None:
    """The bright fat between the muscles in which nerve and vessels run."""
    outline = blob(rng, centre, rng.uniform((120, 40), (190, 62)) * unit, rng.uniform(-15, 15), roughness=0.12)
    fat = mottled(rng, rng.uniform(0.6, 1.4), 0.8, along=16 * unit, across=3 * unit)
    fill(tissue.power, outline, fat, softness=14 * unit)


def _nerve(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> Points:
    """Epineurium with a rim, and fascicles packed in it like a honeycomb; returns the outline."""
    radii = np.array([rng.uniform(46, 82), rng.uniform(27, 42)]) * unit
    degrees = rng.normal(0, 14)
    outline = blob(rng, centre, radii, degrees, roughness=0.04, harmonics=4)
    epineurium = mottled(rng, rng.uniform(4.5, 8.0), 0.35, along=6 * unit, across=4 * unit)
    solid(tissue, outline, epineurium, attenuation=1.1 * MUSCLE, softness=1.5 * unit)
    dark = rng.uniform(0.06, 0.25)
    for at, radius in _packed(rng, outline, rng.uniform(7.5, 12) * unit):
        fascicle = blob(rng, at, radius * rng.uniform((0.95, 0.8), (1.2, 1.05)), degrees, roughness=0.08)
        fill(tissue.power, fascicle, dark * rng.uniform(0.6, 1.6), softness=1.2 * unit)
    rim(tissue, rng, outline, rng.uniform(3.0, 7.0), thickness=2 * unit, floor=0.3)
    return outline


def _packed(rng: Rng, outline: Points, radius: float) -> list[tuple[Points, float]]:
    """Centres and radii of circles in a jittered hexagonal packing within an outline."""
    pitch = 2.5 * radius
    reach = np.ceil(np.ptp(outline, axis=0).max() / 2 / pitch)
    circles = []
    for row in np.arange(-reach, reach + 1):
        for column in np.arange(-reach, reach + 1):
            place = pitch * np.array([column + 0.5 * (row % 2), 0.87 * row])
            at = outline.mean(0) + place + rng.normal(0, 0.14 * radius, 2)
            size = radius * rng.uniform(0.7, 1.15)
            room = _room(outline, at) - 0.15 * radius
            if room > 0.7 * size and rng.random() < 0.92:
                circles.append((at, min(size, room)))
    return circles


def _room(outline: Points, at: Points) -> float:
    """How far a point lies within an outline that is convex or nearly so, in pixels; negative outside."""
    distances = np.hypot(*(outline - at).T)
    edge, middle = outline[distances.argmin()], outline.mean(0)
    inside = np.hypot(*(at - middle)) < np.hypot(*(edge - middle))
    return float(distances.min() if inside else -distances.min())


def _vessel(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> Points:
    """Fluid with a bright wall where it faces the probe; what lies below is enhanced by the sound not lost."""
    radius = rng.uniform(15, 34) * unit
    outline = blob(rng, centre, (radius, radius * rng.uniform(0.65, 1.0)), rng.normal(0, 12), roughness=0.03)
    solid(tissue, outline, rng.uniform(0.006, 0.04), attenuation=FLUID, softness=1.5 * unit)
    rim(tissue, rng, outline, rng.uniform(3, 7), thickness=2 * unit)
    return outline


def _tendon(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> Points:
    """As bright and oval as a nerve, but of fine fibrils without fascicles."""
    outline = blob(rng, centre, rng.uniform((34, 18), (70, 34)) * unit, rng.normal(0, 14), roughness=0.05)
    fibrils = mottled(rng, rng.uniform(1.2, 3.0), 0.6, along=5 * unit, across=1.2 * unit)
    solid(tissue, outline, fibrils, attenuation=MUSCLE, softness=2.5 * unit)
    rim(tissue, rng, outline, 2.5, thickness=2 * unit)
    return outline


def _node(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> Points:
    """A lymph node: a dark oval with one bright hilum."""
    radii, degrees = rng.uniform((30, 16), (58, 30)) * unit, rng.normal(0, 16)
    outline = blob(rng, centre, radii, degrees, roughness=0.05)
    solid(tissue, outline, rng.uniform(0.1, 0.3), attenuation=MUSCLE, softness=2 * unit)
    hilum = mottled(rng, rng.uniform(2, 5), 0.5, along=8 * unit, across=3 * unit)
    fill(tissue.power, blob(rng, centre, radii * (0.55, 0.25), degrees, roughness=0.2), hilum, softness=3 * unit)
    rim(tissue, rng, outline, 3.0, thickness=2 * unit)
    return outline


def _belly(tissue: Tissue, rng: Rng, centre: Points, unit: float) -> Points:
    """A small muscle within a bright fascia."""
    outline = blob(rng, centre, rng.uniform((40, 22), (80, 40)) * unit, rng.normal(0, 16), roughness=0.08)
    degrees = rng.uniform(-30, 30)
    solid(
        tissue,
        outline,
        lambda part: 0.7 * fibres(rng, part, degrees, 0.6 * unit),
        attenuation=MUSCLE,
        softness=2 * unit,
    )
    rim(tissue, rng, outline, rng.uniform(3, 6), thickness=2 * unit)
    return outline


def _free(
    rng: Rng, tissue: Tissue, taken: list[Points], *, near: Points | None = None, reach: float = 0.0
) -> Points | None:
    """A place in the middle depths apart from everything drawn (within reach of `near`), or None after 40 throws."""
    height, width = tissue.power.shape
    top, bottom, apart = 0.22 * height, 0.72 * height, 0.08 * height
    for _ in range(40):
        place = rng.uniform((0, top), (width, bottom))
        if near is not None:
            place = near + rng.uniform(-1, 1, 2) * (reach, min(reach, 0.3 * height))
        if top < place[1] < bottom and all(_room(outline, place) < -apart for outline in taken):
            return place
    return None
