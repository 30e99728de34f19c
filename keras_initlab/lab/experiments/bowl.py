"""The bowl ½ (x² + κ y²): what theory says of each method's way down, and what it does."""

from __future__ import annotations

import functools
import math
from typing import Any

import numpy as np

from keras_initlab.lab import descents
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run
from keras_initlab.lab.figures import Heatmap, Line, Lines, Table, numbers

__all__ = ["bowl"]

START = np.array([1.0, 1.0])
BETA = 0.9
NOISE, CHAINS, LONGEST = 0.5, 20_000, 500


def bowl(run: Run, curvature: float, steps: int) -> None:
    """Checks the rates and first steps, and draws the paths for several step sizes."""
    curvatures = np.array([1.0, curvature])
    limit, best = 2 / curvature, 2 / (1 + curvature)
    _descent(run, curvatures, steps)
    tuned = _tuned(run, curvatures, steps, best)
    _first_steps(run, curvatures)
    _cloud(run, curvatures, limit / 4)
    sizes = {"a quarter of 2/κ": limit / 4, "2/(1 + κ)": best, "1.01 · 2/κ": 1.01 * limit}
    ways = {size: _paths(run, curvatures, steps, rate) for size, rate in sizes.items()}
    distances: list[tuple[str | float, ...]] = [
        (name, *(float(_distances(paths[name])[-1]) for paths in ways.values())) for name in ways["2/(1 + κ)"]
    ]
    run.show(
        *(_map(f"Paths with step size {size}", curvatures, paths) for size, paths in ways.items()),
        Lines("Distance from the minimum, each method tuned", "step", "distance", tuple(tuned), log_y=True),
        Table.of(f"Distance from the minimum after {steps} steps, by step size", ("method", *sizes), distances),
    )


def _distances(path: Any) -> Any:
    return np.linalg.norm(path, axis=-1)


def _factor(path: Any, last: int) -> float:
    """What a step multiplies the distance from the minimum by, over the last so many steps."""
    distances = _distances(path)
    return float((distances[-1] / distances[-1 - last]) ** (1 / last))


def _descent(run: Run, curvatures: Any, steps: int) -> None:
    """Gradient descent within its limit, at its best and beyond."""
    limit = 2 / curvatures[1]
    for name, rate in {"0.25": limit / 4, "0.99": 0.99 * limit, "1.01": 1.01 * limit}.items():
        path = descents.gradient_descent(lambda p: curvatures * p, START, steps, rate)
        small, large = sorted(abs(1 - rate * curvatures))
        # The share of the squared distance that the other coordinate has left before the last step.
        left = (small / large) ** (2 * steps - 2) * (large - small) + 1e-9
        run.expect(Check.equal(f"descent at {name} of its limit: factor of a step", _factor(path, 1), large, left))


