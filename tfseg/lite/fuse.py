"""Exact rewriting of a network before it is converted: fewer multiplications, the same results.

What is linear can be multiplied out beforehand, and what commutes can run where the map is smaller:

- A convolution and the 1x1 convolution after it are one convolution. With "same" padding, too: the zeros go around the
  input of the first, and the second looks at one pixel, so that the first one's bias passes through it exactly.
- A 1x1 convolution of an enlarged map is the enlarged 1x1 convolution of the small map, bias included, since the
  weights of an interpolation add up to 1. One pixel needs no enlarging at all where it is added.
- A 1x1 convolution of concatenated maps is the sum of 1x1 convolutions of each.
- Batch norm goes into the convolution before it; or into all those after it, where none pads the map with zeros; or
  becomes a 1x1 depthwise convolution, one operation instead of two.
- A constant factor goes into the convolution before it.
- The sum of convolutions of one map, such as depthwise ones with kernels of several sizes, is one convolution with the
  largest kernel, where that multiplies no more.

One rule multiplies more: groups of less than eight channels are joined to groups of eight, with zeros. Processors
multiply so many at once anyway: on an AMD EPYC Lighter U-Net @2 becomes 2.4 times faster in 8 bits, @4 1.5 times; with
groups of 16 both lose again. And GPU delegates take a convolution by groups of two apart, into one for each.
"""

from collections.abc import Callable

import keras
import numpy as np
from keras import layers

from tfseg.lite import kernels
from tfseg.lite.graph import Graph

_IDLE = (layers.Dropout, layers.SpatialDropout2D)
_WIDTH = 8  # channels of a group
_MOVES = (layers.Reshape, layers.Permute)  # they leave every number as it is


def fuse(model: keras.Model) -> keras.Model:
    """Return a network with the same results, to float32 rounding, in fewer operations that each pay.

    Layers that stay are shared with `model`. A layer that does the work of several has the name of the last convolution
    among them; one that was split becomes NAME_0, NAME_1, ... and NAME_sum.
    """
    graph = Graph(model)
    rules = (
        _drop_idle, _fold_norm_back, _fold_norm_forward, _fold_scale, _fuse_pair, _move_down, _split, _broadcast,
        _add_up,
    )  # fmt: skip
    while any(_sweep(graph, rule) for rule in rules):
        pass
    for name, node in graph.nodes.items():
        if isinstance(node.layer, layers.BatchNormalization):
            node.layer = kernels.depthwise(*_affine(node.layer), node.shape, name)
        elif isinstance(node.layer, layers.Conv2D) and (groups := _wide_groups(node.layer)) < node.layer.groups:
            node.layer = kernels.regrouped(node.layer, graph.nodes[node.inputs[0]].shape, groups)
    return graph.model()


def _sweep(graph: Graph, rule: Callable[[Graph, str], bool]) -> bool:
    """Apply a rule to every layer, and say whether it changed anything."""
    changed = False
    for name in list(graph.nodes):
        if name in graph.nodes and rule(graph, name):
            graph.prune()  # what nothing needs any more must not count as a consumer
            changed = True
    return changed


def _drop_idle(graph: Graph, name: str) -> bool:
    if not isinstance(graph.nodes[name].layer, _IDLE):
        return False
    graph.bypass(name)
    return True


def _fold_norm_back(graph: Graph, name: str) -> bool:
    """Convolution, then batch norm: scale the convolution's outputs."""
    norm = graph.nodes[name].layer
    if not isinstance(norm, layers.BatchNormalization):
        return False
    above = graph.parent(name)
    if not kernels.is_linear(graph.nodes[above].layer) or graph.only_consumer(above) != name:
        return False
    _scale_outputs(graph, above, *_affine(norm))
    graph.bypass(name)
    return True


