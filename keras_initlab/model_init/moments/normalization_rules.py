"""Rules of propagation for normalization layers, in training mode."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call
from keras_initlab.model_init.moments.rules import Moments, rule, rule_for, weights
from keras_initlab.model_init.moments.standardized import standardized

__all__: list[str] = []

Array = NDArray[np.float64]


@rule("BatchNormalization", assumption="BatchNormalization sees a large batch")
def batch_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """``y = γ (x − m) / √(s² + ε) + β`` with the batch's own m and s², over the examples and positions of a channel.

    Of a large batch ``m = mean of μ`` and ``s² = mean of (v + μ²) − m²`` over the positions. A layer that is not
    trainable uses its moving statistics in training too.
    """
    layer, (mean, variance) = call.operation, inputs[0]
    if layer.renorm or call.kwargs.get("mask") is not None:
        return NotImplemented
    channel = (layer.axis % (mean.ndim + 1)) - 1
    positions = tuple(axis for axis in range(mean.ndim) if axis != channel)
    if layer.trainable:
        m = mean.mean(positions)
        s2 = inputs[0].square.mean(positions) - m**2
    else:
        m, s2 = (weights().value(x) for x in (layer.moving_mean, layer.moving_variance))
    factor = _weight(layer.gamma, 1.0) / np.sqrt(s2 + layer.epsilon)
    offset = _weight(layer.beta, 0.0) - m * factor
    factor, offset = (np.broadcast_to(x, m.shape) for x in (factor, offset))
    factor, offset = (np.expand_dims(x, positions) for x in (factor, offset))
    return Moments(mean * factor + offset, variance * factor**2)


@rule("LayerNormalization")
def layer_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """``y = γ (x − m) / √(s² + ε) + β`` with each example's own m and s² over the axes; see ``standardized``."""
    layer = call.operation
    if layer.rms_scaling:
        return NotImplemented
    axes = _axes(layer.axis, inputs[0].mean.ndim)
    found = standardized(inputs[0], axes, layer.epsilon)
    return _scaled(found, _over(layer.gamma, axes, inputs[0]), _over(layer.beta, axes, inputs[0]))


@rule("RMSNormalization")
def rms_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """``y = γ x / √(mean of x² + ε)``; see ``standardized``."""
    layer = call.operation
    axes = _axes(layer.axis, inputs[0].mean.ndim)
    found = standardized(inputs[0], axes, layer.epsilon, centred=False)
    return _scaled(found, _over(layer.scale, axes, inputs[0]), 0.0)


@rule("UnitNormalization")
def unit_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """``y = x / √(Σ x²)``, which is ``x / √(n · mean of x²)``; see ``standardized``."""
    axes = _axes(call.operation.axis, inputs[0].mean.ndim)
    count = np.prod([inputs[0].mean.shape[axis] for axis in axes])
    return _scaled(standardized(inputs[0], axes, 0.0, centred=False), count**-0.5, 0.0)


@rule("GroupNormalization")
def group_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """As LayerNormalization, over the positions and the channels of a group."""
    layer, shape = call.operation, inputs[0].mean.shape
    channel = (layer.axis % (len(shape) + 1)) - 1
    split = (*shape[:channel], layer.groups, shape[channel] // layer.groups, *shape[channel + 1 :])
    axes = tuple(axis for axis in range(len(split)) if axis != channel)
    found = standardized(Moments(*(x.reshape(split) for x in inputs[0])), axes, layer.epsilon)
    if found is NotImplemented:
        return found
    found = Moments(*(x.reshape(shape) for x in found))
    return _scaled(found, _over(layer.gamma, (channel,), found), _over(layer.beta, (channel,), found))


@rule("SpectralNormalization")
def spectral_normalization(call: Call, inputs: Sequence[Moments]) -> Any:
    """The rule of the layer inside, for its kernel over σ: the product is divided by σ, the bias ``b`` is not.

    σ is the norm that the layer's power iteration finds in the step to come. With a bias b, or 0,
    ``y = (inner − b) / σ + b``, which holds for a linear layer inside and for an embedding.
    """
    layer = call.operation
    inner = rule_for(layer.layer)
    if inner is None or getattr(layer.layer, "activation", None) not in (None, keras.activations.linear):
        return NotImplemented
    within = dataclasses.replace(call, operation=layer.layer, kwargs={})
    found = inner(within, inputs)
    if found is NotImplemented:
        return found
    bias = getattr(layer.layer, "bias", None)
    b = 0.0 if bias is None else inner(within, [Moments(*(np.zeros_like(x) for x in inputs[0]))]).mean
    norm = _spectral_norm(weights().value(layer.kernel), weights().value(layer.vector_u), layer.power_iterations)
    return Moments((found.mean - b) / norm + b, found.variance / norm**2)


def _axes(axis: Any, rank: int) -> tuple[int, ...]:
    """Without the batch axis, in order."""
    return tuple(sorted((a % (rank + 1)) - 1 for a in (axis if np.iterable(axis) else [axis])))


def _weight(variable: Any, otherwise: float) -> Any:
    return otherwise if variable is None else weights().value(variable)


def _over(variable: Any, axes: tuple[int, ...], moments: Moments) -> Any:
    """The weight along its axes; None stays None."""
    if variable is None:
        return None
    return np.expand_dims(weights().value(variable), tuple(a for a in range(moments.mean.ndim) if a not in axes))


def _scaled(found: Any, scale: Any, offset: Any) -> Any:
    if found is NotImplemented:
        return found
    scale, offset = 1.0 if scale is None else scale, 0.0 if offset is None else offset
    return Moments(found.mean * scale + offset, found.variance * scale**2)


def _spectral_norm(kernel: Array, u: Array, iterations: int) -> float:
    matrix = kernel.reshape(-1, kernel.shape[-1])
    if not matrix.any():
        return 1.0
    for _ in range(iterations):
        v = u @ matrix.T
        v /= np.linalg.norm(v)
        u = v @ matrix
        u /= np.linalg.norm(u)
    return float((v @ matrix @ u.T).item())
