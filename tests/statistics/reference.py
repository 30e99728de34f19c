"""An independent, slow account of one training step: eager, layer by layer, statistics in NumPy float64.

Imports nothing from the package under test.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
import tensorflow as tf


class States(keras.callbacks.Callback):
    """All variables of a model before each execution of the train function, and at the end.

    Attributes:
        seen: values of the model's variables, in its order.
        scales: what the optimizer multiplies the loss by.
    """

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[list[Any]] = []
        self.scales: list[float] = []

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        scale = getattr(self.model.optimizer, "dynamic_scale", None)
        self.seen.append([v.numpy() for v in self.model.variables])
        self.scales.append(1.0 if scale is None else float(scale))

    def on_train_end(self, logs: Any = None) -> None:
        self.on_train_batch_begin(-1)

    def restore(self, index: int) -> None:
        """Leaves the model as it was then."""
        for variable, value in zip(self.model.variables, self.seen[index], strict=True):
            variable.assign(value)


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


def gradient_descent(
    forward: Any, model: Any, batches: Any, learning_rate: float, scale: float = 1.0
) -> dict[str, Any]:
    """Steps of plain gradient descent on the mean squared error, each layer called by hand; an account of the last.

    Args:
        forward: gives path and output of each call of a layer, in order of execution; the last is what the model says.
        model: whose variables are trained in place.
        batches: x and y of each step.
        learning_rate: of the descent.
        scale: what the loss is multiplied by, and the gradients are divided by again.
    """
    for x, y in batches:
        variables = model.trainable_variables
        with tf.GradientTape() as tape:
            outputs = forward(model, tf.convert_to_tensor(x))
            loss = tf.reduce_mean(tf.square(tf.cast(outputs[-1][1], tf.float32) - y)) * scale
        found = tape.gradient(loss, [*(h for _, h in outputs), *(v.value for v in variables)])
        found = [None if g is None else _dense(g).astype(np.float64) / scale for g in found]
        old = [np.array(v) for v in variables]
        gradients = found[len(outputs) :]
        for variable, before, gradient in zip(variables, old, gradients, strict=True):
            variable.assign(before - np.float32(learning_rate) * gradient.astype(np.float32))
    return {
        "outputs": [(path, np.asarray(tf.cast(h, tf.float64))) for path, h in outputs],
        "output_gradients": [(path, g) for (path, _), g in zip(outputs, found, strict=False)],
        "weights": {v.path: w for v, w in zip(variables, old, strict=True)},
        "gradients": {v.path: g for v, g in zip(variables, gradients, strict=True)},
        "updates": {v.path: np.array(v, np.float64) - w for v, w in zip(variables, old, strict=True)},
    }


def assert_row(row: Any, values: Any, tolerance: float = 1e-5) -> None:
    """Every moment of a Profile's row, to a share of the tensor's own scale: a mean near zero has no digits of its own.

    Of values so near to zero that rounding decides, any number may be zero.
    """
    expected, x = statistics(values), np.asarray(values, np.float64)
    size = max(expected["rms"], 1e-30)
    uncertain = 2 * np.mean((x != 0) & (np.abs(x) <= tolerance * size))
    for name, value in expected.items():
        if row[name] is None and name not in ("count", "rms", "l2", "nonfinite"):
            continue  # of differences of large weights the norm is all that is known
        allowed = {"count": 0, "nonfinite": 0, "zeros": uncertain}.get(name, tolerance * max(abs(value), size))
        wrong = f"{row['layer']}, {row['quantity']} of {row['variable']}: {name} {row[name]}, not {value}"
        assert abs(row[name] - value) <= allowed, wrong
