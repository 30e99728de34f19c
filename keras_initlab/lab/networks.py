"""The networks that experiments build: dense layers on top of each other, each with a name and a seed of its own."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_initlab.statistics.profile import Profile

__all__ = ["Law", "accuracy", "compiled", "dense_network", "fit", "layer_values", "noise", "seeded"]

Law = Callable[[int], Any]
"""Takes a seed, gives an initializer."""


def seeded(seed: int, *place: int) -> int:
    """A seed of 31 bits for one weight or one draw, from that of the run and where it stands."""
    return int(np.random.SeedSequence([seed, *place]).generate_state(1)[0] >> 1)


def noise(seed: int, *shape: int) -> Any:
    """Inputs of independent N(0, 1), float32."""
    return np.random.default_rng((seed, 1)).standard_normal(shape).astype("float32")


def dense_network(
    inputs: int,
    widths: Sequence[int],
    law: Law,
    activation: str | None = None,
    *,
    seed: int = 0,
    classes: int | None = None,
    batchnorm: bool = False,
    bias: bool = True,
) -> Any:
    """A Sequential of Dense layers `layer_1`, `layer_2` and so on, and where there are classes a Dense `logits`.

    Args:
        inputs: number of features.
        widths: units of each layer.
        law: takes a seed and gives an initializer for the kernels.
        activation: of every layer but the logits; None is linear.
        seed: each kernel gets one made from it and its place.
        classes: units of the last layer, if there is one.
        batchnorm: whether BatchNormalization `batchnorm_1` stands between product and activation.
        bias: whether layers have one, which starts at zero.
    """
    layers: list[Any] = [keras.Input((inputs,))]
    for i, units in enumerate(widths, 1):
        kernel = law(seeded(seed, i))
        name = f"layer_{i}"
        if not batchnorm:
            layers.append(keras.layers.Dense(units, activation, use_bias=bias, kernel_initializer=kernel, name=name))
            continue
        layers.append(keras.layers.Dense(units, use_bias=False, kernel_initializer=kernel, name=name))
        layers.append(keras.layers.BatchNormalization(name=f"batchnorm_{i}"))
        layers.append(keras.layers.Activation(activation or "linear", name=f"activation_{i}"))
    if classes is not None:
        kernel = law(seeded(seed, 0))
        layers.append(keras.layers.Dense(classes, use_bias=bias, kernel_initializer=kernel, name="logits"))
    return keras.Sequential(layers, name="network")


def compiled(model: Any, optimizer: Any) -> Any:
    """The same model, compiled to learn classes from logits."""
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


def layer_values(profile: Profile, statistic: str, quantity: str = "activation", part: str = "layer_") -> Any:
    """A statistic of the layers whose name has `part` in it, from the first to the last."""
    names, values = profile.column(statistic, quantity)
    return values[[part in name for name in names]]


def accuracy(model: Any, x: Any, y: Any) -> float:
    """Share of examples that a model which gives logits tells right."""
    said = keras.ops.convert_to_numpy(model(x, training=False))
    return float(np.mean(np.argmax(said, -1) == y))


class _Losses(keras.callbacks.Callback):
    """The loss of every batch; Keras itself tells the mean since the epoch began."""

    def __init__(self) -> None:
        super().__init__()
        self.sums = [0.0]

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        self.sums.append(float(logs["loss"]) * len(self.sums))


def fit(model: Any, x: Any, y: Any, *, steps: int, batch: int, seed: int, callbacks: Sequence[Any] = ()) -> Any:
    """Trains a compiled model for a number of steps, each example once a pass; returns the loss of each step."""
    generator, count = np.random.default_rng((seed, 2)), steps * batch
    order = np.concatenate([generator.permutation(len(x)) for _ in range(-(-count // len(x)))])[:count]
    losses = _Losses()
    model.fit(x[order], y[order], batch_size=batch, shuffle=False, verbose=0, callbacks=[losses, *callbacks])
    return np.diff(losses.sums)
