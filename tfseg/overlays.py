"""Overlays: an image with what the annotator drew (cold, solid) and what the network drew (warm, dashed)."""

import io
from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from tfseg import runs

Colour = tuple[int, int, int]

# One colour per class, RGB; classes beyond the last begin again. Cold is the annotator and warm is the network in every
# pair, apart in lightness too, so the pairs also hold for red-green and blue-yellow colour blindness (after Okabe and
# Ito, "Color Universal Design", 2008, brightened for the dark ground of ultrasound).
TRUTH_COLOURS: tuple[Colour, ...] = ((0, 200, 170), (70, 160, 255), (190, 215, 255), (0, 140, 120))
PREDICTION_COLOURS: tuple[Colour, ...] = ((255, 145, 20), (255, 105, 180), (255, 225, 70), (225, 70, 40))

_GAP = np.uint8(150)  # a grey that parts dark images on a white page and on a dark one
_FILL = 0.22  # share of the colour in a tinted pixel: speckle stays readable under it


def overlay(image: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray | None) -> np.ndarray:
    """Draw masks on an image as contours, tinting what they do not share.

    With both masks the truth is a solid line and the prediction a dashed one, and only the pixels in which they differ
    are tinted: missed ones in the truth's colour, surplus ones in the prediction's. One mask alone is solid and tinted
    whole. Classes differ by colour.

    Args:
        image: float32 (H, W, C) in [0, 1], C of 1 or 3.
        truth: uint8 (H, W, K), 0 or 1, or None.
        prediction: uint8 (H, W, K), 0 or 1, or None.

    Returns:
        uint8 (H, W, 3), RGB.

    Raises:
        ValueError: a mask is not of the image's size.
    """
    for name, mask in (("truth", truth), ("prediction", prediction)):
        if mask is not None and (mask.ndim != 3 or mask.shape[:2] != image.shape[:2]):
            raise ValueError(f"{name} of shape {mask.shape} on an image of shape {image.shape}")
    picture = to_rgb(image)
    compared = truth is not None and prediction is not None
    drawn = [
        (mask, other, colours, dashed)
        for mask, other, colours, dashed in (
            (truth, prediction, TRUTH_COLOURS, False),
            (prediction, truth, PREDICTION_COLOURS, compared),
        )
        if mask is not None
    ]
    for mask, other, colours, _ in drawn:  # every tint lies below every line
        for channel in range(mask.shape[-1]):
            alone = mask[..., channel] > 0
            if other is not None:
                alone = alone & (other[..., channel] == 0)
            _tint(picture, alone, colour_of(colours, channel))
    for mask, _, colours, dashed in drawn:
        for channel in range(mask.shape[-1]):
            _outline(picture, mask[..., channel], colour_of(colours, channel), dashed=dashed)
    return picture


def panel(image: np.ndarray, truth: np.ndarray | None, prediction: np.ndarray | None) -> np.ndarray:
    """Set image, truth and prediction side by side, with a thin gap; a mask that is None has no tile.

    Args and errors are those of `overlay`.

    Returns:
        uint8 (H, n W + (n - 1) gap, 3), RGB, for n tiles; the gap is a hundredth of W, and at least 2 pixels.
    """
    tiles = [to_rgb(image)]
    if truth is not None:
        tiles.append(overlay(image, truth, None))
    if prediction is not None:
        tiles.append(overlay(image, None, prediction))
    gap = np.full((image.shape[0], max(2, round(image.shape[1] / 100)), 3), _GAP)
    return np.concatenate([part for tile in tiles for part in (gap, tile)][1:], axis=1)


def to_rgb(image: np.ndarray) -> np.ndarray:
    """Turn float32 (H, W, 1 or 3) in [0, 1] into uint8 (H, W, 3)."""
    if image.ndim != 3 or image.shape[-1] not in (1, 3):
        raise ValueError(f"an image is (H, W, 1) or (H, W, 3), and this is {image.shape}")
    pixels = np.rint(np.clip(image, 0, 1) * 255).astype(np.uint8)
    return np.repeat(pixels, 3, axis=-1) if image.shape[-1] == 1 else pixels


def stamp(picture: np.ndarray, text: str) -> np.ndarray:
    """Return a picture, uint8 (H, W, 3), with `text` (ASCII) on a yellow band at its lower left."""
    scale = picture.shape[1] / 900
    (width, height), descent = cv2.getTextSize(text, cv2.FONT_HERSHEY_DUPLEX, scale, 1)
    edge = max(2, height // 2)
    top = picture.shape[0] - height - descent - 2 * edge
    marked = picture.copy()
    marked[max(top, 0) :, : width + 2 * edge] = (255, 212, 0)
    at = (edge, picture.shape[0] - descent - edge)
    cv2.putText(marked, text, at, cv2.FONT_HERSHEY_DUPLEX, scale, (0, 0, 0), 1, cv2.LINE_AA)
    return marked


def write_png(path: Path, picture: np.ndarray) -> Path:
    """Write a picture, uint8 (H, W, 3) RGB, as a PNG; return the path."""
    file = io.BytesIO()
    Image.fromarray(picture).save(file, "PNG")
    runs.write_whole(path, file.getvalue())
    return path


def colour_of(colours: Sequence[Colour], channel: int) -> Colour:
    """Return the colour of a class: the table begins again after its last row."""
    return colours[channel % len(colours)]


def _tint(picture: np.ndarray, where: np.ndarray, colour: Colour) -> None:
    mixed = (1 - _FILL) * picture[where] + _FILL * np.array(colour, np.float32)
    picture[where] = np.rint(mixed).astype(np.uint8)


def _outline(picture: np.ndarray, mask: np.ndarray, colour: Colour, *, dashed: bool) -> None:
    """Draw the contour along the outermost pixels of a mask (H, W), in place."""
    width = max(1, round(max(mask.shape) / 320))  # 1 px to 480 px, 2 px to 800 px
    foreground = (mask > 0).astype(np.uint8)
    contours, _ = cv2.findContours(foreground, cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE)
    if not dashed:
        cv2.drawContours(picture, contours, -1, colour, width)
        return
    dash = 4 * width
    for contour in contours:  # (N, 1, 2), a point per pixel of the contour
        closed = np.concatenate([contour, contour[:1]])
        for start in range(0, len(contour), 2 * dash):
            cv2.polylines(picture, [closed[start : start + dash]], isClosed=False, color=colour, thickness=width)
