"""The scale at which many layers of one activation pass a signal on."""

from __future__ import annotations

import functools
import math
from typing import Any, NamedTuple

from scipy import optimize

from keras_initlab.theory import Scalar, gain, gaussian_mean, scalar
from keras_initlab.theory.moments import mean_slope, mean_square_growth

__all__ = ["Working", "working_point"]

# What all layers together may make of a small difference between two inputs, or between two signals' sizes, before
# unit variance is given up, and what is then allowed.
_TOLERATED, _ALLOWED = 4.0, 1.5
_SMALLEST = 1e-3


class Working(NamedTuple):
    """Where the layers of an activation work.

    Attributes:
        gain: ``√(fan_in · E w²)`` of a kernel whose input has mean square 1: the pre-activation's standard deviation.
        mean: What to take off the activation's output, by the bias of the layer that reads it.
        rms: Root mean square of what is left; the reading kernel's gain is divided by it. 1 and 0 where a unit input is
            taken for granted, as the gains of the literature do.
    """

    gain: float
    mean: float = 0.0
    rms: float = 1.0

    @property
    def is_quiet(self) -> bool:
        """Whether the pre-activations are kept where the activation is nearly linear."""
        return self.rms != 1.0


@functools.lru_cache(maxsize=512)
def working_point(activation: Any, depth: int = 1) -> Working:
    """The working point of ``depth`` layers of an activation f in a row.

    - The usual one: gain ``g = 1/√E f(z)²``, so that the next layer's input has mean square 1. A small difference
      between two inputs then grows by ``g² E f′(z)²`` a layer, and one between the sizes of two signals by the slope of
      the variance map. It is taken where the first is from 1/4 to 4 after all layers, and the second at most 4. ReLU
      has 1 for both.
    - The quiet one for deeper networks of smooth activations: pre-activations of standard deviation σ so small that f
      is nearly linear there, and its mean removed. With ``m = E f(σz)`` and ``r = √Var f(σz)``, reading kernels have
      the gain σ/r and biases −m Σ w; a difference grows by ``χ(σ) = σ²/r² · E f′(σz)²``, which tends to 1 with σ.
      σ is the largest, up to 1, with ``χ(σ)^depth`` at most 1.5.

    Args:
        activation: As in ``theory.gain``; what has no gain (softmax, which is no function of one number) counts as
            linear.
        depth: Layers in a row, at least 1.

    Returns:
        The ``Working`` point.

    Reference:
        Poole et al. (2016), Exponential expressivity in deep neural networks through transient chaos, on the growth of
        differences; Martens et al. (2021), Rapid training of deep neural networks without skip connections or
        normalization layers using Deep Kernel Shaping, on nearly linear activations.

    Example:
        >>> round(working_point("relu", 100).gain, 6), round(working_point("tanh", 2).gain, 6)
        (1.414214, 1.592537)
        >>> deep = working_point("tanh", 60)
        >>> deep.is_quiet, round(deep.gain, 3), round(deep.rms, 3)
        (True, 0.296, 0.275)
    """
    try:
        usual = gain(activation)
        phi = scalar(activation)
    except (ValueError, TypeError):
        return Working(1.0)
    try:
        of_difference, of_size = usual**2 * mean_slope(phi, 1.0), usual**2 * mean_square_growth(phi, 1.0)
    except ValueError:  # a jump has no slope
        return Working(usual)
    if 1 / _TOLERATED <= of_difference**depth <= _TOLERATED and of_size**depth <= _TOLERATED:
        return Working(usual)
    return _quiet(phi, depth) or Working(usual)


def _quiet(phi: Scalar, depth: int) -> Working | None:
    """The quiet working point; None where f is not linear however small the signal, as with a kink at 0."""

    def excess(log_sigma: float) -> float:
        sigma = math.exp(log_sigma)
        _, r = _centred(phi, sigma)
        return depth * math.log(max((sigma / r) ** 2 * mean_slope(phi, sigma**2), 1e-300)) - math.log(_ALLOWED)

    try:
        if excess(math.log(_SMALLEST)) > 0:
            return None
        log_sigma = 0.0 if excess(0.0) <= 0 else optimize.brentq(excess, math.log(_SMALLEST), 0.0, rtol=1e-12)
        sigma = math.exp(log_sigma)
        return Working(sigma, *_centred(phi, sigma))
    except (ValueError, ZeroDivisionError):
        return None


def _centred(phi: Scalar, sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of f(σz)."""
    mean = gaussian_mean(phi.function, phi.kinks, sigma)
    return mean, math.sqrt(gaussian_mean(lambda x: (phi.function(x) - mean) ** 2, phi.kinks, sigma))
