"""Spread of the singular values of a deep network's Jacobian."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_initlab.theory import checks

__all__ = ["JacobianMoments", "jacobian_moments"]

# First coefficient of (variance times fan) · S(z), S the S-transform of a weight's squared singular values: 1/(1 + z)
# for a square Gaussian weight, the constant 1 for an orthogonal one.
_SLOPES = {"gaussian": -1.0, "orthogonal": 0.0}


class JacobianMoments(NamedTuple):
    """Moments of the squared singular values of a Jacobian.

    Attributes:
        mean: Mean of the squared singular values: how much a gradient's squared length grows on the way back.
        variance: Their variance; 0 when all of them are equal (dynamical isometry).
    """

    mean: float
    variance: float


def jacobian_moments(
    mu_1: float, mu_2: float, sigma_w2: float, depth: int, weights: str = "gaussian"
) -> JacobianMoments:
    """Moments of the squared singular values of the product of ``depth`` layers, in the limit of infinite width.

    ``J = D_L W_L ⋯ D_1 W_1`` with square weights W_l and independent diagonal matrices D_l = diag φ′(h). With
    μ_k = E φ′(h)^{2k} and L the depth::

        mean     = (σ_w² μ₁)^L
        variance = (σ_w² μ₁)^{2L} · L · (μ₂/μ₁² − 1 − s₁)

    where s₁ is −1 for Gaussian and 0 for orthogonal weights. The S-transform of a law with mean m and variance v
    begins ``(1/m)(1 − z·v/m² + …)``, and S-transforms multiply along the product, so that the ratios v/m² of all
    factors add up: L times μ₂/μ₁² − 1 of the D's and L times −s₁ of the weights.

    Args:
        mu_1: E φ′(h)², at least 0.
        mu_2: E φ′(h)⁴, at least mu_1².
        sigma_w2: σ_w², variance of a weight times its fan-in, at least 0; an orthogonal weight is then σ_w times an
            orthogonal matrix.
        depth: L, at least 1.
        weights: ``"gaussian"`` (default: independent normal entries) or ``"orthogonal"``.

    Returns:
        ``(mean, variance)``; infinite where float64 ends.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.

    Reference:
        Pennington, Schoenholz & Ganguli (2017), Resurrecting the sigmoid in deep learning through dynamical isometry:
        theory and practice.

    Example:
        >>> jacobian_moments(1.0, 1.0, 1.0, 100, "orthogonal")  # linear: all singular values are 1
        JacobianMoments(mean=1.0, variance=0.0)
        >>> jacobian_moments(0.5, 0.5, 2.0, 100)  # ReLU under He: L · (2 − 1 + 1)
        JacobianMoments(mean=1.0, variance=200.0)
    """
    depth = checks.count("depth", depth)
    mu_1, sigma_w2 = checks.number("mu_1", mu_1, 0.0, 1e30), checks.number("sigma_w2", sigma_w2, 0.0, 1e30)
    # Rounding may leave it just below the square of the mean.
    mu_2 = max(checks.number("mu_2", mu_2, mu_1**2 * (1 - 1e-9), 1e60), mu_1**2)
    checks.choice("weights", weights, _SLOPES)
    if mu_1 == 0 or sigma_w2 == 0:
        return JacobianMoments(0.0, 0.0)
    spread = depth * (mu_2 / mu_1**2 - 1 - _SLOPES[weights])
    with np.errstate(over="ignore", under="ignore"):
        mean = np.float64(sigma_w2 * mu_1) ** depth
        return JacobianMoments(float(mean), float(mean * mean * spread) if spread else 0.0)
