"""Profiles against the slow reference, for each kind of network."""

from __future__ import annotations

import keras
import numpy as np
import pytest

import keras_initlab as kil

from .networks import NETWORKS, chain, compiled, data
from .reference import eager_step, statistics

TOLERANCE = 1e-5
BATCH = 32


def assert_row(row, expected):
    """Every statistic to a relative 1e-5 of the tensor's own scale: a mean near zero has no digits of its own."""
    size = max(abs(expected["rms"]), 1e-30)
    for name, value in expected.items():
        scale = size if name in ("mean", "std", "rms", "min", "max") else max(abs(value), 1e-30)
        assert abs(row[name] - value) <= TOLERANCE * scale, (row["layer"], row["quantity"], row["variable"], name)


def rows_of(profile, quantity):
    return [row for row in profile.rows if row["quantity"] == quantity]


def assert_profile(profile, model, expected, weights):
    layers = chain(model)
    outputs = rows_of(profile, "activation")
    assert len(outputs) == len(layers)
    for row, layer, output in zip(outputs, layers, expected["outputs"], strict=True):
        assert row["layer"].split("/")[-1] == layer.name
        assert_row(row, statistics(output, units=True))
    flowing = {row["layer"]: row for row in rows_of(profile, "activation_gradient")}
    known = [g is not None for g in expected["output_gradients"]]
    assert len(flowing) == sum(known)
    for row, gradient in zip(outputs, expected["output_gradients"], strict=True):
        if gradient is not None:
            assert_row(flowing[row["layer"]], statistics(gradient))
    gradients = {f"{row['layer']}/{row['variable']}": row for row in rows_of(profile, "gradient")}
    assert len(gradients) == len(expected["gradients"])
    for path, gradient in expected["gradients"].items():
        assert_row(gradients[path.replace("/lstm_cell", "").replace("/gru_cell", "")], statistics(gradient))
    for row, weight in zip(rows_of(profile, "weight"), weights, strict=True):
        assert_row(row, statistics(weight))


@pytest.mark.parametrize("name", NETWORKS)
def test_observe(name):
    keras.utils.clear_session()
    model = compiled(name)
    x, y = data(BATCH)
    model(x)
    state = [v.numpy() for v in model.variables]
    profile = kil.observe(model, x, y)
    assert all(np.array_equal(v.numpy(), before) for v, before in zip(model.variables, state, strict=True))
    expected = eager_step(chain(model), model, x, y)
    for variable, before in zip(model.variables, state, strict=True):
        variable.assign(before)
    assert_profile(profile, model, expected, _in_order(model))


# XLA draws dropout from a stream of its own, which no eager reference can follow. It compiles for 5 to 15 s a network.
_COMPILED = [
    pytest.param(name, True, marks=() if name in ("batchnorm", "nested") else pytest.mark.sweep)
    for name in NETWORKS
    if name != "dropout"
]


@pytest.mark.parametrize(("name", "jit_compile"), [*((name, False) for name in NETWORKS), *_COMPILED])
def test_callback(name, jit_compile):
    """The third of four steps of real training, from the state that it started in."""
    keras.utils.clear_session()
    model = compiled(name, jit_compile=jit_compile)
    x, y = data(4 * BATCH)
    if not model.built:
        model(x[:1])
    states = _States()
    watching = kil.callbacks.LayerStatistics(update_freq=3)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[states, watching])
    (profile,) = watching.history
    before, after = states.seen[2], states.seen[3]
    for variable, value in zip(model.variables, before, strict=True):
        variable.assign(value)
    weights = _in_order(model)
    expected = eager_step(chain(model), model, x[2 * BATCH : 3 * BATCH], y[2 * BATCH : 3 * BATCH])
    assert_profile(profile, model, expected, weights)
    place = {v.path: i for i, v in enumerate(model.variables)}
    updates, moved = rows_of(profile, "update"), rows_of(profile, "displacement")
    ordered = _ordered_variables(model)
    assert len(updates) == len(moved) == len(ordered)
    for update, displacement, variable in zip(updates, moved, ordered, strict=True):
        i = place[variable.path]
        # The differences are of float32 numbers a thousand times larger: their last bits depend on the device.
        step, way = after[i] - before[i], after[i] - states.seen[0][i]
        assert update["l2"] == pytest.approx(np.linalg.norm(step), rel=1e-4)
        assert displacement["l2"] == pytest.approx(np.linalg.norm(way), rel=1e-4)
        if np.linalg.norm(before[i]):
            assert update["relative"] == pytest.approx(np.linalg.norm(step) / np.linalg.norm(before[i]), rel=1e-4)
        start = np.linalg.norm(states.seen[0][i])
        assert displacement["relative"] == (pytest.approx(np.linalg.norm(way) / start, rel=1e-4) if start else None)


