"""One measurement of a model on one batch, which leaves the model as it was."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from keras_initlab.statistics.layers import LayerFilter, check_filter, measured_layers
from keras_initlab.statistics.measurement import pack, unpack
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.taps import Taps


def observe(
    model: keras.Model, x: Any, y: Any = None, *, training: bool = True, layers: LayerFilter | None = None
) -> Profile:
    """Measures every layer of a model on one batch, without training it.

    With targets the loss that the model was compiled with is differentiated, and the Profile has gradients too.
    Weights, moving statistics, metrics and random state are afterwards what they were.

    Args:
        model: a Keras model; one that is not built yet is built by the batch.
        x: inputs of one batch, as the model takes them: an array, or a list or dictionary of arrays.
        y: targets of the batch; by default none, and no gradients.
        training: whether layers run as in training (BatchNormalization by the batch's own statistics, dropout on),
        which
            is what a network meets when it learns. With `False` a BatchNormalization that has seen no data yet shows
            its start values, not the network.
        layers: which layers to measure: a regular expression searched for in the layer's path, or a callable that takes
            the layer; by default all.

    Returns:
        The Profile, with `step` set to the optimizer's count of steps.

    Raises:
        ValueError: targets without a compiled model, batches of different length, a filter that chooses no layer, or a
            backend other than TensorFlow.

    Example:
        >>> import numpy as np, keras, keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu", name="hidden")])
        >>> model.compile("sgd", "mse")
        >>> profile = kil.observe(model, np.ones((4, 3), "float32"), np.zeros((4, 2), "float32"))
        >>> sorted({row["quantity"] for row in profile.rows})
        ['activation', 'activation_gradient', 'gradient', 'weight']
    """
    require_tensorflow("observe")
    check_filter(layers)
    _check_batch(model, x, y)
    x, y = (keras.tree.map_structure(_to_tensor, value) for value in (x, y))
    if not model.built:
        with _restored([]):
            model(x, training=False)
    taps = Taps(measured_layers(model, layers))
    with _restored(_state(model)), taps.watch(), tf.GradientTape() as tape:
        outputs = model(x, training=training)
        if y is not None:
            loss = model.compute_loss(x=x, y=y, y_pred=outputs, training=training)
            tape.gradient(loss, list(model.trainable_variables))
    packed, layout = pack(taps.in_order(), lambda tensor: tensor, with_histograms=True, shortcut=False)
    name_skipped(taps.skipped)
    optimizer = getattr(model, "optimizer", None)
    return unpack(packed, layout, int(optimizer.iterations) if optimizer is not None else 0)


def require_tensorflow(caller: str) -> None:
    """Refuses to measure on a backend whose training step is not TensorFlow's.

    Raises:
        ValueError: the backend is another.
    """
    if keras.backend.backend() != "tensorflow":
        raise ValueError(
            f"{caller} measures on the TensorFlow backend. Received: KERAS_BACKEND={keras.backend.backend()!r}. "
            "Set KERAS_BACKEND=tensorflow before keras is imported."
        )


def name_skipped(skipped: dict[str, str]) -> None:
    """Says once which layers are not measured, and why."""
    if skipped:
        reasons = "; ".join(f"{path}: {why}" for path, why in skipped.items())
        warnings.warn(f"The outputs of these layers are not measured. {reasons}.", stacklevel=3)


def _to_tensor(value: Any) -> Any:
    return None if value is None else tf.convert_to_tensor(value)


def _check_batch(model: Any, x: Any, y: Any) -> None:
    if y is None:
        return
    if not model.compiled:
        raise ValueError(
            "y was given, but the model is not compiled, so there is no loss to differentiate. Call model.compile("
            "loss=...) first, or leave y out to measure without gradients."
        )
    lengths = [{len(a) for a in keras.tree.flatten(batch) if np.ndim(a) > 0} for batch in (x, y)]
    if len(lengths[0] | lengths[1]) > 1:
        raise ValueError(
            f"x and y must have the same number of examples. Received: x with {sorted(lengths[0])}, y with "
            f"{sorted(lengths[1])}."
        )


def _state(model: Any) -> list[Any]:
    """Everything that a step in training mode changes besides weights."""
    variables = [*model.non_trainable_variables, *model.metrics_variables]
    return [v for v in {id(v): v for v in [*variables, *model.variables]}.values() if not v.trainable]


@contextlib.contextmanager
def _restored(variables: list[Any]) -> Iterator[None]:
    saved = [tf.identity(tf.convert_to_tensor(v)) for v in variables]
    try:
        yield
    finally:
        for variable, value in zip(variables, saved, strict=True):
            variable.assign(value)