def _fold_norm_forward(graph: Graph, name: str) -> bool:
    """Batch norm, then convolutions that do not pad with zeros: scale their inputs."""
    norm, users = graph.nodes[name].layer, [graph.nodes[user] for user in graph.consumers(name)]
    if not isinstance(norm, layers.BatchNormalization) or name == graph.output:
        return False
    if not all(kernels.sees_no_border(user.layer) for user in users):
        return False
    for user in users:
        user.layer = kernels.scaled_inputs(user.layer, graph.nodes[name].shape, *_affine(norm))
    graph.bypass(name)
    return True


def _fold_scale(graph: Graph, name: str) -> bool:
    """Convolution, layers that only move numbers, multiplication by one number: scale the convolution's outputs."""
    factor = graph.nodes[name].layer
    if not isinstance(factor, layers.Rescaling) or np.ndim(factor.scale) or factor.offset != 0:
        return False
    below, above = name, graph.parent(name)
    while isinstance(graph.nodes[above].layer, _MOVES) and graph.only_consumer(above) == below:
        below, above = above, graph.parent(above)
    if not kernels.is_linear(graph.nodes[above].layer) or graph.only_consumer(above) != below:
        return False
    channels = graph.nodes[above].shape[-1]
    _scale_outputs(graph, above, np.full(channels, float(factor.scale)), np.zeros(channels))
    graph.bypass(name)
    return True


def _fuse_pair(graph: Graph, name: str) -> bool:
    """Convolution, then 1x1 convolution: one convolution, where it costs fewer multiplications."""
    node = graph.nodes[name]
    if not kernels.is_point(node.layer):
        return False
    above = graph.parent(name)
    first = graph.nodes[above]
    if graph.only_consumer(above) != name or not _pays(first.layer, node.layer):
        return False
    node.layer = kernels.product(first.layer, node.layer, graph.nodes[first.inputs[0]].shape)
    node.inputs = first.inputs
    return True


def _move_down(graph: Graph, name: str) -> bool:
    """Enlarge, then 1x1 convolution: convolve first."""
    layer = graph.nodes[name].layer
    if not kernels.is_point(layer) or not kernels.is_linear(layer):
        return False
    above = graph.parent(name)
    enlarge = graph.nodes[above].layer
    if not isinstance(enlarge, layers.UpSampling2D) or graph.only_consumer(above) != name:
        return False
    later = type(enlarge).from_config(enlarge.get_config() | {"name": f"{name}_upsample"})
    graph.replace(name, [(name, layer, graph.nodes[above].inputs), (later.name, later, (name,))])
    return True


def _split(graph: Graph, name: str) -> bool:
    """Concatenate, then 1x1 convolution: convolve by itself what gains from it, and add."""
    layer = graph.nodes[name].layer
    if not kernels.is_point(layer) or not kernels.is_linear(layer):
        return False
    above = graph.parent(name)
    concat = graph.nodes[above]
    if not isinstance(concat.layer, layers.Concatenate) or concat.layer.axis not in (-1, len(concat.shape)):
        return False
    alone = [source for source in concat.inputs if _gains_alone(graph, source, above, layer)]
    if graph.only_consumer(above) != name or not alone:
        return False
    ends = np.cumsum([graph.nodes[source].shape[-1] for source in concat.inputs])
    places = dict(zip(concat.inputs, np.split(np.arange(ends[-1]), ends[:-1]), strict=True))
    rest = tuple(source for source in concat.inputs if source not in alone)
    new: list[tuple[str, keras.Layer, tuple[str, ...]]] = []
    parts = []
    for number, sources in enumerate(filter(None, (rest, *((source,) for source in alone)))):
        channels = np.concatenate([places[source] for source in sources])
        part = kernels.part(
            layer, (*concat.shape[:-1], len(channels)), channels, bias=number == 0, name=f"{name}_{number}"
        )
        if len(sources) > 1:
            new.append((f"{name}_concat", layers.Concatenate(name=f"{name}_concat"), sources))
            sources = (f"{name}_concat",)
        new.append((part.name, part, sources))
        parts.append(part.name)
    graph.replace(name, [*new, (f"{name}_sum", layers.Add(name=f"{name}_sum"), tuple(parts))])
    return True


