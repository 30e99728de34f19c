"""How deep a network can be trained: a map of networks, as one computation, and what theory says of it."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from scipy.stats import spearmanr

from keras_initlab import theory
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Heatmap, Line, numbers
from keras_initlab.lab.images import images
from keras_initlab.lab.options import Dataset, Steps, Width
from keras_initlab.lab.stack import Stack, keep_deepest, projected

__all__: list[str] = []

_BIAS_VARIANCE = 0.05


@experiment(
    "edge-of-chaos",
    "Schoenholz, Gilmer, Ganguli & Sohl-Dickstein (2017), Deep information propagation, figure 5: what trains lies "
    "within about six depth scales ξ.",
)
def edge_of_chaos(
    run: Run,
    width: Width = 64,
    deepest: Annotated[int, Count(4, 300), "layers of the deepest networks"] = 80,
    steps: Steps = 150,
    dataset: Dataset = "digits",
) -> None:
    """How deep a network can be trained is known before it is trained.

    Networks of tanh layers, with biases of variance 0.05 and weights of variance σ_w²/width, are trained for a fixed
    number of steps, each depth with each σ_w². Where σ_w² is small, all inputs look the same after a few layers: the
    correlation of any two goes to 1 like exp(-depth/ξ). Where it is large, inputs that were alike are torn apart
    (chaos), and the gradients explode. In between, at σ_w² = 1.76, the depth scale ξ diverges: that is the edge of
    chaos, and there the deepest networks learn.

    The curve over the map is computed from the activation alone, without a network: a small multiple of ξ, as signals
    survive that far.
    """
    data = images(dataset, run.seed)
    x = projected(np.concatenate([data.x, data.test_x]), width, run.seed)
    train, test = x[: len(data.x)], x[len(data.x) :]
    edge, _ = theory.edge_of_chaos("tanh", _BIAS_VARIANCE)
    variances = np.round(np.linspace(1.0, 4.0, 13), 2)
    depths = np.unique(np.geomspace(min(6, deepest / 2), deepest, 9).round().astype(int))
    grid = np.array([(depth, variance) for depth in depths for variance in variances])
    stack = Stack(
        grid[:, 0], np.sqrt(grid[:, 1]), width=width, activation="tanh", bias_std=_BIAS_VARIANCE**0.5, seed=run.seed
    )
    # A small step: with larger ones it is the rate that decides, and not the signal.
    trained = stack.train(
        train, data.y, steps=steps, batch=32, rates=0.003, momentum=0.9, test=(test, data.test_y), track=run.track
    )
    accuracy = trained.accuracy.reshape(len(depths), len(variances))
    places = (0, int(np.abs(variances - edge).argmin()), len(variances) - 1)
    keep_deepest(run, stack, test[:256], {f"σ_w² = {variances[i]:g}": i for i in places})
    scales = np.array([theory.MeanField("tanh", float(v), _BIAS_VARIANCE).depth_scale for v in variances])
    reached = np.array([_reached(depths, column) for column in accuracy.T])
    shown = np.where(6 * scales <= deepest, 6 * scales, np.nan)
    run.show(
        Heatmap(
            f"Test accuracy after {steps} steps",
            "σ_w²",
            "layers",
            "accuracy",
            numbers(variances),
            numbers(depths),
            tuple(numbers(row) for row in accuracy),
            (
                Line.of("six depth scales 6 ξ", shown, variances, predicted=True),
                Line.of("half the digits learned", reached, variances),
            ),
            log_y=True,
        )
    )
    run.expect(
        Check.equal("σ_w² of the deepest that learn", _centre(variances, reached), edge, 0.5),
        Check.at_least("rank correlation of depth reached with ξ", _rank_correlation(scales, reached), 0.7),
    )


def _reached(depths: Any, accuracy: Any) -> float:
    """The depth down to which half of the test examples are told, between the depths that were trained."""
    fails = accuracy < 0.5
    if not fails.any():
        return float(depths[-1])
    first = int(fails.argmax())
    if first == 0:
        return float(depths[0])
    share = (accuracy[first - 1] - 0.5) / (accuracy[first - 1] - accuracy[first])
    return float(depths[first - 1] * (depths[first] / depths[first - 1]) ** share)


def _rank_correlation(one: Any, other: Any) -> float:
    """Spearman's; not a number where one of them is all the same."""
    return float(spearmanr(one, other).statistic) if np.ptp(other) else float("nan")


def _centre(places: Any, heights: Any) -> float:
    """The place of the maximum; the middle one of several."""
    return float(np.median(places[heights == heights.max()]))
