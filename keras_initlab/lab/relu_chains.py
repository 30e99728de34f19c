"""Chains of ReLU layers as stacks of matrices: what norms do on the way forward and back, measured and by theory."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = ["chains", "growth", "log_growth", "squares", "typical"]

Array = npt.NDArray[Any]
_NUMBERS_AT_ONCE = 2**18


def chains(
    generator: np.random.Generator, networks: int, width: int, depth: int, c: float
) -> Iterator[tuple[Array, Array]]:
    """Sends an input through networks of its own, and a gradient of the last layer back, both N(0, 1).

    Args:
        generator: of all draws.
        networks: how many; a few at a time are in memory.
        width: of every layer, and of the input.
        depth: layers.
        c: variance of a weight times the width.

    Yields:
        Outputs of each layer with the input first, and gradients of them, each (networks, depth + 1, width), float64.
    """
    at_once = max(1, _NUMBERS_AT_ONCE // width**2)
    std = np.float32(math.sqrt(c / width))
    for some in range(0, networks, at_once):
        count = min(at_once, networks - some)
        kernels, signals = [], [generator.standard_normal((count, width, 1))]
        for _ in range(depth):
            kernels.append(generator.standard_normal((count, width, width), np.float32) * std)
            signals.append(np.maximum(kernels[-1] @ signals[-1], 0))
        gradients = [generator.standard_normal((count, width, 1))]
        for kernel, output in zip(reversed(kernels), reversed(signals), strict=False):
            gradients.append(kernel.transpose(0, 2, 1) @ (gradients[-1] * (output > 0)))
        yield np.stack(signals, 1)[..., 0], np.stack(gradients[::-1], 1)[..., 0]


def squares(values: Array) -> Array:
    """Squared norms over the last axis."""
    return np.asarray(np.sum(values**2, -1))


def growth(norms: Array, axis: int | None = None) -> Array:
    """Mean factor from one squared norm to the next, where there was a signal.

    Args:
        norms: squared norms, (networks, layers + 1).
        axis: 0 for the mean over networks, layer by layer; None for that over all.
    """
    before, after = norms[:, :-1], norms[:, 1:]
    alive = before > 0
    factors = np.where(alive, after / np.where(alive, before, 1.0), 0.0)
    return np.asarray(factors.sum(axis) / np.maximum(alive.sum(axis), 1))


def typical(norms: Array) -> tuple[float, float]:
    """Geometric mean over networks of the last norm over the first, and the factor of one standard deviation.

    Of the networks in which there is something left; nan where there is none.
    """
    left = norms[:, -1] > 0
    if not left.any():
        return math.nan, math.nan
    logs = np.log(norms[left, -1] / norms[left, 0]) / 2
    return math.exp(logs.mean()), math.exp(logs.std())


def log_growth(width: int) -> tuple[float, float]:
    """Mean and variance of ln Σ max(z, 0)² over `width` draws z ~ N(0, 1), given that one of them is above 0.

    A number k of them is, by the binomial law, and the sum is then a chi-square of k degrees of freedom, whose
    logarithm has mean ψ(k/2) + ln 2 and variance ψ′(k/2).

    Example:
        >>> [round(number, 4) for number in log_growth(100)]
        [3.8866, 0.0519]
    """
    from scipy.special import polygamma, psi
    from scipy.stats import binom

    k = np.arange(1, width + 1)
    share = binom.pmf(k, width, 0.5)
    share /= share.sum()
    means = psi(k / 2) + math.log(2)
    mean = float(share @ means)
    return mean, float(share @ (polygamma(1, k / 2) + (means - mean) ** 2))
