"""What theory says of the signals and gradients of dense layers, with and without BatchNormalization."""

from __future__ import annotations

import math
from typing import NamedTuple

from keras_initlab.theory import gaussian_mean, scalar

__all__ = ["Scales", "scales"]


class Scales(NamedTuple):
    """Of layers on top of each other.

    Attributes:
        signals: root mean square of each layer's outputs.
        back: what a layer multiplies the root mean square of a gradient by, from its outputs to its inputs.
    """

    signals: list[float]
    back: list[float]


def scales(activation: str, inputs: float, std: float, width: int, depth: int, epsilon: float | None = None) -> Scales:
    """Signals and gradients of wide layers with weights N(0, std²) and biases 0.

    A pre-activation is normal, of variance v = std² · inputs. BatchNormalization makes v / (v + ε) of it, divides the
    gradient by √(v + ε), and takes what all examples have in common out of the signal: of a layer's outputs only their
    variance counts for the next. Hence gradients grow by √(π / (π − 1)) = 1.21 in each ReLU layer, however small the
    weights (Yang et al., 2019, A mean field theory of batch normalization).

    Args:
        activation: a name of `keras.activations`.
        inputs: sum over the features of their mean square; with BatchNormalization, of their variance over the batch.
        std: of the weights.
        width: units of each layer.
        depth: how many layers.
        epsilon: of BatchNormalization, before the activation; None (the default) is without.

    Example:
        >>> signals, back = scales("relu", 64.0, 0.01, width=100, depth=9, epsilon=1e-3)
        >>> round(signals[-1], 3), round(back[-1], 3)
        (0.594, 1.211)
    """
    phi, found = scalar(activation), Scales([], [])
    for _ in range(depth):
        v = std**2 * inputs
        divisor = 1.0 if epsilon is None else v + epsilon
        # Where nothing is left, the limit.
        s = max(math.sqrt(v / divisor), 1e-20)
        square = gaussian_mean(lambda h: phi.function(h) ** 2, phi.kinks, s)
        slope = gaussian_mean(lambda h: phi.derivative(h) ** 2, phi.kinks, s)
        mean = 0.0 if epsilon is None else gaussian_mean(phi.function, phi.kinks, s)
        found.signals.append(math.sqrt(square))
        found.back.append(std * math.sqrt(width * slope / divisor))
        inputs = width * (square - mean**2)
    return found
