"""What a network costs: its parameters and the multiplications of one image."""

import itertools
from typing import Any

import keras
import numpy as np

from tfseg.models.segformer import BatchMatmul


def parameters(model: keras.Model) -> int:
    """Return the number of trainable parameters; the moving averages of batch norm are not counted."""
    return sum(int(np.prod(weight.shape)) for weight in model.trainable_variables)


def gmac(model: keras.Model) -> float:
    """Return the multiplications, each with its addition, of one image, in thousand millions.

    Convolutions and the matrix products of attention count, as papers count them; norms, activations, pooling, resizing
    and sums of branches do not. A layer that is called twice counts twice. The network has a fixed input size.
    """
    calls = itertools.chain.from_iterable(model._nodes_by_depth.values())
    return sum(map(_macs, calls)) / 1e9


def _macs(call: Any) -> int:
    layer, result = call.operation, call.output_tensors[0]
    if isinstance(layer, BatchMatmul):  # (..., n, d) x (..., d, m)
        return _size(result.shape) * int(call.input_tensors[0].shape[-1])
    kernel = getattr(layer, "kernel", None)
    if kernel is None:
        return 0
    # A convolution uses each weight once for each pixel of its result, a transposed one for each of its input.
    pixels = call.input_tensors[0] if isinstance(layer, keras.layers.Conv2DTranspose) else result
    return int(np.prod(kernel.shape)) * _size(pixels.shape[:-1])


def _size(shape: tuple[int, ...]) -> int:
    return int(np.prod(shape[1:]))  # of one image
