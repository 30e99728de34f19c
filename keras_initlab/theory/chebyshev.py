"""Chebyshev interpolation on many panels at once: what quadrature and differentiation of unknown functions rest on."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

__all__ = ["INTEGRALS", "coefficients", "evaluate", "points", "slopes", "tails"]

Array = NDArray[np.float64]

# 32 points resolve to 15 digits a function whose nearest pole lies one panel's width away.
_COUNT = 32
_DEGREES = np.arange(_COUNT)
# cos(π(2j + 1)k / 64) from whole numbers below 128: rounding of a large angle would cost a digit.
_TURNS = np.cos(np.pi / (2 * _COUNT) * np.arange(4 * _COUNT))
_COSINES = _TURNS[np.outer(2 * np.arange(_COUNT)[::-1] + 1, _DEGREES) % (4 * _COUNT)]
# Beside the Chebyshev points two next to the ends, for what the points do not see: the outermost is .0006 away from it.
_ENDS = np.array([2e-8 - 1, 1 - 2e-8])
_NODES = np.concatenate([_COSINES[:, 1], _ENDS])
_TRANSFORM = _COSINES * np.where(_DEGREES == 0, 1.0, 2.0) / _COUNT
_AT_ENDS = np.cos(np.outer(_DEGREES, np.arccos(_ENDS)))
_SLOPES = np.where(
    (_DEGREES[:, None] > _DEGREES) & ((_DEGREES[:, None] - _DEGREES) % 2 == 1), 2.0 * _DEGREES[:, None], 0
)
_SLOPES[:, 0] /= 2

INTEGRALS: Array = np.append(_TRANSFORM[:, ::2] @ (1 / (1.0 - _DEGREES[::2] ** 2)), [0.0, 0.0])
"""Weights of the values at ``points`` in the mean over a panel (Fejér's first rule)."""


def points(left: Array, right: Array) -> Array:
    """Where to sample each panel, a row a panel: 32 Chebyshev points in order, and two just inside the ends."""
    return np.asarray((left + right)[:, None] / 2 + (right - left)[:, None] / 2 * _NODES)


def coefficients(values: Array) -> Array:
    """Chebyshev coefficients of the interpolant of each row of values at ``points``."""
    return np.asarray(values[:, :_COUNT] @ _TRANSFORM)


def tails(values: Array, series: Array) -> Array:
    """How far each row is from being resolved: its last three coefficients, and what it misses at the ends."""
    missed = np.abs(values[:, _COUNT:] - series @ _AT_ENDS).max(axis=1)
    return np.asarray(np.maximum(missed, np.abs(series[:, -3:]).max(axis=1)))


def slopes(series: Array) -> Array:
    """Coefficients of each row's derivative on [−1, 1], with a 0 in the last place."""
    return np.asarray(series @ _SLOPES)


def evaluate(series: Array, t: Array) -> Array:
    """Value of row i of the series at t[i] in [−1, 1], by Clenshaw's recurrence."""
    first, second = np.zeros_like(t), np.zeros_like(t)
    for column in series.T[:0:-1]:
        first, second = column + 2 * t * first - second, first
    return np.asarray(series[:, 0] + t * first - second)
