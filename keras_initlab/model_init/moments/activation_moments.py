"""Mean and variance of an activation's output, for normal inputs of any mean and variance, element by element."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from keras_initlab.model_init.moments.rules import Moments
from keras_initlab.theory.activations import Named, Scalar, identify, resolve

__all__ = ["activation_moments", "mean_square_slope", "rectified"]

Array = NDArray[np.float64]

# Beyond 10 standard deviations lies 1e-23 of the mean of a bounded function.
_REACH = 10.0
_GRID = np.arange(-_REACH, _REACH + 1, 2.0)
_NODES, _NODE_WEIGHTS = np.polynomial.legendre.leggauss(8)
# Values of the integrand held at once: 16 MiB an array.
_AT_ONCE = 2**21


def activation_moments(activation: Any, moments: Moments) -> Moments:
    """``E φ(x)`` and ``Var φ(x)`` with ``x ~ N(μ, v)`` for every element.

    Closed forms for linear, relu and leaky relu. All others by Gauss-Legendre quadrature in panels that end at the
    activation's kinks, at powers of two and at every second standard deviation, to about 1e-9; equal pairs (μ, v) are
    computed once.

    Args:
        activation: Whatever ``theory.scalar`` takes, or what it gives.
        moments: Of the pre-activation.

    Raises:
        ValueError, TypeError: It is not a function of one number.
    """
    key = activation if isinstance(activation, Scalar) else identify(activation)
    slope = _negative_slope(key)
    if slope is not None:
        return rectified(slope, moments)
    phi = key if isinstance(key, Scalar) else resolve(key)
    return _each_pair(lambda mean, std: _mean_and_variance(phi, mean, std), moments)


def rectified(negative_slope: Array | float, moments: Moments) -> Moments:
    """``E`` and ``Var`` of ``max(x, 0) + a·min(x, 0)``.

    With ``r = μ/σ``, density φ and distribution Φ: ``E max(x, 0) = μΦ(r) + σφ(r)`` and
    ``E max(x, 0)² = (μ² + v)Φ(r) + μσφ(r)``; the negative part is the same with −μ.

    Args:
        negative_slope: a, one for all or one for each element.
        moments: Of x.
    """
    mean, variance = moments
    std = np.sqrt(variance)
    r = np.divide(mean, std, out=np.where(mean < 0, -np.inf, np.inf), where=std > 0)
    density = np.exp(-0.5 * r * r) / math.sqrt(2 * math.pi)
    above, below = mean * ndtr(r) + std * density, -mean * ndtr(-r) + std * density
    square_above = (mean**2 + variance) * ndtr(r) + mean * std * density
    square_below = (mean**2 + variance) * ndtr(-r) - mean * std * density
    out = above - negative_slope * below
    spread = square_above + negative_slope**2 * square_below - out**2
    # The difference of large squares has lost its digits where x is nearly always on one side.
    spread = np.where(r > _REACH, variance, np.where(r < -_REACH, negative_slope**2 * variance, spread))
    return Moments(out, np.maximum(spread, 0.0))


def mean_square_slope(activation: Any, moments: Moments) -> Array:
    """``E φ′(x)²`` for every element, with ``x ~ N(μ, v)``.

    Args:
        activation: Whatever ``theory.scalar`` takes, or what it gives.
        moments: Of the pre-activation.

    Raises:
        ValueError, TypeError: It is not a function of one number, or it jumps.
    """
    key = activation if isinstance(activation, Scalar) else identify(activation)
    straight = _negative_slope(key)
    if straight is not None:
        mean, variance = moments
        r = np.divide(mean, np.sqrt(variance), out=np.where(mean < 0, -np.inf, np.inf), where=variance > 0)
        return np.asarray(ndtr(r) + straight**2 * ndtr(-r))
    phi = key if isinstance(key, Scalar) else resolve(key)
    slope = Scalar(phi.name, phi.derivative, phi.derivative, phi.kinks)
    return _each_pair(lambda mean, std: _mean_and_variance(slope, mean, std), moments).square


def _negative_slope(key: Any) -> float | None:
    """Slope left of 0 of what is straight on both sides of it, 1 on the right."""
    if not isinstance(key, Named) or key.name not in ("linear", "relu", "leaky_relu"):
        return None
    given = dict(key.parameters)
    if given.pop("max_value", None) is not None or given.pop("threshold", 0.0):
        return None
    return float(given.get("negative_slope", {"linear": 1.0, "relu": 0.0, "leaky_relu": 0.2}[key.name]))


def _each_pair(compute: Callable[[Array, Array], tuple[Array, Array]], moments: Moments) -> Moments:
    """Computes every pair of mean and standard deviation once, those of like spread together."""
    pairs = moments.mean.ravel() + 1j * np.sqrt(moments.variance.ravel())
    distinct, inverse = np.unique(pairs, return_inverse=True)
    order = np.argsort(distinct.imag, kind="stable")
    mean, variance = np.empty(len(distinct)), np.empty(len(distinct))
    size = _AT_ONCE // (len(_NODES) * 40)
    for start in range(0, len(order), size):
        chunk = order[start : start + size]
        mean[chunk], variance[chunk] = compute(distinct.real[chunk], distinct.imag[chunk])
    shape = moments.mean.shape
    inverse = inverse.reshape(-1)
    return Moments(mean[inverse].reshape(shape), variance[inverse].reshape(shape))


def _mean_and_variance(phi: Scalar, mean: Array, std: Array) -> tuple[Array, Array]:
    z, weight = _panels(phi, mean, std)
    with np.errstate(over="ignore", invalid="ignore"):
        values = phi.function(mean[:, None] + std[:, None] * z)
        out = (weight * values).sum(-1)
        spread = (weight * (values - out[:, None]) ** 2).sum(-1)
    return out, np.where(std > 0, spread, 0.0)


def _panels(phi: Scalar, mean: Array, std: Array) -> tuple[Array, Array]:
    """Nodes and weights of the quadrature over the standard normal law, a row for each element."""
    reach = float(np.max(np.abs(mean) + _REACH * std, initial=1.0))
    powers = 2.0 ** np.arange(math.ceil(math.log2(min(reach, 1e15))) + 1)
    breaks = np.concatenate([-powers, [0.0], powers, np.asarray(phi.kinks)])
    safe = np.where(std > 0, std, 1.0)
    inner = np.clip((breaks - mean[:, None]) / safe[:, None], -_REACH, _REACH)
    edges = np.sort(np.concatenate([np.broadcast_to(_GRID, (len(mean), len(_GRID))), inner], 1), 1)
    half, middle = np.diff(edges) / 2, (edges[:, 1:] + edges[:, :-1]) / 2
    z = (middle[..., None] + half[..., None] * _NODES).reshape(len(mean), -1)
    weight = (half[..., None] * _NODE_WEIGHTS).reshape(len(mean), -1)
    return z, weight * np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi)
