"""One image and its mask, read once: what is wrong with the files, and the little that is kept to compare them."""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
from PIL import Image

from tfseg.data.duplicates import SIDE, as_levels, mask_thumbnail, thumbnail
from tfseg.data.images import image_size, open_image, read_image
from tfseg.data.sample import Dataset, Sample
from tfseg.errors import InputError
from tfseg.runs import sha256

ERROR, WARNING, INFO = SEVERITIES = ("error", "warning", "info")
_DARK = 1 / 16  # of full scale


@dataclass(frozen=True, kw_only=True)
class Finding:
    """One thing that `check` found.

    Attributes:
        kind: in words, for example "unreadable" or "near-duplicate".
        severity: "error" (training would be wrong), "warning" (look at it) or "info".
        files: paths relative to the root of the data.
        message: what is wrong and what to do.
    """

    kind: str
    severity: str
    files: tuple[str, ...]
    message: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """What is kept of one sample.

    Attributes:
        name: of the image, relative to the root.
        sample: where it came from.
        problems: what is wrong with its files.
        size: (H, W) of the image, (D, H, W) of a volume, or None where it could not be read.
        digest: equal for equal pixels, or None.
        contents: SHA-256 of the image's file and of its masks' in order, where all could be read.
        thumbnail: of the image, int8, see tfseg.data.duplicates.as_levels; zeros where it could not be read and of a
            volume: bodies look alike in CT.
        drawn: whether the mask shows anything of a class, bool (K,), or (0,) where it could not be read.
        regions: thumbnails of the mask, (K, SIDE, SIDE).
    """

    name: str
    sample: Sample
    problems: tuple[Finding, ...]
    size: tuple[int, ...] | None = None
    digest: bytes | None = None
    contents: tuple[str, ...] = ()
    thumbnail: np.ndarray = field(default_factory=lambda: np.zeros((SIDE, SIDE), np.int8))
    drawn: np.ndarray = field(default_factory=lambda: np.zeros(0, bool))
    regions: np.ndarray = field(default_factory=lambda: np.zeros((0, SIDE, SIDE), np.uint8))

    @property
    def has_mask(self) -> bool:
        """Whether the mask could be read."""
        return self.drawn.size > 0


def examine(sample: Sample, dataset: Dataset, root: Path, *, channels: int) -> Facts:
    """Read the image, with 1 or 3 channels, and the mask of a sample below `root`; what is wrong becomes findings."""
    name = name_below(sample.image, root)
    if sample.slices:
        return _examine_volume(sample, dataset, root)
    try:
        image = read_image(sample.image, channels=channels)
    except InputError as error:
        problems = [_error("unreadable", sample.image, root, error), *_unreadable_masks(sample, root)]
        return Facts(name=name, sample=sample, problems=tuple(problems))
    levels = np.rint(image * 65535).astype(np.uint16)  # of 16 bits, whatever the file had
    facts = Facts(
        name=name,
        sample=sample,
        problems=tuple(_too_dark(sample.image, image, root)),
        size=image.shape[:2],
        digest=hashlib.sha256(repr(levels.shape).encode() + levels.tobytes()).digest(),
        thumbnail=as_levels(thumbnail(image)[None])[0],
    )
    try:
        facts = replace(facts, contents=contents(sample))
        mask = dataset.read_mask(sample, image.shape[:2])
    except InputError as error:
        return replace(facts, problems=(*facts.problems, *_mask_problems(sample, image.shape[:2], root, error)))
    return replace(facts, drawn=mask.any(axis=(0, 1)), regions=mask_thumbnail(mask))


def contents(sample: Sample) -> tuple[str, ...]:
    """Return the SHA-256 of a sample's files, the image's first; InputError where one cannot be read."""
    return tuple(sha256(path) for path in (sample.image, *sorted(sample.masks)))


def _examine_volume(sample: Sample, dataset: Dataset, root: Path) -> Facts:
    """Read every slice of a volume, and its mask."""
    from tfseg.scans.nifti import Volume

    facts = Facts(name=name_below(sample.image, root), sample=sample, problems=())
    digest = hashlib.sha256()
    volume = Volume(sample.image)
    try:
        digest.update(repr(volume.shape).encode())
        for index in range(sample.slices):
            digest.update(volume.values(index).astype(np.float32).tobytes())
        facts = replace(facts, size=volume.shape, digest=digest.digest(), contents=contents(sample))
        mask = dataset.read_mask(sample, volume.shape)
    except InputError as error:
        whose = sample.image if facts.size is None else next(iter(sample.masks), sample.image)
        kind = "unreadable" if facts.size is None else "wrong mask" if sample.masks else "image without mask"
        return replace(facts, problems=(_error(kind, whose, root, error),))
    finally:
        volume.close()
    blank = np.zeros((mask.shape[-1], SIDE, SIDE), np.uint8)
    return replace(facts, problems=tuple(_other_place(sample, root)), drawn=mask.any(axis=(0, 1, 2)), regions=blank)


def _other_place(sample: Sample, root: Path) -> Iterator[Finding]:
    """Yield a finding where the headers of a volume and its mask put the same voxel to different places."""
    from tfseg.scans.nifti import Volume

    affines = [Volume(path).affine for path in (sample.image, *sample.masks)]
    if any(not np.allclose(affine, affines[0], atol=0.5) for affine in affines[1:]):
        message = "its header puts it elsewhere than its volume; look at both in a viewer, and repair the wrong one"
        yield Finding(kind="other place", severity=WARNING, files=(name_below(sample.masks[0], root),), message=message)


def _too_dark(path: Path, image: np.ndarray, root: Path) -> Iterator[Finding]:
    with Image.open(path) as file:
        sixteen_bit = file.mode.startswith("I;16")
    if sixteen_bit and image.max() < _DARK:
        message = (
            f"a 16-bit image whose brightest value is {image.max() * 65535:.0f} of 65535 trains as almost black; "
            "stretch its values over 16 bits, or save it as 8 bit"
        )
        yield Finding(kind="dark 16-bit image", severity=WARNING, files=(name_below(path, root),), message=message)


def _unreadable_masks(sample: Sample, root: Path) -> Iterator[Finding]:
    for path in sample.masks:
        try:
            open_image(path)
        except InputError as error:
            yield _error("unreadable", path, root, error)


def _mask_problems(sample: Sample, size: tuple[int, int], root: Path, error: InputError) -> list[Finding]:
    """Name the files behind an `error` in reading the mask of an image of `size` (H, W), and the kind of each."""
    if not sample.masks:
        return [_error("image without mask", sample.image, root, error)]
    unreadable = list(_unreadable_masks(sample, root))
    if unreadable:
        return unreadable
    wrong_sizes = {path: image_size(path) for path in sample.masks if image_size(path) != size}
    if wrong_sizes:
        message = f" pixels and its image {size[1]}x{size[0]}; save both at one size"
        return [
            _error("size differs", path, root, InputError(f"the mask is {width}x{height}{message}"))
            for path, (height, width) in wrong_sizes.items()
        ]
    culprit = next((path for path in sample.masks if str(error).startswith(f"{path}: ")), sample.masks[0])
    return [_error("wrong mask values", culprit, root, error)]


def _error(kind: str, path: Path, root: Path, error: InputError) -> Finding:
    message = str(error).removeprefix(f"{path}: ")
    return Finding(kind=kind, severity=ERROR, files=(name_below(path, root),), message=message)


def name_below(path: Path, root: Path) -> str:
    """Return how reports name a file: by its path relative to `root`, with slashes."""
    return path.relative_to(root).as_posix()
