"""Moments of values divided by their own root mean square, with what a finite width adds."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.moments.rules import Moments

__all__ = ["standardized"]

Array = NDArray[np.float64]

# Where the second-order terms reach this share, the next ones may reach 1 %.
_SMALL = 0.05


def standardized(moments: Moments, axes: tuple[int, ...], epsilon: float, *, centred: bool = True) -> Any:
    """Moments of ``y = d / √(r + ε)`` with ``d = x − mean of x`` (or x itself) and ``r = mean of d²`` over the axes.

    r is a mean of n elements: it varies less the wider the layer, and with the elements. To the first order in 1/n, for
    normal x, with ``δ = E d``, ``w = Var d``, ``q = δ² + w`` and ``R = E r + ε = mean of q + ε``,

    - ``Cov(d, r) = 2δw/n``, ``Cov(d², r) = (2w² + 4δ²w)/n``, ``Var r = mean of (2w² + 4δ²w) / n``
    - ``E y = (δ − Cov(d, r) / 2R + 3δ Var r / 8R²) / √R``
    - ``E y² = (q − Cov(d², r) / R + q Var r / R²) / R``

    For equal moments all corrections of ``E y²`` cancel, and mean 0 and variance ``E r / (E r + ε)`` are left.

    Args:
        moments: Of x.
        axes: Axes that the statistics are taken over.
        epsilon: ε.
        centred: Whether the mean is taken off. Default True.

    Returns:
        The moments; NotImplemented where so few elements decide that the corrections reach 5 %.
    """
    mean, variance = moments
    n = np.prod([mean.shape[axis] for axis in axes])

    def average(x: Array) -> Array:
        return np.asarray(x.mean(axes, keepdims=True))

    delta, w = (mean - average(mean), variance * (1 - 2 / n) + average(variance) / n) if centred else (mean, variance)
    q, fourth = delta**2 + w, 2 * w**2 + 4 * delta**2 * w
    total = average(q) + epsilon
    # All elements constant, and no mean left: the output is 0.
    total = np.where(total > 0, total, 1.0)
    spread = average(fourth) / n / total**2
    shift = delta * (3 / 8 * spread - w / n / total)
    growth = q * spread - fourth / n / total
    if (np.abs(growth) > _SMALL * (q + total)).any():
        return NotImplemented
    first, second = (delta + shift) / np.sqrt(total), (q + growth) / total
    return Moments(first, np.maximum(second - first**2, 0.0))
