"""Cost of ``lsuv`` in eager forward passes of the same model on the same batch: ``python benchmarks/lsuv.py``.

The two follow each other directly, so that a busy machine slows both; a ratio is the median over the turns. What it
takes to draw orthogonal kernels does not depend on the batch and is shown apart.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

from keras_initlab.model_init.lsuv import lsuv

TURNS = 7
DEPTHS = (10, 30, 100)
# Forward passes at most, for scaling alone.
REACH = 3.0


def dense(depth: int) -> tuple[keras.Model, Any]:
    """A perceptron of width 256 and a batch of 256."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((256,)), *(layers.Dense(256, "tanh") for _ in range(depth))])
    return model, np.random.default_rng(0).normal(size=(256, 256)).astype("float32")


def convolutional(depth: int) -> tuple[keras.Model, Any]:
    """Convolutions of 32 channels with BatchNormalization on 16×16, and a batch of 64."""
    layers = keras.layers
    model = keras.Sequential([keras.Input((16, 16, 32))])
    for _ in range(depth):
        model.add(layers.Conv2D(32, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
    return model, np.random.default_rng(0).normal(size=(64, 16, 16, 32)).astype("float32")


def seconds(work: Callable[[], Any]) -> float:
    """Time of one run."""
    begin = time.perf_counter()
    work()
    return time.perf_counter() - begin


def passes(model: keras.Model, x: Any) -> tuple[float, float, float]:
    """Seconds of a forward pass, and the cost in passes of scaling alone and of drawing orthogonal kernels."""
    batch = keras.ops.convert_to_tensor(x)
    start = model.get_weights()

    def forward() -> None:
        keras.ops.convert_to_numpy(model(batch, training=False))

    works = (forward, lambda: lsuv(model, x, orthogonal=False), lambda: lsuv(model, x, orthogonal=True))
    times: list[list[float]] = [[], [], []]
    for turn in range(TURNS + 1):
        for work, found in zip(works, times, strict=True):
            model.set_weights(start)  # or the next would find all in order
            taken = seconds(work)
            if turn:  # the first is for warming up
                found.append(taken)
    once, scaled, drawn = times
    ratio = statistics.median(b / a for a, b in zip(once, scaled, strict=True))
    drawing = statistics.median((c - b) / a for a, b, c in zip(once, scaled, drawn, strict=True))
    return statistics.median(once), ratio, drawing


def main() -> dict[tuple[str, int], tuple[float, float]]:
    """Print the table; return the cost in forward passes of scaling and of drawing, by model and depth."""
    table = Table(title="lsuv in eager forward passes")
    for column in ("model", "depth", "seconds of a pass", "scaling", "reached", "drawing orthogonal kernels"):
        table.add_column(column, justify="left" if column == "model" else "right")
    results = {}
    cases = [(make, depth) for make in (dense, convolutional) for depth in DEPTHS]
    for make, depth in track(cases, description="measuring"):
        once, scaling, drawing = passes(*make(depth))
        reached = f"{'yes' if scaling <= REACH else 'no'} (≤ {REACH:g})"
        table.add_row(make.__name__, str(depth), f"{once:.3f}", f"{scaling:.2f}", reached, f"{drawing:.2f}")
        results[make.__name__, depth] = scaling, drawing
    Console().print(table)
    return results


if __name__ == "__main__":
    main()
