"""Writes simulated data sets in the layouts of the real ones, so that the real loaders read them."""

import csv
import dataclasses
import functools
import json
from collections.abc import Callable, Iterator
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tfseg.data.locate import PHANTOM_MARKER
from tfseg.data.phantom.abdomen import abdomen
from tfseg.data.phantom.exam import Plan, Shot, shots
from tfseg.data.phantom.grid import fan_grid, filled, linear_grid
from tfseg.data.phantom.limb import limb
from tfseg.data.phantom.organs import breast, head, kidney
from tfseg.data.phantom.place import appearing
from tfseg.data.phantom.shapes import Points
from tfseg.errors import InputError

EMPTY_SHARE = 0.5  # the nerve challenge has 0.59
VERSION = 1  # of what is drawn: a kept phantom of another version is not used again


def generate(
    name: str,
    root: Path,
    *,
    subjects: int = 20,
    frames: int = 10,
    seed: int = 0,
    empty_share: float = EMPTY_SHARE,
    watch: Callable[[int, int], None] | None = None,
) -> int:
    """Write `subjects` * `frames` simulated images in the layout of a data set, and PHANTOM.json that marks them.

    The same arguments give the same bytes. `root` appears when all is written: a killed process leaves no part of it.

    Args:
        name: of the data set, one of LAYOUTS.
        root: the folder to create; it must be absent or empty.
        subjects: how many anatomies to draw.
        frames: how many frames of each.
        seed: of everything random.
        empty_share: of the frames without nerve and so with an empty mask; matters for nerve and folder.
        watch: told how many images are written, and of how many.

    Returns:
        The number of images.

    Raises:
        InputError: a name we do not know, a count below 1, a share outside [0, 1], or a folder that holds something.
        WorkError: the images could not be written, for example on a full disk.
    """
    if name not in LAYOUTS:
        raise InputError(f"no phantom of data set {name!r}: there are {', '.join(LAYOUTS)}")
    if subjects < 1 or frames < 1 or seed < 0 or not 0 <= empty_share <= 1:
        raise InputError(
            f"a phantom of {subjects} subjects, {frames} frames, seed {seed}, empty share {empty_share}: "
            "counts begin at 1, seeds at 0, and a share lies between 0 and 1"
        )
    plan = Plan(subjects=subjects, frames=frames, seed=seed, empty_share=empty_share)
    total = subjects * frames
    with appearing(root) as folder:
        for done, _ in enumerate(LAYOUTS[name](folder, plan), start=1):
            if watch:
                watch(done, total)
        marker = {"phantom": True, "dataset": name, "version": VERSION} | vars(plan)
        (folder / PHANTOM_MARKER).write_text(json.dumps(marker, indent=2) + "\n")
    return total


def _nerve(folder: Path, plan: Plan) -> Iterator[None]:
    for subject in range(plan.subjects):
        for shot in shots(plan, subject, limb, linear_grid((420, 580))):
            stem = f"{subject + 1}_{shot.frame + 1}"
            _save(folder / "train" / f"{stem}.tif", shot.image)
            _save(folder / "train" / f"{stem}_mask.tif", 255 * shot.mask("nerve"))
            yield


def _busi(folder: Path, plan: Plan) -> Iterator[None]:
    """Of every four subjects one is malignant, one normal and two benign, one of these with two lesions."""
    counts = {"benign": 0, "malignant": 0, "normal": 0}
    for subject in range(plan.subjects):
        stratum = ("benign", "malignant", "normal", "benign")[subject % 4]
        draw = functools.partial(breast, stratum=stratum, lesions=2 if subject % 4 == 3 else 1)
        grid = linear_grid(((480, 560), (470, 620), (580, 760))[subject % 3])  # the real images differ in size
        for shot in shots(plan, subject, draw, grid):
            counts[stratum] += 1
            parent, stem = folder / "Dataset_BUSI_with_GT" / stratum, f"{stratum} ({counts[stratum]})"
            _save(parent / f"{stem}.png", shot.image, mode="RGB")
            masks = [filled([outline], grid) for outline in shot.outlines["lesion"]] or [np.zeros(grid.shape, np.uint8)]
            for suffix, mask in zip(("_mask", "_mask_1"), masks, strict=False):
                mode = ("1", "RGB", "RGBA")[counts[stratum] % 3]  # the real mask files are a mixture, too
                _save(parent / f"{stem}{suffix}.png", 255 * mask, mode=mode)
            yield


def _ct2us(folder: Path, plan: Plan) -> Iterator[None]:
    for subject in range(plan.subjects):
        for shot in shots(plan, subject, kidney, fan_grid((256, 256))):
            name = f"{subject * plan.frames + shot.frame:04d}.png"
            _save(folder / "images" / name, shot.image)
            _save(folder / "masks" / name, 255 * shot.mask("Capsule"))
            yield


def _open_kidney(folder: Path, plan: Plan) -> Iterator[None]:
    """Both sonographers; the second draws everything a little differently."""
    rows: dict[int, list[list]] = {1: [], 2: []}
    for subject in range(plan.subjects):
        for shot in shots(plan, subject, kidney, fan_grid((768, 1024))):
            name = f"{subject + 1}_IM-{subject + 1:04d}-{shot.frame + 1:04d}_anon.png"
            image = folder / "images" / name
            _save(image, shot.image)
            for sonographer, table in rows.items():
                drawn = shot.outlines if sonographer == 1 else _second_opinion(shot, plan)
                capsule = folder / "labels" / f"reviewed_masks_{sonographer}" / "capsule" / name
                _save(capsule, filled(drawn["Capsule"], shot.grid))
                table += _annotations(image, drawn)
            yield
    header = ["filename", "file_size", "file_attributes", "region_count", "region_id"]
    for sonographer, table in rows.items():
        path = folder / "labels" / f"reviewed_labels_{sonographer}.csv"
        _write_table(path, [*header, "region_shape_attributes", "region_attributes"], table)


