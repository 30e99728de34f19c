"""One watched step of a real training, to be compared with references."""

from __future__ import annotations

import keras
import numpy as np

import keras_initlab as kil

from ..statistics.reference import statistics

K = keras.layers
BATCH = 16


class States(keras.callbacks.Callback):
    """All variables before each batch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append([v.numpy() for v in self.model.variables])


def watched(model, x, y, *extras, step=2, callbacks=()):
    """The Profile of one step of real training, with the model put back to where that step began."""
    states, watching = States(), kil.callbacks.LayerStatistics(update_freq=step, strict=True, extras=extras)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[states, watching, *callbacks])
    put_back(model, states.seen[step - 1])
    return watching.history[0]


def put_back(model, state):
    for variable, value in zip(model.variables, state, strict=True):
        variable.assign(value)


def rows_of(profile, quantity):
    return {(row["layer"], row["variable"]): row for row in profile.rows if row["quantity"] == quantity}


def name_of(path):
    return path.split("/")[-1]


def assert_statistics(row, values, tolerance=1e-5):
    """To the tensor's own scale, as in the tests of the other rows."""
    expected = statistics(values)
    for name, value in expected.items():
        scale = expected["rms"] if name in ("mean", "std", "rms", "min", "max") else abs(value)
        assert abs(row[name] - value) <= tolerance * max(scale, 1e-30), (row["layer"], row["variable"], name)


def batch_of(x, step=2):
    return x[(step - 1) * BATCH : step * BATCH]


class Flat(K.Layer):
    """What has a mask goes on without it."""

    def __init__(self):
        super().__init__()
        self.supports_masking = True

    def call(self, x):
        return keras.ops.reshape(x, (-1, int(np.prod(x.shape[1:]))))

    def compute_mask(self, inputs, mask=None):
        return None


def recurrent(layer, *, mask=False, last=None, length=4, batch=None):
    inputs = keras.Input(batch_shape=(batch, length, 3))
    h = layer(K.Masking()(inputs) if mask else inputs)
    h = K.GlobalAveragePooling1D()(h) if len(h.shape) == 3 and length is None else Flat()(h)
    head = K.Dense(1, kernel_initializer=kil.GlorotUniform(seed=7))
    return keras.Model(inputs, head((last or K.Dropout(0.2, seed=3))(h)))
