"""The Open Kidney Ultrasound Data Set: kidneys outlined by two sonographers, each a data set of its own here.

The capsule comes from a mask file, what lies within from polygons. A sonographer left some images out as too poor: they
have no outline in the table and are not listed. The authors speak of one image per patient, but some file names share
the number they begin with and the series (100_IM-0246-0030, 100_IM-0246-0082), so that number counts as the patient.
"""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tfseg.data.files import images_in, read_table, wrong_layout
from tfseg.data.masks import read_regions
from tfseg.data.sample import Dataset, Polygon, Sample
from tfseg.errors import InputError

CLASSES = ("capsule", "cortex", "medulla", "central_echo_complex")
CHANNELS = {"Capsule": 0, "Cortex": 1, "Medulla": 2, "Central Echo Complex": 3}
LAYOUT = (
    "images/100_IM-0246-0030_anon.png, labels/reviewed_masks_{1,2}/capsule/100_IM-0246-0030_anon.png "
    "and labels/reviewed_labels_{1,2}.csv"
)


def samples(root: Path, *, sonographer: int) -> list[Sample]:
    """List the images that sonographer 1 or 2 outlined.

    Raises:
        InputError: there are none, or the table of outlines is missing or wrong.
    """
    images = images_in(root / "images")
    if not images:
        raise wrong_layout(root, LAYOUT)
    outlines = _outlines(root / "labels" / f"reviewed_labels_{sonographer}.csv")
    masks = {path.name: path for path in images_in(_masks_folder(root, sonographer))}
    listed = []
    for image in images:
        outlined = outlines.get(image.name)
        if outlined or (outlined is None and image.name in masks):
            listed.append(
                Sample(
                    image=image,
                    masks=(masks[image.name],) if image.name in masks else (),
                    polygons=tuple(polygon for polygon in outlined or () if polygon.channel),
                    patient=image.stem.split("_")[0],
                )
            )
    if not listed:
        raise wrong_layout(root, LAYOUT)
    return listed


def orphans(root: Path, *, sonographer: int) -> list[Path]:
    """List the capsule masks without an image."""
    names = {path.name for path in images_in(root / "images")}
    return [path for path in images_in(_masks_folder(root, sonographer)) if path.name not in names]


def _masks_folder(root: Path, sonographer: int) -> Path:
    return root / "labels" / f"reviewed_masks_{sonographer}" / "capsule"


def _outlines(table: Path) -> dict[str, list[Polygon]]:
    """Return the polygons of every image in a table of the VGG Image Annotator, [] for one that was left out."""
    outlines: dict[str, list[Polygon]] = {}
    for line, row in read_table(table):
        try:
            polygons = outlines.setdefault(row["filename"], [])
            shape: dict[str, Any] = json.loads(row["region_shape_attributes"])
            anatomy = json.loads(row["region_attributes"]).get("Anatomy")
            if shape.get("name") != "polygon" or anatomy is None:
                continue  # a row without a region, or a stray click, which the annotator stores as a rectangle
            vertices = tuple(zip(map(float, shape["all_points_x"]), map(float, shape["all_points_y"]), strict=True))
            if len(vertices) > 2:
                polygons.append(Polygon(channel=CHANNELS[anatomy], vertices=vertices))
        except KeyError as error:
            raise InputError(f"{table}: line {line}: {error.args[0]!r} is no column, attribute or anatomy") from error
        except (ValueError, TypeError, AttributeError) as error:
            raise InputError(f"{table}: line {line}: not a region of the VGG Image Annotator ({error})") from error
    return outlines


def _by(sonographer: int, name: str) -> Dataset:
    listing: Callable[[Path], list[Sample]] = functools.partial(samples, sonographer=sonographer)
    return Dataset(
        name=name,
        classes=CLASSES,
        default_classes=("capsule",),
        samples=listing,
        orphans=functools.partial(orphans, sonographer=sonographer),
        read_mask=functools.partial(read_regions, classes=len(CLASSES)),
        layout=LAYOUT,
        citation="R. Singla et al., The Open Kidney Ultrasound Data Set, ASMUS at MICCAI 2023, arXiv:2206.06657",
        licence="CC BY-NC-SA; registration needed",
        source="https://rsingla.ca/kidneyUS",
    )


SONOGRAPHER_1 = _by(1, "open_kidney")
SONOGRAPHER_2 = _by(2, "open_kidney_2")
