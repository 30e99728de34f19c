"""Training with the callback ends in the same bits as training without it."""

from __future__ import annotations

import functools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil
from keras_initlab.statistics.reading import Reading

from ..statistics.networks import compiled, data
from .architectures import ARCHITECTURES, differences, left_by_training

STEPS = 40


@functools.cache
def plain(name, jit_compile=False, steps=STEPS):
    return left_by_training(ARCHITECTURES[name], jit_compile, steps, [])


def check_same_bits(name, jit_compile, steps, log_dir):
    watching = kil.callbacks.LayerStatistics(log_dir, update_freq=1, strict=True)
    watched = left_by_training(ARCHITECTURES[name], jit_compile, steps, [watching])
    assert len(watching.history) == steps
    assert differences(plain(name, jit_compile, steps), watched) == []


@pytest.mark.filterwarnings("ignore:The outputs of these layers are not measured")
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_bits(name, tmp_path):
    check_same_bits(name, False, STEPS, tmp_path)


# XLA compiles a network for 10 to 20 s: the others wait for the sweep.
@pytest.mark.parametrize("name", ["batchnorm", "dropout"])
def test_same_bits_under_xla(name, tmp_path):
    check_same_bits(name, True, STEPS, tmp_path)


@pytest.mark.sweep
@pytest.mark.filterwarnings("ignore:The outputs of these layers are not measured")
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ARCHITECTURES)
def test_same_bits_after_200_steps(name, jit_compile, tmp_path):
    check_same_bits(name, jit_compile, 200, tmp_path)


# -- the same test must fail where it should ---------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["constants", "residual", "branches", "sums"])
def test_reading_the_tensors_themselves_changes_bits(name, monkeypatch):
    """Without `Reading` the first test fails: by a chain of factors, a sum that is fused, one that begins elsewhere."""
    monkeypatch.setattr(Reading, "__call__", lambda self, tensor: tensor)
    watching = kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    assert differences(plain(name), left_by_training(ARCHITECTURES[name], False, STEPS, [watching])) != []


def test_the_comparison_sees_one_bit():
    class Nudge(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 0:
                bias = self.model.trainable_variables[-1]
                bias.assign(np.nextafter(bias.numpy(), np.float32(1)))

    nudged = left_by_training(ARCHITECTURES["batchnorm"], False, STEPS, [Nudge()])
    assert differences(plain("batchnorm"), nudged) != []


def test_the_comparison_sees_a_seed():
    class Draw(keras.callbacks.Callback):
        def on_train_end(self, logs=None):
            (noise, *_) = (v for v in self.model.variables if "seed_generator" in v.path)
            noise.assign_add([0, 1])

    drawn = left_by_training(ARCHITECTURES["dropout"], False, STEPS, [Draw()])
    assert [name for name in differences(plain("dropout"), drawn) if "seed_generator" not in name] == []
    assert differences(plain("dropout"), drawn) != []


# -- the plain step ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("jit_compile", [False, True])
def test_steps_that_are_not_watched_are_run_by_the_function_that_keras_made(jit_compile):
    """The very object, made once, and called at these steps alone."""
    model = compiled("plain", jit_compile=jit_compile)
    made, ran = [], []

    class Steps(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            made.append(model.train_function)

        def on_train_batch_begin(self, batch, logs=None):
            ran.append(model.train_function)

        def on_train_batch_end(self, batch, logs=None):
            assert model.train_function is made[0]

    watching = kil.callbacks.LayerStatistics(update_freq=3)
    model.fit(*data(7 * 16), batch_size=16, verbose=0, callbacks=[watching, Steps()])
    assert made[0].__module__.startswith("keras.")
    assert [function is made[0] for function in ran] == [True, True, False, True, True, False, True]
    assert [profile.step for profile in watching.history] == [3, 6]


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
