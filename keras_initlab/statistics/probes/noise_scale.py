"""The gradient noise scale, from the gradients of the two halves of a batch.

With gradients G₁ and G₂ of halves of b examples each, which are independent, of mean G and covariance Σ / b:
G₁·G₂ estimates |G|² without bias, and b ‖G₁ - G₂‖² / 2 the trace of Σ. These are the two estimators of McCandlish et
al. (2018), An Empirical Model of Large-Batch Training, appendix A.1, with B_small = b and B_big = 2 b, where ‖G_small‖²
is the mean over both halves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.layers import MeasuredLayer
from keras_initlab.statistics.norms import Difference, norms_of
from keras_initlab.statistics.probes.apart import CannotMeasureError, model_apart
from keras_initlab.statistics.tensor_stats import widen

Name = tuple[str, str]


def noise_sums(model: Any, entries: Sequence[MeasuredLayer], data: Any, shortcut: bool) -> tuple[Any, tuple[Name, ...]]:
    """Estimates from the two halves of a batch.

    Args:
        model: compiled, with a loss.
        entries: whose weights to look at.
        data: the batch of a step: x, y and weights of the examples. Halves of an odd number leave out the middle one.
        shortcut: as in `norms_of`.

    Returns:
        A float64 tensor (weights, 2): of the trace of Σ and of |G|²; and layer and name of the weights.

    Raises:
        CannotMeasureError: the batch cannot be halved, or the model has no loss for it.
    """
    names: list[Name] = []
    _check_batch(model, data)

    def run(data: Any) -> Any:
        size = tf.shape(_parts(data)[0])[0]
        # Of a single example both halves are that one.
        half = tf.maximum(size // 2, 1)
        one = _gradients(model, entries, _mapped(lambda x: x[:half], data))
        two = _gradients(model, entries, _mapped(lambda x: x[size - half :], data))
        found = {name: (one[name], two[name]) for name in one if name in two}
        names[:] = list(found)
        if not found:
            return tf.zeros((0, 2), tf.float64)
        distances = norms_of([Difference(a, b) for a, b in found.values()], shortcut)[:, 0]
        products = norms_of([Difference(a, other=b) for a, b in found.values()], shortcut)[:, 1]
        halves = tf.where(size < 2, tf.constant(np.nan, tf.float64), tf.cast(half, tf.float64))
        return tf.stack([halves * tf.square(distances) / 2, products], axis=1)

    sums = model_apart(model, run, data)
    return sums, tuple(names)


def noise_scale(trace: npt.ArrayLike, square: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Trace of Σ / |G|²; not a number where the estimate of |G|² is not positive."""
    trace, square = np.asarray(trace, np.float64), np.asarray(square, np.float64)
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.where(square > 0, trace / square, np.nan)


def _check_batch(model: Any, data: Any) -> None:
    if not all(isinstance(x, tf.Tensor) and x.shape.rank for x in _parts(data)):
        raise CannotMeasureError("The batch has parts that are no dense tensors with an axis for the examples")
    if any(x.shape[0] is not None for x in getattr(model, "inputs", None) or ()):
        raise CannotMeasureError("The model takes batches of one size only")


def _parts(data: Any) -> list[Any]:
    return [x for x in keras.tree.flatten(data) if x is not None]


def _mapped(function: Callable[[Any], Any], data: Any) -> Any:
    return keras.tree.map_structure(lambda x: None if x is None else function(x), data)


def _gradients(model: Any, entries: Sequence[MeasuredLayer], data: Any) -> dict[Name, Any]:
    x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(data)
    variables = {(entry.path, name): v.value for entry in entries for name, v in entry.variables.items() if v.trainable}
    with tf.GradientTape() as tape:
        y_pred = model(x, training=True) if model._call_has_training_arg else model(x)
        loss = model.compute_loss(x=x, y=y, y_pred=y_pred, sample_weight=sample_weight, training=True)
        if model.optimizer is not None:
            # A factor on both gradients leaves the noise scale as it is, and small gradients in float16's range.
            loss = model.optimizer.scale_loss(loss)
    found = tape.gradient(loss, list(variables.values()))
    return {
        name: widen(tf.convert_to_tensor(value))
        for name, value in zip(variables, found, strict=True)
        if value is not None
    }
