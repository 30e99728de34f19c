"""What is said when the callback itself goes wrong."""

from __future__ import annotations

import platform
import traceback
from typing import Any

import keras
import tensorflow as tf


def report_of(error: BaseException, model: Any) -> str:
    """What happened, and all that a report of it needs."""
    layers = sorted({type(layer).__name__ for layer in model._flatten_layers()}) if model is not None else []
    trace = "".join(traceback.format_exception(type(error), error, error.__traceback__)).rstrip()
    return (
        "LayerStatistics met an error of its own and has stopped watching. Training goes on, and what was measured "
        "so far is kept. strict=True raises the error instead. Please report it with these lines:\n"
        f"Keras {keras.__version__}, TensorFlow {tf.__version__}, Python {platform.python_version()}\n"
        f"Layers: {', '.join(layers)}\n{trace}"
    )
