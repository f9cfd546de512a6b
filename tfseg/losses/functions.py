"""Losses on logits: (B, H, W, K) masks and logits in, one value per image (B,) out.

Every sum runs over the pixels of one image (of all images in `batch_dice`) and one class; classes are averaged. A
constant of 1 pixel in numerator and denominator makes an empty mask rightly left empty cost 0 and keeps gradients
finite.
"""

from typing import Any

from keras import ops

from tfseg.activation import with_background

Tensor = Any


def soft_dice(y_true: Tensor, logits: Tensor) -> Tensor:
    """1 - Dice of the sigmoid probabilities: (B,) (Milletari et al., 3DV 2016, arXiv:1606.04797).

    Departure: the paper squares the terms of the denominator; here they are summed as they are, which is the Dice
    coefficient itself once probabilities are 0 or 1.
    """
    y_true = ops.cast(y_true, logits.dtype)
    return _overlap_loss(y_true, ops.sigmoid(logits), false_positives=0.5, false_negatives=0.5)


def batch_dice(y_true: Tensor, logits: Tensor) -> Tensor:
    """1 - Dice of the sigmoid probabilities of all images of a batch taken as one: (B,), equal values.

    Where many masks are empty, `soft_dice` rewards a network for drawing nothing: an empty image costs 0 as soon as all
    its probabilities are near 0, and no overlap of the others is worth as much in the first steps. Over the batch, an
    empty image only adds its false alarms to the denominator. So the first public solutions of the Kaggle nerve
    challenge of 2016 computed their loss.
    """
    y_true = ops.cast(y_true, logits.dtype)
    probability = ops.sigmoid(logits)
    overlap, area = ops.sum(y_true * probability, axis=(0, 1, 2)), ops.sum(y_true + probability, axis=(0, 1, 2))  # (K,)
    dice = ops.mean((2 * overlap + 1) / (area + 1))
    return 1 - dice * ops.ones_like(logits[:, 0, 0, 0])


def tversky(y_true: Tensor, logits: Tensor) -> Tensor:
    """1 - Tversky index, false positives at 0.3, misses at 0.7: (B,) (Salehi et al., MLMI 2017, arXiv:1706.05721)."""
    y_true = ops.cast(y_true, logits.dtype)
    return _overlap_loss(y_true, ops.sigmoid(logits), false_positives=0.3, false_negatives=0.7)


def binary_cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of each pixel and class by itself, in nats, averaged: (B,)."""
    return ops.mean(_pixel_cross_entropy(y_true, logits), axis=(1, 2, 3))


def cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    """Cross-entropy of each pixel over the K classes and the background, in nats, averaged: (B,).

    The background's logit is 0 (see tfseg.activation), so that K = 1 equals `binary_cross_entropy`. Where masks
    overlap, a pixel counts for each of its classes in equal parts.
    """
    y_true = ops.cast(y_true, logits.dtype)
    classes = ops.sum(y_true, axis=-1, keepdims=True)  # (B, H, W, 1)
    background = 1 - ops.minimum(classes, 1.0)
    target = ops.concatenate([background, y_true / ops.maximum(classes, 1.0)], axis=-1)  # (B, H, W, 1 + K)
    return ops.mean(-ops.sum(target * ops.log_softmax(with_background(logits), axis=-1), axis=-1), axis=(1, 2))


def dice_binary_cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    """The sum of `soft_dice` and `binary_cross_entropy`: (B,)."""
    return soft_dice(y_true, logits) + binary_cross_entropy(y_true, logits)


def batch_dice_binary_cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    """The sum of `batch_dice` and `binary_cross_entropy`: (B,)."""
    return batch_dice(y_true, logits) + binary_cross_entropy(y_true, logits)


def dice_cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    """The sum of Dice on softmax probabilities and `cross_entropy`: (B,) (as in nnU-Net, arXiv:1809.10486)."""
    y_true = ops.cast(y_true, logits.dtype)
    probability = ops.softmax(with_background(logits), axis=-1)[..., 1:]
    dice = _overlap_loss(y_true, probability, false_positives=0.5, false_negatives=0.5)
    return dice + cross_entropy(y_true, logits)


def focal(y_true: Tensor, logits: Tensor) -> Tensor:
    """Focal loss with gamma 2 and alpha 0.25, averaged over pixels: (B,) (Lin et al., ICCV 2017, arXiv:1708.02002).

    Departure: the paper divides by the number of anchors that hold an object; here every pixel counts once.
    """
    y_true = ops.cast(y_true, logits.dtype)
    probability = ops.sigmoid(logits)
    wrong = y_true * (1 - probability) + (1 - y_true) * probability  # probability of the wrong answer
    weight = y_true * 0.25 + (1 - y_true) * 0.75
    return ops.mean(weight * ops.square(wrong) * _pixel_cross_entropy(y_true, logits), axis=(1, 2, 3))


def _overlap_loss(y_true: Tensor, probability: Tensor, *, false_positives: float, false_negatives: float) -> Tensor:
    overlap = ops.sum(y_true * probability, axis=(1, 2))  # (B, K)
    spurious = ops.sum((1 - y_true) * probability, axis=(1, 2))
    missed = ops.sum(y_true * (1 - probability), axis=(1, 2))
    # Half a pixel in both terms is the constant of 1 that Dice has when written as (2 overlap + 1) / (area + 1).
    index = (overlap + 0.5) / (overlap + false_positives * spurious + false_negatives * missed + 0.5)
    return 1 - ops.mean(index, axis=-1)


def _pixel_cross_entropy(y_true: Tensor, logits: Tensor) -> Tensor:
    y_true = ops.cast(y_true, logits.dtype)
    return ops.maximum(logits, 0.0) - logits * y_true + ops.log1p(ops.exp(-ops.abs(logits)))  # (B, H, W, K)
