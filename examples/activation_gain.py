"""The gain of an activation keeps the signal's scale through thirty layers, and when even that does not last.

He's law has the gain of ReLU, √2. Any other activation has its own, which ``VarianceScaling(activation=...)`` computes:
with it a mean square of 1 comes out as 1. Whether a deviation from 1, as every finite width has, dies out or grows is
told by the slope of the variance map at 1: above 1 (GELU, SiLU) it grows from layer to layer, and such networks want
normalization.
"""

from __future__ import annotations

import keras

import keras_initlab as kil

DEPTH, WIDTH = 30, 512


def mean_square_after(activation: str, initializer: keras.initializers.Initializer) -> float:
    """Mean square of the last pre-activation of a deep network, for 1 in the first."""
    x = keras.random.normal((256, WIDTH), seed=1)
    for _ in range(DEPTH):
        x = keras.ops.matmul(keras.activations.get(activation)(x), initializer((WIDTH, WIDTH)))
    return float(keras.ops.mean(keras.ops.square(x)))


def slope_of_variance_map(activation: str, gain: float) -> float:
    """How much of a deviation of the mean square from 1 one layer passes on."""
    network = kil.theory.MeanField(activation, sigma_w2=gain**2)
    return (network.variance_map(1.001) - network.variance_map(0.999)) / 0.002


def main() -> dict[str, tuple[float, float, float]]:
    """Return the mean square after all layers under He's law and under the activation's own gain, and the slope."""
    measured = {}
    print(f"{'activation':10} {'gain':>7} {'slope':>6}   mean square after {DEPTH} layers: {'He':>9} {'own gain':>9}")
    for activation in ("relu", "tanh", "elu", "selu", "softsign", "gelu", "silu"):
        he = kil.HeNormal(seed=keras.random.SeedGenerator(2))
        own = kil.VarianceScaling(activation=activation, seed=keras.random.SeedGenerator(2))
        gain = kil.theory.gain(activation)
        slope = slope_of_variance_map(activation, gain)
        measured[activation] = mean_square_after(activation, he), mean_square_after(activation, own), slope
        he_after, own_after, _ = measured[activation]
        print(f"{activation:10} {gain:7.4f} {slope:6.2f} {he_after:40.2g} {own_after:9.2g}")
    return measured


if __name__ == "__main__":
    main()
