"""A deep network for data of any scale: ``lsuv`` gives every layer's pre-activation unit variance on a batch.

Forty tanh layers, and inputs as they come from a sensor: mean 40, standard deviation 12. Keras's default saturates the
first layers; after one pass over 256 examples each layer has a standard deviation of 1, the last too.
"""

from __future__ import annotations

import keras
import numpy as np

import keras_initlab as kil


def network() -> keras.Model:
    """Return forty tanh layers and a head."""
    hidden = [keras.layers.Dense(64, activation="tanh") for _ in range(40)]
    return keras.Sequential([keras.Input((20,)), *hidden, keras.layers.Dense(3)])


def main() -> list[float]:
    """Print what was done; return the standard deviation of each layer's pre-activation."""
    keras.utils.set_random_seed(0)
    x = np.random.default_rng(0).normal(40.0, 12.0, (256, 20)).astype("float32")
    model = network()
    before = float(keras.ops.std(model(x)))
    report = kil.lsuv(model, x)
    after = float(keras.ops.std(model(x)))
    print(report)
    print(f"standard deviation of the output: {before:.3g} as Keras makes it, {after:.3g} after one pass")
    return [row["std_after"] for row in report]


if __name__ == "__main__":
    main()
