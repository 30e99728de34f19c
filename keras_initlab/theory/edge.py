"""The edge of chaos: where a deep network neither merges its inputs nor tears them apart."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from keras_initlab.theory import checks
from keras_initlab.theory.activations import scalar
from keras_initlab.theory.fixed_points import root
from keras_initlab.theory.meanfield import MeanField
from keras_initlab.theory.moments import mean_slope, mean_square

__all__ = ["edge_of_chaos"]

# Variances at which a change of sign is looked for, two an octave.
_GRID: NDArray[np.float64] = 2.0 ** np.arange(-40, 30.5, 0.5)
_ROUNDING = 1e-12
_LEAST_SLOPE = 1e-6


def edge_of_chaos(activation: Any, sigma_b2: ArrayLike = 0.0) -> tuple[Any, Any]:
    """Weight variance at which a network with these biases sits at the edge of chaos.

    The edge is where ``χ₁ = σ_w² E φ′(√q·z)² = 1`` at the fixed point ``q = V(q)``. With the first put into the second,
    it is left to solve ``q − E φ(√q·z)² / E φ′(√q·z)² = σ_b²`` for q. A solution counts if a signal of variance 1 gets
    there (see ``MeanField.fixed_point``); of several, the one with the smallest q is taken.

    Args:
        activation: φ, as in ``MeanField``.
        sigma_b2: σ_b², from 0 to 1e6, or an array of such, for the curve. Default 0.0.

    Returns:
        ``(sigma_w2, q)``: two numbers, or two arrays of the shape of ``sigma_b2``. q is 0 where the signal dies out,
        as for tanh without biases, and 1 where every q is a fixed point.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or there is no such point. The edge of ReLU and of all other
            activations with φ(a·h) = a·φ(h) for a > 0 is a single point, at σ_b² = 0: with biases the variance grows
            without bound where χ₁ = 1.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos; Hayou, Doucet &
        Rousseau (2019), On the impact of the activation function on deep neural networks training.

    Example:
        >>> sigma_w2, q = edge_of_chaos("tanh", 0.05)
        >>> round(sigma_w2, 6), round(q, 6)
        (1.760955, 0.570048)
        >>> sigma_w2, q = edge_of_chaos("relu")
        >>> round(sigma_w2, 12), q
        (2.0, 1.0)
    """
    if np.ndim(sigma_b2) == 0:
        return _edge(activation, checks.number("sigma_b2", sigma_b2, 0.0, 1e6))
    biases = np.asarray(sigma_b2)
    curve = np.array([_edge(activation, checks.number("sigma_b2", each, 0.0, 1e6)) for each in biases.ravel()])
    sigma_w2, q = curve.reshape(-1, 2).T
    return sigma_w2.reshape(biases.shape), q.reshape(biases.shape)


def _edge(activation: Any, sigma_b2: float) -> tuple[float, float]:
    phi = scalar(activation)
    mean_slope(phi, 1.0)  # refuses an activation that jumps

    def excess(q: float) -> float:
        try:
            slope = mean_slope(phi, q)
            return 1 - (mean_square(phi, q) / slope + sigma_b2) / q if slope else math.nan
        except ValueError:  # an activation like exp outgrows the density
            return math.nan

    values = np.array([excess(q) for q in _GRID])
    values[np.abs(values) <= _ROUNDING] = 0.0
    changes = np.flatnonzero(values[1:] * values[:-1] < 0)
    solutions = [0.0, *(root(excess, float(_GRID[i]), float(_GRID[i + 1])) for i in changes), 1.0]
    for q in solutions:
        slope = mean_slope(phi, q)
        if slope >= _LEAST_SLOPE and _is_reached(MeanField(activation, 1 / slope, sigma_b2), q):
            return 1 / slope, q
    raise ValueError(
        f"Activation {phi.name} has no edge of chaos at this variance of the biases. Received: sigma_b2={sigma_b2}. "
        "Where chi is 1 there, the variance of the signal grows without bound or leads elsewhere."
    )


def _is_reached(network: MeanField, q: float) -> bool:
    try:
        return math.isclose(network.fixed_point, q, rel_tol=1e-6, abs_tol=1e-9)
    except ValueError:
        return False
