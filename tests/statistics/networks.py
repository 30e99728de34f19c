"""Small networks of every kind, with the layers that follow one another in each."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np

import keras_initlab as kil

K = keras.layers
FEATURES, CLASSES = 12, 4


def _dense(units: int, seed: int, **kwargs: Any) -> Any:
    return K.Dense(units, kernel_initializer=kil.HeNormal(seed=seed), **kwargs)


def plain() -> Any:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            _dense(16, 0, activation="tanh"),
            _dense(16, 1, activation="relu"),
            _dense(CLASSES, 2),
        ]
    )


def batchnorm() -> Any:
    layers = [keras.Input((FEATURES,))]
    for seed in range(8):
        # A bias before BatchNormalization has no gradient but rounding, which no reference can have in common.
        layers += [_dense(16, seed, use_bias=False), K.BatchNormalization(), K.ReLU()]
    return keras.Sequential([*layers, _dense(CLASSES, 8)])


def dropout() -> Any:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            _dense(16, 0),
            K.Activation("sigmoid"),
            K.Dropout(0.3, seed=5),
            _dense(16, 1),
            K.Activation("tanh"),
            K.Dropout(0.3, seed=6),
            _dense(CLASSES, 2),
        ]
    )


def recurrent() -> Any:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            K.Reshape((4, 3)),
            K.LSTM(
                8,
                return_sequences=True,
                kernel_initializer=kil.GlorotUniform(seed=0),
                recurrent_initializer=kil.Orthogonal(seed=1),
            ),
            K.GRU(6, kernel_initializer=kil.GlorotUniform(seed=2), recurrent_initializer=kil.Orthogonal(seed=3)),
            _dense(CLASSES, 4),
        ]
    )


def convolution() -> Any:
    return keras.Sequential(
        [
            keras.Input((FEATURES,)),
            K.Reshape((4, 3, 1)),
            K.Conv2D(8, 3, padding="same", use_bias=False, kernel_initializer=kil.HeNormal(seed=0)),
            K.BatchNormalization(),
            K.ReLU(),
            K.DepthwiseConv2D(2, depthwise_initializer=kil.HeNormal(seed=1), activation="relu"),
            K.Flatten(),
            _dense(CLASSES, 2),
        ]
    )


def nested() -> Any:
    block = keras.Sequential([keras.Input((16,)), _dense(16, 1, name="inner"), K.LayerNormalization()], name="block")
    inputs = keras.Input((FEATURES,))
    h = block(_dense(16, 0, activation="relu", name="first")(inputs))
    return keras.Model(inputs, _dense(CLASSES, 2, name="head")(h))


class Subclassed(keras.Model):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = [_dense(16, seed, activation="elu") for seed in range(2)]
        self.norm = K.BatchNormalization()
        self.head = _dense(CLASSES, 9, activation="softmax")

    def call(self, x: Any, training: bool = False) -> Any:
        for layer in self.hidden:
            x = layer(x)
        return self.head(self.norm(x, training=training))


def chain(model: Any) -> list[Any]:
    """The layers of these models in order of execution."""
    if isinstance(model, Subclassed):
        return [*model.hidden, model.norm, model.head]
    found: list[Any] = []
    for layer in model.layers:
        found += chain(layer) if isinstance(layer, keras.Model) else [layer]
    return [layer for layer in found if not isinstance(layer, K.InputLayer)]


NETWORKS = {
    "plain": plain,
    "batchnorm": batchnorm,
    "dropout": dropout,
    "recurrent": recurrent,
    "convolution": convolution,
    "nested": nested,
    "subclassed": Subclassed,
}


def compiled(name: str, optimizer: Any = "adam", **kwargs: Any) -> Any:
    model = NETWORKS[name]()
    probabilities = name == "subclassed"
    model.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=not probabilities), **kwargs)
    return model


def data(examples: int, seed: int = 0) -> tuple[Any, Any]:
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((examples, FEATURES)).astype("float32")
    return x, generator.integers(0, CLASSES, examples)
