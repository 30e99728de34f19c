"""The engine: moments carried through a graph, call after call."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import keras
import numpy as np

from keras_initlab.model_init.graph import Call, Graph, Value

# Entered by being imported.
from keras_initlab.model_init.moments import (  # noqa: F401
    activation_rules,
    arrangement_rules,
    attention_rules,
    elementwise_rules,
    linear_rules,
    normalization_rules,
    pooling_rules,
)
from keras_initlab.model_init.moments.activated import Activated
from keras_initlab.model_init.moments.dependence import Dependence, bends, sums_many
from keras_initlab.model_init.moments.linear_rules import LINEAR
from keras_initlab.model_init.moments.rules import ABOUT, Moments, rule_for, weights
from keras_initlab.model_init.moments.sampled import measured

__all__ = ["UNKNOWN_SIZE", "Propagation", "no_moments", "sizes_of"]

_LARGEST = tuple(f"{kind}MaxPooling{rank}D" for kind in ("", "Global", "Adaptive") for rank in (1, 2, 3))

UNKNOWN_SIZE = 16
"""Taken for the sizes that a model leaves open."""


def sizes_of(value: Value) -> tuple[int, ...]:
    """The shape of one example."""
    return tuple(UNKNOWN_SIZE if size is None else size for size in value.shape[1:])


def no_moments(shape: tuple[int, ...]) -> Moments:
    """What stands for the moments of a tensor that holds no floats."""
    return Moments(np.full(shape, np.nan), np.full(shape, np.nan))


@dataclass
class Propagation:
    """Moments of every value of a graph.

    Args:
        graph: The graph.
        moments: Of the graph's inputs; those of all other values are added.
        strict: Whether a call without a rule is refused rather than measured.
        notes: What there is to say of a call.

    Raises:
        ValueError: A call has no rule and strict is true, or it can't be measured.
    """

    graph: Graph
    moments: dict[Value, Moments]
    strict: bool = False
    notes: dict[Call, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._dependence = Dependence(self.graph)
        for call in self.graph.calls:
            outputs = self._through(call)
            for value, moments in zip(call.outputs, outputs, strict=True):
                floats = keras.backend.is_float_dtype(value.dtype)
                self.moments[value] = moments if floats else no_moments(moments.mean.shape)

    def inputs_of(self, call: Call) -> list[Moments]:
        """The moments of what a call gets."""
        return [self.moments[value] for value in call.inputs]

    def _through(self, call: Call) -> Sequence[Moments]:
        rule = None if call.opaque else rule_for(call.operation)
        if rule is None:
            return self._measured(call, "it has no rule")
        about, inputs = ABOUT[rule], self.inputs_of(call)
        if weights().chosen and self._dependence.mixes(call):
            rule(call, inputs)
        if about.independent and not self._dependence.independent(call.inputs):
            return self._measured(call, "its operands depend on the same values")
        if self._dependence.related(call):
            return self._measured(call, "it averages values that depend on each other")
        if self._must_be_normal(call, about.normal, inputs) and not self._dependence.normal(call.inputs):
            return self._measured(call, "what it gets is not normal")
        found = rule(call, inputs)
        if found is NotImplemented:
            return self._measured(call, "its rule does not cover this case")
        if about.assumption:
            self.notes[call] = f"assumes that {about.assumption}"
        return [found] if isinstance(found, Moments) else list(found)

    def _must_be_normal(self, call: Call, normal: bool | Callable[[Call], bool], inputs: Sequence[Moments]) -> bool:
        name = type(call.operation).__name__
        # The largest of several values is known for a function of normal ones, too.
        if name in _LARGEST:
            return not isinstance(inputs[0], Activated)
        if name in LINEAR:
            return bends(call.operation.activation) and not sums_many(call.operation)
        return normal(call) if callable(normal) else normal

    def _measured(self, call: Call, why: str) -> list[Moments]:
        begin, calls = self._dependence.segment(call)
        kind = type(call.operation).__name__
        if self.strict:
            raise ValueError(
                f"The moments after {call.place!r}, a {kind}, can't be predicted by a rule alone: {why}. "
                f"Enter one with the decorator keras_initlab.model_init.rule({kind}), "
                "or leave out strict=True: then a small run through the layer measures them."
            )
        inputs: Mapping[Value, Moments] = {value: self.moments[value] for value in begin}
        try:
            between = [self.moments[value].mean.size for inner in calls[:-1] for value in inner.outputs]
            found, examples = measured(calls, inputs, max(between, default=0))
        except Exception as error:
            raise ValueError(
                f"The moments after {call.place!r}, a {kind}, can't be predicted: {why}, and a run through it fails "
                f"with {type(error).__name__}: {error}. Enter a rule with the decorator "
                f"keras_initlab.model_init.rule({kind})."
            ) from error
        where = f"all from {calls[0].place} to {call.place}" if len(calls) > 1 else "the layer"
        self.notes[call] = f"measured by a run of {examples} samples through {where}, since {why}"
        return found
