"""The networks of ``trainability.py``, each with its data: deep enough that the start decides.

None has normalization layers but the transformer, whose blocks end in one, as in the original. All are as Keras builds
them: activations fused into their layers, no initializer named.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import keras
import numpy as np
from keras import layers
from numpy.typing import NDArray
from sklearn.datasets import load_digits

TEST = 360
STEPS_OF_TIME = 200
Array = NDArray[np.float32]


class Data(NamedTuple):
    """Inputs and targets, to train and to test."""

    x: Array
    y: Array
    test_x: Array
    test_y: Array


class Network(NamedTuple):
    """A row of the table.

    Attributes:
        build: Makes the model, with Keras's own initializers.
        data: Makes its data.
        rate: Of Adam, for every start.
        steps: Batches of 64.
    """

    build: Callable[[], keras.Model]
    data: Callable[[], Data]
    rate: float = 1e-3
    steps: int = 200


def digits(shape: tuple[int, ...] = (64,)) -> Data:
    """Scikit-learn's digits, 8×8 pixels of mean 0 and variance 1 over all, in a fixed random order."""
    x, y = load_digits(return_X_y=True)
    order = np.random.default_rng(0).permutation(len(x))
    x = ((x - x.mean()) / x.std()).astype("float32")[order].reshape(-1, *shape)
    y = y[order].astype("int32")
    return Data(x[:-TEST], y[:-TEST], x[-TEST:], y[-TEST:])


def images() -> Data:
    """Digits with an axis of channels."""
    return digits((8, 8, 1))


def rows() -> Data:
    """Digits as sequences of 8 rows."""
    return digits((8, 8))


def reconstruction() -> Data:
    """Digits as their own targets."""
    x, _, test_x, _ = images()
    return Data(x, x, test_x, test_x)


def long_sequences() -> Data:
    """The 8 rows of a digit, then noise to the end."""
    x, y, test_x, test_y = rows()
    generator = np.random.default_rng(1)

    def lengthen(short: Array) -> Array:
        noise = 0.1 * generator.standard_normal((len(short), STEPS_OF_TIME - 8, 8))
        return np.concatenate([short, noise.astype("float32")], 1)

    return Data(lengthen(x), y, lengthen(test_x), test_y)


def perceptron(activation: str) -> Callable[[], keras.Model]:
    """60 hidden layers of 64 units."""

    def build() -> keras.Model:
        hidden = [layers.Dense(64, activation) for _ in range(60)]
        return keras.Sequential([keras.Input((64,)), *hidden, layers.Dense(10)])

    return build


def convolutional() -> keras.Model:
    """40 convolutions, ReLU, zero padding; 4×4 positions from the fifth on."""
    hidden = [layers.Conv2D(16, 3, 2 if i == 4 else 1, "same", activation="relu") for i in range(40)]
    return keras.Sequential([keras.Input((8, 8, 1)), *hidden, layers.Flatten(), layers.Dense(10)])


def residual() -> keras.Model:
    """30 blocks x + Dense(Dense(x)) with ReLU behind the first Dense."""
    inputs = keras.Input((64,))
    x = layers.Dense(64)(inputs)
    for _ in range(30):
        branch = layers.Dense(64, "relu")(x)
        x = layers.Add()([x, layers.Dense(64)(branch)])
    return keras.Model(inputs, layers.Dense(10)(x))


def depthwise_separable() -> keras.Model:
    """12 times a depthwise convolution and a pointwise one, ReLU behind both."""
    inputs = keras.Input((8, 8, 1))
    x = layers.Conv2D(32, 3, 2, padding="same", activation="relu")(inputs)
    for _ in range(12):
        x = layers.DepthwiseConv2D(3, padding="same", activation="relu")(x)
        x = layers.Conv2D(32, 1, activation="relu")(x)
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling2D()(x)))


def autoencoder() -> keras.Model:
    """8×8 pixels to 16 numbers and back, 10 convolutions and 10 transposed ones, ReLU."""
    encoder = [layers.Conv2D(16, 3, 2 if i in (4, 9) else 1, "same", activation="relu") for i in range(10)]
    decoder = [layers.Conv2DTranspose(16, 3, 2 if i in (0, 5) else 1, "same", activation="relu") for i in range(10)]
    code = [layers.Flatten(), layers.Dense(16), layers.Dense(64, "relu"), layers.Reshape((2, 2, 16))]
    return keras.Sequential([keras.Input((8, 8, 1)), *encoder, *code, *decoder, layers.Conv2D(1, 3, padding="same")])


def recurrent() -> keras.Model:
    """An LSTM that gives its answer after 200 steps."""
    return keras.Sequential([keras.Input((STEPS_OF_TIME, 8)), layers.LSTM(32), layers.Dense(10)])


class Positions(layers.Layer):
    """Adds an embedding of the place in the sequence."""

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Make the embedding."""
        self.embedding = layers.Embedding(input_shape[1], input_shape[2])
        self.embedding.build(None)

    def call(self, x: keras.KerasTensor) -> keras.KerasTensor:
        """Add it."""
        return x + self.embedding(keras.ops.arange(x.shape[1]))


def transformer() -> keras.Model:
    """12 blocks of attention and a perceptron, each behind a sum and a LayerNormalization, on the 8 rows."""
    inputs = keras.Input((8, 8))
    x = Positions()(layers.Dense(32)(inputs))
    for _ in range(12):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(4, 8)(x, x))
        x = layers.LayerNormalization()(x + layers.Dense(32)(layers.Dense(128, "relu")(x)))
    return keras.Model(inputs, layers.Dense(10)(layers.GlobalAveragePooling1D()(x)))


_ACTIVATIONS = {"ReLU": "relu", "tanh": "tanh", "GELU": "gelu", "SiLU": "silu", "sigmoid": "sigmoid"}
NETWORKS = {
    f"60 × Dense, {name}": Network(perceptron(activation), digits, rate=3e-4, steps=300)
    for name, activation in _ACTIVATIONS.items()
} | {
    # Behind a mean of .7 and a signal of .12 Adam's first steps at 3e-4 shift every pre-activation by a tenth.
    "60 × Dense, softplus": Network(perceptron("softplus"), digits, rate=1e-4, steps=300),
    "40 × Conv2D, ReLU": Network(convolutional, images, rate=1e-4),
    "30 residual blocks": Network(residual, digits),
    "12 × depthwise and pointwise": Network(depthwise_separable, images),
    "autoencoder, transposed": Network(autoencoder, reconstruction),
    "LSTM, 200 steps": Network(recurrent, long_sequences, rate=1e-2, steps=100),
    "transformer, 12 blocks": Network(transformer, rows),
}
