"""Fixed points of the two maps of mean-field theory, that of the variance and that of the correlation."""

from __future__ import annotations

import math
from collections.abc import Callable

__all__ = ["fixed_gap", "fixed_variance", "root"]

# The variance is searched from 1 to 2^-40 or 2^40, at two values an octave.
_STEP, _STEPS = math.sqrt(2.0), 80
_ROUNDING = 1e-12
_LEAST_GAP = 1e-14


def root(f: Callable[[float], float], low: float, high: float) -> float:
    """Find where a continuous function changes sign between two numbers, to 14 digits of the place (Brent's method)."""
    # Loaded here, since SciPy's optimizers would make up half of the time that importing this package takes.
    from scipy.optimize import brentq

    return float(brentq(f, low, high, xtol=1e-30, rtol=1e-14))


def fixed_variance(variance_map: Callable[[float], float]) -> float | None:
    """Find the first fixed point on the way from q = 1, upward if the map takes 1 upward and downward otherwise.

    Iterating the map gets there too where it increases, though slowly near an edge: there its slope is nearly 1.

    Args:
        variance_map: V, continuous, from the numbers that are at least 0 to themselves. A ValueError that it raises
            on the way up is taken for growth without bound.

    Returns:
        The fixed point; 1 where 1 is one to 12 digits; None if there is none on the way up.
    """

    def growth(q: float) -> float:
        return variance_map(q) / q - 1

    start = growth(1.0)
    if abs(start) <= _ROUNDING:
        return 1.0
    previous, step = 1.0, _STEP if start > 0 else 1 / _STEP
    for power in range(1, _STEPS + 1):
        q = step**power
        try:
            now = growth(q)
        except ValueError:
            break
        # What is not told from 0 is no crossing: under a piecewise linear activation nearly every small q is fixed.
        if abs(now) > 1e-14 + 1e-15 / math.sqrt(q):
            if now * start < 0:
                return root(growth, min(previous, q), max(previous, q))
            previous = q
    if start > 0:
        return None
    if variance_map(0.0) == 0:
        return 0.0
    return root(lambda q: variance_map(q) - q, 0.0, previous)


def fixed_gap(gap_map: Callable[[float], float]) -> float:
    """Find the fixed point in (0, 1] of the map of ``1 − c``, for a correlation map whose slope at 1 exceeds 1.

    On [0, 1] the correlation map is convex, since all coefficients of its power series are at least 0; it is at least
    0 at 0 and 1 at 1. So there is one fixed point below c = 1.

    Args:
        gap_map: Takes 1 − c of one layer to that of the next.

    Returns:
        1 − c*; 0 if it is below 1e-14.
    """

    # In the logarithm, since close to the edge of chaos the gap is tiny.
    def growth(log_gap: float) -> float:
        return gap_map(math.exp(log_gap)) / math.exp(log_gap) - 1

    if growth(0.0) >= -_ROUNDING:
        return 1.0
    above = 0.0
    while growth(below := above - 1.5) < 0:
        above = below
        if above < math.log(_LEAST_GAP):
            return 0.0
    return math.exp(root(growth, below, above))
