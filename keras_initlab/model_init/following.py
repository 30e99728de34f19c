"""What comes after a layer's weights: the activation that its gain follows, and the sum that its output goes into."""

from __future__ import annotations

import functools
import inspect
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.model_init.graph import Call, Graph
from keras_initlab.model_init.places import layer_places, snake_case
from keras_initlab.model_init.roles import own_weights
from keras_initlab.model_init.sums import SUMS, residual_sums, sums_of
from keras_initlab.theory.formulas import FORMULAS

__all__ = ["Following", "activation_of", "after_weights", "is_recurrent", "passes_on", "weighted_layers"]

# They pass a signal on, or give each unit another scale, and leave the gain to what comes behind them.
_TRANSPARENT = (
    *("Reshape", "Flatten", "Permute", "Transpose", "Squeeze", "ExpandDims", "Swapaxes", "Moveaxis", "Identity"),
    *("Dropout", "AlphaDropout", "GaussianNoise", "GaussianDropout", "Masking", "ActivityRegularization"),
    *("RepeatVector", "Cast", "GetItem", "Rescaling", "Pad", "Concatenate", "UnitNormalization", "Negative"),
    *("Stack", "Split", "BroadcastTo", "Mean", "MaxPool", "AveragePool"),
)
_TRANSPARENT_FAMILIES = ("SpatialDropout", "ZeroPadding", "Cropping", "UpSampling", "Pooling")
_NORMALIZATIONS = ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
# By a number they pass a signal on; the product of two signals is neither of them.
_SCALINGS = ("Multiply", "TrueDivide", "Divide")
# Operations that Keras names otherwise than the activation.
_RENAMED = {"ReLU": "relu", "Exp": "exponential"}
# What comes after the probabilities of a head is the loss, which wants logits of order one.
_PROBABILITIES = ("softmax", "sigmoid", "log_softmax", "sparsemax", "sparse_sigmoid", "hard_sigmoid", "log_sigmoid")


@dataclass(frozen=True)
class Following:
    """What comes after the weights of one layer.

    Attributes:
        activation: As ``theory.gain`` takes it; None where the next is linear, or the model's end.
        terms: k where the output goes into a sum of k branches with weights, ``(a + b) + c`` being one of three;
            their product where sums follow one another; 1 otherwise.
        residual_sums: L where the output is added to what has passed by, in one of L such sums in a row; 0 otherwise.
    """

    activation: Any = None
    terms: int = 1
    residual_sums: int = 0


def after_weights(graph: Graph) -> dict[int, Following]:
    """What comes after each layer that has kernels, by ``id`` of the layer; a shared layer's first call counts."""
    walker = _Walker(graph)
    found: dict[int, Following] = {}
    for call in graph.calls:
        for layer in weighted_layers(call.operation):
            fused = None if is_recurrent(layer) else _unless_linear(getattr(layer, "activation", None))
            last = layer is _last_inside(call.operation)
            found.setdefault(id(layer), walker.following(call, fused) if last else Following(fused))
    return found


def weighted_layers(operation: Any) -> list[Any]:
    """The layers with kernels in a call, in order."""
    if not isinstance(operation, keras.Layer):
        return []
    return [
        layer
        for _, layer in layer_places(operation)
        if any(weight.role.kind == "kernel" for weight in own_weights(layer))
    ]


def is_recurrent(layer: Any) -> bool:
    """Whether the layer is a recurrent cell: its activations are those of its gates and state."""
    return any(weight.role.kind == "recurrent_kernel" for weight in own_weights(layer))


def activation_of(operation: Any) -> Any:
    """The activation that a layer or operation is and does nothing else, as ``theory.gain`` takes it, or None."""
    layers = keras.layers
    if isinstance(operation, layers.Activation):
        return _unless_linear(operation.activation)
    if isinstance(operation, layers.PReLU):
        return layers.LeakyReLU(float(keras.ops.mean(operation.alpha)))
    if isinstance(operation, (layers.ReLU, layers.LeakyReLU, layers.ELU)):
        return operation
    if isinstance(operation, layers.Softmax):
        return keras.activations.softmax
    name = type(operation).__name__
    name = _RENAMED.get(name) or snake_case(name)
    if isinstance(operation, keras.Layer) or (name not in FORMULAS and name not in _PROBABILITIES):
        return None
    return _as_called(getattr(keras.activations, name), operation)


def _as_called(activation: Any, operation: Any) -> Any:
    """An activation with the slope, threshold and so on of an operation, where they are not the defaults."""
    parameters = list(inspect.signature(activation).parameters.values())[1:]
    values = {p.name: getattr(operation, p.name, p.default) for p in parameters}
    values = {p.name: values[p.name] for p in parameters if values[p.name] != p.default}
    return functools.partial(activation, **values) if values else activation


def _unless_linear(activation: Any) -> Any:
    return None if activation is keras.activations.linear else activation


def _last_inside(operation: Any) -> Any:
    """The layer whose output is the call's output: itself, the wrapped one, the last projection of an attention."""
    layers = [layer for layer in weighted_layers(operation) if not is_recurrent(layer)]
    return layers[-1] if layers else None


class _Walker:
    """Follows signals through a graph up to the next weights. Sets of calls are the bits of an integer."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.numbers = {id(call): number for number, call in enumerate(graph.calls)}
        self.weighted = sum(1 << number for number, call in enumerate(graph.calls) if weighted_layers(call.operation))
        self.sums = sums_of(graph, self.weighted)
        self.residual_sums = residual_sums(graph, self.sums)

    def following(self, call: Call, fused: Any) -> Following:
        """What comes after one call that has weights."""
        bit = 1 << self.numbers[id(call)]
        activation, settled, terms, residual = fused, fused is not None, 1, False
        reached = dict.fromkeys(call.outputs, False)  # what the output passes into, and whether it was normalized
        for number, later in enumerate(self.graph.calls):
            normalized = [reached[value] for value in later.inputs if value in reached]
            if not normalized:
                continue
            if self.weighted >> number & 1:
                settled = True  # the next weights take it as it is
                continue
            if not settled:
                activation = activation_of(later.operation)
                settled = activation is not None
            total = self.sums.get(id(later))
            if total and not residual and not all(normalized) and any(bit & branch for branch in total.branches):
                terms *= total.terms()
                residual = total.residual
            if passes_on(later):
                reached.update(dict.fromkeys(later.outputs, all(normalized) or _is(later, _NORMALIZATIONS)))
        if getattr(activation, "__name__", "") in _PROBABILITIES and not reached.keys().isdisjoint(self.graph.outputs):
            activation = None
        return Following(activation, terms, self.residual_sums if residual else 0)


def _is(call: Call, names: tuple[str, ...]) -> bool:
    return type(call.operation).__name__ in names


def passes_on(call: Call) -> bool:
    """Whether what comes out is still the signal that went in."""
    if activation_of(call.operation) is not None or _is(call, SUMS + _TRANSPARENT + _NORMALIZATIONS):
        return True
    if _is(call, _SCALINGS):
        return len(set(call.inputs)) == 1
    name = type(call.operation).__name__
    return name == "Activation" or any(family in name for family in _TRANSPARENT_FAMILIES)
