"""Mean and variance of each unit, and the factor that gives all of them together a standard deviation."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops
from numpy.typing import NDArray

__all__ = ["UnitMoments", "scale_to", "unit_moments"]

Array = NDArray[np.float64]
# Rounding of sums in float32: less than this part of the root mean square is no spread.
_ROUNDING = 1e-5
# A backend that takes the mean's square from the mean square keeps three digits down to here.
_CANCELLED = 1e-3
# Of so few values the moments are taken on the host: copying them takes less time than a row of operations.
_READ_WHOLE = 2**18


@dataclass(frozen=True, eq=False)
class UnitMoments:
    """Moments of every unit over the batch and all positions.

    Attributes:
        mean: One number for each unit, flat.
        variance: Likewise.
    """

    mean: Array
    variance: Array

    @functools.cached_property
    def std(self) -> float:
        """Standard deviation of all values of all units."""
        return math.sqrt(self.variance.mean() + _covariance(self.mean, self.mean))

    @property
    def has_spread(self) -> bool:
        """Whether the values differ at all."""
        return self.std > _ROUNDING * math.sqrt(self.variance.mean() + self.mean @ self.mean / self.mean.size)

    @property
    def has_spread_in_units(self) -> bool:
        """Whether any unit takes different values."""
        return bool((self.variance > np.square(_ROUNDING * self.mean)).any())


def unit_moments(tensor: Any, axes: tuple[int, ...]) -> UnitMoments:
    """Mean and variance over some axes, in float64, or on the device in float32 where many values make that exact.

    Args:
        tensor: A float tensor.
        axes: Those that are no axes of units.

    Returns:
        The moments; NaN or infinite only where values are.
    """
    if math.prod(tensor.shape) > _READ_WHOLE:
        wide = tensor if keras.backend.standardize_dtype(tensor.dtype) == "float64" else ops.cast(tensor, "float32")
        mean, variance = (_as_array(moment).reshape(-1) for moment in ops.moments(wide, axes))
        if np.isfinite(variance).all() and (variance > _CANCELLED * np.square(mean) + 1e-30).all():
            return UnitMoments(mean, variance)
    array = _as_array(tensor)
    with np.errstate(invalid="ignore"):  # infinite values, which the caller will find
        mean = array.mean(axes, keepdims=True)
        variance = np.square(array - mean).mean(axes)
    return UnitMoments(mean.reshape(-1), variance.reshape(-1))


def _as_array(tensor: Any) -> Array:
    return np.asarray(ops.convert_to_numpy(tensor)).astype("float64")


def _covariance(a: Array, b: Array) -> float:
    return float((a - a.mean()) @ (b - b.mean())) / a.size


def scale_to(target: float, product: UnitMoments, bias: Array) -> float | None:
    """The s > 0 for which s·h + b has a standard deviation, b being constant in each unit.

    ``s² var(h) + 2 s cov(h, b) + var(b) = target²``

    Args:
        target: Standard deviation to be reached.
        product: Moments of h, with spread.
        bias: b of each unit.

    Returns:
        s; None where there is none, since b alone spreads more.

    Example:
        >>> h = UnitMoments(np.array([0.0, 2.0]), np.array([4.0, 2.0]))
        >>> scale_to(1.0, h, np.array([0.0, 0.0])), round(scale_to(1.0, h, np.array([0.0, -1.0])), 6)
        (0.5, 0.575694)
    """
    own, shared = product.std**2, _covariance(product.mean, bias)
    root = shared**2 - own * (_covariance(bias, bias) - target**2)
    if root < 0:
        return None
    s = (math.sqrt(root) - shared) / own
    return s if s > 0 else None
