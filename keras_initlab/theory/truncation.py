"""The standard normal law cut at two bounds: its moments, and the tail functions that sampling from it needs."""

from __future__ import annotations

import functools
import math

import numpy as np
from numpy.typing import NDArray
from scipy.special import erfcx, ndtr, ndtri

from keras_initlab.theory.fixed_points import root

__all__ = [
    "log_survival_ratio",
    "mills_ratio",
    "normal_quantile",
    "stddev_before_cut",
    "truncated_moments",
    "truncated_quantile",
]

# exp(-80) is 2e-35: what lies further down the density than that changes no digit of a moment in float64.
_NEGLIGIBLE = 80.0


def mills_ratio(x: float | NDArray[np.float64]) -> NDArray[np.float64]:
    """Mills ratio of the standard normal law, the survival function over the density.

    ``M(x) = (1 − Φ(x)) / φ(x) = √(π/2) · erfcx(x/√2)``, which neither under- nor overflows for x ≥ 0.

    Args:
        x: Where to take it, at least about −37 (below that it exceeds float64).

    Returns:
        M(x), float64, of the shape of ``x``.

    Example:
        >>> float(mills_ratio(0.0)) == math.sqrt(math.pi / 2)
        True
    """
    return np.asarray(math.sqrt(math.pi / 2) * erfcx(np.asarray(x, "float64") / math.sqrt(2)))


def log_survival_ratio(lower: float, upper: float) -> float:
    """How much probability is left beyond ``upper``, given that ``lower`` is passed: ``log((1 − Φ(b)) / (1 − Φ(a)))``.

    The two survival probabilities underflow beyond 38 standard deviations and nearly cancel in a narrow window. With
    w = b − a and the Mills ratio M the same number is ``−w(a + w/2) + log(M(b) / M(a))``, where neither happens.

    Args:
        lower: a, at least 0.
        upper: b, at least a; infinity is allowed and gives minus infinity.

    Returns:
        A number that is at most 0.

    Example:
        >>> round(log_survival_ratio(100.0, 100.01), 6)
        -1.00015
    """
    if math.isinf(upper):
        return -math.inf
    width = upper - lower
    return float(-width * (lower + width / 2) + np.log(mills_ratio(upper) / mills_ratio(lower)))


@functools.lru_cache(maxsize=256)
def truncated_moments(lower: float, upper: float) -> tuple[float, float]:
    """Mean and standard deviation of a standard normal law that is cut at two bounds.

    With Z = Φ(b) − Φ(a) the textbook form is ``m = (φ(a) − φ(b)) / Z`` and ``v = 1 + (aφ(a) − bφ(b)) / Z − m²``. It
    subtracts nearly equal numbers in a narrow window or far in a tail until no digit is left, so the two integrals are
    taken directly instead, by Gauss–Legendre quadrature of a positive integrand over the part of the window that has
    weight.

    Args:
        lower: a, in standard deviations; minus infinity for no lower bound.
        upper: b, above ``lower``; infinity for no upper bound.

    Returns:
        ``(mean, std)``, to about 13 digits of the distance from the bound nearest 0 and of the standard deviation.

    Raises:
        ValueError: ``lower`` is not below ``upper``, or one of them is not a number.

    Reference:
        Johnson, Kotz & Balakrishnan (1994), Continuous univariate distributions, volume 1, section 13.10.1.

    Example:
        >>> mean, std = truncated_moments(-2.0, 2.0)
        >>> round(mean, 12), round(std, 12)
        (0.0, 0.879625661034)
    """
    if not lower < upper:
        raise ValueError(
            f"Argument `lower` must be below `upper`. Received: lower={lower}, upper={upper}. "
            "Give the bounds in standard deviations, lower first."
        )
    if upper <= 0:
        mean, std = truncated_moments(-upper, -lower)
        return -mean, std
    origin = max(lower, 0.0)
    # The density falls by exp(-o·y - y²/2) at distance y from the origin o.
    reach = 2 * _NEGLIGIBLE / (origin + math.sqrt(origin**2 + 2 * _NEGLIGIBLE))
    first, last = max(lower - origin, -reach), min(upper - origin, reach)
    nodes, weights = _quadrature()
    y = first + (last - first) * nodes
    mass = weights * np.exp(-y * (origin + y / 2))
    mass /= mass.sum()
    mean = float(mass @ y)
    return origin + mean, math.sqrt(float(mass @ (y - mean) ** 2))


