"""What TensorBoard's HParams page tells runs apart by."""

from __future__ import annotations

import time
from collections.abc import Mapping
from numbers import Real
from typing import Any

import keras
import numpy as np
from tensorboard.compat.proto import event_pb2
from tensorboard.plugins.hparams import metadata, plugin_data_pb2, summary_v2

HParams = Mapping[str, str | float | int | bool]


def initializer_hparams(model: keras.Model) -> dict[str, str | int]:
    """The initializers of a model's kernels, and their seeds.

    Args:
        model: a Keras model, built or not.

    Returns:
        Under `kernel_initializer` the names of the classes in the order of the layers, and under `seed` the first of
        their seeds that is an integer. Without a kernel, nothing.

    Example:
        >>> import keras, keras_initlab as kil
        >>> hidden = keras.layers.Dense(8, kernel_initializer=kil.HeNormal(seed=3))
        >>> model = keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)])
        >>> kil.callbacks.initializer_hparams(model)
        {'kernel_initializer': 'HeNormal, GlorotUniform', 'seed': 3}
    """
    names: list[str] = []
    seeds: list[int] = []
    for layer in model._flatten_layers(include_self=False):
        initializer = getattr(layer, "kernel_initializer", None)
        if not isinstance(initializer, keras.initializers.Initializer):
            continue
        name = type(initializer).__name__
        names += [name] if name not in names else []
        seed = initializer.get_config().get("seed")
        if isinstance(seed, int) and not isinstance(seed, bool):
            seeds.append(seed)
    found: dict[str, str | int] = {"kernel_initializer": ", ".join(names)} if names else {}
    return {**found, "seed": seeds[0]} if seeds else found


def checked_hparams(hparams: Any) -> dict[str, str | float | int | bool] | None:
    """The hyperparameters with plain Python values, or None.

    Raises:
        TypeError: not a dictionary with strings as keys, or a value that is neither a string nor a number.
    """
    if hparams is None:
        return None
    if not isinstance(hparams, Mapping) or not all(isinstance(name, str) for name in hparams):
        raise TypeError(
            "hparams must be a dictionary with strings as keys, or None to collect the initializers. "
            f"Received: hparams={hparams!r}."
        )
    found = {name: value.item() if isinstance(value, np.generic) else value for name, value in hparams.items()}
    for name, value in found.items():
        if not isinstance(value, (str, Real)):
            raise TypeError(
                "hparams must have strings, numbers and booleans as values. "
                f"Received: hparams[{name!r}]={value!r}. Give str({name})."
            )
    return found


def session_event(hparams: HParams) -> bytes:
    """The event with the hyperparameters of a run, which stands at its start."""
    event = event_pb2.Event(wall_time=time.time(), summary=summary_v2.hparams_pb(dict(hparams)))
    return bytes(event.SerializeToString())


def session_end_event(succeeded: bool = True) -> bytes:
    """The event that says that a run has ended, and how."""
    status = "STATUS_SUCCESS" if succeeded else "STATUS_FAILURE"
    end = plugin_data_pb2.SessionEndInfo(status=status, end_time_secs=time.time())
    event = event_pb2.Event(wall_time=time.time())
    event.summary.value.add(
        tag=metadata.SESSION_END_INFO_TAG,
        metadata=metadata.create_summary_metadata(plugin_data_pb2.HParamsPluginData(session_end_info=end)),
        tensor=metadata.NULL_TENSOR,
    )
    return bytes(event.SerializeToString())
