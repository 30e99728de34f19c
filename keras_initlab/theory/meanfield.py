"""Mean-field theory of deep networks: what one wide layer does to the length of a signal and to the angle of two."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from keras_initlab.theory import checks
from keras_initlab.theory.activations import Scalar, scalar
from keras_initlab.theory.fixed_points import fixed_gap, fixed_variance
from keras_initlab.theory.jacobian import JacobianMoments, jacobian_moments
from keras_initlab.theory.moments import (
    mean_distance,
    mean_slope,
    mean_slope_product,
    mean_square,
    mean_square_growth,
    tangent,
)

__all__ = ["MeanField"]

# Slopes this close to 1 are taken to be 1; that they are computed to 1e-12 leaves room for a rounded sigma_w2.
_EDGE = 1e-9


@dataclass(frozen=True)
class MeanField:
    """A network with weights N(0, σ_w²/fan_in), biases N(0, σ_b²) and one activation φ, in the limit of infinite width.

    A unit's pre-activation is then normal, and a layer is known by what it does to the variance q of a pre-activation
    and to the correlation c of those of two inputs. With z ~ N(0, 1), and u, v ~ N(0, q) of correlation c::

        q ↦ V(q) = σ_w² E φ(√q·z)² + σ_b²
        c ↦ C(c) = (σ_w² E φ(u)φ(v) + σ_b²) / V(q)

    Args:
        activation: φ, anything that ``scalar`` takes: a name or function of ``keras.activations``, or any callable of
            one number. None is linear.
        sigma_w2: σ_w², variance of a weight times its fan-in, from 0 to 1e6: 1 for LeCun, 2 for He.
        sigma_b2: σ_b², variance of a bias, from 0 to 1e6. Default 0.0, since Keras's biases begin at zero.

    Each property is computed when first asked for, and kept.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or the activation is unknown. From a property: there is no fixed
            point, or the activation jumps, so that its derivative has no mean square.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos; Schoenholz et
        al. (2017), Deep information propagation.

    Example:
        >>> network = MeanField("tanh", sigma_w2=1.5, sigma_b2=0.05)
        >>> network.phase, round(network.depth_scale, 2)
        ('ordered', 15.79)
        >>> he = MeanField("relu", sigma_w2=2.0)
        >>> he.phase, [round(float(c), 4) for c in he.correlations(0.0, depth=3)]
        ('edge', [0.0, 0.3183, 0.4937, 0.6048])
    """

    activation: Any
    sigma_w2: float
    sigma_b2: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "sigma_w2", checks.number("sigma_w2", self.sigma_w2, 0.0, 1e6))
        object.__setattr__(self, "sigma_b2", checks.number("sigma_b2", self.sigma_b2, 0.0, 1e6))
        scalar(self.activation)

    def variance_map(self, q: float) -> float:
        """Variance of a pre-activation, given that of the layer before.

        Args:
            q: Variance of the layer before, from 0 to 1e12.

        Returns:
            ``V(q) = σ_w² E φ(√q·z)² + σ_b²``.
        """
        return self.sigma_w2 * mean_square(self._phi, checks.number("q", q, 0.0, 1e12)) + self.sigma_b2

    @functools.cached_property
    def fixed_point(self) -> float:
        """Variance q* that a layer leaves as it is, ``q* = V(q*)``; 0 means that the signal dies out.

        Of several it is the first on the way on which a signal of variance 1 sets out, up if V(1) > 1 and down if
        V(1) < 1. Where V increases, which is the rule, that is the limit of V(V(⋯V(1))). Where every q is a fixed
        point, as for ReLU under He (σ_w² = 2, σ_b² = 0), it is 1.

        Raises:
            ValueError: The variance grows without bound.
        """
        q = fixed_variance(self.variance_map)
        if q is None:
            raise ValueError(
                f"The variance under {self._phi.name} has no fixed point: from q = 1 it grows without bound. "
                f"Received: sigma_w2={self.sigma_w2}, sigma_b2={self.sigma_b2}. Lower one of the two."
            )
        return q

    def correlation_map(self, c: float, q: float | None = None) -> float:
        """Correlation of the pre-activations of two inputs, given that of the layer before.

        Args:
            c: Correlation in the layer before, from −1 to 1.
            q: Variance there, the same for both inputs, from 0 to 1e12. None (the default) is the fixed point, where a
                deep network soon is. 0 is read as the limit q → 0.

        Returns:
            C(c), to about 1e-12.

        Raises:
            ValueError: The next variance is 0, so that there is no correlation.
        """
        c = checks.number("c", c, -1.0, 1.0)
        q = self.fixed_point if q is None else checks.number("q", q, 0.0, 1e12)
        return min(1.0, max(-1.0, 1.0 - self._gap_map(1.0 - c, q)))

    def correlations(self, c: float, depth: int) -> NDArray[np.float64]:
        """Correlations of two inputs layer after layer, at the fixed point of the variance.

        Args:
            c: Correlation of the first layer's pre-activations, from −1 to 1.
            depth: How many further layers, at least 1.

        Returns:
            ``[c, C(c), C(C(c)), …]``, depth + 1 numbers.
        """
        values = [checks.number("c", c, -1.0, 1.0)]
        for _ in range(checks.count("depth", depth)):
            values.append(self.correlation_map(values[-1]))
        return np.array(values)

    @functools.cached_property
    def chi(self) -> float:
        """Growth of the squared distance of two nearby inputs, and of a gradient's squared length, in one layer.

        ``χ₁ = σ_w² E φ′(√q*·z)²``; for q* > 0 it is the slope of C at c = 1.
        """
        return self.sigma_w2 * mean_slope(self._phi, self.fixed_point)

    @property
    def phase(self) -> str:
        """``"ordered"`` (χ₁ < 1: nearby inputs approach), ``"chaotic"`` (χ₁ > 1: they part) or, to 1e-9, ``"edge"``."""
        if abs(self.chi - 1) <= _EDGE:
            return "edge"
        return "ordered" if self.chi < 1 else "chaotic"

    @property
    def fixed_correlation(self) -> float:
        """Correlation c* to which that of two inputs tends: 1 except in the chaotic phase, where it lies in [0, 1).

        Two signals that die out (q* = 0) count as alike.
        """
        return 1.0 - self._fixed_gap

    @functools.cached_property
    def depth_scale(self) -> float:
        """Layers ξ_c over which the memory of two inputs' correlation fades by a factor e; infinite at the edge.

        ``ξ_c = −1 / ln χ`` with χ = χ₁ in the ordered phase and ``χ = σ_w² E φ′(u)φ′(v)`` at c*, the slope of C there,
        in the chaotic phase.
        """
        if self.phase == "edge":
            return math.inf
        if self.phase == "ordered":
            return _depth_scale(self.chi)
        return _depth_scale(self.sigma_w2 * mean_slope_product(self._phi, self.fixed_point, self._fixed_gap))

    @functools.cached_property
    def variance_depth_scale(self) -> float:
        """Layers ξ_q over which a deviation from the variance's fixed point fades by a factor e.

        ``ξ_q = −1 / ln |V′(q*)|`` with ``V′(q) = σ_w² E hφ(h)φ′(h) / q``; infinite if it does not fade.
        """
        return _depth_scale(self.sigma_w2 * mean_square_growth(self._phi, self.fixed_point))

    def jacobian_moments(self, depth: int, weights: str = "gaussian") -> JacobianMoments:
        """Mean and variance of the squared singular values of the Jacobian of ``depth`` layers at the fixed point.

        Args:
            depth: How many layers, at least 1.
            weights: ``"gaussian"`` (default) or ``"orthogonal"``, σ_w times an orthogonal matrix.

        Returns:
            ``(mean, variance)`` as ``jacobian_moments`` has them; the mean is ``chi`` to the power of the depth.
        """
        mu_1, mu_2 = mean_slope(self._phi, self.fixed_point), mean_slope(self._phi, self.fixed_point, power=4)
        return jacobian_moments(mu_1, mu_2, self.sigma_w2, depth, weights)

    @functools.cached_property
    def _phi(self) -> Scalar:
        return scalar(self.activation)

    def _gap_map(self, gap: float, q: float) -> float:
        """``1 − C`` as a function of ``1 − c``; nothing cancels next to 1."""
        phi, after = self._phi, self.variance_map(q)
        if q == 0 and after > 0:
            return 0.0
        if q == 0:
            phi, q = tangent(phi), 1.0
            after = self.sigma_w2 * mean_square(phi, q)
        if after == 0:
            raise ValueError(
                "Two signals of variance 0 have no correlation, and one layer makes them so. "
                f"Received: sigma_w2={self.sigma_w2}, sigma_b2={self.sigma_b2}. Raise one of the two."
            )
        return self.sigma_w2 * mean_distance(phi, q, gap) / after

    @functools.cached_property
    def _fixed_gap(self) -> float:
        return fixed_gap(lambda gap: self._gap_map(gap, self.fixed_point)) if self.phase == "chaotic" else 0.0


def _depth_scale(slope: float) -> float:
    size = abs(slope)
    if size >= 1 - _EDGE:
        return math.inf
    return -1 / math.log(size) if size > 0 else 0.0
