"""LiTS: CT of livers with tumours; one volume a patient, 131 in the training part, of 74 to 987 slices.

The label of a liver is 1 and that of a tumour 2; a tumour lies in the liver, so the class "liver" has both. Volumes
differ in spacing and orientation; distances are in mm, and a volume is scored as one.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfseg.data.files import is_folder, natural_order, wrong_layout
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.scans.nifti import Volume

LAYOUT = (
    "volume-0.nii with segmentation-0.nii (or .nii.gz), in one folder, below it, or in two folders of any name; labels "
    "are 0, 1 (liver) and 2 (tumour)"
)
_NAME = re.compile(r"(volume|segmentation)-(\d+)\.nii(\.gz)?", re.IGNORECASE)


def samples(root: Path) -> list[Sample]:
    """List the volumes below `root` by number; their headers are read, for slices and spacing.

    Raises:
        InputError: there are no volumes, two files bear one number, or a header cannot be read.
    """
    from tfseg.scans.nifti import Volume  # nibabel takes a third of a second

    found = _files(root)
    listed = []
    for number, image in sorted(found["volume"].items()):
        volume = Volume(image)
        mask = found["segmentation"].get(number)
        listed.append(
            Sample(
                image=image,
                masks=(mask,) if mask else (),
                patient=str(number),
                spacing_mm=volume.spacing_mm,
                slices=volume.shape[0],
            )
        )
    if not listed:
        raise wrong_layout(root, LAYOUT)
    return listed


def orphans(root: Path) -> list[Path]:
    """List the segmentations without a volume."""
    found = _files(root)
    return [path for number, path in sorted(found["segmentation"].items()) if number not in found["volume"]]


def read_labels(sample: Sample, size: tuple[int, ...]) -> np.ndarray:
    """Read the mask of a volume of `size` (D, H, W), slice by slice: uint8 (D, H, W, 2), 0 or 1."""
    from tfseg.scans.nifti import Volume

    if not sample.masks:
        raise InputError(f"{sample.image}: no segmentation belongs to this volume; add one, all 0 if nothing is there")
    path = sample.masks[0]
    volume = Volume(path)
    try:
        if volume.shape != size:
            raise InputError(
                f"{path}: the segmentation is {_shape(volume.shape)} voxels and its volume {sample.image.name} "
                f"{_shape(size)}; save both on one grid"
            )
        mask = np.empty((*size, 2), np.uint8)
        for index, labels in enumerate(_slices(volume)):
            _require_labels(labels, path, index)
            mask[index, ..., 0] = labels >= 1
            mask[index, ..., 1] = labels == 2
    finally:
        volume.close()
    return mask


def _slices(volume: "Volume") -> Iterator[np.ndarray]:
    return (volume.values(index) for index in range(volume.shape[0]))


def _require_labels(labels: np.ndarray, path: Path, index: int) -> None:
    strange = labels[~np.isin(labels, (0, 1, 2))]
    if strange.size:
        raise InputError(
            f"{path}: slice {index} holds the label {strange[0]:g}; labels are 0, 1 (liver) and 2 (tumour)"
        )


def _files(root: Path) -> dict[str, dict[int, Path]]:
    """Return "volume" and "segmentation" -> number -> file."""
    found: dict[str, dict[int, Path]] = {"volume": {}, "segmentation": {}}
    for path in sorted(root.rglob("*.nii*") if is_folder(root) else [], key=natural_order):
        name = _NAME.fullmatch(path.name)
        if name is None:
            continue
        kind, number = name[1].lower(), int(name[2])
        if number in found[kind]:
            raise InputError(f"{path}: {found[kind][number]} bears this number, too; keep one")
        found[kind][number] = path
    return found


def _shape(shape: tuple[int, ...]) -> str:
    """Columns, rows and slices, as viewers show them."""
    return "x".join(map(str, reversed(shape)))


DATASET = Dataset(
    name="lits",
    classes=("liver", "tumour"),
    default_classes=("liver",),
    samples=samples,
    orphans=orphans,
    read_mask=read_labels,
    layout=LAYOUT,
    citation="P. Bilic et al., The liver tumor segmentation benchmark (LiTS), Medical Image Analysis 84, 2023, 102680",
    licence="as its competition page states",
    source="https://competitions.codalab.org/competitions/17094",
)
