"""Bytes that a watched step reads beyond a plain one, over those of the activations and gradients that it measures.

Counted in the traced step, without XLA: every input of every operation that the taps add and that touches values (not
those that hand a buffer on). Then how fast the statistics of one such tensor are read, against a copy of it, which runs
at the speed of the memory.
"""

from __future__ import annotations

import math
import time

import numpy as np
import tensorflow as tf
from rich.console import Console
from rich.table import Table
from statistics_networks import NETWORKS, made

import keras_initlab as kil
from keras_initlab.callbacks.watched_step import WatchedStep
from keras_initlab.statistics.blocks import Block, Subject
from keras_initlab.statistics.memory import Memory
from keras_initlab.statistics.tensor_stats import statistics_of

# These pass a buffer on, read its shape, or choose.
_FREE = {"Reshape", "Identity", "IdentityN", "Shape", "Size", "ReadVariableOp", "StatelessIf", "If", "StopGradient"}
_FREE |= {"AssignVariableOp", "ExpandDims", "Squeeze", "Snapshot", "NoOp", "Placeholder", "Const"}


def bytes_read(graph: tf.Graph) -> int:
    """Bytes of all inputs of the operations that touch values."""
    total = 0
    for operation in graph.get_operations():
        if operation.type in _FREE:
            continue
        if operation.type == "GatherV2":  # a sample: as many as come out
            total += _size(operation.outputs[0])
        else:
            total += sum(_size(x) for x in operation.inputs)
    return total


def _size(x: tf.Tensor) -> int:
    known = x.shape.rank is not None and x.shape.is_fully_defined() and x.dtype.size
    return math.prod(x.shape) * x.dtype.size if known else 0


def counted(name: str) -> float:
    """Added reads of a watched step over the bytes of the activations and gradients."""
    model, x, y, batch = made(name, 1)
    data = (tf.constant(x[:batch]), tf.constant(y[:batch]))
    model.fit(x[:batch], y[:batch], batch_size=batch, verbose=0)
    memory = Memory()
    memory.remember(model.trainable_variables)
    watched = WatchedStep(model, None, memory, histograms=True, strict=True)
    plain = tf.function(model.train_step).get_concrete_function(data).graph
    tapped = tf.function(watched._tapped_step).get_concrete_function(data).graph
    rows = kil.observe(model, *data).rows
    measured = 4 * sum(
        row["count"] for row in rows if row["quantity"] in ("activation", "activation_gradient", "gradient")
    )
    return (bytes_read(tapped) - bytes_read(plain)) / measured


def bandwidth() -> tuple[float, float]:
    """GB/s at which the statistics of a tensor of 64 MB read it, counted by their reads, and at which it is copied."""
    x = tf.Variable(np.random.default_rng(0).standard_normal((1 << 14, 1 << 10)).astype("float32"))
    measure = tf.function(lambda: statistics_of(Block([Subject(x.read_value(), 1)]), shortcut=True).fields)
    copy = tf.function(lambda: x.read_value() + 1.0)
    seconds = []
    for run in (measure, copy):
        run()
        times = []
        for _ in range(15):
            start = time.perf_counter()
            run()
            times.append(time.perf_counter() - start)
        seconds.append(float(np.median(times)))
    size = math.prod(x.shape) * 4
    reads = bytes_read(measure.get_concrete_function().graph)
    return reads / seconds[0] / 1e9, 2 * size / seconds[1] / 1e9


def main() -> None:
    """Prints the table."""
    table = Table(title="bytes read for a watched step / bytes of activations and gradients")
    table.add_column("network")
    table.add_column("ratio", justify="right")
    for name in NETWORKS:
        table.add_row(name, f"{counted(name):.1f}")
    statistics, copy = bandwidth()
    Console().print(table, f"statistics of a large tensor read {statistics:.1f} GB/s, a copy moves {copy:.1f} GB/s")


if __name__ == "__main__":
    main()
