"""What depth and width do to a network that is trained for a fixed number of steps."""

from __future__ import annotations

from typing import Annotated, Any

import numpy as np

from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Heatmap, Table, numbers
from keras_initlab.lab.images import images
from keras_initlab.lab.options import Batch, Dataset, Steps
from keras_initlab.lab.relu_chains import chains, log_growth, squares
from keras_initlab.lab.stack import Stack, keep_deepest, projected

__all__: list[str] = []

_NETWORKS = 100
Seeds = Annotated[int, Count(2, 100), "networks of each depth and width"]


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
            keep_deepest(run, stack, x[:256], {f"{depths[-1]} layers, network {i + 1}": i for i in range(2)})
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
