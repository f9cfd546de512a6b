"""A presence head: whether a class is in the image at all, learned beside where it is, and the gate that obeys it.

The head is two layers on the deepest features of any network: their mean over the map, and one 1x1 convolution to a
logit for each class. Where a class's presence is a tenth of a logit or more below a threshold, the gate takes 36 from
its logits, so that nothing of it is left. So the file that ships has one output as before, and each program that runs
it obeys the decision.
"""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from keras import layers, ops

Tensor = Any
Loss = Callable[[Tensor, Tensor], Tensor]

GAIN, DEPTH = 64.0, 6.0  # the gate takes DEPTH * relu6(GAIN * (threshold - presence)): 36 logits at most
OPEN = -1e4  # the threshold, a logit, of a gate that takes nothing
_POOL, _HEAD, _GATE, _PENALTY, _SUM = (f"presence_{part}" for part in ("pool", "logits", "gate", "penalty", "add"))


def with_presence(model: keras.Model, source: str = "") -> keras.Model:
    """Return a network with a presence head and an open gate behind it, sharing all layers with `model`.

    Two heads, one for the mask and one for its presence, are what won most on the Kaggle nerve challenge of 2016.

    Args:
        model: from (B, H, W, C) images in [0, 1] to (B, H, W, K) logits.
        source: the layer that the head stands on; "" for the last of the smallest maps that are larger than one pixel.

    Returns:
        A model of the same form and name.
    """
    logits, classes = model.output, model.output_shape[-1]
    x = layers.GlobalAveragePooling2D(keepdims=True, name=_POOL)(
        model.get_layer(source).output if source else _deepest(model)
    )
    presence = layers.Conv2D(classes, 1, dtype="float32", name=_HEAD)(x)  # (B, 1, 1, K)
    fixed = {"padding": "same", "trainable": False, "dtype": "float32"}
    gate = layers.Conv2D(
        classes,
        1,
        kernel_initializer=_Diagonal(-GAIN),
        bias_initializer=keras.initializers.Constant(GAIN * OPEN),
        name=_GATE,
        **fixed,
    )(presence)
    gate = layers.ReLU(6.0, dtype="float32", name=f"{_GATE}_relu6")(gate)
    penalty = layers.Conv2D(classes, 1, use_bias=False, kernel_initializer=_Diagonal(-DEPTH), name=_PENALTY, **fixed)(
        gate
    )
    gated = layers.Add(dtype="float32", name=_SUM)([logits, penalty])
    return keras.Model(model.input, gated, name=model.name)


def has_presence(model: keras.Model) -> bool:
    """Tell whether a network has a presence head."""
    return any(layer.name == _GATE for layer in model.layers)


def presence_source(model: keras.Model) -> str | None:
    """Return the name of the layer that a network's presence head stands on; None without such a head."""
    if not has_presence(model):
        return None
    return model.get_layer(_POOL).input._keras_history.operation.name


def two_headed(model: keras.Model) -> keras.Model:
    """Return the form of a network with a presence head that is trained: image -> (B, H, W, 2 K), sharing its layers.

    The first K channels are the logits of the mask, before the gate; the others, equal for all pixels, of presence.
    """
    masks, _ = model.get_layer(_SUM).input
    presence = model.get_layer(_HEAD).output
    return keras.Model(
        model.input, ops.concatenate([masks, ops.zeros_like(masks) + presence], axis=-1), name=model.name
    )


def presence_loss(loss: Loss, classes: int, weight: float) -> Loss:
    """Return `loss` of the masks plus `weight` times the cross-entropy of presence: (B,), for `two_headed`.

    A class is present where its mask shows anything.
    """

    def both(y_true: Tensor, outputs: Tensor) -> Tensor:
        masks, presence = outputs[..., :classes], outputs[:, 0, 0, classes:]  # (B, K)
        shown = ops.cast(ops.max(y_true[..., :classes], axis=(1, 2)) > 0, presence.dtype)
        entropy = ops.maximum(presence, 0.0) - presence * shown + ops.log1p(ops.exp(-ops.abs(presence)))
        return loss(y_true, masks) + weight * ops.mean(entropy, axis=-1)

    return both


def close_gates(model: keras.Model, thresholds: "np.ndarray") -> None:
    """Let the gates of a network take a class away where its presence is below a threshold, a logit for each: (K,)."""
    kernel, _ = model.get_layer(_GATE).get_weights()
    model.get_layer(_GATE).set_weights([kernel, GAIN * np.asarray(thresholds, "float32")])


def _deepest(model: keras.Model) -> Tensor:
    """Return the last of the smallest maps in a network, of those larger than one pixel where there are any."""
    maps = [layer.output for layer in model.layers if isinstance(layer.output, keras.KerasTensor)]
    maps = [x for x in maps if len(x.shape) == 4 and None not in x.shape[1:]]
    areas = [x.shape[1] * x.shape[2] for x in maps]
    smallest = min([area for area in areas if area > 1] or areas)
    return next(x for x, area in zip(reversed(maps), reversed(areas), strict=True) if area == smallest)


@keras.saving.register_keras_serializable(package="tfseg")
class _Diagonal(keras.initializers.Initializer):
    """A 1x1 kernel that multiplies each channel by one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def __call__(self, shape: tuple[int, ...], dtype: Any = None) -> Tensor:
        return ops.cast(self.value * np.eye(shape[-1])[None, None], dtype or "float32")

    def get_config(self) -> dict[str, Any]:
        return {"value": self.value}
