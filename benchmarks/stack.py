"""What training networks as one computation saves: ``python benchmarks/stack.py``.

Tanh networks of every depth with every σ_w, 1040 in all, are trained on digits for 30 steps of 64: by `lab.stack.Stack`
at once, and as Keras models one after the other, of which a sample of 13 is run and taken for all. Both include the
building, the tracing and the compiling, which is what a sweep has to pay.
"""

from __future__ import annotations

import time

import keras
import numpy as np

from keras_initlab.lab.images import images
from keras_initlab.lab.stack import Stack, projected

WIDTH, STEPS, BATCH = 32, 30, 64
DEPTHS = [2, 3, 4, 6, 8, 12, 16, 24, 32, 40]
SCALES = np.linspace(0.9, 2.0, 104)


def stacked(x: np.ndarray, y: np.ndarray, depths: np.ndarray, scales: np.ndarray) -> float:
    """Seconds for all networks at once."""
    start = time.perf_counter()
    Stack(depths, scales, width=WIDTH, activation="tanh").train(
        x, y, steps=STEPS, batch=BATCH, rates=0.02, momentum=0.9
    )
    return time.perf_counter() - start


def one_by_one(x: np.ndarray, y: np.ndarray, depths: np.ndarray) -> float:
    """Seconds for these networks as Keras models."""
    start = time.perf_counter()
    for depth in depths:
        layers = [keras.layers.Dense(WIDTH, "tanh") for _ in range(depth)]
        model = keras.Sequential([keras.Input((WIDTH,)), *layers, keras.layers.Dense(10)])
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(keras.optimizers.SGD(0.02, momentum=0.9), loss, jit_compile=False)
        model.fit(x[: STEPS * BATCH], y[: STEPS * BATCH], batch_size=BATCH, verbose=0)
    return time.perf_counter() - start


def main() -> float:
    """Print the ratio and return it."""
    data = images("digits")
    x, y = np.tile(projected(data.x, WIDTH, 0), (2, 1)), np.tile(data.y, 2)
    depths, scales = np.repeat(DEPTHS, len(SCALES)), np.tile(SCALES, len(DEPTHS))
    sample = np.random.default_rng(0).choice(depths, 13)
    together = stacked(x, y, depths, scales)
    alone = one_by_one(x, y, sample) * len(depths) / len(sample)
    ratio = alone / together
    print(f"{len(depths)} networks: {together:.0f} s at once, {alone:.0f} s one by one: {ratio:.0f} times as fast")
    return ratio


if __name__ == "__main__":
    main()
