"""The phantom's breast, kidney and fetal head.

A benign lesion of the breast is smooth and wider than tall, a malignant one irregular, taller than wide, spiculated and
shadowing (Stavros et al., Radiology 196(1), 1995). Our departures are those of the limb: no atlas, echoes set by eye.
"""

import numpy as np

from tfseg.data.phantom.anatomy import FAT, FLUID, MUSCLE, Anatomy, slab
from tfseg.data.phantom.scan import Tissue
from tfseg.data.phantom.shapes import (
    Points,
    Rng,
    blob,
    curve,
    ellipse,
    fibres,
    fill,
    interface,
    line,
    mottled,
    rim,
    septa,
    solid,
    texture,
    weather,
)

_BROAD = 1.2  # width of the slab in widths of the image: the probe stays where it is
_MARGIN = (_BROAD - 1) / 2


def breast(rng: Rng, shape: tuple[int, int], *, stratum: str, lesions: int) -> Anatomy:
    """Draw a subject with the outlines "lesion": as many as told, "benign" or "malignant", and none if "normal"."""
    height, width = shape
    unit = height / 420
    tissue = slab(height, round(_BROAD * width), attenuation=MUSCLE)
    _breast_layers(tissue, rng, height, unit)
    places = np.linspace(0, 1, 2 * lesions + 1)[1::2] if stratum != "normal" else []  # one lesion stands in the middle
    outlines = []
    for place in places:
        centre = np.array([(_MARGIN + place + rng.normal(0, 0.04)) * width, rng.uniform(0.36, 0.55) * height])
        size = rng.uniform(38, 80) * unit / max(1, 0.75 * lesions)
        outlines.append((_carcinoma if stratum == "malignant" else _fibroadenoma)(tissue, rng, centre, size, unit))
    weather(tissue, rng, unit=unit)
    return Anatomy(tissue=tissue, outlines={"lesion": tuple(outlines)}, home=_MARGIN * width)


def _breast_layers(tissue: Tissue, rng: Rng, height: int, unit: float) -> None:
    """Skin, fat lobules, glands and the pectoral muscle."""
    shape = tissue.power.shape
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    skin = curve(rng, shape[1], 0.05 * height, 2 * unit)
    glands = curve(rng, shape[1], rng.uniform(0.16, 0.28) * height, 10 * unit)
    muscle = curve(rng, shape[1], rng.uniform(0.76, 0.9) * height, 7 * unit)
    lobules = texture(rng, shape, along=26 * unit, across=13 * unit, degrees=rng.uniform(-12, 12))
    ducts = texture(rng, shape, along=16 * unit, across=4 * unit)
    tissue.power[:] = np.where(
        rows > glands, rng.uniform(0.7, 1.8) * np.exp(0.5 * lobules + 0.5 * ducts), 0.4 * np.exp(0.4 * lobules)
    )
    tissue.power[:] = np.where(rows > muscle, 0.6 * fibres(rng, shape, rng.uniform(-6, 6), unit), tissue.power)
    tissue.power[:] = np.where(rows < skin, 4.0, tissue.power)
    tissue.attenuation[:] = np.where(rows < glands, FAT, MUSCLE)
    septa(tissue, rng, (0.06 * height, 0.75 * height), 60, strength=3.0, unit=unit)
    for depth, strength in ((skin, 4.0), (glands, 4.0), (muscle, 8.0)):
        interface(tissue, rng, depth, strength, unit=unit)


def _fibroadenoma(tissue: Tissue, rng: Rng, centre: Points, size: float, unit: float) -> Points:
    outline = blob(rng, centre, (size, size * rng.uniform(0.5, 0.75)), rng.normal(0, 10), roughness=0.04, harmonics=4)
    inside = mottled(rng, rng.uniform(0.03, 0.15), 0.25, along=9 * unit, across=5 * unit)
    solid(tissue, outline, inside, attenuation=0.5 * MUSCLE, softness=1.5 * unit)
    rim(tissue, rng, outline, rng.uniform(3, 6), thickness=2 * unit)
    return outline


