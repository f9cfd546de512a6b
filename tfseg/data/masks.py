"""What annotators drew, read as uint8 (H, W, K) of 0 and 1: mask files, palette indices, outlines and polygons.

Every reader takes a sample and the (H, W) of its image, and raises InputError where a mask cannot be read, has another
size than the image, or holds what it must not hold. A mask file without foreground is an empty mask; an image without
any mask file is an error.
"""

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfseg.data.sample import Sample
from tfseg.errors import InputError

if TYPE_CHECKING:
    from PIL import Image

_JPEG_HALF_SCALE = 128
_ELLIPSE_TOLERANCE = 0.25  # of the distance from the centre; a line of 4 pixels round a head of 20 stays within it


def read_binary(sample: Sample, size: tuple[int, ...]) -> np.ndarray:
    """Read the union of the mask files: (H, W, 1).

    A file holds 0 (black) and at most one other value or colour, whichever it is; transparency is ignored. JPEG cannot
    keep two values apart, so a JPEG mask is cut at half scale (128 of 255) instead.
    """
    _require_masks(sample)
    union = np.zeros(size, bool)
    for path in sample.masks:
        union |= _foreground(path, _open(path, size, sample))
    return union[..., None].astype(np.uint8)


def read_indexed(sample: Sample, size: tuple[int, ...], *, classes: int) -> np.ndarray:
    """Read palette or grey mask files whose value k is class k, 0 being background: (H, W, classes)."""
    _require_masks(sample)
    mask = np.zeros((*size, classes), bool)
    for path in sample.masks:
        image = _open(path, size, sample)
        if image.mode not in ("P", "L") or image.format == "JPEG":
            raise InputError(f"{path}: {image.format} of mode {image.mode}; save class numbers as palette or grey PNG")
        index = np.asarray(image)
        if index.max() > classes:
            raise InputError(f"{path}: holds the value {index.max()}; a mask of {classes} classes holds 0 to {classes}")
        mask |= index[..., None] == np.arange(1, classes + 1)
    return mask.astype(np.uint8)


def read_outline(sample: Sample, size: tuple[int, ...]) -> np.ndarray:
    """Read thin ellipse outlines and fill them up to the middle of the line: (H, W, 1).

    The inside is that of the ellipse fitted to the line (Fitzgibbon and Fisher, BMVC 1995, as OpenCV has it): it does
    not run out through a gap in the line, nor where the image's border cuts the ellipse. The line's outer half is not
    part of the head: with it, circumferences of HC18 come out 0.65 mm longer than its table lists them.
    """
    _require_masks(sample)
    union = np.zeros(size, bool)
    for path in sample.masks:
        line = _foreground(path, _open(path, size, sample))
        if line.any():
            union |= _inside_ellipse(line, path)
    return union[..., None].astype(np.uint8)


def read_regions(sample: Sample, size: tuple[int, ...], *, classes: int) -> np.ndarray:
    """Read binary mask files into channel 0 and fill the sample's polygons, edges included: (H, W, classes)."""
    import cv2

    mask = np.zeros((*size, classes), np.uint8)
    mask[..., :1] = read_binary(sample, size)
    for polygon in sample.polygons:
        drawn = np.zeros(size, np.uint8)
        cv2.fillPoly(drawn, [np.rint(polygon.vertices).astype(np.int32)], (1,))  # one by one: together they cancel out
        mask[..., polygon.channel] |= drawn
    return mask


def _require_masks(sample: Sample) -> None:
    if not sample.masks:
        raise InputError(
            f"{sample.image}: no mask belongs to this image; add one, all black if there is nothing to see"
        )


def _open(path: Path, size: tuple[int, ...], sample: Sample) -> "Image.Image":
    from tfseg.data.images import open_image  # imports OpenCV and Pillow: `import tfseg.data` has to answer without

    image = open_image(path)
    if image.size != size[::-1]:
        raise InputError(
            f"{path}: the mask is {image.width}x{image.height} pixels and its image {sample.image.name} "
            f"{size[1]}x{size[0]}; save both at one size"
        )
    return image


def _foreground(path: Path, image: "Image.Image") -> np.ndarray:
    """Return where a binary mask is not black: bool (H, W)."""
    if image.format == "JPEG":
        return np.asarray(image.convert("L")) >= _JPEG_HALF_SCALE
    pixels = np.asarray(image.convert("RGB") if image.mode in ("P", "PA", "CMYK", "YCbCr") else image)
    if pixels.ndim == 3:
        colours = pixels[..., :1] if image.mode == "LA" else pixels[..., :3]
        pixels = colours @ (256 ** np.arange(colours.shape[-1]))  # one number per colour
    foreground = pixels != 0
    if not (pixels[foreground] == pixels.max()).all():
        values = np.unique(pixels[foreground]).size
        raise InputError(f"{path}: not a binary mask: {values} values beside 0; draw the foreground in one value")
    return foreground


def _inside_ellipse(line: np.ndarray, path: Path) -> np.ndarray:
    """Return the inside of the ellipse that fits a line: bool (H, W)."""
    import cv2

    rows, columns = np.nonzero(line)
    if len(rows) < 5:  # an ellipse has five parameters
        raise InputError(f"{path}: {len(rows)} pixels are too few for the outline of an ellipse")
    (x, y), axes, degrees = cv2.fitEllipse(np.stack([columns, rows], axis=1).astype(np.float32))
    grid_y, grid_x = np.ogrid[: line.shape[0], : line.shape[1]]
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    along = (grid_x - x) * cosine + (grid_y - y) * sine
    across = (grid_y - y) * cosine - (grid_x - x) * sine
    with np.errstate(divide="ignore", invalid="ignore"):  # a straight line fits an ellipse of no width; refused below
        distance = np.hypot(along / (axes[0] / 2), across / (axes[1] / 2))  # 1 on the ellipse
    if not np.abs(distance[line] - 1).max() < _ELLIPSE_TOLERANCE:
        raise InputError(f"{path}: not the thin outline of one ellipse; draw the outline of the head and nothing else")
    return distance < 1
