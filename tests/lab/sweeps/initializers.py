"""Initializers that do to their process what a test wants done, at a moment that the test knows."""

import os
import signal
import time
from pathlib import Path

import keras


class _Path(keras.initializers.Initializer):
    def __init__(self, path):
        self.path = path

    def get_config(self):
        return {"path": self.path}

    def __call__(self, shape, dtype=None, **kwargs):
        self.act()
        return keras.ops.ones(shape, dtype)


@keras.saving.register_keras_serializable("tests")
class Waits(_Path):
    """Says that it waits, and waits until a file is there."""

    def act(self):
        Path(f"{self.path}.{os.getpid()}").touch()
        while not Path(self.path).exists():
            time.sleep(0.02)


@keras.saving.register_keras_serializable("tests")
class KillsOnce(_Path):
    """Kills its process, unless a file says that it has."""

    def act(self):
        if not Path(self.path).exists():
            Path(self.path).touch()
            os.kill(os.getpid(), signal.SIGKILL)


@keras.saving.register_keras_serializable("tests")
class Kills(_Path):
    """Kills its process, whenever it is asked, and leaves a line each time."""

    def act(self):
        with Path(self.path).open("a") as file:
            file.write(f"{os.getpid()}\n")
        os.kill(os.getpid(), signal.SIGKILL)
