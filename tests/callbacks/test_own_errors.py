"""Errors of the callback's own: told once, with what to report, and the training ends in the same bits."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest

import keras_initlab as kil

from ..statistics.networks import CLASSES, FEATURES, data


class Sulks(keras.layers.Layer):
    """A layer whose `data_format`, which says where its units are, cannot be read."""

    def __init__(self, readable=False, **kwargs):
        super().__init__(**kwargs)
        self.readable = readable

    @property
    def data_format(self):
        if not self.readable:
            raise RuntimeError("not now")
        return "channels_last"

    def call(self, x):
        return 2.0 * x


class Broken(kil.callbacks.Schedule):
    def due(self, epoch_start, first, last, steps):
        if first > 2:
            raise ZeroDivisionError("no such step")
        return True


def network(readable=True):
    keras.utils.set_random_seed(0)
    layers = [keras.layers.Dense(8, "relu"), Sulks(readable), keras.layers.Dense(CLASSES)]
    model = keras.Sequential([keras.Input((FEATURES,)), *layers])
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return model


def trained(model, *callbacks):
    model.fit(*data(64), batch_size=16, shuffle=False, verbose=0, callbacks=list(callbacks))
    return [np.asarray(v) for v in (*model.variables, *model.optimizer.variables)]


def fails_while_traced(**arguments):
    return network(readable=False), kil.callbacks.LayerStatistics(update_freq=1, **arguments)


def fails_on_the_host(**arguments):
    return network(), kil.callbacks.LayerStatistics(update_freq=Broken(), **arguments)


FAULTS = {
    "traced": (fails_while_traced, RuntimeError, "not now", 0),
    "host": (fails_on_the_host, ZeroDivisionError, "no such step", 2),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_is_told_once_and_training_goes_on(fault):
    make, error, message, watched = FAULTS[fault]
    plain = trained(network())
    model, watching = make()
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        found = trained(model, watching)
    assert all(map(np.array_equal, plain, found))
    told = [str(w.message) for w in caught if "an error of its own" in str(w.message)]
    assert len(told) == 1
    for part in (f"{error.__name__}: {message}", "Traceback", f"Keras {keras.__version__}", "Sulks", "strict=True"):
        assert part in told[0]
    assert len(watching.history) == watched
    assert model.train_function.__module__.startswith("keras.")
    # Another training is not watched either, and says nothing more.
    trained(model, watching)
    assert len(watching.history) == watched


@pytest.mark.parametrize("fault", FAULTS)
def test_strict_lets_it_through(fault):
    make, error, message, _ = FAULTS[fault]
    model, watching = make(strict=True)
    with pytest.raises(error, match=message):
        trained(model, watching)


def test_a_loss_scale_that_is_too_large_is_no_alarm():
    """Gradients that overflow in float16 are how the scale is found; the step is left out."""
    with_policy = keras.Sequential(
        [keras.Input((FEATURES,)), keras.layers.Dense(CLASSES, dtype="mixed_float16", name="head")]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01), initial_scale=2.0**40)
    with_policy.compile(optimizer, keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    trained(with_policy, watching)
    rows = watching.history[0].rows
    gradients = [row for row in rows if row["quantity"] == "gradient"]
    assert any(row["nonfinite"] for row in gradients)
    assert all(row["l2"] == 0 for row in rows if row["quantity"] == "update")
