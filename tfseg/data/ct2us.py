"""CT2US: 4586 kidneys in ultrasound synthesised from CT, in two folders under equal names; no patient is named."""

from pathlib import Path

from tfseg.data.files import folders_in, images_in, wrong_layout
from tfseg.data.masks import read_binary
from tfseg.data.sample import Dataset, Sample

IMAGE_FOLDERS = ("images", "image", "slices", "slice")
MASK_FOLDERS = ("masks", "mask")
LAYOUT = "images/NAME.png and masks/NAME.png (or slice/slice/ and mask/mask/, as Kaggle packs them)"


def samples(root: Path) -> list[Sample]:
    """List the images that lie in a folder beside one of masks; the folders' names may be in any case.

    Raises:
        InputError: there are no images.
    """
    masks = {path.stem: path for path in _files(root, MASK_FOLDERS)}
    images = _files(root, IMAGE_FOLDERS)
    if not images or not masks:
        raise wrong_layout(root, LAYOUT)
    return [Sample(image=path, masks=(masks[path.stem],) if path.stem in masks else ()) for path in images]


def orphans(root: Path) -> list[Path]:
    """List the masks without an image."""
    stems = {path.stem for path in _files(root, IMAGE_FOLDERS)}
    return [path for path in _files(root, MASK_FOLDERS) if path.stem not in stems]


def _files(root: Path, names: tuple[str, ...]) -> list[Path]:
    """List the image files in the first folder of `root` that bears one of `names`, or in its namesake within."""
    folders = [path for path in folders_in(root) if path.name.lower() in names]
    return next((files for path in folders if (files := images_in(path) or images_in(path / path.name))), [])


DATASET = Dataset(
    name="ct2us",
    classes=("kidney",),
    default_classes=("kidney",),
    samples=samples,
    orphans=orphans,
    read_mask=read_binary,
    layout=LAYOUT,
    citation="Y. Song et al., CT2US: cross-modal transfer learning for kidney segmentation in ultrasound images, "
    "Ultrasonics 122, 2022, 106706",
    licence="as its Kaggle page states",
    source="https://www.kaggle.com/datasets/siatsyx/ct2usforkidneyseg",
    kaggle="siatsyx/ct2usforkidneyseg",
)
