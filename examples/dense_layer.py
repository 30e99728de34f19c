"""The variance that an initializer promises is the variance that a Dense layer gets.

He's law has variance 2 / fan_in, so that the mean square of the signal is the same before and after a ReLU layer.
"""

from __future__ import annotations

import keras

import keras_initlab as kil


def main() -> dict[str, tuple[float, float]]:
    """Return the promised and the drawn standard deviation by initializer."""
    measured = {}
    print(f"{'Dense(256), 512 inputs':24} {'promised':>9} {'drawn':>9}   mean square after ReLU, for 1 before")
    for initializer in (
        kil.LecunNormal(seed=0),
        kil.GlorotUniform(seed=0),
        kil.HeNormal(seed=0),
        kil.HeUniform(seed=0),
    ):
        layer = keras.layers.Dense(256, activation="relu", kernel_initializer=initializer)
        x = keras.random.normal((4096, 512), seed=1)
        y = layer(x)
        promised = initializer.target_stddev(layer.kernel.shape)
        drawn = float(keras.ops.std(layer.kernel))
        measured[type(initializer).__name__] = promised, drawn
        print(f"{type(initializer).__name__:24} {promised:9.5f} {drawn:9.5f} {float(keras.ops.mean(y**2)):12.3f}")
    return measured


if __name__ == "__main__":
    main()
