"""Masks for images on disk: PNG files at the original resolution, overlays, run-length CSV."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tfseg.data.images import SUFFIXES, read_image
from tfseg.errors import InputError

if TYPE_CHECKING:
    from tfseg.inference import Masking, Predict


def expand(inputs: Sequence[Path]) -> dict[str, Path]:
    """Return the images that a command's inputs stand for, by the name that their outputs get (without suffix).

    A file counts under its own name; a folder stands for all images below it, under their paths inside it.

    Raises:
        InputError: an input does not exist, holds no image, or two images would write the same outputs.
    """
    images: dict[str, Path] = {}
    for given in inputs:
        if given.is_dir():
            found = {
                path.relative_to(given): path for path in sorted(given.rglob("*")) if path.suffix.lower() in SUFFIXES
            }
            if not found:
                raise InputError(f"{given}: no image in this folder ({', '.join(SUFFIXES)})")
        elif given.is_file():
            found = {Path(given.name): given}
        else:
            raise InputError(f"{given}: no such image or folder")
        for relative, path in found.items():
            name = relative.with_suffix("").as_posix()
            if name in images:
                raise InputError(
                    f"{path}: its outputs would overwrite those of {images[name]}; predict them into two folders"
                )
            images[name] = path
    return images


def refuse_existing(paths: Sequence[Path]) -> None:
    """Raise InputError when one of the files that will be written exists."""
    for path in paths:
        if path.exists():
            raise InputError(f"{path}: exists already; choose another place or remove it")


def masks(
    predict: "Predict", masking: "Masking", images: dict[str, Path]
) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield name, image (H, W, C) in [0, 1] and mask (H, W, K) of each image."""
    for name, path in images.items():
        image = read_image(path, channels=masking.channels)
        yield name, image, masking.mask(predict, image)


def run_lengths(mask: np.ndarray) -> str:
    """Encode a mask (H, W) as Kaggle does: "start length" pairs, down the columns, pixels counted from 1.

    >>> run_lengths(np.array([[0, 1, 1], [1, 1, 0]]))
    '2 4'
    """
    padded = np.concatenate([[0], mask.flatten(order="F") != 0, [0]]).astype(np.int8)
    edges = np.flatnonzero(np.diff(padded)) + 1
    starts, lengths = edges[::2], edges[1::2] - edges[::2]
    return " ".join(f"{start} {length}" for start, length in zip(starts, lengths, strict=True))
