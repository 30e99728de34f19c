"""Rules of what works on each element by itself: sums, products, extremes, scaling, dropout and noise."""

from __future__ import annotations

import collections
from collections.abc import Iterable, Sequence
from typing import Any

import keras
import numpy as np
from scipy.special import ndtr

from keras_initlab.model_init.graph import Call, Value
from keras_initlab.model_init.moments.rules import Moments, rule

__all__ = ["coefficients", "operands"]

_SQRT_2_PI = float(np.sqrt(2 * np.pi))
# Of SELU: what AlphaDropout sets dropped elements to is minus their product.
_SELU_ALPHA, _SELU_SCALE = 1.6732632423543772, 1.0507009873554805


def operands(call: Call, inputs: Sequence[Moments]) -> list[tuple[Value | None, Moments]]:
    """What an operation on elements is called with, in order; constants and weights have variance 0."""
    known = dict(zip(call.inputs, inputs, strict=True))
    found: list[tuple[Value | None, Moments]] = []
    for leaf in keras.tree.flatten((call.args, list(call.kwargs.values()))):
        if isinstance(leaf, Value):
            found.append((leaf, known[leaf]))
        elif leaf is not None:
            constant = np.asarray(keras.ops.convert_to_numpy(leaf), "float64")
            if constant.ndim > max(moments.mean.ndim for moments in inputs):
                constant = constant[0]
            found.append((None, Moments(constant, np.zeros_like(constant))))
    return found


def coefficients(call: Call, count: int) -> list[float]:
    """The factor of each operand of a sum, a difference or an average."""
    name = type(call.operation).__name__
    if name == "Average":
        return [1 / count] * count
    return [1.0] * count if name == "Add" else [1.0, -1.0]


@rule("Add", "Subtract", "Average", independent=True)
def _combination(call: Call, inputs: Sequence[Moments]) -> Moments:
    """``Σ c m`` and ``Σ c² v``, with the factors of one and the same value added first."""
    found = operands(call, inputs)
    factors = coefficients(call, len(found))
    mean = _sum(c * moments.mean for c, (_, moments) in zip(factors, found, strict=True))
    total: dict[Any, float] = collections.defaultdict(float)
    for c, (value, _) in zip(factors, found, strict=True):
        total[value] += c
    variance = _sum(c**2 * moments.variance for value, c in total.items() for moments in [dict(found)[value]])
    return Moments(mean, np.broadcast_to(variance, mean.shape))


def _sum(parts: Iterable[Any]) -> Any:
    return sum(parts, np.zeros(()))


def _repeats(call: Call) -> bool:
    return len(set(call.inputs)) < len(call.inputs)


@rule("Multiply", independent=True, normal=_repeats)
def _product(call: Call, inputs: Sequence[Moments]) -> Any:
    """Of independent factors: ``E Π = Π m``, ``E Π² = Π (v + m²)``; a normal one that comes twice is first squared."""
    factors = []
    found = operands(call, inputs)
    counts = collections.Counter(value for value, _ in found if value is not None)
    if max(counts.values(), default=0) > 2:
        return NotImplemented
    for value, moments in {value: moments for value, moments in found if value is not None}.items():
        m, v = moments
        factors.append(Moments(m**2 + v, 2 * v**2 + 4 * m**2 * v) if counts[value] == 2 else moments)
    factors += [moments for value, moments in found if value is None]
    mean, variance = factors[0]
    for m, v in factors[1:]:
        mean, variance = mean * m, variance * v + variance * m**2 + v * mean**2
    return Moments(mean, variance)


