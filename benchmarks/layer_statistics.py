"""Cost of watching: training time with LayerStatistics as a ratio to the same training without it.

20 layers of Dense(256) + BatchNormalization + ReLU, batch 128. The settings take turns, a few steps each, so that a
machine that others use slows all of them alike; the median of the ratios to the neighbouring plain turn is shown.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable

import keras
import numpy as np
from rich.console import Console
from rich.progress import track
from rich.table import Table

import keras_initlab as kil

BATCH, WIDTH, DEPTH, CLASSES = 128, 256, 20, 10
STEPS, TURNS = 100, 8


def network() -> keras.Model:
    """The network, compiled."""
    layers: list[keras.Layer] = [keras.Input((WIDTH,))]
    for seed in range(DEPTH):
        dense = keras.layers.Dense(WIDTH, kernel_initializer=kil.HeNormal(seed=seed))
        layers += [dense, keras.layers.BatchNormalization(), keras.layers.ReLU()]
    model = keras.Sequential([*layers, keras.layers.Dense(CLASSES)])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def setting(callbacks: list[keras.callbacks.Callback]) -> Callable[[], float]:
    """Trains a network of its own for STEPS steps at each call; returns seconds."""
    model = network()
    generator = np.random.default_rng(0)
    x = generator.standard_normal((BATCH * STEPS, WIDTH)).astype("float32")
    y = generator.integers(0, CLASSES, BATCH * STEPS)

    def turn() -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=callbacks)
        return time.perf_counter() - start

    turn()  # traces both functions
    return turn


def main() -> dict[str, float]:
    """Prints the table; returns the median ratios."""
    with tempfile.TemporaryDirectory() as folder:
        plain = setting([])
        watched = {
            "every 10 steps, all on": setting([kil.callbacks.LayerStatistics(f"{folder}/10", update_freq=10)]),
            "every step, all on": setting([kil.callbacks.LayerStatistics(f"{folder}/1", update_freq=1)]),
            "every step, in memory, no histograms": setting(
                [kil.callbacks.LayerStatistics(update_freq=1, histograms=False)]
            ),
            "steps that are not watched": setting([kil.callbacks.LayerStatistics(f"{folder}/0", update_freq=10**9)]),
        }
        ratios: dict[str, list[float]] = {name: [] for name in watched}
        for _ in track(range(TURNS), "training"):
            for name, turn in watched.items():
                before, time_, after = plain(), turn(), plain()
                ratios[name].append(2 * time_ / (before + after))
    table = Table(title=f"training time to no callback, {DEPTH} x (Dense({WIDTH}) + BatchNormalization + ReLU)")
    for heading in ("LayerStatistics", "median ratio", "least", "most"):
        table.add_column(heading, justify="left" if heading == "LayerStatistics" else "right")
    for name, values in ratios.items():
        table.add_row(name, *(f"{value:.2f}" for value in (np.median(values), min(values), max(values))))
    Console().print(table)
    return {name: float(np.median(values)) for name, values in ratios.items()}


if __name__ == "__main__":
    main()
