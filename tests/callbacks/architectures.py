"""Small networks of every kind, each with an optimizer, that together have all that a training step may be made of."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from .matrix import dtype_policy

L = keras.layers
FEATURES, CLASSES, BATCH = 16, 4, 16


class Architecture(NamedTuple):
    """A network, how it is trained, and in which precision."""

    network: Callable[[], keras.Model]
    optimizer: Callable[[], keras.optimizers.Optimizer]
    policy: str = "float32"


# -- networks ----------------------------------------------------------------------------------------------------------


def dense_batchnorm() -> keras.Model:
    """Gradients of gamma times a learning rate: chains of products that TensorFlow regroups."""
    blocks = [[L.Dense(12), L.BatchNormalization(), L.Activation(f)] for f in ("sigmoid", "relu", "tanh")]
    return keras.Sequential(
        [keras.Input((FEATURES,)), *(layer for block in blocks for layer in block), L.Dense(CLASSES)]
    )


def dropout() -> keras.Model:
    layers = [L.Dense(24, "relu"), L.Dropout(0.3), L.Dense(16, "gelu"), L.GaussianNoise(0.1), L.AlphaDropout(0.1)]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


def recurrent() -> keras.Model:
    layers = [
        L.Reshape((4, 4)),
        L.Bidirectional(L.LSTM(6, return_sequences=True)),
        L.GRU(6, return_sequences=True, recurrent_dropout=0.1),
        L.TimeDistributed(L.Dense(5, "tanh")),
        L.SimpleRNN(5),
    ]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


def unrolled() -> keras.Model:
    """The gradient of a kernel is a sum over the time steps, which Adam subtracts from."""
    lstm = L.LSTM(5, unroll=True, return_sequences=True)
    return keras.Sequential([keras.Input((FEATURES,)), L.Reshape((4, 4)), lstm, L.Flatten(), L.Dense(CLASSES)])


def transformer() -> keras.Model:
    x = keras.Input((FEATURES,))
    h = L.Dense(8)(L.Reshape((4, 4))(x))
    h = L.LayerNormalization()(L.Add()([h, L.MultiHeadAttention(2, 4, dropout=0.1)(h, h)]))
    h = L.LayerNormalization()(L.Add()([h, L.Dense(8)(L.Dense(16, "gelu")(h))]))
    return keras.Model(x, L.Dense(CLASSES)(L.GlobalAveragePooling1D()(h)))


def convolutional() -> keras.Model:
    layers = [
        L.Reshape((4, 4, 1)),
        L.Conv2D(6, 3, padding="same", activation="elu"),
        L.Conv2D(6, 3, padding="same", use_bias=False),
        L.BatchNormalization(),
        L.ReLU(),
        L.MaxPooling2D(),
        L.Conv2DTranspose(4, 2, activation="leaky_relu"),
        L.SpatialDropout2D(0.2),
        L.Flatten(),
    ]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


def residual() -> keras.Model:
    """Sums of sums, and a product whose bias and sum are fused with it."""
    x = keras.Input((FEATURES,))
    h = L.Dense(12)(x)
    for activation in ("swish", None, None):
        h = L.Add()([h, L.Dense(12, activation)(L.BatchNormalization()(h))])
    return keras.Model(x, L.Dense(CLASSES)(h))


def branches() -> keras.Model:
    """Gradients of three branches and more, whose sum begins with whichever has no other reader."""
    x = keras.Input((FEATURES,))
    h = L.Dense(8)(x)
    average, dense = L.Average()([h, h]), L.Dense(8)(h)
    difference = L.Subtract()([L.Add()([average, average]), dense])
    ends = [L.Add()([average, h, average]), L.Dense(8, "hard_sigmoid")(dense), L.Dense(8, "mish")(difference)]
    return keras.Model(x, L.Dense(CLASSES)(L.Concatenate()(ends)))


def sums() -> keras.Model:
    """Gradients that are sums of sums, which TensorFlow joins to one."""
    x = keras.Input((FEATURES,))
    h = L.Dense(8)(x)
    twice = L.Add()([h, h])
    ends = [L.Add()([h, twice]), L.Dense(8)(L.Concatenate()([h, twice])), L.Dense(8, "gelu")(h)]
    return keras.Model(x, L.Dense(CLASSES)(L.Concatenate()([*ends, L.LayerNormalization()(h)])))


def constants() -> keras.Model:
    """Factors that follow one another, which TensorFlow multiplies beforehand."""
    layers = [L.Dense(12), L.Activation("hard_sigmoid"), L.Rescaling(0.7, 0.1), L.PReLU(), L.LayerNormalization()]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


def separable() -> keras.Model:
    layers = [
        L.Reshape((4, 4, 1)),
        L.Conv2D(4, 1),
        L.DepthwiseConv2D(3, padding="same", activation="selu"),
        L.GroupNormalization(2),
        L.SeparableConv2D(6, 3, padding="same", activation="softplus"),
        L.UnitNormalization(),
        L.Conv2D(4, 3, groups=2),
        L.PReLU(),
        L.GlobalAveragePooling2D(),
    ]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


def mixed() -> keras.Model:
    layers = [L.Reshape((4, 4, 1)), L.Conv2D(4, 3, activation="relu"), L.BatchNormalization(), L.Dropout(0.2)]
    dense = [L.Flatten(), L.Dense(12, "tanh"), L.LayerNormalization()]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, *dense, L.Dense(CLASSES, dtype="float32")])


def embedding() -> keras.Model:
    x = keras.Input((FEATURES,))
    words = L.Lambda(lambda x: keras.ops.cast(keras.ops.relu(x * 3), "int32"), output_shape=(FEATURES,))(x)
    h = L.Embedding(20, 6, mask_zero=True)(words)
    h = L.LSTM(6, return_sequences=True)(h)
    return keras.Model(x, L.Dense(CLASSES)(L.GRU(6)(h)))


def shared() -> keras.Model:
    x = keras.Input((FEATURES,))
    block = keras.Sequential([L.Dense(FEATURES, "sigmoid"), L.BatchNormalization()], name="block")
    inner = keras.Sequential([keras.Input((FEATURES,)), block, L.Dense(FEATURES, "relu")], name="inner")
    h = L.Concatenate()([block(x), inner(x), L.Multiply()([inner(block(x)), x])])
    return keras.Model(x, L.Dense(CLASSES, kernel_regularizer="l2")(h))


class OwnStep(keras.Model):
    """Two passes in one step, noise from a seed generator, and a metric of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.body = keras.Sequential([L.Dense(12, "tanh"), L.Dropout(0.2), L.Dense(12, "softsign")])
        self.head = L.Dense(CLASSES)
        self.noise = keras.random.SeedGenerator(3)
        self.size = keras.metrics.Mean("size")

    def call(self, x: Any, training: bool = False) -> Any:
        return self.head(self.body(x, training=training))

    def train_step(self, data: Any) -> dict[str, Any]:
        x, y = data
        with tf.GradientTape() as tape:
            logits = self(x, training=True)
            other = self(x + keras.random.normal(tf.shape(x), stddev=0.1, seed=self.noise), training=True)
            loss = self.compute_loss(x, y, logits) + 0.1 * tf.reduce_mean((logits - other) ** 2)
        gradients = tape.gradient(loss, self.trainable_weights)
        self.optimizer.apply_gradients(zip(gradients, self.trainable_weights, strict=True))
        self.size.update_state(tf.linalg.global_norm(gradients))
        return {**self.compute_metrics(x, y, logits), "loss": loss, "size": self.size.result()}


