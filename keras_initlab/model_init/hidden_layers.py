"""The hidden layers that can be pre-trained, and what the model does with their outputs."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.model_init.autoencoder import CONVOLUTIONS
from keras_initlab.model_init.following import activation_of
from keras_initlab.model_init.graph import Call, Graph, Value, trace
from keras_initlab.model_init.heads import head_layers, kernel_layers, layers_inside
from keras_initlab.model_init.layer_inputs import calls_of
from keras_initlab.model_init.roles import own_weights

__all__ = ["HiddenLayer", "hidden_layers"]


@dataclass(frozen=True)
class HiddenLayer:
    """A layer to be pre-trained.

    Attributes:
        place: Its name in the model.
        layer: The layer.
        calls: How many of its calls in one pass are read.
        after: What the model does with its output up to the next activation, in inference mode.
    """

    place: str
    layer: Any
    calls: int
    after: Callable[[Any], Any]


def hidden_layers(model: Any, x: Any) -> tuple[list[HiddenLayer], list[str]]:
    """The Dense layers and convolutions before the heads in the order of execution, and notes on all that is left out.

    Args:
        model: A built model.
        x: A small batch of NumPy arrays.

    Raises:
        ValueError: The model does not take ``x``, or has no such layer.
    """
    places = kernel_layers(model)
    calls = _first_pass(model, [layer for _, layer in places.values()], x)
    graph = _graph(model)
    heads = head_layers(graph, list(calls))
    found: list[HiddenLayer] = []
    notes = [f"Left out: {place}, since it is not called." for key, (place, _) in places.items() if key not in calls]
    for key, inputs in calls.items():
        place, layer = places[key]
        why_not = "it is a head" if key in heads else _why_not(layer, inputs)
        if why_not:
            notes.append(f"Left out: {place}, since {why_not}.")
            continue
        alike = _first_alike(inputs)
        if alike < len(inputs):
            notes.append(f"{place}: trained on its first {alike} of {len(inputs)} inputs, which are of one shape.")
        found.append(HiddenLayer(place, layer, alike, _until_activation(graph, layer)))
    if not found:
        kinds = ", ".join(f"{place} ({type(layer).__name__})" for place, layer in places.values()) or "none"
        raise ValueError(
            "Argument `model` must have a Dense layer or a convolution before its head that can be pre-trained. "
            f"Received: {model.name!r}, whose layers with kernels are: {kinds}. {' '.join(notes)}"
        )
    return found, notes


def _first_pass(model: Any, layers: list[Any], x: Any) -> dict[int, list[Any]]:
    try:
        return calls_of(model, layers, x)
    except Exception as error:  # whatever a model raises when it is given what it does not take
        shapes = ", ".join(str(array.shape) for array in keras.tree.flatten(x))
        raise ValueError(
            f"Argument `x` must be what the model {model.name!r} takes. Received: a batch of shape {shapes}. "
            f"The model says: {error}"
        ) from error


def _graph(model: Any) -> Graph | None:
    try:
        return trace(model)
    except Exception:  # whatever the code of a model raises when it is given symbolic tensors
        return None


def _why_not(layer: Any, inputs: list[Any]) -> str:
    """Why a layer can't be trained; "" if it can."""
    if not isinstance(layer, (keras.layers.Dense, *CONVOLUTIONS)):
        return f"it is of type {type(layer).__name__}"
    if any(weight.role.kind == "adapted" for weight in own_weights(layer)):
        return "it is quantized or under low-rank adaptation"
    if not layer.trainable_variables:
        return "it is frozen"
    if inputs[0] is None:
        return "it runs inside a loop or a compiled function"
    return ""


def _first_alike(inputs: list[Any]) -> int:
    """How many inputs have the shape of the first before one has another: images may come in several sizes."""
    shapes = [None if h is None else h.shape for h in inputs]
    return len(list(itertools.takewhile(lambda shape: shape == shapes[0], shapes)))


def _until_activation(graph: Graph | None, layer: Any) -> Callable[[Any], Any]:
    """Normalization, dropout and the activation that stand behind a layer without an activation of its own."""
    steps = [] if graph is None else _steps(graph, layer)

    def after(h: Any) -> Any:
        for call in steps:
            args, kwargs = keras.tree.map_structure(
                lambda leaf, h=h: h if isinstance(leaf, Value) else leaf, (call.args, call.kwargs)
            )
            if isinstance(call.operation, keras.Layer):
                kwargs = {**kwargs, "training": False}
            h = call.operation(*args, **kwargs)
        return h

    return after


def _steps(graph: Graph, layer: Any) -> list[Call]:
    call = next((call for call in graph.calls if call.operation is layer), None)
    if call is None or getattr(layer, "activation", None) not in (None, keras.activations.linear):
        return []
    consumers = graph.consumers()
    steps: list[Call] = []
    while len(consumers.get(call.outputs[0], [])) == 1:
        value = call.outputs[0]
        call = consumers[value][0]
        alone = len(call.inputs) == len(call.outputs) == 1 and call.outputs[0].shape == value.shape
        if not alone or layers_inside(call.operation):
            break
        steps.append(call)
        if activation_of(call.operation) is not None:
            return steps
    return []
