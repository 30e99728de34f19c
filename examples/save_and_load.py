"""A saved model knows its initializers, and a fresh process draws the same values from them."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import keras

import keras_initlab as kil

FRESH_PROCESS = """
import sys, keras, keras_initlab
layer = keras.saving.load_model(sys.argv[1]).layers[0]
print(layer.kernel_initializer)
print(float(keras.ops.max(keras.ops.abs(layer.kernel_initializer(layer.kernel.shape) - layer.kernel))))
"""


def main() -> tuple[str, float]:
    """Return what the fresh process found: the initializer, and how far its values are from the saved ones."""
    initializer = kil.Orthogonal(gain=2**0.5, seed=0)
    model = keras.Sequential([keras.Input((8,)), keras.layers.Dense(8, "relu", kernel_initializer=initializer)])
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "model.keras"
        model.save(path)
        command = [sys.executable, "-c", FRESH_PROCESS, str(path)]
        found, difference = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    print(f"saved:  {initializer}")
    print(f"loaded: {found}")
    print(f"largest difference between the saved kernel and the one drawn again: {difference}")
    return found, float(difference)


if __name__ == "__main__":
    main()
