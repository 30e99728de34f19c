"""The four networks on which the cost of watching is measured, each with a batch of its own."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

import keras_initlab as kil

CLASSES = 10
layers = keras.layers


def dense() -> tuple[keras.Model, Any]:
    """20 layers of Dense(256) + BatchNormalization + ReLU, batch 128."""
    h = inputs = keras.Input((256,))
    for seed in range(20):
        h = layers.Dense(256, kernel_initializer=kil.HeNormal(seed=seed))(h)
        h = layers.ReLU()(layers.BatchNormalization()(h))
    return keras.Model(inputs, layers.Dense(CLASSES)(h)), (128, 256)


def resnet() -> tuple[keras.Model, Any]:
    """Nine residual convolutions on 16 x 16 images, batch 32."""
    inputs = keras.Input((16, 16, 3))
    h = layers.Conv2D(16, 3, padding="same")(inputs)
    for width in (16, 16, 32):
        stride = 1 if h.shape[-1] == width else 2
        short = h if stride == 1 else layers.Conv2D(width, 1, strides=stride)(h)
        for i in range(3):
            h = layers.Conv2D(width, 3, strides=stride if i == 0 else 1, padding="same", use_bias=False)(h)
            h = layers.BatchNormalization()(h)
            h = layers.ReLU()(h) if i < 2 else h
        h = layers.ReLU()(layers.Add()([h, short]))
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling2D()(h))), (32, 16, 16, 3)


def lstm() -> tuple[keras.Model, Any]:
    """Two LSTM layers of 128 units over 32 time steps, batch 64."""
    inputs = keras.Input((32, 32))
    h = layers.LSTM(128)(layers.LSTM(128, return_sequences=True)(inputs))
    return keras.Model(inputs, layers.Dense(CLASSES)(h)), (64, 32, 32)


def transformer() -> tuple[keras.Model, Any]:
    """Two blocks of attention, width 128, 32 tokens, batch 32."""
    inputs = keras.Input((32, 16))
    h = layers.Dense(128)(inputs)
    for _ in range(2):
        h = layers.Add()([h, layers.MultiHeadAttention(4, 32)(*[layers.LayerNormalization()(h)] * 2)])
        inner = layers.Dense(512, activation="gelu")(layers.LayerNormalization()(h))
        h = layers.Add()([h, layers.Dense(128)(inner)])
    return keras.Model(inputs, layers.Dense(CLASSES)(layers.GlobalAveragePooling1D()(h))), (32, 32, 16)


NETWORKS: dict[str, Callable[[], tuple[keras.Model, Any]]] = {
    "dense 20 x 256": dense,
    "small ResNet": resnet,
    "LSTM": lstm,
    "transformer": transformer,
}


def made(name: str, steps: int) -> tuple[keras.Model, Any, Any, int]:
    """A compiled network, and data for some steps: inputs, labels, batch size."""
    model, (batch, *shape) = NETWORKS[name]()
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    generator = np.random.default_rng(0)
    x = generator.standard_normal((batch * steps, *shape)).astype("float32")
    return model, x, generator.integers(0, CLASSES, batch * steps), batch
