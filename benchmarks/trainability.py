"""Which starts let deep networks learn: ``python benchmarks/trainability.py [part of a row's name ...]``.

Each network is trained on scikit-learn's digits for a fixed number of batches of 64, from Keras's defaults and from
ours, with five seeds. Within a row all is the same but the weights it starts from: one compiled model, whose weights
and optimizer are put back before each training, Adam without warm-up at one rate, and for one seed the same batches in
the same order. A training has learned if it gets half of the test digits right, where guessing gets a tenth; the
autoencoder, if its test error is at most half of that of the mean image.

What to reach, in each row: one of ours learns with every seed, and "auto" is not worse than Keras: as many seeds learn,
and where Keras's do, the median is as good to a hundredth.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from trainable_networks import NETWORKS, Array, Data, Network

import keras_initlab as kil

SEEDS, BATCH, SAMPLE = 5, 64, 256
LEARNED = 0.5

Start = Callable[[keras.Model, Network, Array, int], object]


def of_keras(model: keras.Model, network: Network, x: Array, seed: int) -> None:
    """What a new model has after ``keras.utils.set_random_seed``."""
    keras.utils.set_random_seed(seed)
    model.set_weights(network.build().get_weights())


STARTS: dict[str, Start] = {
    "Keras": of_keras,
    "auto": lambda model, network, x, seed: kil.reinitialize(model, "auto", seed=seed),
    "analytic": lambda model, network, x, seed: kil.reinitialize(model, "analytic", seed=seed),
    "lsuv": lambda model, network, x, seed: kil.lsuv(model, x, seed=seed),
    "lsuv, centred": lambda model, network, x, seed: kil.lsuv(model, x, target_std=0.1, centre=True, seed=seed),
}


class Result(NamedTuple):
    """How the trainings of one network from one start ended.

    Attributes:
        scores: Test accuracies, or for the autoencoder errors over that of the mean image, by seed.
        learned: How many of them learned.
    """

    scores: list[float]
    learned: int

    @property
    def median(self) -> float:
        """The median score."""
        return statistics.median(self.scores)


class Trainings:
    """The trainings of one network."""

    def __init__(self, network: Network) -> None:
        self.network = network
        self.data: Data = network.data()
        self.model = network.build()
        self.classifies = self.data.y.ndim == 1
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True) if self.classifies else "mse"
        metrics = ["accuracy"] if self.classifies else None
        self.model.compile(keras.optimizers.Adam(network.rate), loss, metrics=metrics, jit_compile=False)

    def score(self, start: Start, seed: int) -> float:
        """The test accuracy (or relative error) of one training."""
        data, count = self.data, self.network.steps * BATCH
        # Biases and the optimizer as well, which not every start sets.
        kil.reinitialize(self.model, "configured", seed=seed)
        start(self.model, self.network, data.x[:SAMPLE], seed)
        generator = np.random.default_rng(seed)
        epochs = [generator.permutation(len(data.x)) for _ in range(-(-count // len(data.x)))]
        order = np.concatenate(epochs)[:count]
        self.model.fit(data.x[order], data.y[order], batch_size=BATCH, shuffle=False, verbose=0)
        logs = self.model.evaluate(data.test_x, data.test_y, batch_size=len(data.test_x), verbose=0, return_dict=True)
        if self.classifies:
            return float(logs["accuracy"])
        error = float(logs["loss"]) / float(np.mean((data.test_y - data.y.mean(0)) ** 2))
        return error if np.isfinite(error) else float("inf")

    def learned(self, score: float) -> bool:
        """Whether a training with this score has learned."""
        return score >= LEARNED if self.classifies else score <= LEARNED


def reached(row: dict[str, Result], classifies: bool) -> bool:
    """Whether one of ours always learns and "auto" is not worse than Keras."""
    usual, auto = row["Keras"], row["auto"]
    gain = auto.median - usual.median if classifies else usual.median - auto.median
    not_worse = auto.learned >= usual.learned and (not usual.learned or gain >= -0.01)
    return not_worse and any(result.learned == SEEDS for label, result in row.items() if label != "Keras")


def shown(result: Result, classifies: bool) -> str:
    """A cell: the median, and how many seeds learned."""
    median = f"{100 * result.median:.0f} %" if classifies else f"{result.median:.2f}"
    return f"{median} ({result.learned}/{len(result.scores)})"


def main(wanted: list[str]) -> dict[str, dict[str, Result]]:
    """Print the table, for a terminal and in Markdown; return the results by network and start."""
    names = [name for name in NETWORKS if not wanted or any(part in name for part in wanted)]
    results: dict[str, dict[str, Result]] = {}
    cells: list[list[str]] = []
    with Progress(console=Console(stderr=True), transient=True) as progress:
        task = progress.add_task("training", total=len(names) * len(STARTS) * SEEDS)
        for name in names:
            trainings, results[name] = Trainings(NETWORKS[name]), {}
            for label, start in STARTS.items():
                scores = []
                for seed in range(SEEDS):
                    scores.append(trainings.score(start, seed))
                    progress.advance(task)
                results[name][label] = Result(scores, sum(map(trainings.learned, scores)))
            shown_row = [shown(result, trainings.classifies) for result in results[name].values()]
            cells.append([name, f"{NETWORKS[name].rate:g}", *shown_row])
            cells[-1].append("yes" if reached(results[name], trainings.classifies) else "no")
            progress.console.print("  ".join(cells[-1]))
    columns = ["network", "rate", *STARTS, "reached"]
    table = Table(title=f"median test accuracy (or relative error) and how many of {SEEDS} seeds learned")
    for column in columns:
        table.add_column(column, justify="left" if column == "network" else "right")
    for row in cells:
        table.add_row(*row)
    Console().print(table)
    print("\n".join(f"| {' | '.join(row)} |" for row in [columns, ["---", *["--:"] * (len(columns) - 1)], *cells]))
    return results


if __name__ == "__main__":
    main(sys.argv[1:])
