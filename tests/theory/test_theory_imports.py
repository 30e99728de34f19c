"""The mathematics stands without a framework."""

import subprocess
import sys
from pathlib import Path

from keras_initlab import theory

SCRIPT = """
import sys, types

# A bare parent, since the package's own imports Keras.
parent = types.ModuleType("keras_initlab")
parent.__path__ = [sys.argv[1]]
sys.modules["keras_initlab"] = parent

import keras_initlab.theory

assert keras_initlab.theory.truncated_moments(-2.0, 2.0)
loaded = sorted({name.split(".")[0] for name in sys.modules} & {"keras", "tensorflow", "jax", "torch", "matplotlib"})
assert not loaded, loaded
"""


def test_theory_loads_neither_keras_nor_tensorflow():
    folder = Path(theory.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
