"""Training with the callback ends in the same bits as training without it."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil

from ..statistics.networks import NETWORKS, compiled, data

OPTIMIZERS = {
    "sgd": lambda: keras.optimizers.SGD(0.05),
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "adam": lambda: keras.optimizers.Adam(0.003),
}


def trained(name, optimizer, callbacks, steps=40):
    """Everything that a training leaves behind: weights, moving statistics, random state, slots, losses."""
    keras.utils.set_random_seed(0)
    keras.utils.clear_session()
    model = compiled(name, OPTIMIZERS[optimizer](), metrics=["accuracy"])
    x, y = data(32 * steps // 2)
    history = model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=callbacks)
    state = {v.path: v.numpy() for v in [*model.variables, *model.optimizer.variables]}
    return {**state, **{f"history/{name}": np.array(values) for name, values in history.history.items()}}


def differences(one, other):
    assert one.keys() == other.keys()
    return [name for name in one if not np.array_equal(one[name], other[name])]


@pytest.mark.parametrize("optimizer", OPTIMIZERS)
@pytest.mark.parametrize("name", NETWORKS)
def test_same_bits(name, optimizer, tmp_path):
    watching = kil.callbacks.LayerStatistics(tmp_path, update_freq=1)
    plain, watched = trained(name, optimizer, []), trained(name, optimizer, [watching])
    assert len(watching.history) == 40
    assert differences(plain, watched) == []


def test_the_comparison_sees_one_bit():
    class Nudge(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                bias = self.model.trainable_variables[-1]
                bias.assign(np.nextafter(bias.numpy(), np.float32(1)))

    assert differences(trained("plain", "sgd", []), trained("plain", "sgd", [Nudge()])) != []


@pytest.mark.parametrize("name", ["batchnorm", "dropout"])
def test_observe_changes_nothing(name):
    keras.utils.set_random_seed(0)
    model = compiled(name)
    x, y = data(64)
    model.fit(x, y, verbose=0)
    before = [v.numpy() for v in [*model.variables, *model.optimizer.variables, *model.metrics_variables]]
    kil.observe(model, x, y)
    after = [v.numpy() for v in [*model.variables, *model.optimizer.variables, *model.metrics_variables]]
    assert all(map(np.array_equal, before, after))


def test_the_model_keeps_nothing_of_the_callback():
    model = compiled("plain")
    x, y = data(64)
    model.fit(x, y, verbose=0)
    attributes = set(vars(model))
    model.fit(x, y, verbose=0, callbacks=[kil.callbacks.LayerStatistics(update_freq=1)])
    assert "train_step" not in vars(model)
    assert all("call" not in vars(layer) for layer in model.layers)
    assert "apply" not in vars(model.optimizer)
    assert set(vars(model)) == attributes
    assert type(model.train_function).__name__ == "function"
    assert model.train_function.__module__.startswith("keras.")


def test_two_losses_and_two_optimizers():
    """A train step of one's own, with gradients taken twice, is watched without `model.optimizer` knowing of it."""

    class Pair(keras.Model):
        def __init__(self):
            super().__init__()
            self.one = keras.Sequential([keras.Input((12,)), keras.layers.Dense(5, name="a")], name="one")
            self.two = keras.Sequential([keras.Input((5,)), keras.layers.Dense(1, name="b")], name="two")
            self.optimizers = [keras.optimizers.SGD(0.1), keras.optimizers.SGD(0.01)]

        def call(self, x):
            return self.two(self.one(x))

        def train_step(self, batch):
            for optimizer, part in zip(self.optimizers, (self.one, self.two), strict=True):
                with tf.GradientTape(persistent=True) as tape:
                    hidden = self.one(batch[0])
                    loss = tf.reduce_mean(self.two(hidden) ** 2)
                # A loss that does not reach the second part says nothing of its gradient.
                if part is self.one:
                    tape.gradient(tf.reduce_mean(hidden), self.two.trainable_weights)
                gradients = tape.gradient(loss, part.trainable_weights)
                optimizer.apply_gradients(zip(gradients, part.trainable_weights, strict=True))
            return {"loss": loss}

    model = Pair()
    model.compile()
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    model.fit(*data(32), verbose=0, callbacks=[watching])
    rows = {(r["layer"], r["quantity"], r["variable"]): r for r in watching.history[0].rows}
    assert len(rows) == len(watching.history[0])
    assert {layer for layer, *_ in rows} == {"one/a", "two/b", "one/a#2", "two/b#2"}
    for layer, rate in (("one/a", 0.1), ("two/b", 0.01)):
        kernel = {name: rows[layer, name, "kernel"]["l2"] for name in ("gradient", "update")}
        assert kernel["update"] == pytest.approx(rate * kernel["gradient"], rel=1e-5)
        assert rows[layer, "displacement", "kernel"]["l2"] == kernel["update"]
