"""Predicted gradients: mean squares carried from the outputs of a graph back to its inputs."""

from __future__ import annotations

import collections
import itertools
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call, Value
from keras_initlab.model_init.moments.activated import Activated
from keras_initlab.model_init.moments.activation_moments import mean_square_slope
from keras_initlab.model_init.moments.activation_rules import ACTIVATIONS, function_of
from keras_initlab.model_init.moments.arrangement_rules import ARRANGING, UNCHANGED, origins
from keras_initlab.model_init.moments.dependence import relates
from keras_initlab.model_init.moments.elementwise_rules import coefficients, operands
from keras_initlab.model_init.moments.linear_rules import LINEAR, linear, stages
from keras_initlab.model_init.moments.propagation import Propagation
from keras_initlab.model_init.moments.rules import Moments, rule_for, weights
from keras_initlab.model_init.moments.sampled import pulled_back

__all__ = ["gradients"]

Array = NDArray[np.float64]

_DROPOUT = ("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D", "GaussianDropout")


def gradients(propagation: Propagation) -> tuple[dict[Value, Array], dict[Call, str]]:
    """Mean square of the gradient at every element, for gradients of mean square 1 at the outputs.

    Gradients that come together are taken as uncorrelated, and those that go through a weight as independent of it, as
    mean-field theory does. So a linear layer sends back ``Σ w² g`` over the outputs that each input feeds, an
    activation ``E φ′(x)² g``. The largest of several values passes its gradient on where it was largest, so that it is
    taken together with the activation before it.

    Returns:
        The mean squares, and notes on the calls that were measured; values before one where that fails have NaN.
    """
    return _Backward(propagation).run()


class _Backward:
    def __init__(self, propagation: Propagation) -> None:
        self._propagation = propagation
        self._squares: dict[Value, Array] = {}
        self._notes: dict[Call, str] = {}
        self._consumers = propagation.graph.consumers()
        self._makers = {value: call for call in propagation.graph.calls for value in call.outputs}
        # Before the activation that made a value, where that is known already.
        self._before: dict[Value, Array] = {}

    def run(self) -> tuple[dict[Value, Array], dict[Call, str]]:
        for value in self._propagation.graph.outputs:
            self._squares[value] = np.ones(self._propagation.moments[value].mean.shape)
        for call in reversed(self._propagation.graph.calls):
            if any(value in self._squares for value in call.outputs):
                for value, square in zip(call.inputs, self._given_back(call), strict=True):
                    self._squares[value] = self._squares.get(value, np.zeros(())) + square
        return self._squares, self._notes

    def _given_back(self, call: Call) -> Sequence[Array]:
        given = self._propagation.inputs_of(call)
        shapes = [self._propagation.moments[value].mean.shape for value in call.outputs]
        behind = [self._squares.get(value, np.zeros(shape)) for value, shape in zip(call.outputs, shapes, strict=True)]
        try:
            found = self._by_rule(call, given, behind)
            if found is None:
                self._notes[call] = "gradient measured by a run through the layer"
                if relates(call.operation):
                    self._notes[call] += ", those of different positions taken as independent"
                found = pulled_back(call, given, behind)
                self._through_the_largest(call, given[0], behind)
        except Exception as error:
            found = [np.full(moments.mean.shape, np.nan) for moments in given]
            self._notes[call] = f"no gradient before it: {type(error).__name__}: {error}".splitlines()[0]
        return found

    def _by_rule(self, call: Call, given: Sequence[Moments], behind: Sequence[Array]) -> Sequence[Array] | None:
        """What each input gets, or None where there is no rule."""
        operation, name, square = call.operation, type(call.operation).__name__, behind[0]
        if call.opaque or rule_for(operation) is None:
            return None
        if name in LINEAR:
            return self._linear(call, given[0], square)
        if name in ACTIVATIONS:
            return self._activation(call, function_of(operation), given[0], square)
        if name in UNCHANGED or name in ("Cast", "GaussianNoise", "Masking", "Negative"):
            return [square]
        if name in ARRANGING:
            return _arranged(call, given, behind)
        if name in _DROPOUT and operation.rate < 1:
            return [square / (1 - operation.rate)]
        return _combination(call, given, square) if name in ("Add", "Subtract", "Average") else None

    def _linear(self, call: Call, given: Moments, square: Array) -> list[Array] | None:
        before, found = linear(call.operation, given), stages(call.operation)
        if before is None or found is None:
            return None
        after = self._activation(call, call.operation.activation, before, square)
        if after is None:
            return None
        shapes, kernels = [given.mean.shape], [weights().value(stage.variable) ** 2 for stage in found]
        for stage, kernel in zip(found[:-1], kernels, strict=False):
            shapes.append(stage.apply(np.zeros(shapes[-1]), kernel).shape)
        square = after[0]
        for stage, kernel, shape in reversed(list(zip(found, kernels, shapes, strict=True))):
            square = np.maximum(stage.adjoint(square, kernel, shape), 0.0)
        return [square]

    def _activation(self, call: Call, activation: Any, given: Moments, square: Array) -> list[Array] | None:
        if call.outputs[0] in self._before:
            return [self._before[call.outputs[0]]]
        try:
            return [square * mean_square_slope(activation, given)]
        except (TypeError, ValueError):
            return None

    def _through_the_largest(self, call: Call, given: Moments, behind: Sequence[Array]) -> None:
        """Where a ReLU is the largest of several it is hardly ever 0, so that its slope there is not half of 1."""
        value = call.inputs[0]
        maker = self._makers.get(value)
        if not isinstance(given, Activated) or maker is None or len(self._consumers[value]) > 1:
            return
        activation = getattr(maker.operation, "activation", None)
        if activation is None and type(maker.operation).__name__ in ACTIVATIONS:
            activation = maker.operation
        if activation is not None:
            (self._before[value],) = pulled_back(call, [given.normal], behind, activation)


def _arranged(call: Call, given: Sequence[Moments], behind: Sequence[Array]) -> list[Array] | None:
    places = origins(call, [moments.mean.shape for moments in given])
    if places is None:
        return None
    ends = np.cumsum([0, *(moments.mean.size for moments in given)])
    totals = np.zeros(ends[-1] + 1)
    for place, square in zip(places, behind, strict=True):
        np.add.at(totals, place.ravel(), square.ravel())
    parts = [totals[1:][start:end] for start, end in itertools.pairwise(ends)]
    return [part.reshape(moments.mean.shape) for part, moments in zip(parts, given, strict=True)]


def _combination(call: Call, given: Sequence[Moments], square: Array) -> list[Array] | None:
    found = operands(call, given)
    if any(moments.mean.shape != square.shape for value, moments in found if value is not None):
        return None
    total: dict[Value | None, float] = collections.defaultdict(float)
    for factor, (value, _) in zip(coefficients(call, len(found)), found, strict=True):
        total[value] += factor
    # A value that comes twice is among the inputs twice.
    return [total.pop(value, 0.0) ** 2 * square for value in call.inputs]
