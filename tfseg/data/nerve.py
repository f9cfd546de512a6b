"""Ultrasound Nerve Segmentation, the 2016 Kaggle challenge: brachial plexus in 5635 frames of 47 subjects.

Frames of a subject come from short clips, so many are nearly identical, and some of those have contradicting masks;
about 59 % of the masks are empty.
"""

import re
from pathlib import Path

from tfseg.data.files import images_in, wrong_layout
from tfseg.data.masks import read_binary
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError

LAYOUT = "train/SUBJECT_FRAME.tif with train/SUBJECT_FRAME_mask.tif, for example train/7_31.tif and train/7_31_mask.tif"
_FRAME = re.compile(r"(\d+)_\d+")


def samples(root: Path) -> list[Sample]:
    """List the frames of `root`/train, or of `root` where there is no such folder, by subject and frame.

    The challenge's test folder has no masks and is left alone.

    Raises:
        InputError: there are no frames, or an image has a name from which its subject cannot be read.
    """
    images, masks = _split(root)
    listed = []
    for image in images:
        frame = _FRAME.fullmatch(image.stem)
        if not frame:
            raise InputError(f"{image}: not named SUBJECT_FRAME, as 7_31.tif is; rename it or move it away")
        mask = masks.get(f"{image.stem}_mask")
        listed.append(Sample(image=image, masks=(mask,) if mask else (), patient=frame[1]))
    if not listed:
        raise wrong_layout(root, LAYOUT)
    return listed


def orphans(root: Path) -> list[Path]:
    """List the masks without a frame: also `7_31_mask_mask.tif`, the mask of an image that is named as a mask."""
    images, masks = _split(root)
    expected = {f"{image.stem}_mask" for image in images}
    return [path for stem, path in masks.items() if stem not in expected]


def _split(root: Path) -> tuple[list[Path], dict[str, Path]]:
    """Return the images, and the masks by their stem."""
    files = images_in(root / "train") or images_in(root)
    masks = {path.stem: path for path in files if path.stem.endswith("_mask")}
    return [path for path in files if path.stem not in masks], masks


DATASET = Dataset(
    name="nerve",
    classes=("nerve",),
    default_classes=("nerve",),
    samples=samples,
    orphans=orphans,
    read_mask=read_binary,
    layout=LAYOUT,
    citation="A. Montoya et al., Ultrasound Nerve Segmentation, Kaggle, 2016",
    licence="the rules of the Kaggle competition, which you accept on its page",
    source="https://www.kaggle.com/competitions/ultrasound-nerve-segmentation",
    kaggle="competition:ultrasound-nerve-segmentation",
)
