"""tf.data: from pixels on disk to batches, in an order and with draws that depend on seed, epoch and image alone."""

import functools
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfseg.data.augment import augmenter
from tfseg.data.pixels import Pixels

if TYPE_CHECKING:
    import tensorflow as tf


def training_batches(
    pixels: Pixels, indices: Sequence[int], *, batch_size: int, augment: str, seed: int, first_epoch: int = 0
) -> "tf.data.Dataset":
    """Endless batches of a fold's training images, each epoch shuffled and augmented anew.

    An epoch is `len(indices) // batch_size` full batches; which images are left over changes with its shuffle.

    Args:
        pixels: the decoded images.
        indices: which of them to train on.
        batch_size: images per step; at most len(indices).
        augment: see tfseg.data.augment.
        seed: of order and augmentation.
        first_epoch: where to start, so that a resumed run goes on with the batches it would have seen.

    Returns:
        A data set of (B, S, S, C) float32 images and (B, S, S, K) float32 masks, the shares of areas, both in [0, 1].
    """
    import tensorflow as tf

    apply = augmenter(augment, pixels.image_shape[0])
    per_epoch = len(indices) // batch_size * batch_size

    @functools.lru_cache(maxsize=2)  # threads of the pipeline may stand on both sides of an epoch's end
    def order(epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(len(indices))

    def example(position: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        epoch, place = divmod(int(position), per_epoch)
        index = indices[order(epoch)[place]]
        image, mask = pixels.read(index)
        draw = int(np.random.SeedSequence([seed, epoch, index]).generate_state(1)[0])
        return apply(image, mask, draw)

    positions = tf.data.Dataset.counter(start=first_epoch * per_epoch)
    return _batches(positions, example, pixels, batch_size=batch_size, drop_remainder=True)


def validation_batches(pixels: Pixels, indices: Sequence[int], *, batch_size: int) -> "tf.data.Dataset":
    """Batches of the images as they are, once through, in the order given; shapes as in `training_batches`."""
    import tensorflow as tf

    positions = tf.data.Dataset.from_tensor_slices(np.asarray(indices, np.int64))
    return _batches(
        positions, lambda index: pixels.read(int(index)), pixels, batch_size=batch_size, drop_remainder=False
    )


def _batches(
    positions: "tf.data.Dataset",
    example: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]],
    pixels: Pixels,
    *,
    batch_size: int,
    drop_remainder: bool,
) -> "tf.data.Dataset":
    import tensorflow as tf

    def load(position: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        image, mask = tf.numpy_function(example, [position], [tf.uint8, tf.uint8])
        return tf.ensure_shape(image, pixels.image_shape), tf.ensure_shape(mask, pixels.mask_shape)

    def scale(images: "tf.Tensor", masks: "tf.Tensor") -> tuple["tf.Tensor", "tf.Tensor"]:
        return tf.cast(images, tf.float32) / 255, tf.cast(masks, tf.float32) / 255

    examples = positions.map(load, num_parallel_calls=2, deterministic=True)
    return examples.batch(batch_size, drop_remainder=drop_remainder).map(scale).prefetch(2)
