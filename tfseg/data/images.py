"""Images from files to arrays: every bit depth and colour ends as float32 (H, W, C) in [0, 1]."""

from pathlib import Path

import cv2
import numpy as np
from PIL import Image, UnidentifiedImageError

from tfseg.errors import InputError

SUFFIXES = (".png", ".jpg", ".jpeg", ".tif", ".tiff", ".bmp")
_FULL_SCALE = {"1": 1, "L": 255, "LA": 255, "RGB": 255, "RGBA": 255, "I;16": 65535, "I;16B": 65535, "I;16L": 65535}
_LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # ITU-R BT.601


def open_image(path: Path) -> Image.Image:
    """Open and decode an image file whole; InputError names the file when that fails."""
    try:
        with Image.open(path) as image:
            image.load()
    except FileNotFoundError as error:
        raise InputError(f"{path}: no such file") from error
    except PermissionError as error:
        raise InputError(f"{path}: no permission to read it") from error
    except UnidentifiedImageError as error:
        empty = path.stat().st_size == 0
        raise InputError(f"{path}: {'the file is empty' if empty else 'not an image that can be read'}") from error
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise InputError(f"{path}: damaged image ({error})") from error
    return image


def read_image(path: Path, *, channels: int) -> np.ndarray:
    """Read an image: float32 (H, W, channels) in [0, 1], full scale of its bit depth being 1.

    Args:
        path: PNG, JPEG, TIFF or BMP; grey, palette or colour; 1, 8 or 16 bit. Transparency is dropped.
        channels: 1 for luma (ITU-R BT.601), 3 for RGB.

    Raises:
        InputError: the file cannot be read, or its pixels are neither 8 nor 16 bit (floating point has no full scale).
    """
    image = open_image(path)
    if image.mode in ("P", "CMYK", "YCbCr"):
        image = image.convert("RGB")
    if image.mode not in _FULL_SCALE:
        raise InputError(f"{path}: pixels of mode {image.mode} have no known full scale; save it as 8 or 16 bit")
    pixels = np.asarray(image, np.float32) / _FULL_SCALE[image.mode]
    if pixels.ndim == 2:
        return np.repeat(pixels[..., None], channels, axis=-1)
    colour = pixels[..., :1].repeat(3, -1) if image.mode == "LA" else pixels[..., :3]
    return colour if channels == 3 else luma(colour)


def luma(colour: np.ndarray) -> np.ndarray:
    """Return the luma (H, W, 1) of a colour image (H, W, 3), as ITU-R BT.601 weighs the channels."""
    return (colour @ _LUMA)[..., None]


def image_size(path: Path) -> tuple[int, int]:
    """Return (H, W) from the file's header, without decoding the pixels."""
    try:
        with Image.open(path) as image:
            width, height = image.size
    except (OSError, UnidentifiedImageError, Image.DecompressionBombError):
        width, height = open_image(path).size  # raises with the reason
    return height, width


def network_input(image: np.ndarray, size: int) -> np.ndarray:
    """Resize an image in [0, 1] to what the network sees: uint8 (size, size, C), as a phone's camera delivers it.

    Training, evaluation, prediction and calibration all take this one road, so the network meets the same rounding
    everywhere. Each axis goes its own way: one that shrinks averages over pixel areas, one that grows is bilinear. The
    aspect ratio is not kept.
    """
    return np.rint(np.clip(_resized(image, size, grow=cv2.INTER_LINEAR), 0, 1) * 255).astype(np.uint8)


def resize_mask(mask: np.ndarray, size: int) -> np.ndarray:
    """Resize a mask (H, W, K) of 0 and 1 to (size, size, K): uint8, the share of each pixel's area in it, in 255ths.

    What is thinner than half a pixel leaves its share, where a mask of 0 and 1 would lose it. At least half of the area
    is 128 or more.
    """
    areas = _resized(mask.astype(np.float32), size, grow=cv2.INTER_AREA)  # also exact where an axis grows
    return np.rint(areas * 255).astype(np.uint8)


def resize_probability(probability: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    """Resize a probability map (h, w, K) bilinearly to (H, W, K): the original resolution, where masks are scored."""
    return _resize(probability, shape, cv2.INTER_LINEAR)


def _resized(array: np.ndarray, size: int, *, grow: int) -> np.ndarray:
    """Resize float (H, W, C) to (size, size, C): first the axes that shrink, by area, then those that grow."""
    height, width = array.shape[:2]
    smaller = min(height, size), min(width, size)
    if smaller != (height, width):  # OpenCV averages areas only where neither axis grows
        array = _resize(array, smaller, cv2.INTER_AREA)
    return array if smaller == (size, size) else _resize(array, (size, size), grow)


def _resize(array: np.ndarray, shape: tuple[int, int], interpolation: int) -> np.ndarray:
    """Resize (h, w, C) to (H, W, C) four channels at a time: OpenCV averages areas of no more."""
    height, width = shape
    parts = [
        cv2.resize(np.ascontiguousarray(array[..., at : at + 4]), (width, height), interpolation=interpolation)
        for at in range(0, array.shape[-1], 4)
    ]
    return np.concatenate([part.reshape(height, width, -1) for part in parts], axis=-1)
