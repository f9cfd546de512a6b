"""BUSI, breast ultrasound images: 437 benign, 210 malignant and 133 normal, whose masks are empty.

No patient is named, and 104 groups of near-duplicates (234 images) lie in it, one pair across two strata: folds are
grouped by near-duplicates. Its mask files are 1-bit, RGB or RGBA; several masks of one image are united.
"""

import re
from pathlib import Path

from tfseg.data.files import images_in, wrong_layout
from tfseg.data.masks import read_binary
from tfseg.data.sample import Dataset, Sample

STRATA = ("benign", "malignant", "normal")
LAYOUT = (
    "Dataset_BUSI_with_GT/{benign,malignant,normal}/ with 'benign (1).png', 'benign (1)_mask.png' "
    "and, for further lesions, 'benign (1)_mask_1.png'"
)
_MASK = re.compile(r"(.+)_mask(_\d+)?")


def samples(root: Path) -> list[Sample]:
    """List the images of `root`/Dataset_BUSI_with_GT, or of `root` when the strata lie in it, by stratum and number.

    Raises:
        InputError: there are no images.
    """
    listed = []
    for stratum in STRATA:
        images, masks = _split(root, stratum)
        listed += [Sample(image=path, masks=tuple(masks.get(path.stem, ())), stratum=stratum) for path in images]
    if not listed:
        raise wrong_layout(root, LAYOUT)
    return listed


def orphans(root: Path) -> list[Path]:
    """List the masks without an image."""
    found = []
    for stratum in STRATA:
        images, masks = _split(root, stratum)
        stems = {path.stem for path in images}
        found += [path for stem, paths in masks.items() if stem not in stems for path in paths]
    return found


def _split(root: Path, stratum: str) -> tuple[list[Path], dict[str, list[Path]]]:
    """Return the images of a stratum, and its masks by the stem of the image they belong to."""
    images: list[Path] = []
    masks: dict[str, list[Path]] = {}
    for path in images_in(root / "Dataset_BUSI_with_GT" / stratum) or images_in(root / stratum):
        mask = _MASK.fullmatch(path.stem)
        if mask:
            masks.setdefault(mask[1], []).append(path)
        else:
            images.append(path)
    return images, masks


DATASET = Dataset(
    name="busi",
    classes=("tumour",),
    default_classes=("tumour",),
    samples=samples,
    orphans=orphans,
    read_mask=read_binary,
    layout=LAYOUT,
    citation="W. Al-Dhabyani et al., Dataset of breast ultrasound images, Data in Brief 28, 2020, 104863",
    licence="CC0 1.0 according to its Kaggle page",
    source="https://www.kaggle.com/datasets/aryashah2k/breast-ultrasound-images-dataset",
    kaggle="aryashah2k/breast-ultrasound-images-dataset",
)