def spectral() -> keras.Model:
    layers = [
        L.SpectralNormalization(L.Dense(12, "relu"), power_iterations=2),
        L.RMSNormalization(),
        L.EinsumDense("ab,bc->ac", 12, bias_axes="c", activation="silu"),
        L.GroupNormalization(3, axis=-1),
        L.Dense(12, "tanh", kernel_constraint="unit_norm"),
    ]
    return keras.Sequential([keras.Input((FEATURES,)), *layers, L.Dense(CLASSES)])


_opt = keras.optimizers
ARCHITECTURES = {
    "batchnorm": Architecture(dense_batchnorm, lambda: _opt.SGD(0.05)),
    "dropout": Architecture(dropout, lambda: _opt.Adam(0.003, use_ema=True, ema_overwrite_frequency=7)),
    "recurrent": Architecture(recurrent, lambda: _opt.RMSprop(0.003, clipnorm=0.5)),
    "unrolled": Architecture(unrolled, lambda: _opt.Adam(0.003, amsgrad=True)),
    "transformer": Architecture(transformer, lambda: _opt.AdamW(0.003, weight_decay=0.01, global_clipnorm=1.0)),
    "convolutional": Architecture(convolutional, lambda: _opt.SGD(0.05, momentum=0.9, nesterov=True)),
    "residual": Architecture(residual, lambda: _opt.SGD(0.05, momentum=0.9)),
    "branches": Architecture(branches, lambda: _opt.SGD(0.02, momentum=0.9)),
    "sums": Architecture(sums, lambda: _opt.RMSprop(0.002)),
    "constants": Architecture(constants, lambda: _opt.Adafactor(0.01)),
    "separable": Architecture(separable, lambda: _opt.Adagrad(0.05)),
    "float16": Architecture(mixed, lambda: _opt.Adam(0.003), "mixed_float16"),
    "bfloat16": Architecture(mixed, lambda: _opt.SGD(0.05, clipvalue=0.5), "mixed_bfloat16"),
    "embedding": Architecture(embedding, lambda: _opt.Adam(0.003, gradient_accumulation_steps=4)),
    "shared": Architecture(shared, lambda: _opt.Nadam(0.003)),
    "own train step": Architecture(OwnStep, lambda: _opt.SGD(keras.optimizers.schedules.CosineDecay(0.1, 100))),
    "spectral": Architecture(spectral, lambda: _opt.Lion(0.001)),
}


