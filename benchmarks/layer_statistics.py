"""Cost of watching: training time with LayerStatistics as a ratio to the same training without it.

The settings take turns, some steps each, so that a machine that others use slows all of them alike; the median of the
ratios to the neighbouring plain turns is shown. `--network NAME` and `--turns N` choose less.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.progress import track
from rich.table import Table
from statistics_networks import NETWORKS, made

import keras_initlab as kil

STEPS, TURNS = 60, 8


class Probe(keras.callbacks.Callback):
    """What people write: a compiled function that runs the network forward and backward once more after each batch."""

    def __init__(self, x, y) -> None:
        super().__init__()
        self.batch = tf.constant(x), tf.constant(y)
        self.history = []

    def on_train_begin(self, logs=None):
        """Compiles the probe."""
        if hasattr(self, "_measure"):
            return
        model = self.model
        outputs = [layer.output for layer in model.layers if not isinstance(layer, keras.layers.InputLayer)]
        every = keras.Model(model.inputs, outputs)

        @tf.function
        def measure(x, y):
            with tf.GradientTape() as tape:
                found = every(x, training=False)
                loss = model.compute_loss(y=y, y_pred=found[-1])
            gradients = tape.gradient(loss, [*found, *model.trainable_variables])
            tensors = [*found, *gradients, *(tf.convert_to_tensor(v) for v in model.trainable_variables)]
            return tf.stack([s for t in tensors if t is not None for s in self._moments(t)])

        self._measure = measure

    @staticmethod
    def _moments(x):
        mean, variance = tf.nn.moments(x, list(range(len(x.shape))))
        zeros = tf.reduce_mean(tf.cast(tf.equal(x, 0), tf.float32))
        return mean, tf.sqrt(variance), tf.reduce_min(x), tf.reduce_max(x), tf.norm(x), zeros

    def on_train_batch_end(self, batch, logs=None):
        """Runs it."""
        self.history.append(self._measure(*self.batch).numpy())


def setting(name: str, make: Callable[..., list[keras.callbacks.Callback]]) -> Callable[[], float]:
    """Trains a network of its own for STEPS steps at each call; returns seconds."""
    model, x, y, batch = made(name, STEPS)
    callbacks = make(x[:batch], y[:batch])

    def turn() -> float:
        start = time.perf_counter()
        model.fit(x, y, batch_size=batch, shuffle=False, verbose=0, callbacks=callbacks)
        return time.perf_counter() - start

    turn()  # traces both functions
    return turn


def settings(folder: str) -> dict[str, Callable[..., list[keras.callbacks.Callback]]]:
    """What is compared with no callback."""

    def watched(**arguments):
        return lambda *batch: [kil.callbacks.LayerStatistics(**arguments)]

    return {
        "every 10 steps, all on": watched(log_dir=f"{folder}/10", update_freq=10),
        "every step, all on": watched(log_dir=f"{folder}/1", update_freq=1),
        "every step, in memory, no histograms": watched(update_freq=1, histograms=False),
        "steps that are not watched": watched(log_dir=f"{folder}/0", update_freq=10**9),
        "compiled probe, every step": lambda *batch: [Probe(*batch)],
        "Keras's TensorBoard, weight histograms once an epoch": lambda *batch: [
            keras.callbacks.TensorBoard(f"{folder}/keras", histogram_freq=1, update_freq=10, write_graph=False)
        ],
    }


def ratios_of(name: str, turns: int, folder: str) -> dict[str, list[float]]:
    """Training time of each setting over that of the plain turns before and after it."""
    plain = setting(name, lambda *batch: [])
    others = {what: setting(name, make) for what, make in settings(folder).items()}
    ratios: dict[str, list[float]] = {what: [] for what in others}
    for _ in track(range(turns), name):
        for what, turn in others.items():
            before, time_, after = plain(), turn(), plain()
            ratios[what].append(2 * time_ / (before + after))
    return ratios


def written(folder: str) -> int:
    """Numbers in an event file folder: scalars, and cells of histograms."""
    from tensorboard.backend.event_processing.event_file_loader import EventFileLoader
    from tensorboard.util import tensor_util

    return sum(
        tensor_util.make_ndarray(value.tensor).size
        for file in Path(folder).rglob("events.out.tfevents.*")
        for event in EventFileLoader(str(file)).Load()
        for value in event.summary.value
        if value.tensor.dtype != tf.string.as_datatype_enum
    )


def main(names: list[str], turns: int) -> None:
    """Prints the table."""
    table = Table(title="training time to no callback: median (least, most)")
    table.add_column("LayerStatistics", overflow="fold")
    rows: dict[str, list[str]] = {}
    for name in names:
        table.add_column(name, justify="right")
        with tempfile.TemporaryDirectory() as folder:
            ratios = ratios_of(name, turns, folder)
            more = written(f"{folder}/10") / written(f"{folder}/keras")
        for what, values in ratios.items():
            cell = f"{np.median(values):.2f} ({min(values):.2f}, {max(values):.2f})"
            rows.setdefault(what, []).append(cell)
        added = np.median(ratios["compiled probe, every step"]) - 1, np.median(ratios["every step, all on"]) - 1
        rows.setdefault("added by the probe / added by every step", []).append(f"{added[0] / added[1]:.1f}")
        rows.setdefault("numbers written, every 10 steps / Keras's TensorBoard", []).append(f"{more:.0f}")
    for what, cells in rows.items():
        table.add_row(what, *cells)
    Console(width=140).print(table)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--network", choices=list(NETWORKS), action="append", help="default: all four")
    parser.add_argument("--turns", type=int, default=TURNS)
    arguments = parser.parse_args()
    main(arguments.network or list(NETWORKS), arguments.turns)