def _carcinoma(tissue: Tissue, rng: Rng, centre: Points, size: float, unit: float) -> Points:
    outline = blob(
        rng, centre, (0.75 * size, size * rng.uniform(0.8, 1.05)), rng.normal(0, 20), roughness=0.14, harmonics=11
    )
    halo = mottled(rng, rng.uniform(2, 4), 0.5, along=8 * unit, across=3 * unit)
    fill(tissue.power, centre + (outline - centre) * 1.15, halo, softness=6 * unit)
    inside = mottled(rng, rng.uniform(0.05, 0.15), 0.6, along=7 * unit, across=4 * unit)
    solid(tissue, outline, inside, attenuation=rng.uniform(1.4, 2.3) * MUSCLE, softness=2.5 * unit)
    for angle in rng.uniform(0, 2 * np.pi, 9):  # spicules
        way = np.array([np.cos(angle), np.sin(angle)]) * size
        line(tissue, rng, centre + np.linspace(0.8, rng.uniform(1.2, 1.7), 8)[:, None] * way, 3.0, thickness=unit)
    return outline


def kidney(rng: Rng, shape: tuple[int, int]) -> Anatomy:
    """Draw a kidney below a liver; outlines: "Capsule", "Cortex", "Medulla" (the pyramids), "Central Echo Complex"."""
    height, width = shape
    unit = height / 420
    tissue = slab(height, round(_BROAD * width), attenuation=MUSCLE)
    _liver(tissue, rng, height, unit)
    centre = np.array([(0.5 * _BROAD + rng.normal(0, 0.03)) * width, rng.uniform(0.5, 0.6) * height])
    radii, degrees = rng.uniform((0.26, 0.145), (0.33, 0.185)) * height, rng.uniform(-25, 25)
    capsule = blob(rng, centre, radii, degrees, roughness=0.03)
    fat = mottled(rng, rng.uniform(1.5, 4), 0.4, along=14 * unit, across=5 * unit)
    solid(tissue, centre + (capsule - centre) * rng.uniform(1.07, 1.2), fat, attenuation=FAT, softness=5 * unit)
    cortex = mottled(rng, rng.uniform(0.3, 0.6), 0.2, along=6 * unit, across=5 * unit)
    solid(tissue, capsule, cortex, attenuation=MUSCLE, softness=2 * unit)
    rim(tissue, rng, capsule, 5.0, thickness=2 * unit, floor=0.15)
    sinus = blob(rng, centre, radii * rng.uniform((0.42, 0.28), (0.55, 0.4)), degrees, roughness=0.12)
    pyramids = tuple(_pyramid(rng, centre, radii, degrees, turn) for turn in np.arange(0, 360, 40) + rng.uniform(0, 40))
    for pyramid in pyramids:
        fill(tissue.power, pyramid, rng.uniform(0.07, 0.16), softness=2.5 * unit)
    fill(
        tissue.power, sinus, mottled(rng, rng.uniform(2.5, 5), 0.8, along=8 * unit, across=4 * unit), softness=4 * unit
    )
    weather(tissue, rng, unit=unit)
    bark = np.vstack([capsule, capsule[:1], centre + (np.vstack([capsule, capsule[:1]]) - centre)[::-1] * 0.8])
    outlines = {"Capsule": (capsule,), "Cortex": (bark,), "Medulla": pyramids, "Central Echo Complex": (sinus,)}
    return Anatomy(tissue=tissue, outlines=outlines, home=_MARGIN * width)


