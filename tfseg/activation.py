"""From logits (B, H, W, K) to probabilities: classes by themselves, or against each other and the background."""

from typing import Any

from keras import ops

Tensor = Any


def activate(logits: Tensor, activation: str) -> Tensor:
    """Return probabilities (B, H, W, K) in [0, 1].

    "sigmoid" treats each class by itself. "softmax" adds the background as one more class whose logit is 0, and leaves
    it out of the result; with K = 1 both are the same function.
    """
    if activation == "sigmoid":
        return ops.sigmoid(logits)
    return ops.softmax(with_background(logits), axis=-1)[..., 1:]


def with_background(logits: Tensor) -> Tensor:
    """Put the background's logit, 0, before the K logits: (B, H, W, 1 + K)."""
    return ops.concatenate([ops.zeros_like(logits[..., :1]), logits], axis=-1)
