"""Second moments of an activation and of its slope, under one normal law or between two correlated ones."""

from __future__ import annotations

import math

import numpy as np

from keras_initlab.theory.activations import Scalar
from keras_initlab.theory.correlated import pair_mean
from keras_initlab.theory.quadrature import gaussian_mean

__all__ = ["mean_distance", "mean_slope", "mean_slope_product", "mean_square", "mean_square_growth", "tangent"]

# Stands for 0 where only the limit is defined. Slopes next to 0 cancel no digits, so it may be this small.
_NEARLY_ZERO = 1e-20


def mean_square(phi: Scalar, q: float) -> float:
    """``E φ(h)²`` with h ~ N(0, q), q at least 0."""
    if q == 0:
        return float(phi.function(np.zeros(1))[0]) ** 2
    return gaussian_mean(lambda h: phi.function(h) ** 2, phi.kinks, math.sqrt(q))


def mean_square_growth(phi: Scalar, q: float) -> float:
    """``d/dq E φ(h)² = E hφ(h)φ′(h) / q`` with h ~ N(0, q); at q = 0 the limit."""
    if q == 0:
        return mean_slope(phi, 0.0)
    return gaussian_mean(lambda h: h * phi.function(h) * phi.derivative(h), phi.kinks, math.sqrt(q)) / q


def mean_slope(phi: Scalar, q: float, power: int = 2) -> float:
    """``E φ′(h)^power`` with h ~ N(0, q); at q = 0 the limit, which a kink at 0 makes differ from ``φ′(0)^power``."""
    return gaussian_mean(lambda h: phi.derivative(h) ** power, phi.kinks, max(math.sqrt(q), _NEARLY_ZERO))


def mean_distance(phi: Scalar, q: float, gap: float) -> float:
    """``½ E (φ(u) − φ(v))²`` with u, v ~ N(0, q) of correlation 1 − gap: what ``E φ(u)φ(v)`` lacks to ``E φ(u)²``."""
    return pair_mean(lambda u, v: (phi.function(u) - phi.function(v)) ** 2 / 2, phi, q, gap)


def mean_slope_product(phi: Scalar, q: float, gap: float) -> float:
    """``E φ′(u)φ′(v)`` with u, v ~ N(0, q) of correlation 1 − gap: the derivative of ``E φ(u)φ(v) / q`` by it."""
    return pair_mean(lambda u, v: phi.derivative(u) * phi.derivative(v), phi, q, gap)


def tangent(phi: Scalar) -> Scalar:
    """What ``φ(a·h) / a`` tends to as a > 0 tends to 0, for an activation with φ(0) = 0: a line, or two that meet."""
    return Scalar(phi.name, lambda h: h * phi.derivative(_NEARLY_ZERO * h), phi.derivative, (0.0,))
