"""Trainings under a distribution strategy: `python -m tests.callbacks.strategy_runs FOLDER REPLICAS CASE ...`.

In a process of their own, since logical devices and the part of a worker have to be chosen before TensorFlow starts;
one start serves many trainings. What each of them leaves behind goes into FOLDER/runs.pickle, by the name of its case.
"""

from __future__ import annotations

import contextlib
import os
import pickle
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

import keras_initlab as kil

from ..statistics.networks import CLASSES, FEATURES, data

K = keras.layers
# The last batch divides among no number of replicas.
BATCH, LAST, STEPS, EPOCHS = 24, 7, 5, 4


def _dense(units: int, seed: int, **kwargs: Any) -> Any:
    return K.Dense(units, kernel_initializer=kil.HeNormal(seed=seed), **kwargs)


def together() -> list[Any]:
    """A weight too large to leave the device whole, saturated and dead units, and what is normalized over the batch."""
    dead = keras.initializers.Constant(np.where(np.arange(16) < 3, -99.0, 0.0).tolist())
    return [
        K.Dense(200, "tanh", kernel_initializer=kil.RandomNormal(stddev=0.7, seed=0)),
        K.BatchNormalization(synchronized=True),
        _dense(16, 1, activation="relu", bias_initializer=dead),
        K.LayerNormalization(),
        _dense(CLASSES, 2),
    ]


def apart() -> list[Any]:
    """A BatchNormalization that normalizes each replica's part by itself, of other numbers of unmasked values."""
    return [K.Reshape((4, 3)), K.Masking(), K.BatchNormalization(), K.GlobalAveragePooling1D(), _dense(CLASSES, 0)]


def short() -> list[Any]:
    return [_dense(16, 0, activation="tanh"), _dense(CLASSES, 1)]


def convolution() -> list[Any]:
    return [
        K.Reshape((4, 3, 1)),
        K.Conv2D(8, 3, padding="same", use_bias=False, kernel_initializer=kil.HeNormal(seed=0)),
        K.BatchNormalization(synchronized=True),
        K.ReLU(),
        K.GroupNormalization(4),
        K.Conv2D(4, 2, activation="sigmoid", kernel_initializer=kil.HeNormal(seed=1)),
        K.Flatten(),
        K.RMSNormalization(),
        _dense(CLASSES, 2),
    ]


def sequence() -> list[Any]:
    """The gradient of an embedding is a list of slices."""
    return [
        K.Embedding(60, 40, embeddings_initializer=kil.RandomNormal(stddev=0.5, seed=0)),
        K.LSTM(8, kernel_initializer=kil.GlorotUniform(seed=0), recurrent_initializer=kil.Orthogonal(seed=1)),
        _dense(CLASSES, 2),
    ]


def dropout() -> list[Any]:
    return [_dense(16, 0), K.BatchNormalization(), K.ReLU(), K.Dropout(0.3, seed=5), _dense(CLASSES, 1)]


NETWORKS = {f.__name__: f for f in (together, apart, short, convolution, sequence, dropout)}
OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.2, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.01),
}


class Worker(keras.Sequential):
    """A model that Keras 3.15 can train on several workers; its own fit does not get to the end of the first step.

    It takes the mean of a batch's parts as if they were one tensor, and that of the losses over an axis they have not.
    """

    def _maybe_symbolic_build(self, iterator: Any = None, data_batch: Any = None) -> None:
        with self.distribute_strategy.scope():
            self._symbolic_build(data_batch=(keras.KerasTensor((1, FEATURES)), keras.KerasTensor((1,), "int64")))

    def train_step(self, data: Any) -> dict[str, Any]:
        return {name: value[tf.newaxis] for name, value in super().train_step(data).items()}


def build(network: str, optimizer: str = "momentum", dtype: str = "float32", **kwargs: Any) -> Any:
    keras.utils.set_random_seed(0)
    keras.config.set_dtype_policy(dtype)
    kind = Worker if "TF_CONFIG" in os.environ else keras.Sequential
    model = kind([keras.Input((FEATURES,)), *NETWORKS[network]()], name="sequential")
    model.compile(OPTIMIZERS[optimizer](), keras.losses.SparseCategoricalCrossentropy(from_logits=True), **kwargs)
    return model


