"""An independent, slow account of one training step: eager, layer by layer, statistics in NumPy float64.

Imports nothing from the package under test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def statistics(values: Any, unit_axis: int = -1, units: bool = False) -> dict[str, float]:
    """Every moment of a Profile's row, of the finite values, by the definition."""
    x = np.asarray(values, np.float64)
    finite = x[np.isfinite(x)]
    largest = np.abs(finite).max() or 1.0
    scaled = finite / largest
    found = {
        "count": x.size,
        "mean": scaled.mean() * largest,
        "std": scaled.std() * largest,
        "rms": np.sqrt((scaled**2).mean()) * largest,
        "min": finite.min(),
        "max": finite.max(),
        "l2": np.sqrt((scaled**2).sum()) * largest,
        "zeros": np.mean(x == 0),
        "nonfinite": x.size - finite.size,
    }
    if units:
        found["dead"] = np.mean(np.all(x == 0, axis=tuple(a for a in range(x.ndim) if a != unit_axis % x.ndim)))
    return found


def eager_step(layers: list[Any], model: Any, x: Any, y: Any) -> dict[str, Any]:
    """Outputs of layers that follow one another, gradients of the loss for them and for the weights."""
    outputs, h = [], tf.convert_to_tensor(x)
    with tf.GradientTape() as tape:
        for layer in layers:
            h = layer(h, training=True) if layer._call_has_training_arg else layer(h)
            outputs.append(h)
        loss = model.compute_loss(x=x, y=y, y_pred=h)
    variables = model.trainable_variables
    gradients = tape.gradient(loss, [*outputs, *variables])
    return {
        "outputs": [np.asarray(o) for o in outputs],
        "output_gradients": [None if g is None else np.asarray(g) for g in gradients[: len(outputs)]],
        "gradients": {v.path: _dense(g) for v, g in zip(variables, gradients[len(outputs) :], strict=True)},
    }


def _dense(gradient: Any) -> Any:
    return None if gradient is None else np.asarray(tf.convert_to_tensor(gradient))


def histogram(values: Any, edges: Any) -> list[int]:
    """Count in each of the bins [lower, upper) of the magnitude, one value after the other."""
    counts = [0] * len(edges)
    for value in np.asarray(values, np.float64).ravel():
        for i, (low, high) in enumerate(edges):
            inside = low <= value < high if low >= 0 and high > 0 else low < value <= high
            if inside or (low == high == value == 0):
                counts[i] += 1
                break
    return counts
