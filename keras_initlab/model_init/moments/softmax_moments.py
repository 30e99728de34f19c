"""Moments of the softmax of independent normals, by one integral instead of as many as there are logits."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.moments.rules import Moments

__all__ = ["softmax_moments", "softmax_products"]

Array = NDArray[np.float64]

# Steps of the trapezoidal rule. The integrands are analytic in a strip of half-width π/2 in log t, and π/(2τ) in z, so
# these leave errors of exp(-2π·π/2/.6) = 7e-8 and, for τ > 2, of exp(-π²) = 5e-5.
_STEP, _STEP_Z = 0.6, 0.5
_END_Z = 6.5
# A block of rows takes about 8 bytes times this, a few times over.
_BLOCK = 2_000_000


def softmax_moments(mean: Array, variance: Array, axis: int = -1) -> Moments:
    """Mean and variance of the softmax of independent normal logits.

    ``1/Σ = ∫₀^∞ e^(−tΣ) dt`` with ``Σ = Σⱼ e^(xⱼ)`` turns the mean of a ratio into an integral of products of means of
    a single logit each:

    - ``E pᵢ = ∫ E[e^(xᵢ) e^(−t e^(xᵢ))] Πⱼ≠ᵢ φⱼ(t) dt``, with ``φⱼ(t) = E e^(−t e^(xⱼ))``
    - ``E pᵢ² = ∫ t E[e^(2xᵢ) e^(−t e^(xᵢ))] Πⱼ≠ᵢ φⱼ(t) dt``

    Args:
        mean: Means of the logits.
        variance: Their variances.
        axis: The axis that sums to 1. Default -1.

    Returns:
        Moments of the shape of the logits, to about 1e-4 of the mean.

    Example:
        >>> found = softmax_moments(np.zeros(4), np.zeros(4))
        >>> found.mean.round(6).tolist(), float(abs(found.variance).max()) < 1e-6
        ([0.25, 0.25, 0.25, 0.25], True)
    """
    mean, variance = np.moveaxis(mean, axis, -1), np.moveaxis(variance, axis, -1)
    first, second = _by_rows(mean, variance, _squares)
    return Moments(*(np.moveaxis(x, -1, axis) for x in (first, np.maximum(second - first**2, 0.0))))


def softmax_products(mean: Array, variance: Array) -> tuple[Array, Array]:
    """``E pᵢ`` and ``E pᵢpⱼ`` of the softmax over the last axis of independent normal logits.

    For i ≠ j ``E pᵢpⱼ = ∫ t E[e^(xᵢ) e^(−t e^(xᵢ))] E[e^(xⱼ) e^(−t e^(xⱼ))] Πₖ≠ᵢⱼ φₖ(t) dt``; otherwise as
    ``softmax_moments``.

    Args:
        mean: Means of the logits, of shape (..., n).
        variance: Their variances.

    Returns:
        Arrays of shape (..., n) and (..., n, n).
    """
    first, second = _by_rows(mean, variance, _products)
    return first, second


def _squares(ones: Array, twos: Array, whole: Array) -> tuple[Array, Array]:
    return _integral(ones * whole[:, None]), _integral(twos * whole[:, None])


def _products(ones: Array, twos: Array, whole: Array) -> tuple[Array, Array]:
    products = _STEP * np.matmul(ones * whole[:, None], ones.swapaxes(-1, -2))
    places = np.arange(ones.shape[1])
    products[:, places, places] = _integral(twos * whole[:, None])
    return _integral(ones * whole[:, None]), products


def _integral(values: Array) -> Array:
    return np.asarray(_STEP * values.sum(-1))


def _by_rows(mean: Array, variance: Array, finish: Callable[..., tuple[Array, Array]]) -> tuple[Array, Array]:
    """Every different row once: the positions of a sequence are mostly alike."""
    n = mean.shape[-1]
    # Only differences between logits count.
    centred = mean - mean.max(-1, keepdims=True)
    rows = np.concatenate([centred, np.broadcast_to(variance, mean.shape)], -1).reshape(-1, 2 * n)
    rows, places = np.unique(rows.round(12), axis=0, return_inverse=True)
    blocks = [finish(*terms) for terms in _terms(rows[:, :n], np.sqrt(rows[:, n:]))]
    first, second = (np.concatenate(parts)[places.reshape(-1)] for parts in zip(*blocks, strict=True))
    return first.reshape(mean.shape), second.reshape(*mean.shape[:-1], *second.shape[1:])


def _terms(mean: Array, spread: Array) -> Iterator[tuple[Array, Array, Array]]:
    """For blocks of rows, over u = log t: ``E y e^(−y) / φ`` and ``E y² e^(−y) / φ`` with ``y = e^(x + u)``; ``Πφ``."""
    step = min(_STEP_Z, 1 / max(float(spread.max()), 1e-9))
    z = np.arange(-_END_Z, _END_Z + step, step)
    weights = np.exp(-(z**2) / 2)
    weights /= weights.sum()
    log_mean = mean + np.minimum(spread**2 / 2, _END_Z * spread)
    lower = -np.logaddexp.reduce(log_mean, axis=-1) - 16
    upper = -(mean - _END_Z * spread).max(-1) + 4
    start = 0
    while start < len(mean):
        length = int((upper[start] - lower[start]) / _STEP) + 2
        rows = max(1, _BLOCK // (mean.shape[1] * length))
        chosen = slice(start, start + rows)
        start += rows
        u = np.arange(lower[chosen].min(), upper[chosen].max() + _STEP, _STEP)
        ones, twos, phi = _means(mean[chosen], spread[chosen], u, z, weights)
        yield ones / phi, twos / phi, np.exp(np.log(phi).sum(1))


def _means(mean: Array, spread: Array, u: Array, z: Array, weights: Array) -> tuple[Array, Array, Array]:
    # Every different logit once.
    pairs, places = np.unique(np.stack([mean.ravel(), spread.ravel()], 1), axis=0, return_inverse=True)
    ones, twos, phi = (np.zeros((len(pairs), len(u))) for _ in range(3))
    for point, weight in zip(z, weights, strict=True):
        y = np.exp(np.minimum((pairs[:, 0] + point * pairs[:, 1])[:, None] + u, 50.0))
        decay = weight * np.exp(-y)
        phi += decay
        ones += y * decay
        twos += y * y * decay
    found = (x[places.reshape(mean.shape)] for x in (ones, twos, np.maximum(phi, 1e-300)))
    return next(found), next(found), next(found)
