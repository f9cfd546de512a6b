"""EfficientNet-Lite0: the trunk that starts from published ImageNet weights, and the classifier that they come from."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import keras
import numpy as np
from keras import layers

from tfseg.models.conv_norm import conv_norm
from tfseg.models.torch_file import read_tensors

Tensor = Any


class Stage(NamedTuple):
    """A row of the network's table: blocks, kernel size, stride of the first, expansion, channels of the result."""

    blocks: int
    size: int
    stride: int
    expansion: int
    width: int


# Table 1 of Tan and Le, ICML 2019, arXiv:1905.11946, as the Lite variant has it.
STAGES = (
    Stage(1, 3, 1, 1, 16),
    Stage(2, 3, 2, 6, 24),
    Stage(2, 5, 2, 6, 40),
    Stage(3, 3, 2, 6, 80),
    Stage(3, 5, 1, 6, 112),
    Stage(4, 5, 2, 6, 192),
    Stage(1, 3, 1, 6, 320),
)
STEM_WIDTH, HEAD_WIDTH = 32, 1280
_conv_norm = functools.partial(conv_norm, pad="same", epsilon=1e-3, momentum=0.99)


def trunk(image: Tensor, *, stages: int) -> list[Tensor]:
    """Return the result of each of the first stages of EfficientNet-Lite0, from half of the resolution down.

    The network is EfficientNet-B0 (Tan and Le, ICML 2019, arXiv:1905.11946) without squeeze-and-excitation and with
    ReLU6 in place of SiLU, as its authors publish it for phones.

    Args:
        image: (B, H, W, C) in [0, 1], which the published weights expect to be prepared (see `classifier`); tfseg
            folds that into the first convolution.
        stages: how many of STAGES.
    """
    x = _conv_norm(image, STEM_WIDTH, 3, stride=2, activation="relu6", name="stem")
    results, number = [], 0
    for stage in STAGES[:stages]:
        for index in range(stage.blocks):
            number += 1
            x = _block(x, stage, stride=1 if index else stage.stride, name=f"block{number}")
        results.append(x)
    return results


def _block(x: Tensor, stage: Stage, *, stride: int, name: str) -> Tensor:
    """Inverted residual: expand, convolve each channel, project; add where shape and place allow."""
    identity, width = x, x.shape[-1]
    if stage.expansion > 1:
        x = _conv_norm(x, width * stage.expansion, 1, activation="relu6", name=f"{name}_expand")
    x = _conv_norm(
        x, x.shape[-1], stage.size, stride=stride, depthwise=True, activation="relu6", name=f"{name}_depthwise"
    )
    x = _conv_norm(x, stage.width, 1, activation=None, name=f"{name}_project")
    return layers.Add(name=f"{name}_add")([x, identity]) if stride == 1 and width == stage.width else x


def classifier(weights: Path | None = None, *, image_size: int = 224) -> keras.Model:
    """Build the whole EfficientNet-Lite0 with its head for the 1,000 classes of ImageNet.

    Args:
        weights: the published file in PyTorch's format; None leaves random numbers.
        image_size: height and width of the images, in pixels.

    Returns:
        A model from (B, S, S, 3) RGB images in [0, 255], as all published classifiers take them (networks of tfseg
        take [0, 1]), to (B, 1000) logits. Its layer `preparation` computes what the weights expect:
        (image - 127) / 128.

    Raises:
        InputError: the file is no such file.
    """
    image = keras.Input((image_size, image_size, 3), name="image")
    x = layers.Rescaling(1 / 128, -127 / 128, name="preparation")(image)
    x = trunk(x, stages=len(STAGES))[-1]
    x = _conv_norm(x, HEAD_WIDTH, 1, activation="relu6", name="last")
    x = layers.GlobalAveragePooling2D(name="pool")(x)
    model = keras.Model(image, layers.Dense(1000, name="classes")(x), name="efficientnet_lite0")
    if weights is not None:
        tensors = read_tensors(weights)
        for variable in model.variables:
            variable.assign(_published(variable.path, tensors))
    return model


def _published(path: str, tensors: dict[str, np.ndarray]) -> np.ndarray:
    """Return what a published file holds for a variable of `classifier`, in Keras' layout."""
    layer, _, kind = path.rpartition("/")
    if layer == "classes":
        return tensors["_fc.weight"].T if kind == "kernel" else tensors["_fc.bias"]
    value = tensors[f"{_module(layer)}.{_KINDS[kind]}"]
    if value.ndim < 4:
        return value
    return value.transpose(2, 3, 0, 1) if layer.endswith("depthwise_conv") else value.transpose(2, 3, 1, 0)


_KINDS = {
    "kernel": "weight",
    "gamma": "weight",
    "beta": "bias",
    "moving_mean": "running_mean",
    "moving_variance": "running_var",
}


def _module(layer: str) -> str:
    """Return the published name of one of our layers.

    >>> _module("stem_norm"), _module("block1_depthwise_norm"), _module("block2_expand_conv"), _module("last_norm")
    ('_bn0', '_blocks.0._bn1', '_blocks.1._expand_conv', '_bn1')
    """
    outer = {"stem_conv": "_conv_stem", "stem_norm": "_bn0", "last_conv": "_conv_head", "last_norm": "_bn1"}
    if layer in outer:
        return outer[layer]
    block, part, kind = layer.split("_")
    norms = {"expand": "_bn0", "depthwise": "_bn1", "project": "_bn2"}
    return f"_blocks.{int(block.removeprefix('block')) - 1}.{norms[part] if kind == 'norm' else f'_{part}_conv'}"