def _broadcast(graph: Graph, name: str) -> bool:
    """Enlarge one pixel, then add: addition spreads it by itself."""
    node, user = graph.nodes[name], graph.only_consumer(name)
    if not isinstance(node.layer, layers.UpSampling2D) or graph.nodes[node.inputs[0]].shape[:2] != (1, 1):
        return False
    if user is None or not isinstance(graph.nodes[user].layer, layers.Add):
        return False
    if not any(graph.nodes[other].shape == node.shape for other in graph.nodes[user].inputs if other != name):
        return False
    graph.bypass(name)
    return True


def _add_up(graph: Graph, name: str) -> bool:
    """Convolutions of one map, then their sum: one convolution."""
    node = graph.nodes[name]
    if not isinstance(node.layer, layers.Add):
        return False
    alone = [source for source in node.inputs if graph.only_consumer(source) == name]
    convolutions = [source for source in alone if isinstance(graph.nodes[source].layer, kernels.CONVOLUTIONS)]
    for first in convolutions:
        above, layer = graph.parent(first), graph.nodes[first].layer
        same = [other for other in convolutions if graph.parent(other) == above]
        same = [other for other in same if kernels.adds_up(layer, graph.nodes[other].layer)]
        parts = [graph.nodes[other].layer for other in same]
        if len(same) < 2:
            continue
        whole = kernels.total(parts, graph.nodes[above].shape)
        if kernels.multiplications(whole) <= sum(map(kernels.multiplications, parts)):
            graph.nodes[same[-1]].layer = whole
            node.inputs = tuple(source for source in node.inputs if source not in same[:-1])
            if len(node.inputs) == 1:
                graph.bypass(name)
            return True
    return False


def _gains_alone(graph: Graph, source: str, concat: str, layer: keras.Layer) -> bool:
    """Whether a 1x1 convolution of this input of a concatenation costs less by itself."""
    node = graph.nodes[source]
    if graph.only_consumer(source) != concat:
        return False
    if isinstance(node.layer, layers.UpSampling2D):
        return True
    return kernels.is_linear(node.layer) and _pays(node.layer, layer)


def _pays(first: keras.Layer, second: keras.Layer) -> bool:
    """Whether a convolution and the 1x1 convolution after it are cheaper as one."""
    if not kernels.is_linear(first) or isinstance(first, layers.Conv2DTranspose):
        return False
    height, width, channels, outputs = kernels.dense_shape(first)
    point = outputs * second.filters  # `second` may see more channels than these
    return height * width * channels * second.filters < kernels.multiplications(first) + point


def _wide_groups(layer: keras.Layer) -> int:
    """Return by how many groups a convolution is best computed; a depthwise one is another matter."""
    groups, narrowest = layer.groups, min(layer.kernel.shape[2] * layer.groups, layer.filters)
    while layer.kernel.shape[2] > 1 and groups % 2 == 0 and narrowest // groups < _WIDTH:
        groups //= 2
    return groups


def _scale_outputs(graph: Graph, name: str, scale: np.ndarray, shift: np.ndarray) -> None:
    node = graph.nodes[name]
    node.layer = kernels.scaled_outputs(node.layer, graph.nodes[node.inputs[0]].shape, scale, shift)


def _affine(norm: keras.Layer) -> tuple[np.ndarray, np.ndarray]:
    """Return what batch norm multiplies each channel by, and what it then adds."""
    mean, variance = (np.asarray(value, np.float64) for value in (norm.moving_mean, norm.moving_variance))
    scale = 1 / np.sqrt(variance + norm.epsilon)
    if norm.scale:
        scale = scale * np.asarray(norm.gamma, np.float64)
    shift = -mean * scale
    return scale, shift + np.asarray(norm.beta, np.float64) if norm.center else shift
