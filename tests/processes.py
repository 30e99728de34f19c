"""Python in a process of its own, with the package that the tests run against."""

import os
import subprocess
import sys
from pathlib import Path

import keras_initlab

ROOT = Path(__file__).parents[1]
PACKAGE_PATH = Path(keras_initlab.__file__).parents[1]


def python(*arguments, executable=sys.executable, cwd=None, path=PACKAGE_PATH, timeout=300):
    """Runs Python; returns the finished process, its output as text."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    if path is not None:
        environment["PYTHONPATH"] = str(path)
    command = [str(executable), *map(str, arguments)]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=timeout)
