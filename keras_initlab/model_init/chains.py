"""Layers of one activation in a row, with nothing between them that would bring the signal back to its scale."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.model_init.following import Following, passes_on, weighted_layers
from keras_initlab.model_init.graph import Call, Graph, Value
from keras_initlab.theory.activations import identify

__all__ = ["Link", "chains"]

# The layers whose one kernel makes their output, which a bias may follow.
_LINKS = (
    *(keras.layers.Dense, keras.layers.EinsumDense, keras.layers.Conv1D, keras.layers.Conv2D, keras.layers.Conv3D),
    *(keras.layers.Conv1DTranspose, keras.layers.Conv2DTranspose, keras.layers.Conv3DTranspose),
    *(keras.layers.DepthwiseConv1D, keras.layers.DepthwiseConv2D),
)


@dataclass(frozen=True)
class Link:
    """A layer's place in its chain.

    Attributes:
        depth: Layers of the chain that it is in: those of its own activation.
        before: Activation and depth of the chain that its input comes from straight; None where it does not.
    """

    depth: int = 1
    before: tuple[Any, int] | None = None


def chains(graph: Graph, after: Mapping[int, Following]) -> dict[int, Link]:
    """The chains of a graph, by ``id`` of the layer; a shared layer's first call counts.

    Args:
        graph: The model's.
        after: What comes after each layer's weights.
    """
    behind: dict[Value, Any] = {}  # the layer whose signal a value is, straight
    previous: dict[int, Any] = {}
    links: list[Any] = []
    for call in graph.calls:
        sources = {id(behind.get(value)): behind.get(value) for value in call.inputs}
        source = next(iter(sources.values())) if len(sources) == 1 else None
        link, readers = _link(call), _readers(call)
        straight = source is not None and passes_on(call) and not _restores_scale(call)
        behind.update(dict.fromkeys(call.outputs, link if readers else source if straight else None))
        links += [link] if link is not None and id(link) not in previous else []
        for layer in readers:
            previous.setdefault(id(layer), source)
    return _measured(links, previous, after)


def _readers(call: Call) -> list[Any]:
    """The layers with kernels that take the call's input itself."""
    layers = weighted_layers(call.operation)
    attention = isinstance(call.operation, (keras.layers.MultiHeadAttention, keras.layers.GroupQueryAttention))
    return layers[:-1] if attention else layers


def _link(call: Call) -> Any:
    operation = call.operation
    if isinstance(operation, keras.layers.TimeDistributed):
        operation = operation.layer
    own = isinstance(operation, _LINKS) and weighted_layers(operation) == [operation]
    return operation if own else None


def _restores_scale(call: Call) -> bool:
    name = type(call.operation).__name__
    return (len(call.inputs) > 1 and name != "Concatenate") or "Normalization" in name


def _measured(links: list[Any], previous: Mapping[int, Any], after: Mapping[int, Following]) -> dict[int, Link]:
    """Depths by one pass forward, for the place in the chain, and one backward, for its length."""
    keys = {id(layer): _key(after[id(layer)].activation) for layer in links}
    depth: dict[int, int] = {}

    def same(layer: Any) -> Any:
        source = previous[id(layer)]
        alike = source is not None and keys[id(layer)] is not None and keys[id(source)] == keys[id(layer)]
        return source if alike else None

    for layer in links:
        source = same(layer)
        depth[id(layer)] = 1 if source is None else depth[id(source)] + 1
    for layer in reversed(links):
        if (source := same(layer)) is not None:
            depth[id(source)] = max(depth[id(source)], depth[id(layer)])
    found = {}
    for identity, source in previous.items():
        activation = None if source is None else after[id(source)].activation
        before = None if activation is None else (activation, depth[id(source)])
        found[identity] = Link(depth.get(identity, 1), before)
    return found


def _key(activation: Any) -> Any:
    """Equal for equal activations, however they are given; None for what is no function of one number."""
    if activation is None:
        return None
    try:
        return identify(activation)
    except (ValueError, TypeError):
        return None
