"""Means over a normal law, by adaptive quadrature."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
from numpy.typing import NDArray

from keras_initlab.theory.chebyshev import INTEGRALS, coefficients, points, tails

__all__ = ["gaussian_mean"]

Array = NDArray[np.float64]

# Of a bounded function 1e-23 of the mean lies beyond 10 standard deviations; beyond 37 one over the density overflows.
_CORE, _END = 10, 37
_NEGLIGIBLE = 1e-17
# A panel is accepted at the first, the sum at the second, both relative to the mean of the absolute value.
_PANEL, _SUM = 1e-14, 1e-9
_LEVELS, _MOST_PANELS = 60, 10_000


def gaussian_mean(f: Callable[[Array], Array], breaks: Iterable[float] = (), scale: float = 1.0) -> float:
    """Mean of a function of a normal variable.

    ``E f(s·z) = ∫ f(s·z) φ(z) dz`` with z ~ N(0, 1), φ its density and s the scale. The line is cut into panels at the
    breaks and at powers of two; each panel whose Chebyshev coefficients have not died out is halved, until they have.
    The tails are followed as far out as they contribute.

    Args:
        f: Maps a float64 array to one of its shape. It may grow like a polynomial or like exp.
        breaks: Where f is not smooth, in units of its argument. Default none: kinks and jumps that are not named are
            found by halving, which takes some 20 to 50 more evaluations of f; an unnamed jump may cost 1e-8.
        scale: s, above 0; tried from 1e-6 to 1e6. Default 1.0.

    Returns:
        The mean, to about 1e-12 of E |f| for a smooth f, and never worse than 1e-9.

    Raises:
        ValueError: The scale is not above 0; f is not finite where it matters; its mean does not exist; or it is too
            rough.

    Example:
        >>> round(gaussian_mean(lambda x: np.maximum(x, 0.0) ** 2, scale=2.0), 12)
        2.0
    """
    if not 0 < scale < math.inf:
        raise ValueError(
            f"Argument `scale` must be a finite number above 0. Received: scale={scale!r}. "
            "At 0 the mean is the function's value at 0."
        )

    def integrand(z: Array) -> Array:
        return np.asarray(f(scale * z) * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi))

    with np.errstate(all="ignore"):
        left, right, values = _to_the_tails(integrand, _edges(breaks, scale))
        done = size = missing = 0.0
        panels, before = 0, (math.inf, 0)
        for _ in range(_LEVELS):
            panels += len(left)
            widths = right - left
            areas, sizes = widths * (values @ INTEGRALS), widths * (np.abs(values) @ INTEGRALS)
            errors = widths * tails(values, coefficients(values))
            total = size + sizes.sum()
            rough = errors > _PANEL * total
            rest, count = float(errors[rough].sum()), int(rough.sum())
            # Errors that halving the panels everywhere does not lessen are rounding of f.
            rounding = rest > 0.5 * before[0] and count > 1.5 * before[1] and missing + rest <= _SUM * total
            if not count or rounding or panels > _MOST_PANELS:
                break
            before = rest, count
            done, size = done + areas[~rough].sum(), size + sizes[~rough].sum()
            missing += errors[~rough].sum()
            left, right = _halves(left[rough], right[rough])
            values = _finite(integrand, left, right)
    mean, error = float(done + areas.sum()), float(missing + errors.sum())
    if error > _SUM * total:
        raise ValueError(
            f"The mean over the normal law does not settle after {panels} panels: {mean:.9g} ± {error:.1g}. "
            "The function is too rough, or its mean does not exist."
        )
    return mean


def _edges(breaks: Iterable[float], scale: float) -> Array:
    """Ends of the first panels: whole numbers to the core's end, and powers of two times the function's own unit."""
    unit = 0.5 / scale
    powers = unit * 2.0 ** np.arange(max(0, math.ceil(math.log2(2 / unit))))
    positive = np.concatenate([powers[powers < 2], np.arange(2.0, _CORE + 1)])
    named = np.asarray([*breaks], "float64") / scale
    return np.unique(np.concatenate([-positive, [0.0], positive, named[np.abs(named) < _CORE]]))


def _to_the_tails(integrand: Callable[[Array], Array], edges: Array) -> tuple[Array, Array, Array]:
    """Sample the core, then panel after panel on either side until one holds nothing."""
    left, right = edges[:-1], edges[1:]
    values = _finite(integrand, left, right)
    lower, upper = left[:1], right[-1:]
    for _ in range(_CORE, _END):
        areas = (right - left) * (np.abs(values) @ INTEGRALS)
        more_below, more_above = areas[0] > _NEGLIGIBLE * areas.sum(), areas[-1] > _NEGLIGIBLE * areas.sum()
        if not (more_below or more_above):
            return left, right, values
        if more_below:
            lower = left[:1]
            left, right = np.concatenate([lower - 1, left]), np.concatenate([lower, right])
            values = np.concatenate([_finite(integrand, left[:1], right[:1]), values])
        if more_above:
            upper = right[-1:]
            left, right = np.concatenate([left, upper]), np.concatenate([right, upper + 1])
            values = np.concatenate([values, _finite(integrand, left[-1:], right[-1:])])
    raise ValueError("The mean over the normal law does not exist: the function outgrows the density in the tails.")


def _halves(left: Array, right: Array) -> tuple[Array, Array]:
    middle = (left + right) / 2
    return np.concatenate([left, middle]), np.concatenate([middle, right])


def _finite(integrand: Callable[[Array], Array], left: Array, right: Array) -> Array:
    z = points(left, right)
    values = integrand(z)
    if not np.isfinite(values).all():
        nearest = np.abs(z[~np.isfinite(values)]).min()
        raise ValueError(
            f"The function is not finite {nearest:.3g} standard deviations from 0, where its mean needs it. "
            "Bound it, or take a smaller scale."
        )
    return values