def _liver(tissue: Tissue, rng: Rng, height: int, unit: float) -> None:
    """The abdominal wall, and an even organ with some vessels in it."""
    shape = tissue.power.shape
    rows = np.arange(shape[0], dtype=np.float32)[:, None]
    wall = curve(rng, shape[1], rng.uniform(0.12, 0.2) * height, 6 * unit)
    even = rng.uniform(0.6, 1.1) * np.exp(0.15 * texture(rng, shape, along=9 * unit, across=7 * unit))
    tissue.power[:] = np.where(rows < wall, fibres(rng, shape, rng.uniform(-5, 5), unit), even)
    interface(tissue, rng, 0.5 * wall, 5.0, unit=unit)
    interface(tissue, rng, wall, 6.0, unit=unit)
    for _ in range(rng.integers(3, 8)):
        place = rng.uniform((0, 0.2 * height), (shape[1], 0.95 * height))
        vessel = blob(rng, place, rng.uniform((6, 4), (16, 8)) * unit, rng.uniform(-40, 40), roughness=0.1)
        solid(tissue, vessel, 0.04, attenuation=FLUID, softness=1.5 * unit)
        rim(tissue, rng, vessel, 3.0, thickness=1.5 * unit)


def _pyramid(rng: Rng, centre: Points, radii: Points, degrees: float, turn: float) -> Points:
    """One renal pyramid: an oval pointing at the sinus, in the ring between it and the cortex."""
    around = ellipse(centre, radii * 0.64, degrees, points=360)
    place = around[int(turn) % 360]
    out = np.degrees(np.arctan2(*(place - centre)[::-1]))
    return blob(rng, place, radii[1] * rng.uniform((0.13, 0.13), (0.18, 0.17)), out, roughness=0.06)


def head(rng: Rng, shape: tuple[int, int]) -> Anatomy:
    """Draw a fetal head in amniotic fluid; its outline "head" is an exact ellipse along the outer edge of the skull."""
    height, width = shape
    unit = height / 420
    tissue = slab(height, round(_BROAD * width), attenuation=0.7 * MUSCLE)
    centre = np.array([(0.5 * _BROAD + rng.normal(0, 0.03)) * width, rng.uniform(0.5, 0.56) * height])
    radii = rng.uniform(0.22, 0.34) * height * np.array([1, rng.uniform(0.72, 0.84)])
    degrees = rng.uniform(-40, 40)
    tissue.power[:] = mottled(rng, rng.uniform(0.8, 2), 0.5, along=34 * unit, across=9 * unit)(tissue.power.shape)
    septa(tissue, rng, (0, height), 50, strength=3.0, unit=unit)
    fluid = blob(
        rng, centre + rng.normal(0, 10, 2) * unit, radii * rng.uniform(1.2, 1.6), degrees, roughness=0.06, harmonics=3
    )
    solid(tissue, fluid, 0.01, attenuation=FLUID, softness=2.5 * unit)
    rim(tissue, rng, fluid, 3.0, thickness=2 * unit)
    solid(
        tissue, ellipse(centre, radii, degrees), 0.6, attenuation=3.5 * MUSCLE, softness=1.5 * unit
    )  # the skull, 6 % thick
    brain = mottled(rng, rng.uniform(0.12, 0.4), 0.9, along=13 * unit, across=8 * unit)
    solid(tissue, ellipse(centre, 0.94 * radii, degrees), brain, attenuation=0.5 * MUSCLE, softness=1.5 * unit)
    axis = ellipse(np.zeros(2), radii, degrees)[0]
    across = np.array([-axis[1], axis[0]]) * 0.32
    for side in (-across, across):
        plexus = blob(
            rng, centre + side, np.array([0.3, 0.11]) * radii[0] * rng.uniform(0.8, 1.3), degrees, roughness=0.2
        )
        fill(
            tissue.power,
            plexus,
            mottled(rng, rng.uniform(1, 4), 0.5, along=5 * unit, across=4 * unit),
            softness=3 * unit,
        )
    line(tissue, rng, np.linspace(centre - 0.85 * axis, centre + 0.85 * axis, 24), 2.5, thickness=2 * unit, floor=0.2)
    for scale in (0.985, 0.955):
        rim(tissue, rng, ellipse(centre, scale * radii, degrees), 8.0, thickness=2 * unit, floor=0.02)
    weather(tissue, rng, unit=unit)
    return Anatomy(tissue=tissue, outlines={"head": (ellipse(centre, radii, degrees),)}, home=_MARGIN * width)