@functools.cache
def _quadrature() -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Nodes and weights on [0, 1]: eight panels of 32, enough for exp(-80 y) and for a Gaussian 25 wide."""
    nodes, weights = np.polynomial.legendre.leggauss(32)
    panels = np.arange(8)[:, None]
    return ((panels + (nodes + 1) / 2) / 8).ravel(), np.tile(weights / 16, 8)


def normal_quantile(u: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quantile of the standard normal law at uniform numbers from a grid of 2⁻⁵³, none of which gives infinity.

    ``Φ⁻¹(u + 2⁻⁵⁴)``: the middle of each cell of the grid.

    Args:
        u: Numbers in [0, 1), multiples of 2⁻⁵³.

    Returns:
        float64 of the shape of ``u``, between −8.3 and 8.21.

    Example:
        >>> normal_quantile(np.array([0.0, 0.5, 1 - 2.0**-53])).round(3)
        array([-8.292,  0.   ,  8.21 ])
    """
    return truncated_quantile(u, -math.inf, math.inf)


def truncated_quantile(u: NDArray[np.float64], lower: float, upper: float) -> NDArray[np.float64]:
    """Quantile of the standard normal law cut at two bounds.

    ``x`` with ``(Φ(x) − Φ(a)) / (Φ(b) − Φ(a)) = u``; beyond 0 by the distance from the bound, with the hazard rate.

    Args:
        u: Numbers in [0, 1).
        lower: a, minus infinity for none.
        upper: b, above ``lower``, infinity for none.

    Returns:
        float64 of the shape of ``u``, within the bounds.

    Example:
        >>> truncated_quantile(np.array([0.0, 0.5]), 5.25, math.inf).round(6)
        array([5.25    , 5.376258])
    """
    if upper <= 0:
        return -truncated_quantile(u, -upper, -lower)
    if lower >= 0:
        kept = -math.expm1(log_survival_ratio(lower, upper))
        return np.clip(lower + _excess(-np.log1p(-kept * u), lower), lower, upper)
    low, high = ndtr(lower), ndtr(upper)
    p = np.minimum(low + (high - low) * u + 2.0**-54, 1 - 2.0**-53)
    return np.asarray(np.clip(ndtri(p), lower, upper))


def _excess(exponential: NDArray[np.float64], lower: float) -> NDArray[np.float64]:
    """How far beyond a = ``lower``, at least 0, the survival function has fallen by the factor exp(−exponential).

    Solves ``a·y + y²/2 − log(M(a + y) / M(a)) = e`` for y, which keeps its digits however far out a is; SciPy's
    inverse of the logarithm has lost ten of them at a = 1000. The left side is convex with slope 1 / M(a + y), the
    hazard rate. Newton's steps start from the solution with the hazard and its slope taken at a, which is too far out,
    and so come down to the root one after the other.
    """
    log_mills = math.log(mills_ratio(lower))
    hazard = math.exp(-log_mills)
    # The slope of the hazard, h(h − a), lies between 0 and 1; in floats it is rounding noise far out.
    slope = min(max(hazard * (hazard - lower), 0.0), 1.0)
    y = exponential * 2.0 / (np.sqrt(exponential * (2.0 * slope) + hazard**2) + hazard)
    for _ in range(5):
        mills = mills_ratio(lower + y)
        y = y - (y * (lower + y / 2) - (np.log(mills) - log_mills) - exponential) * mills
    return np.asarray(np.maximum(y, 0.0))


@functools.lru_cache(maxsize=256)
def stddev_before_cut(stddev: float, lower: float, upper: float) -> float:
    """Standard deviation σ that a normal law must have for a cut at two fixed distances to leave ``stddev``.

    Solves ``σ · s(lower/σ, upper/σ) = stddev`` with s the standard deviation in ``truncated_moments``. The left side
    grows with σ: to that of the uniform law, (upper − lower)/√12, where both bounds are finite.

    Args:
        stddev: Standard deviation of the values after the cut, above 0.
        lower: Distance of the lower bound from the mean before the cut, in the units of ``stddev``.
        upper: Distance of the upper bound likewise, above ``lower``.

    Returns:
        σ, to 12 digits.

    Raises:
        ValueError: No normal law leaves so much: ``stddev`` is not below that of the uniform law.

    Example:
        >>> round(stddev_before_cut(0.8796256610342398, -2.0, 2.0), 12)
        1.0
    """
    if math.isinf(lower) and math.isinf(upper):
        return stddev
    widest = (upper - lower) / math.sqrt(12)

    def left(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        return math.log(sigma * truncated_moments(lower / sigma, upper / sigma)[1] / stddev)

    # A law 1e5 times as wide as the window differs from the uniform one in the tenth digit.
    scale = upper - lower if math.isfinite(widest) else abs(min(lower, upper, key=abs))
    ceiling = math.log(1e5 * max(scale, stddev))
    if stddev >= widest or left(ceiling) <= 0:
        raise ValueError(
            f"Argument `stddev` must be below {widest:g}, that of the uniform law between the bounds. "
            f"Received: stddev={stddev!r}. Move the bounds apart, or ask for less."
        )
    floor = math.log(stddev)
    while left(floor) >= 0:
        floor -= 1.0
    return math.exp(root(left, floor, ceiling))
