"""Orthogonal weights: a Jacobian whose singular values are all alike, and learning that depth does not slow down."""

from __future__ import annotations

import itertools
from typing import Annotated, Any

import numpy as np

from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines
from keras_initlab.lab.images import images
from keras_initlab.lab.networks import noise
from keras_initlab.lab.options import Dataset, Steps, Width
from keras_initlab.lab.stack import Stack, gaussian, orthogonal, projected

__all__: list[str] = []

_LAWS = {"Gaussian": gaussian, "orthogonal": orthogonal}
_ACTIVATIONS = {"linear": None, "tanh": "tanh"}
_NETWORKS = 16
_CHECKED = 8
_RATES = np.geomspace(1e-3, 0.3, 7)


@experiment(
    "orthogonal-depth",
    "Saxe, McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear neural "
    "networks, section 3; Pennington, Schoenholz & Ganguli (2017), Resurrecting the sigmoid, section 2.",
)
def orthogonal_depth(
    run: Run,
    width: Width = 64,
    deepest: Annotated[int, Count(4, 200), "layers of the deepest networks"] = 32,
    steps: Steps = 150,
    dataset: Dataset = "digits",
) -> None:
    """With orthogonal weights a deep linear network learns as fast as a shallow one.

    A linear network of many layers computes one matrix, the product of its weights. A product of Gaussian matrices
    keeps the length of a vector on average, but stretches few directions and squashes the others: relative to the
    square of their mean, the squared singular values have a variance of 1 for each layer. A product of orthogonal
    matrices is orthogonal, at any depth. The slopes of a tanh add the same to both.

    Gradient descent feels it. Networks of each depth learn the same images, each with several learning rates, and the
    best of them counts: from Gaussian weights the number of steps grows with depth, from orthogonal ones it hardly
    does.
    """
    depths = np.unique(np.geomspace(2, deepest, 5).round().astype(int))
    spreads, times = [], []
    for (start, law), (kind, activation) in run.track(
        list(itertools.product(_LAWS.items(), _ACTIVATIONS.items())), "starts"
    ):
        name = f"{start}, {kind}"
        measured, error, predicted = _spread(run, name, law, activation, width, deepest)
        spreads += [Line.of(name, measured), Line.of(name, predicted, predicted=True)]
        # In deep networks of finite width few directions take all; of the order of depth²/width in front of it.
        layers = min(_CHECKED, deepest)
        tolerance = 5 * error[layers - 1] + (layers * (layers + 1) / width if law is gaussian else 0.05)
        what = f"{name}: spread of the Jacobian after {layers} layers"
        run.expect(Check.equal(what, measured[layers - 1], predicted[layers - 1], tolerance))
        times.append(Line.of(name, _learning_times(run, law, activation, depths, width, steps, dataset), depths))
    run.show(
        Lines("Variance of the squared singular values over their mean squared", "layers", "spread", tuple(spreads)),
        Lines("Steps to learn, at the best of the rates", "layers", "steps", tuple(times), log_x=True, log_y=True),
    )
    steps_of = {line.name: np.nan_to_num(line.y, nan=steps) for line in times}
    flat = steps_of["orthogonal, linear"]
    run.expect(Check.at_most("orthogonal, linear: steps of the deepest over the shallowest", flat[-1] / flat[0], 1.5))
    for kind, least in {"linear": 2.0, "tanh": 1.5}.items():
        ratio = steps_of[f"Gaussian, {kind}"][-1] / steps_of[f"orthogonal, {kind}"][-1]
        run.expect(Check.at_least(f"{kind}: steps of the deepest, Gaussian over orthogonal", ratio, least))


def _spread(run: Run, name: str, law: Any, activation: str | None, width: int, depth: int) -> tuple[Any, Any, Any]:
    """Spread of the squared singular values after each layer: mean over networks, its standard error, prediction."""
    generator = np.random.default_rng((run.seed, 5))
    h = noise(run.seed, _NETWORKS, width) / 2
    jacobian = np.broadcast_to(np.eye(width), (_NETWORKS, width, width))
    outputs, spreads, q = {}, [], 0.25
    predicted: list[float] = []
    for layer in range(1, depth + 1):
        kernels = law(generator, _NETWORKS, width).astype(np.float64)
        h = np.einsum("ki,kij->kj", h, kernels)
        slopes = np.ones_like(h) if activation is None else 1 / np.cosh(h) ** 2
        h = h if activation is None else np.tanh(h)
        outputs[f"layer_{layer}", "activation"] = h
        jacobian = jacobian @ (kernels * slopes[:, None, :])
        # Sums of the squared singular values and of their squares.
        first = np.sum(jacobian**2, (1, 2))
        second = np.sum((jacobian.transpose(0, 2, 1) @ jacobian) ** 2, (1, 2))
        spreads.append(width * second / first**2 - 1)
        added, q = (0.0, q) if activation is None else _of_tanh(q)
        predicted.append((predicted[-1] if predicted else 0.0) + added + (law is gaussian))
    run.keep(name, profile_of(outputs))
    return np.mean(spreads, 1), np.std(spreads, 1, ddof=1) / np.sqrt(_NETWORKS), np.array(predicted)


def _of_tanh(q: float) -> tuple[float, float]:
    """For pre-activations N(0, q): what the slopes add to the spread, E φ′⁴ / (E φ′²)² - 1, and E φ² behind them."""
    z, weights = np.polynomial.hermite_e.hermegauss(80)
    h, weights = np.sqrt(q) * z, weights / weights.sum()
    squared_slopes = 1 / np.cosh(h) ** 4
    ratio = (weights @ squared_slopes**2) / (weights @ squared_slopes) ** 2
    return float(ratio - 1), float(weights @ np.tanh(h) ** 2)


def _learning_times(
    run: Run, law: Any, activation: str | None, depths: Any, width: int, steps: int, dataset: str
) -> Any:
    """Steps until the loss, as the mean of five batches, is a quarter of that of a guess; nan where it never is."""
    data = images(dataset, run.seed)
    networks = np.repeat(depths, len(_RATES))
    stack = Stack(networks, 1.0, width=width, activation=activation, law=law, seed=run.seed)
    rates = np.tile(_RATES, len(depths))
    x = projected(data.x, width, run.seed)
    losses = stack.train(x, data.y, steps=steps, batch=64, rates=rates, track=run.track).losses
    smooth = np.stack([np.convolve(loss, np.full(5, 0.2), "valid") for loss in losses.T])
    learned = smooth <= np.log(10) / 4
    first = np.where(learned.any(1), learned.argmax(1) + 5.0, np.nan).reshape(len(depths), -1)
    return np.where(np.isnan(first).all(1), np.nan, np.nanmin(np.where(np.isnan(first), np.inf, first), 1))