def test_displacement_of_a_model_that_its_first_batch_builds():
    x, y = data(2 * BATCH)
    found = []
    for build_first in (True, False):
        keras.utils.clear_session()
        model = compiled("subclassed")
        if build_first:
            model(x[:1])
        watching = kil.callbacks.LayerStatistics(update_freq=1)
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watching])
        found.append([row["l2"] for profile in watching.history for row in rows_of(profile, "displacement")])
    assert found[0] == found[1]
    first = [row["l2"] for row in rows_of(watching.history[0], "update")]
    assert first == found[0][: len(first)]
    assert found[0][-1] != found[0][len(first) - 1]


def test_batchnorm_rows():
    keras.utils.clear_session()
    model = compiled("convolution")
    x, y = data(BATCH)
    layer = model.layers[2]
    layer.moving_mean.assign(np.linspace(-1, 1, 8))
    layer.moving_variance.assign(np.linspace(0.5, 2, 8))
    profile = kil.observe(model, x, y)
    inputs = np.asarray(model.layers[1](model.layers[0](x)), np.float64)
    mean, variance = inputs.mean(axis=(0, 1, 2)), inputs.var(axis=(0, 1, 2))
    old_mean, old_variance = layer.moving_mean.numpy(), layer.moving_variance.numpy()
    expected = {
        "input": inputs,
        "batch_mean": mean,
        "batch_variance": variance,
        "moving_mean": old_mean,
        "moving_variance": old_variance,
        "mean_drift": (mean - old_mean) / np.sqrt(old_variance + layer.epsilon),
        "variance_ratio": (variance + layer.epsilon) / (old_variance + layer.epsilon),
    }
    found = {row["variable"]: row for row in rows_of(profile, "batchnorm")}
    assert list(found) == list(expected)
    for name, value in expected.items():
        assert_row(found[name], statistics(value))
    assert {"gamma", "beta"} <= {row["variable"] for row in rows_of(profile, "weight")}


def test_batchnorm_of_a_masked_sequence_counts_what_the_layer_counts():
    inputs = keras.Input((5, 3))
    model = keras.Model(inputs, keras.layers.BatchNormalization(momentum=0.0)(keras.layers.Masking()(inputs)))
    x = np.random.default_rng(0).standard_normal((8, 5, 3)).astype("float32")
    x[:, 3:] = 0
    rows = {row["variable"]: row for row in rows_of(kil.observe(model, x), "batchnorm")}
    model(x, training=True)  # momentum 0: the moving statistics become those of this batch
    layer = model.layers[-1]
    assert rows["batch_mean"]["l2"] == pytest.approx(np.linalg.norm(layer.moving_mean.numpy()), rel=1e-5)
    assert rows["batch_variance"]["l2"] == pytest.approx(np.linalg.norm(layer.moving_variance.numpy()), rel=1e-5)


class _States(keras.callbacks.Callback):
    """All variables before each batch, and after the last one."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append([v.numpy() for v in self.model.variables])

    def on_train_end(self, logs=None):
        self.seen.append([v.numpy() for v in self.model.variables])


def _ordered_variables(model):
    return [v for layer in chain(model) for v in layer.trainable_variables]


def _in_order(model):
    return [v.numpy() for v in _ordered_variables(model)]


@pytest.mark.parametrize("jit_compile", [False, True])
def test_updates_of_weights_too_large_to_leave_the_device(jit_compile):
    """Norm, ratio, cosine and angle of a kernel of 4096 values, over two steps, from the weights themselves."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(64, name="wide"), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(0.05, momentum=0.5), "mse", jit_compile=jit_compile)
    states = _States()
    watching = kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    x = np.random.default_rng(0).standard_normal((64, 64)).astype("float32")
    model.fit(x, x[:, :1], batch_size=32, shuffle=False, verbose=0, callbacks=[states, watching])
    start, middle, end = (np.asarray(state[0], np.float64).ravel() for state in states.seen)
    first, second = middle - start, end - middle

    def cosine(a, b):
        return a @ b / np.linalg.norm(a) / np.linalg.norm(b)

    rows = [
        {row["quantity"]: row for row in profile.rows if row["variable"] == "kernel" and row["layer"].endswith("wide")}
        for profile in watching.history
    ]
    assert [row["update"]["cosine"] for row in rows] == [None, pytest.approx(cosine(first, second), abs=1e-5)]
    assert rows[1]["update"]["l2"] == pytest.approx(np.linalg.norm(second), rel=1e-5)
    assert rows[1]["update"]["relative"] == pytest.approx(np.linalg.norm(second) / np.linalg.norm(middle), rel=1e-5)
    assert rows[1]["displacement"]["l2"] == pytest.approx(np.linalg.norm(end - start), rel=1e-5)
    angle = np.degrees(np.arccos(cosine(end, start)))
    assert rows[1]["displacement"]["angle"] == pytest.approx(angle, rel=1e-4)
    assert rows[1]["update"]["count"] == 4096
    assert rows[1]["update"]["rms"] == pytest.approx(np.linalg.norm(second) / 64, rel=1e-5)
