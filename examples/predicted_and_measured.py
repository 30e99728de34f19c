"""Glorot and Bengio's argument as a table: what the weights alone predict, beside what a batch shows.

Forward, a layer multiplies the variance of its input by n_in·Var(W), backward that of the gradient by n_out·Var(W).
Glorot's law makes both 1, and a tanh network loses its signal and its gradient slowly. Weights of twice that
standard deviation have factors of 4: the units saturate, which bounds the signal, while the gradient grows on its way
back through every layer. `propagate` computes all of it from the model alone, in a fraction of a second.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_initlab as kil

DEPTH, WIDTH, BATCH = 8, 256, 512


def network(factor: float) -> Any:
    """A tanh network whose weights have Glorot's standard deviation times the factor."""
    draw = kil.VarianceScaling(scale=factor**2, mode="fan_avg", seed=keras.random.SeedGenerator(0))
    layers = [
        keras.layers.Dense(WIDTH, activation="tanh", kernel_initializer=draw, name=f"tanh_{i}") for i in range(DEPTH)
    ]
    head = keras.layers.Dense(WIDTH, kernel_initializer=draw, name="head")
    model = keras.Sequential([keras.Input((WIDTH,)), *layers, head], name="net")
    model.compile("sgd", "mse")
    return model


def main() -> dict[str, Any]:
    """Return the report for each of the two laws."""
    rng = np.random.default_rng(1)
    x, y = (rng.normal(size=(BATCH, WIDTH)).astype("float32") for _ in range(2))
    reports = {}
    for title, factor in (("Glorot", 1.0), ("twice Glorot", 2.0)):
        model = network(factor)
        # The targets are large noise, so that the loss sends back a gradient that does not depend on the network.
        reports[title] = kil.compare(kil.propagate(model), kil.observe(model, x, 100 * y))
        print(f"{title}\n{reports[title]}\n")
    return reports


if __name__ == "__main__":
    main()
