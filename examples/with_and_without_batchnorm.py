"""Small weights starve a deep network of signal; BatchNormalization feeds every layer again.

One batch goes through ten ReLU layers whose weights are N(0, 0.01²): each layer passes on a twelfth of its input, and
of the gradient. BatchNormalization before the ReLU brings the signal back to its scale after each layer.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_initlab as kil

DEPTH, WIDTH = 10, 128


def standard_deviations(batchnorm: bool) -> Any:
    """Standard deviation after each ReLU."""
    layers: list[Any] = [keras.Input((WIDTH,))]
    for seed in range(DEPTH):
        layers.append(keras.layers.Dense(WIDTH, kernel_initializer=kil.RandomNormal(stddev=0.01, seed=seed)))
        layers += [keras.layers.BatchNormalization()] if batchnorm else []
        layers.append(keras.layers.ReLU(name=f"relu_{seed}"))
    profile = kil.observe(keras.Sequential(layers), keras.random.normal((256, WIDTH), seed=0), layers="relu")
    return profile.column("std")[1]


def main() -> dict[str, Any]:
    """Return the standard deviation by layer, without and with BatchNormalization."""
    measured = {"without": standard_deviations(False), "with": standard_deviations(True)}
    print("Standard deviation after ReLU, weights N(0, 0.01²)\n")
    print(f"{'layer':>5} {'without BatchNormalization':>28} {'with':>8}")
    for i, (without, with_) in enumerate(zip(*measured.values(), strict=True), start=1):
        print(f"{i:5} {without:28.1e} {with_:8.2f}")
    factor = np.exp(np.mean(np.diff(np.log(measured["without"]))))
    expected = 0.01 * (WIDTH / 2) ** 0.5
    print(f"\nWithout, a layer passes on {factor:.2f} of what it gets: 0.01 √({WIDTH} / 2) = {expected:.2f}")
    return measured


if __name__ == "__main__":
    main()
