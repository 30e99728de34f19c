"""Signals on their way forward: what mean-field theory predicts of each layer, and how far a network strays."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run
from keras_initlab.lab.figures import Line
from keras_initlab.lab.networks import Law, dense_network, layer_values, noise
from keras_initlab.statistics import observe
from keras_initlab.statistics.profile import Profile
from keras_initlab.theory import MeanField, gaussian_mean, scalar
from keras_initlab.theory.moments import mean_square_growth

__all__ = ["Signal", "farthest", "measured_signal", "predicted_signal", "sent"]

Array = npt.NDArray[np.float64]

# Of smaller variances float64 holds no fourth moment. float32, in which networks compute, ends at 1e-38 on either side.
_NOTHING, _HELD = 1e-280, (1e-36, 1e36)


@dataclass(frozen=True)
class Signal:
    """A signal layer by layer, as theory has it.

    Attributes:
        variance: of the pre-activations.
        std: standard deviation of the activations.
        errors: standard error of the logarithm of `std`, at most, over networks of finite width.
    """

    variance: Array
    std: Array
    errors: Array


def predicted_signal(
    activation: str, sigma_w2: float, mean_square: float, *, depth: int, width: int, batch: int = 1
) -> Signal:
    """The signal in a network of one activation, with weights of variance σ_w²/width and no biases.

    The pre-activations of one example are independent and normal, whatever came before. Their variance is known from
    the mean square of the layer before, and that is the mean of `width` numbers with a relative variance
    (E φ⁴/(E φ²)² − 1)/width, which each layer adds to what the one before has handed on.

    That is of one example. Two examples whose pre-activations have correlation c share a part of it, at most c² if φ is
    odd: then φ² is even, and φ raises no correlation. The mean square of c begins at 1/width for independent inputs,
    and each layer adds as much; an example and itself have 1. For ReLU, under which examples grow alike, the part is
    taken for 1.

    Args:
        activation: a name of `keras.activations` whose scale follows that of its input, such as relu, or that is odd,
            such as tanh.
        sigma_w2: variance of a weight times the width.
        mean_square: of the inputs.
        depth: layers.
        width: of every layer, and of the inputs.
        batch: independent examples over which the standard deviation is taken.
    """
    phi, network = scalar(activation), MeanField(activation, sigma_w2)
    rows, square, strayed = [], mean_square, 0.0
    for layer in range(1, depth + 1):
        q = sigma_w2 * square
        if q < _NOTHING:
            rows.append((q, 0.0, math.sqrt(strayed) / 2))
            square = 0.0
            continue
        square, scale = network.variance_map(q) / sigma_w2, math.sqrt(q)
        mean = gaussian_mean(phi.function, phi.kinks, scale)
        variance = square - mean**2
        handed_on = strayed * (q * mean_square_growth(phi, q) / square) ** 2
        own, whole = (
            gaussian_mean(lambda h, m=m, v=v: ((phi.function(h) - m) ** 2 / v) ** 2, phi.kinks, scale) - 1  # type: ignore[misc]
            for m, v in ((mean, variance), (0.0, square))
        )
        is_odd = abs(mean) < 1e-9 * scale
        shared = min(1.0, 1 / batch + layer / width) if is_odd else 1.0
        rows.append((q, math.sqrt(variance), math.sqrt(handed_on + own * shared / width) / 2))
        strayed = handed_on + whole * shared / width
    return Signal(*np.array(rows).T)


def farthest(std: Array, signal: Signal) -> float:
    """How many standard errors the layer farthest from theory is away from it; layers beyond float32 are left out."""
    held = (signal.std > _HELD[0]) & (signal.std < _HELD[1])
    with np.errstate(divide="ignore", invalid="ignore"):
        far = np.abs(np.log(std / signal.std)) / signal.errors
    return float(np.max(far[held], initial=0.0))


def measured_signal(
    run: Run,
    name: str,
    law: Law,
    sigma_w2: float,
    activation: str,
    *,
    width: int,
    depth: int,
    batch: int,
) -> tuple[Profile, Signal, list[Line]]:
    """Sends a batch of N(0, 1) through a network, keeps the Profile and compares each layer with theory.

    Args:
        run: of the experiment.
        name: of the network.
        law: of its kernels, by a seed.
        sigma_w2: variance of a weight times the width, as theory is told.
        activation: of every layer.
        width: of every layer, and of the inputs.
        depth: layers.
        batch: examples.

    Returns:
        The Profile, theory's signal, and the lines of both standard deviations.
    """
    x = noise(run.seed, batch, width)
    profile = run.keep(name, sent(x, law, activation, depth=depth, seed=run.seed))
    square = float(np.mean(np.square(x, dtype=np.float64)))
    signal = predicted_signal(activation, sigma_w2, square, depth=depth, width=width, batch=batch)
    std = layer_values(profile, "std")
    # Five standard errors: the logarithm of what is multiplied by independent factors is nearly normal.
    factor = math.exp(5 * signal.errors[-1])
    run.expect(
        Check.within_factor(f"{name}: std after layer {depth}", std[-1], signal.std[-1], factor),
        Check.at_most(f"{name}: layer farthest from theory, in standard errors", farthest(std, signal), 5.0),
    )
    return profile, signal, lines_of(name, std, signal)


def sent(x: Any, law: Law, activation: str, *, depth: int, seed: int) -> Profile:
    """What a network makes of a batch: layers without biases, as wide as the batch is."""
    width = x.shape[1]
    return observe(dense_network(width, [width] * depth, law, activation, seed=seed, bias=False), x)


def lines_of(name: str, std: Any, signal: Signal) -> list[Line]:
    """Measured and predicted standard deviation; what is zero has no place on a logarithmic axis."""
    measured, predicted = (np.where(values > 0, values, np.nan) for values in (std, signal.std))
    return [Line.of(name, measured), Line.of(name, predicted, predicted=True)]
