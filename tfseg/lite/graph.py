"""A functional Keras network as a table of layers that can be rewritten, called layer by layer, and built again."""

import itertools
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import keras

Tensor = Any


@dataclass
class Node:
    """A layer, called once.

    Attributes:
        layer: what is called; the network's own input has a keras.layers.InputLayer.
        inputs: names of the nodes whose results it takes, in order.
        shape: (H, W, C), or whatever follows the batch axis, of its result.
    """

    layer: keras.Layer
    inputs: tuple[str, ...]
    shape: tuple[int, ...]


class Graph:
    """The layers of a network with one input and one output, by name, each after those that it needs.

    A layer that is called several times becomes as many layers with the same numbers: NAME, NAME_2, ...

    Attributes:
        nodes: name -> Node.
        input: name of the node of the image.
        output: name of the node of the result.
    """

    def __init__(self, model: keras.Model) -> None:
        """Read a functional model, whose layers are shared and never changed."""
        (target,) = model.outputs
        (source,) = model.inputs
        self.nodes: dict[str, Node] = {}
        self.input = source._keras_history.operation.name
        self.model_name = model.name
        order = {layer.name: place for place, layer in enumerate(model.layers)}
        names: dict[Any, str] = {}
        for _, calls in sorted(model._nodes_by_depth.items(), reverse=True):
            for call in sorted(calls, key=lambda call: order[call.operation.name]):
                layer = _another(call.operation, self.nodes) if call.operation.name in self.nodes else call.operation
                names[call] = layer.name
                parents = tuple(names[_maker(tensor)] for tensor in call.input_tensors)
                self.nodes[layer.name] = Node(layer, parents, tuple(call.output_tensors[0].shape[1:]))
        self.output = names[_maker(target)]

    def parent(self, name: str) -> str:
        """Return the node whose result `name`, which has one input, takes."""
        (parent,) = self.nodes[name].inputs
        return parent

    def consumers(self, name: str) -> list[str]:
        """Return the nodes that take the result of `name`."""
        return [other for other, node in self.nodes.items() if name in node.inputs]

    def only_consumer(self, name: str) -> str | None:
        """Return the one node that takes the result of `name`, or None: there are others, or it is the output."""
        users = self.consumers(name)
        return users[0] if len(users) == 1 and name != self.output else None

    def replace(self, name: str, new: Sequence[tuple[str, keras.Layer, tuple[str, ...]]]) -> None:
        """Put nodes (name, layer, inputs) in the place of `name`; the last of them takes over its consumers."""
        table: dict[str, Node] = {}
        last = new[-1][0]
        for key, node in self.nodes.items():
            if key == name:
                for added, layer, inputs in new:
                    shapes = [(1, *table[parent].shape) for parent in inputs]
                    shape = layer.compute_output_shape(shapes if len(shapes) > 1 else shapes[0])
                    table[added] = Node(layer, inputs, tuple(shape[1:]))
            else:
                node.inputs = tuple(last if parent == name else parent for parent in node.inputs)
                table[key] = node
        self.nodes = table
        if self.output == name:
            self.output = last

    def bypass(self, name: str) -> None:
        """Take out a node that has one input; its consumers take that."""
        (parent,) = self.nodes.pop(name).inputs
        for node in self.nodes.values():
            node.inputs = tuple(parent if other == name else other for other in node.inputs)
        if self.output == name:
            self.output = parent

    def prune(self) -> None:
        """Take out what the output does not need."""
        needed, waiting = set(), [self.output]
        while waiting:
            name = waiting.pop()
            if name not in needed:
                needed.add(name)
                waiting += self.nodes[name].inputs
        self.nodes = {name: node for name, node in self.nodes.items() if name in needed or name == self.input}

    def call(self, image: Tensor, apply: Callable[[str, keras.Layer, Any], Tensor]) -> Tensor:
        """Return the result for an image; `apply(name, layer, inputs)` calls a layer with its input or their list."""
        values = {self.input: image}
        for name, node in self.nodes.items():
            if name != self.input:
                inputs = [values[parent] for parent in node.inputs]
                values[name] = apply(name, node.layer, inputs if len(inputs) > 1 else inputs[0])
        return values[self.output]

    def model(self) -> keras.Model:
        """Build a model of the layers as they are now."""
        image = keras.Input(self.nodes[self.input].shape, name=self.input)
        return keras.Model(image, self.call(image, lambda _, layer, inputs: layer(inputs)), name=self.model_name)


def _maker(tensor: Any) -> Any:
    """Return the call of a layer that a Keras tensor comes from."""
    layer, index, _ = tensor._keras_history
    return layer._inbound_nodes[index]


def _another(layer: keras.Layer, known: Collection[str]) -> keras.Layer:
    """Return a layer with the numbers of one that is called once more, and the next name that is free."""
    name = next(name for count in itertools.count(2) if (name := f"{layer.name}_{count}") not in known)
    copy = type(layer).from_config(layer.get_config() | {"name": name})
    copy.build_from_config(layer.get_build_config())
    copy.set_weights(layer.get_weights())
    return copy
