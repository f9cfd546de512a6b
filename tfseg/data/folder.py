"""A user's own images and masks, paired by name, with an optional table of patient, stratum and pixel spacing."""

import re
from collections import defaultdict
from pathlib import Path

from tfseg.data.files import images_in, positive_number, read_table, wrong_layout
from tfseg.data.masks import read_binary
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError

LAYOUT = (
    "images/NAME.png with masks/NAME.png or masks/NAME_mask.png (png, jpg, tif or bmp; subfolders alike in both), "
    "and, if patients are known, samples.csv with the columns image,patient"
)
TABLE = "samples.csv"
_COLUMNS = ("image", "patient", "stratum", "spacing_mm", "spacing_row_mm", "spacing_column_mm")
_MASK = re.compile(r"(.+)_(?:mask|segmentation)(?:_\d+)?")


def samples(root: Path) -> list[Sample]:
    """List the images below `root`/images with their masks below `root`/masks.

    The mask of images/a/7.jpg is any image file masks/a/7.*, masks/a/7_mask.* or masks/a/7_segmentation.*; several of
    them, also with a number at the end (7_mask_2.png), are united.

    Raises:
        InputError: there are no images, a mask could belong to two of them, or samples.csv is wrong or has no row for
            an image.
    """
    images = images_in(root / "images", nested=True)
    if not images:
        raise wrong_layout(root, LAYOUT)
    masks = _masks_of(root, images)
    table = root / TABLE
    rows = _rows(table, root / "images", images) if table.exists() else {image: {} for image in images}
    return [Sample(image=image, masks=tuple(masks[image]), **rows[image]) for image in images]


def orphans(root: Path) -> list[Path]:
    """List the masks without an image."""
    masks = _masks_of(root, images_in(root / "images", nested=True))
    claimed = {path for paths in masks.values() for path in paths}
    return [path for path in images_in(root / "masks", nested=True) if path not in claimed]


def _masks_of(root: Path, images: list[Path]) -> dict[Path, list[Path]]:
    """Return the masks of every image."""
    by_name = defaultdict(list)
    for image in images:
        by_name[image.relative_to(root / "images").with_suffix("")].append(image)
    masks: dict[Path, list[Path]] = {image: [] for image in images}
    for path in images_in(root / "masks", nested=True):
        name = path.relative_to(root / "masks").with_suffix("")
        marked = _MASK.fullmatch(name.name)
        owners = by_name[name] + (by_name[name.with_name(marked[1])] if marked else [])
        if len(owners) > 1:
            raise InputError(f"{path}: could be the mask of {owners[0]} and of {owners[1]}; rename one of them")
        for image in owners:
            masks[image].append(path)
    return masks


def _rows(table: Path, folder: Path, images: list[Path]) -> dict[Path, dict]:
    """Return what samples.csv says of every image, as arguments of Sample."""
    known = set(images)
    rows = {}
    for line, row in read_table(table):
        where = f"{table}: line {line}"
        if "image" not in row or not set(row) <= set(_COLUMNS):
            raise InputError(
                f"{table}: the columns are {', '.join(row)}, not image and any of {', '.join(_COLUMNS[1:])}"
            )
        image = folder / row["image"]
        if image not in known:
            raise InputError(f"{where}: {row['image']!r} is no image in {folder}; write its path relative to it")
        if image in rows:
            raise InputError(f"{where}: {row['image']!r} has a row already; keep one")
        if row.get("patient") == "":
            raise InputError(f"{where}: the patient of {row['image']!r} is empty; name one, or drop the column")
        rows[image] = {
            "patient": row.get("patient"),
            "stratum": row.get("stratum", ""),
            "spacing_mm": _spacing_mm(row, where),
        }
    for image in images:
        if image not in rows:
            raise InputError(f"{table}: has no row for {image.relative_to(folder).as_posix()}; add one")
    return rows


def _spacing_mm(row: dict[str, str], where: str) -> tuple[float, float] | None:
    """Return (row, column) spacing in mm, or None where the fields are missing or empty."""
    both = row.get("spacing_mm", "")
    down, across = row.get("spacing_row_mm", both), row.get("spacing_column_mm", both)
    if not (down or across):
        return None
    return positive_number(down, where=f"{where}: row spacing"), positive_number(
        across, where=f"{where}: column spacing"
    )


DATASET = Dataset(
    name="folder",
    classes=("foreground",),
    default_classes=("foreground",),
    samples=samples,
    orphans=orphans,
    read_mask=read_binary,
    layout=LAYOUT,
    citation="your own",
    licence="your own",
    source="your own images",
)
