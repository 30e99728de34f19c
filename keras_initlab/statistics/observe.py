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
from keras_initlab.statistics.measurement import pack
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.taps import Taps
from keras_initlab.statistics.unpacking import on_host, unpack


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
            which is what a network meets when it learns. With `False` a BatchNormalization that has seen no data yet
            shows its start values, not the network.
        layers: which layers to measure: a regular expression searched for in the layer's path, or a callable that takes
            the layer; by default all.

    Returns:
        The Profile, with `step` set to the optimizer's count of steps.

    Raises:
        ValueError: not a model, targets without a compiled model or of the wrong shape, an empty batch or batches of
            different length, a filter that chooses no layer, or a backend other than TensorFlow.

    Example:
        >>> import numpy as np, keras, keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation="relu", name="hidden")])
        >>> model.compile("sgd", "mse")
        >>> profile = kil.observe(model, np.ones((4, 3), "float32"), np.zeros((4, 2), "float32"))
        >>> sorted({row["quantity"] for row in profile.rows})
        ['activation', 'activation_gradient', 'gradient', 'preactivation', 'weight']
    """
    require_tensorflow("observe")
    check_filter(layers)
    x, y = _to_tensors("x", x), _to_tensors("y", y)
    _check_batch(model, x, y)
    if not model.built:
        with _restored([]):
            model(x, training=False)
    taps = Taps(measured_layers(model, layers), read=lambda tensor: tensor, strict=True)
    with _restored(_state(model)), taps.watch(), tf.GradientTape() as tape:
        outputs = model(x, training=training)
        if y is not None:
            loss = _loss(model, x, y, outputs, training)
            tape.gradient(loss, list(model.trainable_variables))
    packed, layout = pack(taps, None, shortcut=False)
    for message in skipped_message(taps.skipped):
        warnings.warn(message, stacklevel=2)
    optimizer = getattr(model, "optimizer", None)
    return unpack(on_host(packed), layout, int(optimizer.iterations) if optimizer is not None else 0)


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


def skipped_message(skipped: dict[str, str]) -> list[str]:
    """Which layers are not measured, and why; nothing where all are."""
    reasons = "; ".join(f"{path}: {why}" for path, why in skipped.items())
    return [f"The outputs of these layers are not measured. {reasons}."] if skipped else []


def _to_tensors(argument: str, batch: Any) -> Any:
    """The batch with a tensor in place of each array; numbers in nested lists are one array."""
    if isinstance(batch, tf.data.Dataset):
        raise ValueError(
            f"{argument} must be one batch: an array, or a list or dictionary of arrays. Received: a tf.data.Dataset. "
            "Take a batch of it: x, y = next(iter(dataset))."
        )
    leaves = keras.tree.flatten(batch)
    if isinstance(batch, (list, tuple)) and leaves and all(isinstance(leaf, (int, float)) for leaf in leaves):
        batch = np.asarray(batch)
    return keras.tree.map_structure(lambda leaf: None if leaf is None else tf.convert_to_tensor(leaf), batch)


def _check_batch(model: Any, x: Any, y: Any) -> None:
    if not isinstance(model, keras.Model):
        raise ValueError(f"model must be a keras.Model. Received: {model!r} of type {type(model).__name__}.")
    arrays = [[a for a in keras.tree.flatten(batch) if a is not None and a.shape.rank] for batch in (x, y)]
    lengths = [{int(a.shape[0]) for a in batch} for batch in arrays]
    if 0 in lengths[0]:
        raise ValueError("x must have at least one example. Received: a batch of length 0.")
    if y is None:
        return
    if not model.compiled:
        raise ValueError(
            "y was given, but the model is not compiled, so there is no loss to differentiate. Call model.compile("
            "loss=...) first, or leave y out to measure without gradients."
        )
    if len(lengths[0] | lengths[1]) > 1:
        raise ValueError(
            f"x and y must have the same number of examples. Received: x with {sorted(lengths[0])}, y with "
            f"{sorted(lengths[1])}."
        )


def _loss(model: Any, x: Any, y: Any, outputs: Any, training: bool) -> Any:
    try:
        return model.compute_loss(x=x, y=y, y_pred=outputs, training=training)
    except (ValueError, tf.errors.InvalidArgumentError) as error:
        shapes = [[tuple(t.shape) for t in keras.tree.flatten(batch)] for batch in (y, outputs)]
        raise ValueError(
            f"y must fit the model's outputs and its loss. Received: y of shape {shapes[0]} for outputs of shape "
            f"{shapes[1]}. The loss says: {error}"
        ) from error


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
