"""Which depths can be trained from which starts: thousands of networks as one computation."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np
from scipy.stats import spearmanr

from keras_initlab import theory
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Heatmap, Line, Table, numbers
from keras_initlab.lab.images import images
from keras_initlab.lab.options import Batch, Dataset, Steps, Width
from keras_initlab.lab.relu_chains import chains, log_growth, squares
from keras_initlab.lab.stack import Stack, projected

__all__: list[str] = []

_BIAS_VARIANCE = 0.05
_NETWORKS = 100
Seeds = Annotated[int, Count(2, 100), "networks of each depth and width"]


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
    _keep(run, stack, test[:256], {f"σ_w² = {variances[i]:g}": i for i in places})
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


@experiment(
    "depth-width",
    "Hanin & Rolnick (2018), How to start training: the effect of initialization and architecture, theorem 5: the "
    "spread of lengths over networks grows with the sum of 1/width over the layers.",
)
def depth_width(run: Run, steps: Steps = 150, batch: Batch = 64, dataset: Dataset = "digits", seeds: Seeds = 3) -> None:
    """Depth is paid for with width.

    ReLU networks under He's law, of every depth with every width, are trained for the same number of steps. He's law
    keeps the mean square of the activations whatever the depth, but only on average over networks: the squared length
    of one network's signal is a product of as many random factors as there are layers, each of relative variance
    5/width. Of narrow deep networks most are nearly dead from the start, and the average is that of a few that
    explode. What counts is depth divided by width: where it is small, networks learn.
    """
    data = images(dataset, run.seed)
    widths, depths = np.array([4, 8, 16, 32, 64, 128]), np.array([1, 2, 4, 8, 16, 32])
    accuracy, spread = np.empty((2, len(depths), len(widths)))
    for j, width in enumerate(run.track(widths, "widths")):
        x = projected(np.concatenate([data.x, data.test_x]), int(width), run.seed)
        spread[:, j] = _spread(run.seed, int(width), depths)
        stack = Stack(np.repeat(depths, seeds), np.sqrt(2.0), width=int(width), activation="relu", seed=run.seed)
        trained = stack.train(
            x[: len(data.x)],
            data.y,
            steps=steps,
            batch=batch,
            rates=0.02,
            momentum=0.9,
            test=(x[len(data.x) :], data.test_y),
        )
        accuracy[:, j] = trained.accuracy.reshape(len(depths), seeds).mean(1)
        if width == widths[-1]:
            _keep(run, stack, x[:256], {f"{depths[-1]} layers, network {i + 1}": i for i in range(2)})
    run.show(
        _map("Test accuracy after training", "accuracy", widths, depths, accuracy),
        _map(
            "Spread over networks of the logarithm of the squared length", "standard deviation", widths, depths, spread
        ),
        Table.of(
            "Test accuracy: depth by width",
            ["layers", *(str(width) for width in widths)],
            [(int(depth), *(round(float(a), 3) for a in row)) for depth, row in zip(depths, accuracy, strict=True)],
        ),
    )
    ratio, largest = depths[:, None] / widths, int(widths[-1])
    _, variance = log_growth(largest)
    # A standard deviation is known to one part in the square root of twice the number of networks.
    tolerance = 1 + 5 / np.sqrt(2 * _NETWORKS)
    expected = np.sqrt(depths[-1] * variance)
    run.expect(
        Check.at_least("accuracy where depth/width is at most 1/16", accuracy[ratio <= 1 / 16].min(), 0.8),
        Check.at_most("accuracy where depth/width is at least 4", accuracy[ratio >= 4].max(), 0.4),
        Check.within_factor(
            f"spread after {depths[-1]} layers of width {largest}", spread[-1, -1], expected, tolerance
        ),
    )


def _spread(seed: int, width: int, depths: Any) -> Any:
    """Standard deviation over networks of the logarithm of the squared length, of those that are not dead."""
    generator = np.random.default_rng((seed, 6, width))
    outputs = [h for h, _ in chains(generator, _NETWORKS, width, int(depths[-1]), 2.0)]
    lengths = squares(np.concatenate(outputs))
    logs = np.log(lengths, out=np.full_like(lengths, np.nan), where=lengths > 0)
    # Two networks at least have a spread.
    return [np.nanstd(logs[:, d] - logs[:, 0], ddof=1) if np.sum(lengths[:, d] > 0) > 1 else np.nan for d in depths]


def _map(title: str, label: str, widths: Any, depths: Any, values: Any) -> Heatmap:
    rows = tuple(numbers(row) for row in values)
    return Heatmap(title, "width", "layers", label, numbers(widths), numbers(depths), rows, log_x=True, log_y=True)


def _keep(run: Run, stack: Stack, x: Any, networks: dict[str, int]) -> None:
    """Profiles before training of some of the deepest networks, which are the first ones of a stack's layers."""
    outputs: dict[str, dict[tuple[str, str], Any]] = {name: {} for name in networks}
    for i, h in enumerate(stack.layers(x), 1):
        for name, network in networks.items():
            outputs[name][f"layer_{i}", "activation"] = h[network]
    for name, tensors in outputs.items():
        run.keep(name, profile_of(tensors))