def _second_opinion(shot: Shot, plan: Plan) -> dict[str, tuple[Points, ...]]:
    rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(shot.subject, shot.frame, 2)))
    return {
        name: tuple(
            outline.mean(0) + (outline - outline.mean(0)) * rng.normal(1, 0.03, 2) + rng.normal(0, 3, 2)
            for outline in outlines
        )
        for name, outlines in shot.outlines.items()
    }


def _annotations(image: Path, drawn: dict[str, tuple[Points, ...]]) -> list[list]:
    """The rows of the VGG Image Annotator for one image: a polygon each."""
    regions = [(name, np.rint(outline[::2]).astype(int).T) for name, outlines in drawn.items() for outline in outlines]
    file_attributes = json.dumps({"Quality": "Good", "View": "Longitudinal", "Comments": "phantom"})
    return [
        [
            image.name,
            image.stat().st_size,
            file_attributes,
            len(regions),
            number,
            json.dumps({"name": "polygon", "all_points_x": x.tolist(), "all_points_y": y.tolist()}),
            json.dumps({"Anatomy": name}),
        ]
        for number, (name, (x, y)) in enumerate(regions)
    ]


def _usgra(folder: Path, plan: Plan) -> Iterator[None]:
    """Every image has a nerve; every sixth lies in the test folder, often beside near-duplicates in the other."""
    plan = dataclasses.replace(plan, empty_share=0.0)
    for subject in range(plan.subjects):
        for shot in shots(plan, subject, limb, linear_grid((512, 534))):
            number = subject * plan.frames + shot.frame
            part = folder / "test" if number % 6 == 5 else folder
            _save(part / "images" / f"{number:04d}.png", shot.image)
            index = np.where(shot.mask("vessel"), 2, shot.mask("nerve")).astype(np.uint8)
            _save(part / "masks" / f"{number:04d}.png", index, mode="P")
            yield


def _hc18(folder: Path, plan: Plan) -> Iterator[None]:
    rows = []
    for subject in range(plan.subjects):
        pixel_mm = 0.1 + 0.01 * (subject % 10)
        for shot in shots(plan, subject, head, fan_grid((540, 800))):
            stem = f"{subject:03d}_{shot.frame + 1 if shot.frame else ''}HC"
            (outline,) = shot.outlines["head"]
            line = np.zeros(shot.image.shape, np.uint8)
            cv2.polylines(line, [np.rint(outline * 16).astype(np.int32)], True, (255,), 3, shift=4)
            _save(folder / "image" / f"{stem}.png", shot.image)
            _save(folder / "annotation" / f"{stem}_Annotation.png", line)
            around_px = np.hypot(*(outline - np.roll(outline, 1, axis=0)).T).sum()
            rows.append([f"{stem}.png", f"{pixel_mm:.2f}", f"{around_px * pixel_mm:.2f}"])
            yield
    header = ["filename", "pixel size(mm)", "head circumference (mm)"]
    _write_table(folder / "training_set_pixel_size_and_HC.csv", header, rows)


def _lits(folder: Path, plan: Plan) -> Iterator[None]:
    """One volume a subject, a frame being a slice; files differ in spacing, axes and compression, as the real ones do.

    Every fifth liver has no tumour.
    """
    from tfseg.scans.nifti import write_volume

    for subject in range(plan.subjects):
        rng = np.random.default_rng(np.random.SeedSequence(plan.seed, spawn_key=(subject,)))
        values, labels, spacing_mm = abdomen(rng, plan.frames, tumours=subject % 5 != 4)
        suffix, axes = (".nii", ".nii.gz")[subject % 2], ("RAS", "LPS", "LAS", "PIR")[subject % 4]
        for name, content in (("volume", values), ("segmentation", labels)):
            write_volume(content, folder / f"{name}-{subject}{suffix}", spacing_mm=spacing_mm, axes=axes)
        yield from [None] * plan.frames


def _folder(folder: Path, plan: Plan) -> Iterator[None]:
    rows = []
    for subject in range(plan.subjects):
        for shot in shots(plan, subject, limb, linear_grid((420, 580))):
            name = f"p{subject + 1:02d}_{shot.frame + 1:03d}.png"
            _save(folder / "images" / name, shot.image)
            _save(folder / "masks" / name, 255 * shot.mask("nerve"))
            rows.append([name, f"p{subject + 1:02d}"])
            yield
    _write_table(folder / "samples.csv", ["image", "patient"], rows)


def _save(path: Path, pixels: np.ndarray, *, mode: str = "L") -> None:
    """Write grey levels, or where they are 0 to 2 in mode "P", class numbers with a colour each."""
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(pixels)
    if mode == "P":
        image.putpalette([0, 0, 0, 255, 220, 0, 220, 30, 30])
    image.convert(mode).save(path, compress_level=1)  # of a PNG: speckle does not compress, so do not try long


def _write_table(path: Path, header: list[str], rows: list[list]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(header)
        writer.writerows(rows)


LAYOUTS: dict[str, Callable[[Path, Plan], Iterator[None]]] = {
    "nerve": _nerve,
    "busi": _busi,
    "ct2us": _ct2us,
    "open_kidney": _open_kidney,
    "open_kidney_2": _open_kidney,
    "usgra": _usgra,
    "hc18": _hc18,
    "lits": _lits,
    "folder": _folder,
}
