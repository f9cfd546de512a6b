"""HC18: fetal heads in the standard plane; the annotation is a thin ellipse on the skull, which we fill."""

from pathlib import Path

from tfseg.data.files import images_in, positive_number, read_table, wrong_layout
from tfseg.data.masks import read_outline
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError

TABLE = "training_set_pixel_size_and_HC.csv"
PIXEL_SIZE = "pixel size(mm)"
CIRCUMFERENCE = "head circumference (mm)"  # of the middle of the annotated line; the test set's table lacks it
LAYOUT = f"image/023_2HC.png with annotation/023_2HC_Annotation.png (or both in training_set/), and {TABLE}"
_SUFFIX = "_Annotation"


def samples(root: Path) -> list[Sample]:
    """List the heads by subject; 023_2HC is the second image of subject 023.

    Raises:
        InputError: there are no images, an image's name does not begin with its subject's number, or the table of pixel
            sizes is missing, wrong, or has no row for an image.
    """
    images, annotations = _split(root)
    if not images:
        raise wrong_layout(root, LAYOUT)
    table = _read_table(root / TABLE)
    listed = []
    for image in images:
        subject = image.stem.split("_")[0]
        if not subject.isdecimal():
            raise InputError(f"{image}: not named as 023_2HC.png is, its subject first; rename it or move it away")
        if image.name not in table:
            raise InputError(f"{root / TABLE}: has no row for {image.name}, so its pixel size is unknown; add it")
        masks = (annotations[image.stem],) if image.stem in annotations else ()
        distance, circumference = table[image.name]
        sample = Sample(
            image=image,
            masks=masks,
            patient=subject,
            spacing_mm=(distance, distance),
            circumference_mm=circumference,
        )
        listed.append(sample)
    return listed


def orphans(root: Path) -> list[Path]:
    """List the annotations without an image."""
    images, annotations = _split(root)
    stems = {path.stem for path in images}
    return [path for stem, path in annotations.items() if stem not in stems]


def _split(root: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return the images, and the annotations by the stem of the image they belong to."""
    files = [path for name in ("image", "annotation", "training_set") for path in images_in(root / name)]
    annotations = {path.stem.removesuffix(_SUFFIX): path for path in files if path.stem.endswith(_SUFFIX)}
    return [path for path in files if not path.stem.endswith(_SUFFIX)], annotations


def _read_table(table: Path) -> dict[str, tuple[float, float | None]]:
    """Return the pixel size of every image in the table, and the head's circumference where it is listed, in mm."""
    listed = {}
    for line, row in read_table(table):
        if "filename" not in row or PIXEL_SIZE not in row:
            raise InputError(f"{table}: has no columns 'filename' and {PIXEL_SIZE!r}; take the table HC18 comes with")
        size = positive_number(row[PIXEL_SIZE], where=f"{table}: line {line}: {PIXEL_SIZE}")
        where = f"{table}: line {line}: {CIRCUMFERENCE}"
        listed[row["filename"]] = (
            size,
            positive_number(row[CIRCUMFERENCE], where=where) if CIRCUMFERENCE in row else None,
        )
    return listed


DATASET = Dataset(
    name="hc18",
    classes=("head",),
    default_classes=("head",),
    samples=samples,
    orphans=orphans,
    read_mask=read_outline,
    layout=LAYOUT,
    citation="T. L. A. van den Heuvel et al., Automated measurement of fetal head circumference using 2D ultrasound "
    "images, PLoS ONE 13(8), 2018, e0200412",
    licence="CC BY 4.0",
    source="https://hc18.grand-challenge.org",
    ellipses=("head",),
)
