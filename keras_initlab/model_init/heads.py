"""Which layers of a model are its heads: nothing with a kernel comes between them and an output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras

from keras_initlab.model_init.graph import Graph
from keras_initlab.model_init.places import layer_places
from keras_initlab.model_init.roles import own_weights

__all__ = ["head_layers", "kernel_layers", "layers_inside"]

_KERNELS = ("kernel", "recurrent_kernel", "embedding", "adapted")


def kernel_layers(model: Any) -> dict[int, tuple[str, Any]]:
    """Place and layer, by ``id`` of the layer, of each that has a kernel or an embedding of its own."""
    return {id(layer): (place, layer) for place, layer in layer_places(model) if _has_kernel(layer)}


def layers_inside(operation: Any) -> list[Any]:
    """The layers with kernels inside a layer, itself included."""
    if not isinstance(operation, keras.Layer):
        return []
    return [layer for layer in operation._flatten_layers() if _has_kernel(layer)]


def head_layers(graph: Graph | None, order: Sequence[int]) -> set[int]:
    """The ``id`` of each layer that is the last with a kernel on a way to an output of the model.

    Args:
        graph: The model's graph; None, or without outputs, where it could not be traced.
        order: The ``id`` of each layer with a kernel in the order of the first calls. Inside a part that could not be
            traced, the one that was called last counts as its head.
    """
    if graph is None or not graph.outputs:
        return set(order[-1:])
    heads: set[int] = set()
    to_output = set(graph.outputs)
    for call in reversed(graph.calls):
        if to_output.isdisjoint(call.outputs):
            continue
        inside = {id(layer) for layer in layers_inside(call.operation)}
        if not inside:
            to_output.update(call.inputs)
        elif call.opaque:
            heads.update([key for key in order if key in inside][-1:])
        else:
            heads.update(inside)
    return heads


def _has_kernel(layer: Any) -> bool:
    return any(weight.role.kind in _KERNELS for weight in own_weights(layer))
