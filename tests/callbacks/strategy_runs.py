"""Trainings under a distribution strategy, run in a process of their own: `python -m tests.callbacks.strategy_runs`.

Logical devices have to be made before TensorFlow starts, and one start serves many trainings. Their results go into a
pickle, by name: the Profiles, the losses, and every bit that the training leaves behind.
"""

from __future__ import annotations

import contextlib
import pickle
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_initlab as kil

from ..statistics.networks import CLASSES, FEATURES, data

K = keras.layers
BATCH, LAST, STEPS = 24, 7, 5
EXAMPLES = (STEPS - 1) * BATCH + LAST


def _dense(units: int, seed: int, **kwargs: Any) -> Any:
    return K.Dense(units, kernel_initializer=kil.HeNormal(seed=seed), **kwargs)


def dense() -> list[Any]:
    """Weights larger than those that leave the device whole; saturated and dead units."""
    dead = keras.initializers.Constant(np.where(np.arange(16) < 3, -99.0, 0.0).tolist())
    return [
        K.Dense(400, "tanh", kernel_initializer=kil.RandomNormal(stddev=0.7, seed=0)),
        _dense(16, 1, activation="relu", bias_initializer=dead),
        K.LayerNormalization(),
        _dense(CLASSES, 2),
    ]


def convolution(synchronized: bool = True) -> list[Any]:
    """Every normalization, and channels."""
    return [
        K.Reshape((4, 3, 1)),
        K.Conv2D(8, 3, padding="same", use_bias=False, kernel_initializer=kil.HeNormal(seed=0)),
        K.BatchNormalization(synchronized=synchronized),
        K.ReLU(),
        K.GroupNormalization(4),
        K.Conv2D(4, 2, activation="sigmoid", kernel_initializer=kil.HeNormal(seed=1)),
        K.Flatten(),
        K.RMSNormalization(),
        _dense(CLASSES, 2),
    ]


def apart() -> list[Any]:
    return convolution(synchronized=False)


def sequence() -> list[Any]:
    """The gradient of an embedding is a list of slices."""
    return [
        K.Lambda(lambda x: tf.cast(tf.abs(x) * 40, tf.int32) % 60, output_shape=(FEATURES,), dtype="int32"),
        K.Embedding(60, 40, embeddings_initializer=kil.RandomNormal(stddev=0.5, seed=0)),
        K.LSTM(8, kernel_initializer=kil.GlorotUniform(seed=0), recurrent_initializer=kil.Orthogonal(seed=1)),
        _dense(CLASSES, 2),
    ]


def masked() -> list[Any]:
    """A BatchNormalization that counts other numbers of values on each replica."""
    return [K.Reshape((4, 3)), K.Masking(), K.BatchNormalization(), K.Flatten(), _dense(CLASSES, 0)]


def dropout() -> list[Any]:
    return [_dense(16, 0), K.BatchNormalization(), K.ReLU(), K.Dropout(0.3, seed=5), _dense(CLASSES, 1)]


NETWORKS = {f.__name__: f for f in (dense, convolution, apart, sequence, masked, dropout)}


def examples(count: int = EXAMPLES) -> tuple[Any, Any]:
    """Numbers and classes; some of the features of the first examples are masked."""
    x, y = data(count)
    x[: count // 3, 6:] = 0
    return x, y


def shares(count: int, replicas: int) -> list[int]:
    """How many examples of a batch each replica gets."""
    most = -(-count // replicas)
    return [min(most, max(count - i * most, 0)) for i in range(replicas)]


def weights_of_examples(replicas: int) -> Any:
    """What makes the mean over a batch what several replicas make of it: the mean of their means."""
    last = np.concatenate([np.full(n, LAST / (replicas * n)) for n in shares(LAST, replicas)])
    return np.concatenate([np.ones((STEPS - 1) * BATCH), last]).astype("float32")


def build(name: str, optimizer: Any = None, dtype: str = "float32", **kwargs: Any) -> Any:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    model = keras.Sequential([keras.Input((FEATURES,)), *NETWORKS[name]()])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer or keras.optimizers.SGD(0.2, momentum=0.9), loss, **kwargs)
    keras.config.set_dtype_policy("float32")
    return model


class States(keras.callbacks.Callback):
    """All variables before the last batch."""

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        self.before = [keras.ops.convert_to_numpy(v) for v in self.model.variables]


def state(model: Any) -> dict[str, Any]:
    """Every bit that a training leaves behind, on each replica."""
    variables = {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values()
    local = model.distribute_strategy.experimental_local_results
    return {f"{i} {v.path}": [part.numpy() for part in local(v.value)] for i, v in enumerate(variables)}


def trained(
    name: str, strategy: Any = None, batch_size: int = BATCH, epochs: int = 1, given: Any = None, watch: Any = 1, **kwargs: Any
) -> dict[str, Any]:
    """Trains one of the networks; `given` makes of the strategy, the inputs and the targets what fit takes."""
    keras.utils.clear_session()
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build(name, **kwargs)
    states = States()
    watching = [] if watch is None else [kil.callbacks.LayerStatistics(update_freq=watch, strict=True)]
    x, y = examples()
    arguments = {"x": x, "y": y, "batch_size": batch_size} if given is None else given(strategy, x, y)
    history = model.fit(**arguments, epochs=epochs, shuffle=False, verbose=0, callbacks=[states, *watching])
    return {
        "profiles": watching[0].history if watching else [],
        "losses": history.history["loss"],
        "state": state(model),
        "before": states.before,
    }
