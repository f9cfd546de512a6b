"""usgra-seg: ultrasound of nerves and vessels for regional anaesthesia, 204 pairs and 40 in a test folder.

One examiner, several volunteers, no subject ids; near-duplicates lie across the two folders, so both are listed as one
set and folds are grouped by near-duplicates.
"""

import functools
from pathlib import Path

from tfseg.data.files import images_in, wrong_layout
from tfseg.data.masks import read_indexed
from tfseg.data.sample import Dataset, Sample

CLASSES = ("nerve", "vessel")
LAYOUT = "images/0000.png with masks/0000.png (palette: 1 nerve, 2 vessel), and the same in test/"


def samples(root: Path) -> list[Sample]:
    """List the images of `root`/images, then those of `root`/test/images.

    Raises:
        InputError: there are no images.
    """
    listed = []
    for part in (root, root / "test"):
        masks = {path.stem: path for path in images_in(part / "masks")}
        listed += [
            Sample(image=path, masks=(masks[path.stem],) if path.stem in masks else ())
            for path in images_in(part / "images")
        ]
    if not listed:
        raise wrong_layout(root, LAYOUT)
    return listed


def orphans(root: Path) -> list[Path]:
    """List the masks without an image."""
    found = []
    for part in (root, root / "test"):
        stems = {path.stem for path in images_in(part / "images")}
        found += [path for path in images_in(part / "masks") if path.stem not in stems]
    return found


DATASET = Dataset(
    name="usgra",
    classes=CLASSES,
    default_classes=CLASSES,
    samples=samples,
    orphans=orphans,
    read_mask=functools.partial(read_indexed, classes=len(CLASSES)),
    layout=LAYOUT,
    citation="T. Kandaouroff, usgra-seg, 2025",
    licence="CC BY 4.0",
    source="the repository usgra-seg of T. Kandaouroff (2025)",
)
