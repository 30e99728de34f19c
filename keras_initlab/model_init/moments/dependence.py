"""Which values of a graph are normal, and which depend on the same random values with no weight between them."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import combinations
from typing import Any

import keras

from keras_initlab.model_init.graph import Call, Graph, Value
from keras_initlab.model_init.moments.arrangement_rules import ARRANGING, UNCHANGED
from keras_initlab.model_init.moments.linear_rules import LINEAR
from keras_initlab.model_init.roles import own_weights

__all__ = ["Dependence", "bends", "relates", "sums_many"]

_MIXING = ("kernel", "recurrent_kernel", "embedding")
# Of normal inputs these make normal outputs, or nearly so.
_KEEPING = (
    *(*ARRANGING, *UNCHANGED, "Cast", "Masking", "Add", "Subtract", "Average", "Negative", "Rescaling"),
    *("GaussianNoise", "BatchNormalization", "LayerNormalization", "RMSNormalization", "GroupNormalization"),
    *(f"{kind}AveragePooling{rank}D" for kind in ("", "Global", "Adaptive") for rank in (1, 2, 3)),
)
# Layers with kernels that end in a sum; others, such as recurrent ones, in a product or an activation.
_SUMS = (*LINEAR, "MultiHeadAttention", "GroupedQueryAttention", "Embedding", "ReversibleEmbedding")
# Of 9 outputs of a ReLU the weighted sum has a kurtosis of 4, and the mean square of its tanh is off by 5 %; of 32, by
# 1 %.
_MANY = 32
# What is further away has been mixed so often that its own law no longer matters.
_LONGEST = 16
_ATTENTION = ("MultiHeadAttention", "GroupedQueryAttention", "Attention", "AdditiveAttention")
# What comes out at one position has a covariance with what comes out at others, whatever the weights are.
_RELATING = (
    *_ATTENTION,
    "RepeatVector",
    "BroadcastTo",
    "Repeat",
    "Tile",
    *(f"UpSampling{rank}D" for rank in (1, 2, 3)),
)
# Sums over positions with weights of one sign, which such a covariance makes larger.
_AVERAGING = (
    *_ATTENTION,
    *(f"{kind}AveragePooling{rank}D" for kind in ("", "Global", "Adaptive") for rank in (1, 2, 3)),
)
_SCALING = ("Multiply", "Divide", "TrueDivide")


class Dependence:
    """What each value of a graph is made from.

    A layer with a kernel mixes its inputs with weights that were drawn independently, so that what comes out has no
    covariance with what went in, on average over the weights, and is normal where many are summed. All others pass on
    what their inputs depend on.

    Args:
        graph: The graph.
    """

    def __init__(self, graph: Graph) -> None:
        self._makers = {value: call for call in graph.calls for value in call.outputs}
        self._order = {call: number for number, call in enumerate(graph.calls)}
        self._mixing = {call for call in graph.calls if _mixes(call.operation)}
        self._summing = {call for call in self._mixing if sums_many(call.operation)}
        self._sources = {value: frozenset([value]) for value in graph.inputs}
        self._normal = set(graph.inputs)
        self._related: set[Value] = set()
        for call in graph.calls:
            passed = frozenset[Value]().union(*(self._of(value) for value in call.inputs))
            mixing = call in self._mixing
            self._sources.update({value: frozenset([value]) if mixing else passed for value in call.outputs})
            if self._makes_normal(call):
                self._normal.update(call.outputs)
            if relates(call.operation) or self._related.intersection(call.inputs):
                self._related.update(value for value in call.outputs if len(value.shape) > 2)

    def independent(self, values: Iterable[Value]) -> bool:
        """Whether no two of these different values depend on the same."""
        return not self._overlapping(set(values))

    def normal(self, values: Iterable[Value]) -> bool:
        """Whether all of these values are normal, over the examples."""
        return self._normal.issuperset(values)

    def mixes(self, call: Call) -> bool:
        """Whether it is a call of a layer with a kernel."""
        return call in self._mixing

    def related(self, call: Call) -> bool:
        """Whether a call averages over positions whose values have a covariance."""
        return type(call.operation).__name__ in _AVERAGING and bool(self._related.intersection(call.inputs))

    def segment(self, call: Call) -> tuple[list[Value], list[Call]]:
        """The smallest part of the graph that ends with a call and begins with independent normal values.

        What goes into a sum of many terms need not be normal, nor what is more than some calls away.

        Returns:
            The values it begins with, and its calls in order, the given one last.
        """
        begin, calls = dict.fromkeys(call.inputs, call not in self._summing), {call}
        related = self._related if self.related(call) else set()
        while open_ := self._overlapping(set(begin)) | self._bent(begin, calls) | related.intersection(begin):
            # One that was made from the others comes later than they do.
            last = max(open_, key=lambda value: self._order[self._makers[value]] if value in self._makers else -1)
            maker, must = self._makers[last], begin.pop(last)
            calls.add(maker)
            for value in maker.inputs:
                begin[value] = begin.get(value, False) or (must and maker not in self._summing)
        made = {value for inner in calls for value in inner.outputs}
        return [value for value in begin if value not in made], sorted(calls, key=self._order.__getitem__)

    def _bent(self, begin: dict[Value, bool], calls: set[Call]) -> set[Value]:
        return set() if len(calls) > _LONGEST else {v for v, must in begin.items() if must and not self.normal([v])}

    def _of(self, value: Value) -> frozenset[Value]:
        return self._sources.get(value, frozenset())

    def _overlapping(self, values: set[Value]) -> set[Value]:
        pairs = (pair for pair in combinations(values, 2) if self._of(pair[0]) & self._of(pair[1]))
        return {value for pair in pairs for value in pair}

    def _makes_normal(self, call: Call) -> bool:
        name, normal = type(call.operation).__name__, self.normal(call.inputs)
        if call in self._mixing:
            if name in LINEAR and bends(call.operation.activation):
                return False
            return (normal and name in LINEAR) or (call in self._summing and name in _SUMS)
        scaling = name in _SCALING and len(call.inputs) == 1
        identity = isinstance(call.operation, keras.layers.Activation) and not bends(call.operation.activation)
        return normal and (name in _KEEPING or scaling or identity)


def bends(activation: Any) -> bool:
    """Whether an activation, as a layer holds it, does more than pass on what it gets."""
    return activation not in (None, keras.activations.linear)


def sums_many(layer: Any) -> bool:
    """Whether a layer with kernels adds up so many inputs that the sum is normal though they are not."""
    weights = {weight.name: weight for weight in own_weights(layer)}
    last = weights.get("pointwise_kernel") or weights.get("kernel")
    fans = last.role.fans(tuple(last.variable.shape)) if last else None
    return fans is None or fans[0] >= _MANY


def relates(operation: Any) -> bool:
    """Whether an operation makes the values of different positions depend on each other."""
    return type(operation).__name__ in _RELATING or isinstance(
        operation, (keras.layers.RNN, keras.layers.Bidirectional)
    )


def _mixes(operation: Any) -> bool:
    if not isinstance(operation, keras.Layer):
        return False
    return any(weight.role.kind in _MIXING for layer in operation._flatten_layers() for weight in own_weights(layer))
