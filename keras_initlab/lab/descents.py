"""Ways down a bowl, each in the few lines that it is: from a start, all the places that a method comes through."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt

__all__ = [
    "adam",
    "debiased_momentum",
    "gradient_descent",
    "momentum",
    "nesterov",
    "newton",
    "stochastic",
]

Array = npt.NDArray[np.float64]
Gradient = Callable[[Array], Array]


def gradient_descent(gradient: Gradient, start: Array, steps: int, rate: float) -> Array:
    """Down the gradient: `p ← p − a ∇f(p)`.

    Args:
        gradient: of the function f, at a place.
        start: the place p to begin at.
        steps: how many, from 0.
        rate: step size a, above 0.

    Returns:
        (steps + 1, *start.shape), the start first; as the other methods do.

    Example:
        >>> gradient_descent(lambda p: 2 * p, np.array([1.0]), 2, rate=0.25)[:, 0].tolist()
        [1.0, 0.5, 0.25]
    """
    return momentum(gradient, start, steps, rate, 0.0)


def newton(gradient: Gradient, start: Array, steps: int, curvatures: Array) -> Array:
    """To the minimum of the parabola that fits at the place; `curvatures` is the diagonal of the Hessian."""
    return momentum(lambda p: gradient(p) / curvatures, start, steps, 1.0, 0.0)


def momentum(gradient: Gradient, start: Array, steps: int, rate: float, beta: float) -> Array:
    """A heavy ball: `p ← p − a ∇f(p) + β (p − p_before)` (Polyak, 1964)."""
    before, path = start, [start]
    for _ in range(steps):
        p = path[-1]
        path.append(p - rate * gradient(p) + beta * (p - before))
        before = p
    return np.array(path)


def nesterov(gradient: Gradient, start: Array, steps: int, rate: float, beta: float) -> Array:
    """The gradient where momentum leads to: `y = p + β (p − p_before)`, `p ← y − a ∇f(y)` (Nesterov, 1983)."""
    before, path = start, [start]
    for _ in range(steps):
        p = path[-1]
        ahead = p + beta * (p - before)
        path.append(ahead - rate * gradient(ahead))
        before = p
    return np.array(path)


def debiased_momentum(gradient: Gradient, start: Array, steps: int, rate: float, beta: float) -> Array:
    """Down the mean of the gradients so far: `m ← β m + (1 − β) ∇f(p)`, `p ← p − a m / (1 − βᵗ)`.

    The running mean begins at zero, which the division by 1 − βᵗ makes up for (Kingma & Ba, 2015, section 3).
    """
    m, path = np.zeros_like(start), [start]
    for t in range(1, steps + 1):
        m = beta * m + (1 - beta) * gradient(path[-1])
        path.append(path[-1] - rate * m / (1 - beta**t))
    return np.array(path)


def adam(gradient: Gradient, start: Array, steps: int, rate: float, betas: tuple[float, float] = (0.9, 0.999)) -> Array:
    """Debiased momentum over the root of the debiased mean square: every coordinate in units of its own gradient."""
    m, v, path = np.zeros_like(start), np.zeros_like(start), [start]
    for t in range(1, steps + 1):
        g = gradient(path[-1])
        m, v = betas[0] * m + (1 - betas[0]) * g, betas[1] * v + (1 - betas[1]) * g**2
        path.append(path[-1] - rate * (m / (1 - betas[0] ** t)) / (np.sqrt(v / (1 - betas[1] ** t)) + 1e-8))
    return np.array(path)


def stochastic(
    gradient: Gradient, start: Array, steps: int, rate: float, noise: float, generator: np.random.Generator
) -> Array:
    """Gradient descent with the noise of minibatches, of standard deviation `noise` in each coordinate."""

    def noisy(p: Array) -> Any:
        return gradient(p) + noise * generator.standard_normal(p.shape)

    return gradient_descent(noisy, start, steps, rate)
