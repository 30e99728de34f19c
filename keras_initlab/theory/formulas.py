"""The activations of Keras that are functions of one number, in float64 and with their derivatives."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, ndtr

__all__ = ["FORMULAS", "Formula"]

Array = NDArray[np.float64]
Map = Callable[[Array], Array]


@dataclass(frozen=True)
class Formula:
    """A function, its derivative, and where one of the two is not smooth; at a jump the function itself is not."""

    function: Map
    derivative: Map
    kinks: tuple[float, ...] = ()
    jumps: tuple[float, ...] = ()


def _linear() -> Formula:
    return Formula(lambda x: x * 1.0, np.ones_like)


def _relu(negative_slope: float = 0.0, max_value: float | None = None, threshold: float = 0.0) -> Formula:
    low, high = (-math.inf, math.inf) if max_value is None else (0.0, max_value)

    def function(x: Array) -> Array:
        return np.where(x > threshold, np.clip(x, low, high), -negative_slope * np.maximum(threshold - x, 0.0))

    def derivative(x: Array) -> Array:
        return np.where(x > threshold, (low < x) & (x < high), negative_slope)

    jumps = (threshold,) if min(max(threshold, low), high) else ()
    return Formula(function, derivative, _finite(threshold, low, high), jumps)


def _relu6() -> Formula:
    return _relu(max_value=6.0)


def _leaky_relu(negative_slope: float = 0.2) -> Formula:
    return _relu(negative_slope)


def _elu(alpha: float = 1.0) -> Formula:
    return Formula(
        lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0))),
        lambda x: np.where(x > 0, 1.0, alpha * np.exp(np.minimum(x, 0.0))),
        (0.0,),
    )


def _selu() -> Formula:
    # These two make N(0, 1) a fixed point of mean and variance.
    scale, elu = 1.0507009873554805, _elu(1.6732632423543772)
    return Formula(lambda x: scale * elu.function(x), lambda x: scale * elu.derivative(x), (0.0,))


def _celu(alpha: float = 1.0) -> Formula:
    return Formula(
        lambda x: np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0.0) / alpha)),
        lambda x: np.exp(np.minimum(x, 0.0) / alpha),
        (0.0,),
    )


def _gelu(approximate: bool = False) -> Formula:
    if not approximate:
        density = 1 / math.sqrt(2 * math.pi)
        return Formula(lambda x: x * ndtr(x), lambda x: ndtr(x) + x * density * np.exp(-0.5 * x * x))
    # (1 + tanh u) / 2 is the sigmoid of 2u, which keeps its digits where the sum cancels.
    rate, cubic = 2 * math.sqrt(2 / math.pi), 0.044715

    def twice(x: Array) -> Array:
        return rate * (x + cubic * x**3)

    def derivative(x: Array) -> Array:
        u = twice(x)
        return np.asarray(expit(u) * (1 + x * rate * (1 + 3 * cubic * x * x) * expit(-u)))

    return Formula(lambda x: x * expit(twice(x)), derivative)


def _silu() -> Formula:
    return Formula(lambda x: x * expit(x), lambda x: expit(x) * (1 + x * expit(-x)))


def _tanh() -> Formula:
    return Formula(np.tanh, lambda x: 4 * expit(2 * x) * expit(-2 * x))


def _tanh_shrink() -> Formula:
    # x − tanh x = (x cosh x − sinh x) / cosh x, whose numerator is Σ 2k/(2k+1)! x^(2k+1): nothing cancels in it.
    series = np.array([2 * k / math.factorial(2 * k + 1) for k in range(12)])

    def function(x: Array) -> Array:
        near = np.clip(x, -1.0, 1.0)
        near = near * np.polynomial.polynomial.polyval(near * near, series) / np.cosh(near)
        return np.where(np.abs(x) < 1, near, x - np.tanh(x))

    return Formula(function, lambda x: np.tanh(x) ** 2)


def _sigmoid() -> Formula:
    return Formula(expit, lambda x: expit(x) * expit(-x))


def _log_sigmoid() -> Formula:
    return Formula(lambda x: -np.logaddexp(0.0, -x), lambda x: expit(-x))


def _softplus() -> Formula:
    return Formula(lambda x: np.logaddexp(0.0, x), expit)


def _squareplus(b: float = 4.0) -> Formula:
    def root(x: Array) -> Array:
        return np.hypot(x, math.sqrt(b))

    def function(x: Array) -> Array:
        # Left of 0 the two halves cancel; multiplied by their sum they are b / 4.
        magnitude = (np.abs(x) + root(x)) / 2
        return np.where(x > 0, magnitude, b / 4 / magnitude)

    return Formula(function, lambda x: function(x) / root(x))


def _softsign() -> Formula:
    return Formula(lambda x: x / (1 + np.abs(x)), lambda x: (1 + np.abs(x)) ** -2.0, (0.0,))


def _mish() -> Formula:
    def derivative(x: Array) -> Array:
        gate = np.tanh(np.logaddexp(0.0, x))
        return np.asarray(gate + x * (1 - gate * gate) * expit(x))

    return Formula(lambda x: x * np.tanh(np.logaddexp(0.0, x)), derivative)


def _exponential() -> Formula:
    return Formula(np.exp, np.exp)


def _ramp(half: float, bottom: float) -> Formula:
    """Straight from (−half, bottom) to (half, 1), flat outside."""
    slope, middle = (1 - bottom) / (2 * half), (1 + bottom) / 2
    return Formula(
        lambda x: middle + slope * np.clip(x, -half, half),
        lambda x: np.where(np.abs(x) < half, slope, 0.0),
        (-half, half),
    )


def _hard_tanh() -> Formula:
    return _ramp(1.0, -1.0)


def _hard_sigmoid() -> Formula:
    return _ramp(3.0, 0.0)


def _sparse_sigmoid() -> Formula:
    return _ramp(1.0, 0.0)


def _hard_silu() -> Formula:
    gate = _hard_sigmoid()
    return Formula(lambda x: x * gate.function(x), lambda x: gate.function(x) + x * gate.derivative(x), (-3.0, 3.0))


def _sparse_plus() -> Formula:
    return Formula(
        lambda x: np.where(x < 1, np.maximum(np.minimum(x, 1.0) + 1, 0.0) ** 2 / 4, x),
        lambda x: np.clip((x + 1) / 2, 0.0, 1.0),
        (-1.0, 1.0),
    )


def _soft_shrink(threshold: float = 0.5) -> Formula:
    return Formula(
        lambda x: x - np.clip(x, -threshold, threshold),
        lambda x: np.where(np.abs(x) > threshold, 1.0, 0.0),
        (-threshold, threshold),
    )


def _hard_shrink(threshold: float = 0.5) -> Formula:
    ends = (-threshold, threshold)
    return Formula(
        lambda x: np.where(np.abs(x) > threshold, x, 0.0),
        lambda x: np.where(np.abs(x) > threshold, 1.0, 0.0),
        ends,
        ends if threshold > 0 else (),
    )


def _threshold(threshold: float, default_value: float) -> Formula:
    return Formula(
        lambda x: np.where(x > threshold, x, default_value),
        lambda x: np.where(x > threshold, 1.0, 0.0),
        (threshold,),
        (threshold,) if threshold != default_value else (),
    )


def _finite(*kinks: float) -> tuple[float, ...]:
    return tuple(sorted({kink for kink in kinks if math.isfinite(kink)}))


FORMULAS: dict[str, Callable[..., Formula]] = {
    "linear": _linear,
    "relu": _relu,
    "relu6": _relu6,
    "leaky_relu": _leaky_relu,
    "elu": _elu,
    "selu": _selu,
    "celu": _celu,
    "gelu": _gelu,
    "silu": _silu,
    "swish": _silu,
    "tanh": _tanh,
    "tanh_shrink": _tanh_shrink,
    "sigmoid": _sigmoid,
    "log_sigmoid": _log_sigmoid,
    "softplus": _softplus,
    "squareplus": _squareplus,
    "softsign": _softsign,
    "mish": _mish,
    "exponential": _exponential,
    "hard_tanh": _hard_tanh,
    "hard_sigmoid": _hard_sigmoid,
    "sparse_sigmoid": _sparse_sigmoid,
    "hard_silu": _hard_silu,
    "hard_swish": _hard_silu,
    "sparse_plus": _sparse_plus,
    "soft_shrink": _soft_shrink,
    "hard_shrink": _hard_shrink,
    "threshold": _threshold,
}
"""By name: what makes the formula from the activation's own parameters, whose defaults are those of Keras."""
