"""Schemes: which law each weight of a model gets."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import keras

from keras_initlab.initializers import ChronoBias, GlorotUniform, HeNormal, LecunNormal, LSTMForgetBias, Orthogonal
from keras_initlab.model_init.chains import Link, chains
from keras_initlab.model_init.following import Following, after_weights, is_recurrent
from keras_initlab.model_init.gains import Working, working_point
from keras_initlab.model_init.graph import Graph, trace
from keras_initlab.model_init.laws import Law, configured, fitted, of_gain
from keras_initlab.model_init.padding import met_shares
from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.roles import own_weights
from keras_initlab.theory import scalar, weight_axes

__all__ = ["SCHEMES", "Scheme", "scheme_of"]

Scheme = Callable[[PlacedWeight], Law | None]
"""Gives the law of a weight, without a seed of its own; None leaves the weight as it is."""

_OF_KERNELS = {"he": HeNormal, "glorot": GlorotUniform, "lecun": LecunNormal, "orthogonal": Orthogonal}
SCHEMES = ("configured", "auto", "analytic", *_OF_KERNELS)
"""The names that ``reinitialize`` takes, besides those of initializers."""


def scheme_of(scheme: Any, model: Any) -> Scheme:
    """Resolve a scheme for a model.

    Args:
        scheme: As in ``reinitialize``.
        model: A built model.

    Returns:
        The scheme.

    Raises:
        ValueError: It is no scheme and no initializer.
    """
    name = scheme if isinstance(scheme, str) else ""  # an array is not to be compared with one
    if name == "configured":
        return configured
    if name == "auto":
        return _Auto(trace(model))
    if name == "analytic":
        return _Analytic(model)
    law = _OF_KERNELS[name]() if name in _OF_KERNELS else _initializer(scheme)
    return functools.partial(_with_kernels, law)


def _initializer(scheme: Any) -> Any:
    try:
        found = keras.initializers.get(scheme)
    except (ValueError, TypeError):
        found = None
    if not callable(found):
        raise ValueError(
            f"Argument `scheme` must be one of {', '.join(SCHEMES)}, or an initializer. Received: scheme={scheme!r}. "
            'Names of initializers are those of Keras, such as "glorot_normal".'
        )
    return found


def _with_kernels(initializer: Any, weight: PlacedWeight) -> Law | None:
    if weight.role.kind == "kernel":
        return fitted(initializer, weight.role, tuple(weight.variable.shape))
    return configured(weight)


class _Auto:
    """The gain of what comes after each kernel; gates one by one; embeddings by their dimension."""

    def __init__(self, graph: Graph) -> None:
        self.after = after_weights(graph)
        self.links = chains(graph, self.after)
        self.met = met_shares(graph)
        self.notes = [
            f"{call.place} can't be traced ({call.opaque}): of what follows the weights inside it, only the "
            "activations of their own layers are known."
            for call in graph.calls
            if call.opaque
        ]

    def __call__(self, weight: PlacedWeight) -> Law | None:
        role, shape = weight.role, tuple(weight.variable.shape)
        if role.kind == "kernel":
            return self.kernel(weight)
        if role.kind == "recurrent_kernel":
            return fitted(Orthogonal(), role, shape)._replace(name="Orthogonal, each gate")
        if role.kind == "embedding":
            return of_gain(role, shape, 1.0, "by dimension", orthogonal=False)
        if role.kind == "bias" and role.cell and isinstance(weight.initializer, keras.initializers.Zeros):
            return self.gate_bias(weight)
        law = configured(weight)
        mean = self.before(weight).mean
        if role.kind == "bias" and law is not None and mean and _is_of_each_unit(weight):
            return law._replace(name=f"{law.name} - {mean:.4g} · sum of weights", less=mean)
        return law

    def kernel(self, weight: PlacedWeight) -> Law:
        following = self.after.get(id(weight.layer), Following())
        if weight.name == "depthwise_kernel":
            following = Following()
        depth = self.links.get(id(weight.layer), Link()).depth
        factor, name = _factor(following, depth)
        before = Working(1.0) if weight.name == "pointwise_kernel" else self.before(weight)
        met = 1.0 if weight.name == "pointwise_kernel" else self.met.get(id(weight.layer), 1.0)
        name += f" / √{met:.4g} not padded" * (met != 1)
        return of_gain(weight.role, tuple(weight.variable.shape), factor / before.rms / math.sqrt(met), name)

    def before(self, weight: PlacedWeight) -> Working:
        """Where the layers work whose output the weight's layer takes."""
        link = self.links.get(id(weight.layer), Link())
        return Working(1.0) if link.before is None else working_point(*link.before)

    def gate_bias(self, weight: PlacedWeight) -> Law | None:
        if weight.role.cell != "lstm":
            return configured(weight)
        return Law(LSTMForgetBias(weight.variable.shape[-1] // 4), "LSTMForgetBias")


def _is_of_each_unit(bias: PlacedWeight) -> bool:
    """Whether a bias has one value for each unit of its layer's only kernel."""
    kernels = [weight for weight in own_weights(bias.layer) if weight.role.kind == "kernel"]
    if len(kernels) != 1:
        return False
    role, shape = kernels[0].role, tuple(kernels[0].variable.shape)
    axes = weight_axes(shape, role.input_axes, role.output_axes, role.batch_axes)
    return bool(math.prod(shape[axis] for axis in axes.batch + axes.outputs) == math.prod(bias.variable.shape))


def _factor(following: Following, depth: int) -> tuple[float, str]:
    """The gain of a kernel whose input has mean square 1, and what the report says of it."""
    activation = following.activation
    point = Working(1.0) if activation is None else working_point(activation, depth)
    name = "linear" if activation is None else _name(activation)
    text = f"gain {point.gain:.4g} for {name}" + (f", {depth} in a row" if point.is_quiet else "")
    sums, terms = following.residual_sums, following.terms
    text += f" / √{sums} sums" * (sums > 1) + f" / √{terms} terms" * (terms > 1)
    return point.gain / math.sqrt(max(sums, 1) * terms), text


def _name(activation: Any) -> str:
    """With the parameters that were given."""
    try:
        return scalar(activation).name
    except (ValueError, TypeError):
        return str(getattr(activation, "__name__", type(activation).__name__))


class _Analytic(_Auto):
    """Kernels that give each layer's pre-activations unit variance by prediction; gates that span the steps."""

    def __init__(self, model: Any) -> None:
        from keras_initlab.model_init.analytic import solve

        graph = trace(model)
        super().__init__(graph)
        self.stddevs = solve(model)
        self.steps = {
            id(layer): call.inputs[0].shape[1]
            for call in graph.calls
            if isinstance(call.operation, keras.Layer) and call.inputs and len(call.inputs[0].shape) > 2
            for layer in call.operation._flatten_layers()
            if is_recurrent(layer)
        }

    def kernel(self, weight: PlacedWeight) -> Law:
        stddev = self.stddevs.get(id(weight.variable))
        fans = weight.role.fans(tuple(weight.variable.shape))
        if stddev is None or fans is None:
            return super().kernel(weight)
        factor = stddev * math.sqrt(max(1.0, fans[0]))
        return of_gain(weight.role, tuple(weight.variable.shape), factor, "for variance 1")

    def before(self, weight: PlacedWeight) -> Working:
        """The prediction takes the input as it is, its mean too."""
        return Working(1.0)

    def gate_bias(self, weight: PlacedWeight) -> Law | None:
        steps, cell = self.steps.get(id(weight.layer)), weight.role.cell
        if steps is None or steps < 4 or cell is None:
            return super().gate_bias(weight)
        units = weight.variable.shape[-1] // weight.role.gates
        return Law(ChronoBias(units, max_timescale=steps, cell=cell), f"ChronoBias over {steps} steps")
