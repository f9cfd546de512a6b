"""Augmentation: the only module that knows albumentations.

Every draw comes from one seed per image and epoch, so a run that goes on after a crash sees the same pictures.
"""

import os
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import albumentations

Augment = Callable[[np.ndarray, np.ndarray, int], tuple[np.ndarray, np.ndarray]]


def augmenter(name: str, size: int) -> Augment:
    """Return a function of (image, mask, seed) that augments both alike and may be called from several threads.

    Args:
        name: "none"; "nerve" (the nerve slides: rotation, shifts, shear, zoom, flips both ways, nearest fill);
            "mobile" (the mobile paper: flips, rotation up to 30 degrees, affine, resized crop); "probe" (what a
            hand does with a probe: the nerve recipe without the upside-down flip, which no probe does, and with gain
            and gamma); "strong" (the probe recipe with wider limits, and with elastic deformation, speckle and blur:
            for a few hundred images); or "four" (a flip from left to right, then four operations of random strength out
            of ten that change place, shape, light and texture, in proportion to the image's size).
        size: height and width of the images, in pixels.

    Returns:
        The function: image uint8 (S, S, C) in 0..255, mask uint8 (S, S, K), seed in 0..2**32 - 1; returns
        the same shapes and types. Masks are warped with the nearest neighbour and take no new values.
    """
    if name == "none":
        return lambda image, mask, seed: (image, mask)
    local = threading.local()  # a composition carries its generator: one for each thread

    def augment(image: np.ndarray, mask: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if not hasattr(local, "compose"):
            local.compose = _compose(name, size)
        local.compose.set_random_seed(seed)
        pair = local.compose(image=image, mask=mask)
        return pair["image"].reshape(image.shape), pair["mask"].reshape(mask.shape)

    return augment


def _compose(name: str, size: int) -> "albumentations.Compose":
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # else importing it asks the network for news
    import albumentations as A  # noqa: N812 - its documented short name
    import cv2

    replicate = cv2.BORDER_REPLICATE  # the nearest pixel fills what a warp leaves open
    affine = A.Affine(
        rotate=(-10, 10), translate_percent=(-0.1, 0.1), shear=(-8, 8), scale=(0.9, 1.1), border_mode=replicate, p=0.9
    )
    lights = [
        A.RandomGamma(gamma_limit=(65, 150), p=0.5),
        A.RandomBrightnessContrast(brightness_limit=0.15, contrast_limit=0.2, p=0.5),
    ]

    def moved(*, rotate: float, shift: float, shear: float, scale: tuple[float, float]) -> A.Affine:
        return A.Affine(
            rotate=(-rotate, rotate),
            translate_percent=(-shift, shift),
            shear=(-shear, shear),
            scale=scale,
            keep_ratio=False,
            border_mode=replicate,
            p=0.9,
        )

    recipes = {
        "nerve": lambda: [A.HorizontalFlip(p=0.5), A.VerticalFlip(p=0.5), affine],
        "mobile": lambda: [
            A.HorizontalFlip(p=0.5),
            A.VerticalFlip(p=0.5),
            A.Rotate(limit=30, border_mode=replicate, p=0.5),
            A.Affine(translate_percent=(-0.06, 0.06), scale=(0.9, 1.1), shear=(-5, 5), border_mode=replicate, p=0.5),
            A.RandomResizedCrop(size=(size, size), scale=(0.7, 1.0), ratio=(0.9, 1.1), p=0.5),
        ],
        "probe": lambda: [
            A.HorizontalFlip(p=0.5),
            moved(rotate=15, shift=0.12, shear=10, scale=(0.8, 1.25)),
            *lights,
        ],
        "strong": lambda: [
            A.HorizontalFlip(p=0.5),
            moved(rotate=25, shift=0.15, shear=15, scale=(0.65, 1.4)),
            A.ElasticTransform(alpha=60, sigma=8, border_mode=replicate, p=0.3),
            A.MultiplicativeNoise(multiplier=(0.8, 1.2), elementwise=True, p=0.3),
            A.GaussianBlur(blur_limit=(3, 5), p=0.2),
            *lights,
        ],
        "four": lambda: [A.HorizontalFlip(p=0.5), A.SomeOf(_ten(size), n=4, replace=False)],
    }
    return A.Compose(recipes[name]())


def _ten(size: int) -> "list[albumentations.BasicTransform]":
    """Ten operations for images of `size` pixels; each always does something when it is drawn."""
    import albumentations as A  # noqa: N812
    import cv2

    fill = {"border_mode": cv2.BORDER_REPLICATE, "p": 1.0}
    return [
        A.Affine(rotate=(-25, 25), translate_percent=(-0.1, 0.1), **fill),
        A.Affine(scale=(0.65, 1.4), translate_percent=(-0.1, 0.1), keep_ratio=False, **fill),
        A.Affine(shear=(-15, 15), scale=(0.8, 1.25), **fill),
        A.ElasticTransform(alpha=size * 0.5, sigma=size * 0.06, **fill),
        A.RandomResizedCrop(size=(size, size), scale=(0.5, 1.0), ratio=(0.8, 1.25), p=1.0),
        A.RandomGamma(gamma_limit=(60, 160), p=1.0),
        A.RandomBrightnessContrast(brightness_limit=0.2, contrast_limit=0.3, p=1.0),
        A.MultiplicativeNoise(multiplier=(0.75, 1.25), elementwise=True, p=1.0),
        A.GaussianBlur(blur_limit=0, sigma_limit=(size * 0.002, size * 0.012), p=1.0),
        A.Downscale(scale_range=(0.4, 0.9), p=1.0),
    ]