@rule("Maximum", "Minimum", independent=True, normal=True)
def _extreme(call: Call, inputs: Sequence[Moments]) -> Any:
    """Of two independent normals.

    With ``a² = v₁ + v₂`` and ``d = (m₁ − m₂)/a``: ``E max = m₁Φ(d) + m₂Φ(−d) + aφ(d)`` and
    ``E max² = (m₁² + v₁)Φ(d) + (m₂² + v₂)Φ(−d) + (m₁ + m₂)aφ(d)``.

    Reference:
        Clark, C. E. (1961). The greatest of a finite set of random variables. Operations Research 9.
    """
    found = operands(call, inputs)
    if len(found) != 2 or found[0][0] is found[1][0]:
        return NotImplemented
    sign = 1.0 if type(call.operation).__name__ == "Maximum" else -1.0
    (m1, v1), (m2, v2) = ((sign * moments.mean, moments.variance) for _, moments in found)
    # Taken from the middle between the two, so that little is lost in the difference of squares.
    middle = (m1 + m2) / 2
    half = (m1 - m2) / 2
    a = np.sqrt(v1 + v2)
    d = np.divide(2 * half, a, out=np.where(half < 0, -np.inf, np.inf) + 0 * a, where=a > 0)
    density = np.exp(-0.5 * d * d) / _SQRT_2_PI
    mean = half * (ndtr(d) - ndtr(-d)) + a * density
    square = half**2 + v1 * ndtr(d) + v2 * ndtr(-d)
    return Moments(sign * (middle + mean), np.maximum(square - mean**2, 0.0))


@rule("Divide", "TrueDivide")
def _quotient(call: Call, inputs: Sequence[Moments]) -> Any:
    (_, above), (below, divisor) = operands(call, inputs)
    if below is not None:
        return NotImplemented
    return Moments(above.mean / divisor.mean, above.variance / divisor.mean**2)


@rule("Negative")
def _negative(call: Call, inputs: Sequence[Moments]) -> Moments:
    return Moments(-inputs[0].mean, inputs[0].variance)


@rule("Rescaling")
def _rescaling(call: Call, inputs: Sequence[Moments]) -> Any:
    scale, offset = (np.asarray(part, "float64") for part in (call.operation.scale, call.operation.offset))
    if scale.ndim and keras.config.image_data_format() == "channels_first":
        return NotImplemented
    return Moments(inputs[0].mean * scale + offset, inputs[0].variance * scale**2)


@rule("Dropout", "SpatialDropout1D", "SpatialDropout2D", "SpatialDropout3D")
def _dropout(call: Call, inputs: Sequence[Moments]) -> Moments:
    """``x·B/(1−p)``: the mean stays, ``E y² = (v + m²)/(1−p)``, so ``Var y = (v + p m²)/(1−p)``."""
    (mean, variance), p = inputs[0], call.operation.rate
    if p == 1:
        return Moments(np.zeros_like(mean), np.zeros_like(variance))
    return Moments(mean, (variance + p * mean**2) / (1 - p))


@rule("GaussianDropout")
def _gaussian_dropout(call: Call, inputs: Sequence[Moments]) -> Any:
    """``x·N(1, s²)`` with ``s² = p/(1−p)``: ``Var y = v + s²(v + m²)``."""
    p = call.operation.rate
    if p == 1:
        return NotImplemented
    return Moments(inputs[0].mean, inputs[0].variance + p / (1 - p) * inputs[0].square)


@rule("GaussianNoise")
def _gaussian_noise(call: Call, inputs: Sequence[Moments]) -> Moments:
    return Moments(inputs[0].mean, inputs[0].variance + call.operation.stddev**2)


@rule("AlphaDropout")
def _alpha_dropout(call: Call, inputs: Sequence[Moments]) -> Any:
    """``a(xB + α(1−B)) + b`` with B 1 in a share q = 1−p: ``Var = a²(qv + pq(m − α)²)``."""
    p, low = call.operation.rate, -_SELU_ALPHA * _SELU_SCALE
    if p == 1:
        return NotImplemented
    (mean, variance), q = inputs[0], 1 - p
    a = (q * (1 + p * low**2)) ** -0.5
    return Moments(a * (q * mean + p * low) - a * low * p, a**2 * (q * variance + p * q * (mean - low) ** 2))
