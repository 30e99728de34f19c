"""Whoever initializes a model on JAX or PyTorch loads no TensorFlow."""

import subprocess
import sys
from pathlib import Path

import keras
import pytest

import keras_initlab

SCRIPT = """
import sys
sys.modules["tensorflow"] = None  # as where it is not installed
import keras, keras_initlab
for name, entry in keras_initlab.initializers.REGISTRY.items():
    assert tuple(entry.make()(entry.shape).shape) == entry.shape, name
print(keras.backend.backend())
"""


@pytest.mark.skipif(keras.backend.backend() == "tensorflow", reason="needs it")
def test_every_initializer_draws_without_tensorflow():
    folder = str(Path(keras_initlab.__file__).parents[1])
    done = subprocess.run(
        [sys.executable, "-c", SCRIPT], capture_output=True, text=True, timeout=300, cwd=folder, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert done.stdout.split() == [keras.backend.backend()]