def batches(network: str = "together") -> tuple[Any, Any]:
    """Inputs and targets of an epoch; masks begin anywhere."""
    x, y = data((STEPS - 1) * BATCH + LAST)
    if network == "sequence":
        return np.abs(40 * x).astype("int64") % 60, y
    if network == "apart":
        x[np.arange(12) // 3 >= np.random.default_rng(1).integers(1, 5, len(x))[:, np.newaxis]] = 0
    return x, y


def parts(count: int, replicas: int) -> list[int]:
    """How many examples of a batch each replica gets."""
    most = -(-count // replicas)
    return [min(most, count - i * most) for i in range(replicas)]


def arrays(strategy: Any, x: Any, y: Any) -> dict[str, Any]:
    return {"x": x, "y": y, "batch_size": BATCH}


def weighted(replicas: int) -> Any:
    """Weights that make the mean over a batch what replicas make of it: the mean of the means of their parts."""

    def given(strategy: Any, x: Any, y: Any) -> dict[str, Any]:
        last = [np.full(n, LAST / (replicas * n)) for n in parts(LAST, replicas)]
        weights = np.concatenate([np.ones((STEPS - 1) * BATCH), *last]).astype("float32")
        return {**arrays(strategy, x, y), "sample_weight": weights}

    return given


def distributed(strategy: Any, x: Any, y: Any) -> dict[str, Any]:
    return {"x": strategy.experimental_distribute_dataset(tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH))}


class BeforeTheLastBatch(keras.callbacks.Callback):
    """All variables as the last step of the first epoch finds them."""

    variables: list[Any] | None = None

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        if batch == STEPS - 1 and self.variables is None:
            self.variables = [keras.ops.convert_to_numpy(v) for v in self.model.variables]


def state(model: Any) -> dict[str, Any]:
    """Every bit that a training leaves behind, on each replica of this process."""
    variables = {id(v): v for v in [*model.variables, *model.optimizer.variables]}.values()
    local = model.distribute_strategy.experimental_local_results
    return {f"{i} {v.path}": [part.numpy() for part in local(v.value)] for i, v in enumerate(variables)}


def trained(
    network: str,
    strategy: Any = None,
    given: Any = arrays,
    watch: bool = True,
    log_dir: Any = None,
    extras: Sequence[str] = (),
    epochs: int = EPOCHS,
    **kwargs: Any,
) -> dict[str, Any]:
    """Trains one of the networks; `given` makes of inputs and targets what fit takes."""
    keras.utils.clear_session()
    with contextlib.nullcontext() if strategy is None else strategy.scope():
        model = build(network, **kwargs)
    before, watching = BeforeTheLastBatch(), kil.callbacks.LayerStatistics(log_dir, 1, extras=extras, strict=True)
    callbacks = [before, watching] if watch else []
    history = model.fit(
        **given(strategy, *batches(network)), epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks
    )
    return {
        "profiles": watching.history,
        "state": state(model),
        "losses": history.history["loss"],
        "before": before.variables,
    }


def main(folder: Path, replicas: int, cases: list[str]) -> None:
    """A case is the name of a network and what is special of it, such as "together unwatched"."""
    if "TF_CONFIG" in os.environ:
        strategy = tf.distribute.MultiWorkerMirroredStrategy()
    else:
        cpu = tf.config.list_physical_devices("CPU")[0]
        tf.config.set_logical_device_configuration(cpu, [tf.config.LogicalDeviceConfiguration()] * replicas)
        # Two of them in one process get in the way of each other's collective operations.
        strategy = tf.distribute.MirroredStrategy([f"CPU:{i}" for i in range(replicas)])
    words: dict[str, dict[str, Any]] = {
        "single": {"strategy": None, "given": weighted(replicas)},
        "one": {"strategy": tf.distribute.OneDeviceStrategy("CPU:0"), "steps_per_execution": 4},
        "unwatched": {"watch": False},
        "dataset": {"given": distributed},
        "mixed": {"dtype": "mixed_float16"},
        "eager": {"run_eagerly": True, "epochs": 1},
        "extras": {"extras": ("channels", "inference_gap")},
        "logged": {"log_dir": folder / "logs"},
        **{name: {"optimizer": name} for name in OPTIMIZERS},
    }
    runs = {}
    for case in cases:
        network, *special = case.split()
        arguments: dict[str, Any] = {"strategy": strategy}
        for word in special:
            arguments |= words[word]
        runs[case] = trained(network, **arguments)
    (folder / "runs.pickle").write_bytes(pickle.dumps(runs))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), sys.argv[3:])