def _tuned(run: Run, curvatures: Any, steps: int, best: float) -> list[Line]:
    """Each method at the values that are best for this bowl."""
    root = math.sqrt(curvatures[1])
    beta, late = (root - 1) / (root + 1), steps - steps // 2
    methods = {
        "gradient descent": (descents.gradient_descent, {"rate": best}, (root**2 - 1) / (root**2 + 1)),
        "momentum": (descents.momentum, {"rate": 4 / (root + 1) ** 2, "beta": beta**2}, beta),
        "Nesterov": (descents.nesterov, {"rate": 1 / root**2, "beta": beta}, 1 - 1 / root),
    }
    lines = []
    for name, (method, values, rate) in methods.items():
        path = method(lambda p: curvatures * p, START, steps, **values)  # type: ignore[operator]
        # With momentum both roots of the recursion are the same here: t steps multiply by (1 + b t) rateᵗ, b > 0.
        double = (steps / (steps // 2)) ** (1 / late) if name != "gradient descent" else 1.0
        what = f"{name}, tuned: factor of a step"
        run.expect(Check(what, _factor(path, late), rate * (1 - 1e-9), rate * double * (1 + 1e-9), rate))
        lines.append(Line.of(name, _distances(path), range(steps + 1)))
        lines.append(Line.of(name, math.sqrt(2) * rate ** np.arange(steps + 1.0), range(steps + 1), predicted=True))
    return lines


def _first_steps(run: Run, curvatures: Any) -> None:
    rate, gradient = 0.1, functools.partial(np.multiply, curvatures)
    newton = descents.newton(gradient, START, 1, curvatures)
    debiased = descents.debiased_momentum(gradient, START, 1, rate, BETA)
    plain = descents.gradient_descent(gradient, START, 1, rate)
    scaled = descents.adam(gradient, START, 1, rate)
    run.expect(
        Check.equal("Newton: distance from the minimum after one step", float(_distances(newton)[1]), 0.0),
        # All of size 1 or of the steep direction's step, so that rounding is an ulp of those.
        Check.at_most(
            "debiased momentum: distance of its first step from descent's",
            float(np.linalg.norm(debiased[1] - plain[1])),
            8 * np.finfo(float).eps * (1 + rate * curvatures[1]),
        ),
        # Adam adds 1e-8 to the root of the mean square, which is at least 1 here.
        Check.equal("Adam: first step over the step size, flat way", float(1 - scaled[1, 0]) / rate, 1.0, 2e-8),
        Check.equal("Adam: first step over the step size, steep way", float(1 - scaled[1, 1]) / rate, 1.0, 2e-8),
    )


def _cloud(run: Run, curvatures: Any, rate: float) -> None:
    """Where many descents with noisy gradients are, once the start is forgotten."""
    shrink = (1 - rate * curvatures) ** 2
    # Until a thousandth of the start is left; in a narrow bowl that would be too long to wait for.
    steps = min(math.ceil(math.log(1e-3) / math.log(shrink.max())), LONGEST)
    many = np.broadcast_to(START, (CHAINS, 2))
    generator, place = np.random.default_rng((run.seed, 7)), many
    for _ in run.track(range(steps), "noisy descents"):
        place = descents.stochastic(lambda p: curvatures * p, place, 1, rate, NOISE, generator)[-1]
    for i, way in enumerate(("flat", "steep")):
        # The sum of what the noise of each step has left: the whole cloud but for the part still to come.
        expected = (rate * NOISE) ** 2 * (1 - shrink[i] ** steps) / (1 - shrink[i])
        tolerance = expected * 5 * math.sqrt(2 / CHAINS)
        run.expect(
            Check.equal(
                f"noisy descent: variance after {steps} steps, {way} way", place[:, i].var(), expected, tolerance
            )
        )


def _paths(run: Run, curvatures: Any, steps: int, rate: float) -> dict[str, Any]:
    """All methods with one step size, and momentum as it is mostly used; Newton has no step size."""
    gradient, generator = functools.partial(np.multiply, curvatures), np.random.default_rng((run.seed, 8))
    return {
        "gradient descent": descents.gradient_descent(gradient, START, steps, rate),
        "Newton": descents.newton(gradient, START, steps, curvatures),
        "momentum": descents.momentum(gradient, START, steps, rate, BETA),
        "debiased momentum": descents.debiased_momentum(gradient, START, steps, rate, BETA),
        "Nesterov": descents.nesterov(gradient, START, steps, rate, BETA),
        "Adam": descents.adam(gradient, START, steps, rate),
        "minibatches": descents.stochastic(gradient, START, steps, rate, NOISE, generator),
    }


def _map(title: str, curvatures: Any, paths: dict[str, Any]) -> Heatmap:
    # An even number of places, so that none is the minimum, whose logarithm is infinite.
    axis = np.linspace(-1.5, 1.5, 60)
    loss = np.log10((axis**2 + curvatures[1] * axis[:, None] ** 2) / 2)
    lines = []
    for name, path in paths.items():
        inside = np.where(np.abs(path).max(-1, keepdims=True) <= 1.5, path, np.nan)
        lines.append(Line.of(name, inside[:, 1], inside[:, 0]))
    values = tuple(numbers(row) for row in loss)
    return Heatmap(title, "x", "y", "log₁₀ f", numbers(axis), numbers(axis), values, tuple(lines))