# -- training ----------------------------------------------------------------------------------------------------------


def examples(number: int) -> tuple[Any, Any]:
    generator = np.random.default_rng(0)
    x = generator.standard_normal((number, FEATURES)).astype("float32")
    return x, generator.integers(0, CLASSES, number)


def left_by_training(
    architecture: Architecture, jit_compile: bool, steps: int, callbacks: list[keras.callbacks.Callback]
) -> dict[str, Any]:
    """All that a training leaves behind: every variable, the history, the loss of each step, the random state."""
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    losses: list[float] = []
    tell = keras.callbacks.LambdaCallback(on_train_batch_end=lambda batch, logs: losses.append(logs["loss"]))
    with dtype_policy(architecture.policy):
        model, optimizer = architecture.network(), architecture.optimizer()
        loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
        model.compile(optimizer, loss, metrics=["accuracy"], jit_compile=jit_compile)
        history = model.fit(*examples(BATCH * steps // 2), BATCH, epochs=2, verbose=0, callbacks=[*callbacks, tell])
    assert len(losses) == steps
    variables = [*model.variables, *model.optimizer.variables, *model.metrics_variables]
    return {
        **{f"{number} {v.path}": v.numpy() for number, v in enumerate(variables)},
        **{f"history {name}": np.array(values) for name, values in history.history.items()},
        "losses": np.array(losses),
        "next of keras": keras.random.uniform(()).numpy(),
        "next of numpy": np.random.random(),
        "next of python": random.random(),
    }


def differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """What is not the same in both, bit by bit."""
    assert one.keys() == other.keys()
    return [name for name in one if _bits(one[name]) != _bits(other[name])]


def _bits(value: Any) -> bytes:
    array = np.array(value)
    if array.dtype.kind == "f":
        array[np.isnan(array)] = np.nan  # the sign of nan is that of whichever factor a product was given first
    return array.tobytes()
