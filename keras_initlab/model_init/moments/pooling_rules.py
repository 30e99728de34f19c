"""Rules of propagation for pooling layers: averages exactly, maxima of independent normals by quadrature.

Each layer is described by its windows: for every spatial axis a matrix of zeros and ones that says which inputs each
output looks at. Padding is in no window.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call
from keras_initlab.model_init.moments.activated import Activated
from keras_initlab.model_init.moments.max_moments import max_moments
from keras_initlab.model_init.moments.rules import Moments, rule

__all__: list[str] = []

Array = NDArray[np.float64]
Windows = list[Array]


def _dimensions(*names: str) -> list[str]:
    return [f"{name}{n}D" for name in names for n in (1, 2, 3)]


@rule(
    *_dimensions("AveragePooling", "AdaptiveAveragePooling", "GlobalAveragePooling"),
    assumption="the values that are averaged are uncorrelated",
)
def average(call: Call, inputs: Sequence[Moments]) -> Any:
    """``E y = Σ μᵢ / n``, ``Var y = Σ vᵢ / n²`` over the n inputs in the window."""
    if call.kwargs.get("mask") is not None:
        return NotImplemented
    layer, moments = call.operation, _spatial_first(call.operation, inputs[0])
    mean, variance = moments
    for axis, window in enumerate(_windows(layer, mean.shape[:-1])):
        weights = window / window.sum(1, keepdims=True)
        mean, variance = _along(axis, weights, mean), _along(axis, weights**2, variance)
    return _as_the_layer_does(layer, Moments(mean, variance))


@rule(*_dimensions("MaxPooling", "AdaptiveMaxPooling", "GlobalMaxPooling"), normal=True)
def maximum(call: Call, inputs: Sequence[Moments]) -> Any:
    """``max f(xᵢ) = f(max xᵢ)`` of independent normals xᵢ, f the activation before or nothing; it must not decrease."""
    layer, given = call.operation, inputs[0]
    moments, function = (given.normal, given.function) if isinstance(given, Activated) else (given, None)
    if function is not None and not _never_decreases(function, moments):
        return NotImplemented
    mean, variance = _spatial_first(layer, moments)
    windows = _windows(layer, mean.shape[:-1])
    indices, present = _inside(windows)
    # (outputs, window, channels) -> (outputs, channels, window)
    mean_in, variance_in = (x.reshape(-1, x.shape[-1])[indices].swapaxes(-1, -2) for x in (mean, variance))
    found = max_moments(mean_in, variance_in, function, present[:, None, :])
    shape = (*(len(window) for window in windows), mean.shape[-1])
    return _as_the_layer_does(layer, Moments(*(x.reshape(shape) for x in found)))


def _never_decreases(function: Any, moments: Moments) -> bool:
    spread = np.sqrt(moments.variance)
    x = np.linspace((moments.mean - 8 * spread).min(), (moments.mean + 8 * spread).max(), 2001)
    steps = np.diff(function(x))
    return bool((steps >= -1e-9 * max(float(np.abs(steps).max()), 1e-300)).all())


def _spatial_first(layer: Any, moments: Moments) -> Moments:
    """The channels behind."""
    if layer.data_format == "channels_last":
        return moments
    return Moments(*(np.moveaxis(x, 0, -1) for x in moments))


def _as_the_layer_does(layer: Any, moments: Moments) -> Moments:
    """The channels where the layer has them, and no axes of length 1 where a global pooling drops them."""
    if type(layer).__name__.startswith("Global") and not layer.keepdims:
        return Moments(*(x.reshape(x.shape[-1]) for x in moments))
    if layer.data_format == "channels_last":
        return moments
    return Moments(*(np.moveaxis(x, -1, 0) for x in moments))


def _along(axis: int, matrix: Array, x: Array) -> Array:
    return np.moveaxis(np.tensordot(matrix, x, (1, axis)), 0, axis)


def _windows(layer: Any, sizes: Sequence[int]) -> Windows:
    """For each spatial axis, (outputs, inputs): 1 where the window of the output holds the input."""
    if hasattr(layer, "pool_size"):
        settings = zip(sizes, layer.pool_size, layer.strides, strict=True)
        return [_strided(size, pool, stride, layer.padding) for size, pool, stride in settings]
    if hasattr(layer, "output_size"):
        wanted = layer.output_size if np.iterable(layer.output_size) else (layer.output_size,) * len(sizes)
        return [_adaptive(size, outputs) for size, outputs in zip(sizes, wanted, strict=True)]
    return [np.ones((1, size)) for size in sizes]


def _strided(size: int, pool: int, stride: int, padding: str) -> Array:
    outputs = math.ceil(size / stride) if padding == "same" else (size - pool) // stride + 1
    # The odd one of the padding stands behind.
    before = max((outputs - 1) * stride + pool - size, 0) // 2 if padding == "same" else 0
    return _ones([(i * stride - before, i * stride - before + pool) for i in range(outputs)], size)


def _adaptive(size: int, outputs: int) -> Array:
    return _ones([(i * size // outputs, -(-(i + 1) * size // outputs)) for i in range(outputs)], size)


def _ones(bounds: list[tuple[int, int]], size: int) -> Array:
    places = np.arange(size)
    return np.array([(places >= start) & (places < stop) for start, stop in bounds], "float64")


def _inside(windows: Windows) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(outputs, most in a window) places in the flattened input of what each output looks at, and which are true."""
    whole: Array = np.ones((1, 1))
    for window in windows:
        whole = np.asarray(np.kron(whole, window), "float64")
    most = int(whole.sum(1).max())
    # Those inside come first, in order.
    order = np.argsort(-whole, axis=1, kind="stable")[:, :most]
    return order, np.take_along_axis(whole, order, axis=1) > 0
