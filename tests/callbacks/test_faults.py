"""Bad input, bad values and bad disks: an error before training where it can be known, else training goes on."""

from __future__ import annotations

import shutil
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil

from ..statistics.networks import compiled, data


def fit(model=None, **arguments):
    watching = kil.callbacks.LayerStatistics(**{"update_freq": 1, **arguments})
    (model or compiled("plain")).fit(*data(32), batch_size=16, verbose=0, callbacks=[watching])
    return watching


def test_log_dir_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(
        OSError, match=r"log_dir='.*file/logs' cannot be written to: .*Choose a folder .* or log_dir=None"
    ):
        fit(log_dir=tmp_path / "file" / "logs")


def test_log_dir_of_the_wrong_type():
    with pytest.raises(ValueError, match=r"log_dir must be the path of a folder, or None. Received: log_dir=3"):
        fit(log_dir=3)


def test_filter_is_checked_before_training():
    model = compiled("plain")
    before = [w.copy() for w in model.get_weights()]
    with pytest.raises(ValueError, match=r"layers='conv' chooses none of the layers of .* It has: .*dense"):
        fit(model, layers="conv")
    assert all(map(np.array_equal, before, model.get_weights()))
    with pytest.raises(ValueError, match=r"layers='\[' is not a regular expression"):
        fit(layers="[")


def test_model_that_is_not_compiled():
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match=r"call `compile\(\)` before"):
        fit(model)


def test_labels_of_the_wrong_shape_leave_the_model_whole(tmp_path):
    model = compiled("plain")
    x, y = data(32)
    watching = kil.callbacks.LayerStatistics(tmp_path, update_freq=1)
    with pytest.raises(ValueError, match="shape"):
        model.fit(x, np.zeros((32, 3), "int32"), verbose=0, callbacks=[watching])
    assert "train_step" not in vars(model)
    assert all("call" not in vars(layer) for layer in model.layers)
    model.compile("sgd", model.loss)  # Keras itself wants that after a failed first step
    model.fit(x, y, verbose=0, callbacks=[watching])
    assert [profile.step for profile in kil.Profile.read(tmp_path)] == [1]


def sigmoids():
    """Rectifiers would hide what is not a number: on a CPU max(nan, 0) is 0."""
    layers = [keras.layers.Dense(units, activation="sigmoid") for units in (16, 16, 4)]
    return keras.Sequential([keras.Input((12,)), *layers])


def test_an_error_in_a_watched_step_leaves_the_plain_one():
    model = sigmoids()
    x, y = data(64)
    x[40] = np.nan

    class Checked(keras.losses.Loss):
        def call(self, y_true, y_pred):
            return tf.debugging.check_numerics(tf.reduce_mean(y_pred, axis=-1), "loss")

    model.compile("sgd", Checked())
    with pytest.raises(tf.errors.InvalidArgumentError, match="loss : Tensor had NaN"):
        model.fit(x, y, verbose=0, shuffle=False, callbacks=[kil.callbacks.LayerStatistics(update_freq=1)])
    assert model.train_function.__module__.startswith("keras.")


@pytest.mark.parametrize("jit_compile", [False, True])
def test_values_that_are_not_finite_are_reported(jit_compile):
    model = sigmoids()
    model.compile("sgd", "sparse_categorical_crossentropy", jit_compile=jit_compile)
    x, y = data(32)
    x[3, 4] = np.nan
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    first = rf"Step 1: infinite values .* first is in the preactivation of layer '.*/{model.layers[0].name}'"
    with pytest.warns(RuntimeWarning, match=first) as told:
        model.fit(x, y, batch_size=32, epochs=2, verbose=0, callbacks=[watching])
    assert sum("infinite" in str(w.message) for w in told) == 1
    assert watching.history[0].first_nonfinite == (watching.history[0].keys[0][1], "preactivation", None)
    rows = watching.history[0].rows
    outputs = [row for row in rows if row["quantity"] == "activation"]
    # One example of 32 is lost in the first layer, with all of its 16 units; the gradients of all weights with it.
    assert [row["nonfinite"] for row in outputs] == [16, 16, 4]
    assert all(
        row["nonfinite"] == row["count"]
        for row in rows
        if row["variable"] == "kernel" and row["quantity"] == "gradient"
    )
    assert outputs[0]["std"] > 0
    assert "finite" in str(watching.history[0])


def spoil(where, model):
    """Puts one bad number into a network, its input or its loss; returns the input and where it comes up first."""
    x, y = data(32)
    first, second, last = (layer.path for layer in model.layers)
    loss = keras.losses.SparseCategoricalCrossentropy()
    if where == "weights":
        kernel = model.layers[1].kernel.numpy()
        kernel[2, 3] = np.inf  # which a sigmoid makes 1 of
        model.layers[1].kernel.assign(kernel)
        found = (second, "weight", "kernel")
    elif where == "input":
        x[3, 4] = np.nan
        found = (first, "preactivation", None)
    else:
        loss = lambda y, p: tf.reduce_mean(p, axis=-1) * np.nan  # noqa: E731
        found = (last, "activation_gradient", None)
    return x, y, loss, found


@pytest.mark.parametrize("where", ["weights", "input", "loss"])
@pytest.mark.parametrize("mode", ["graph", "eager", pytest.param("jit", marks=pytest.mark.sweep)])
def test_the_first_offender_is_named(where, mode):
    model = sigmoids()
    x, y, loss, found = spoil(where, model)
    model.compile("sgd", loss, jit_compile=mode == "jit", run_eagerly=mode == "eager")
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    layer, quantity, _ = found
    with pytest.warns(
        RuntimeWarning, match=f"Step 1: .* in the {quantity.replace('_', ' ')} .*layer '{layer}'"
    ) as told:
        model.fit(x, y, batch_size=16, shuffle=False, verbose=0, callbacks=[watching])
    assert watching.history[0].first_nonfinite == found
    assert sum("infinite" in str(w.message) for w in told) == 1


def test_activations_of_1e30_are_reported_as_such():
    model = keras.Sequential(
        [
            keras.Input((12,)),
            keras.layers.Dense(8, use_bias=False),
            keras.layers.Rescaling(1e30),
            keras.layers.Rescaling(1e-30),
        ]
    )
    model.compile("sgd", "mse")
    x, _ = data(32)
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    model.fit(x, np.zeros((32, 8)), verbose=0, callbacks=[watching])
    small, large, _ = watching.history[0].column("std")[1]
    assert large == pytest.approx(1e30 * small, rel=1e-5)


def test_a_full_disk_costs_the_statistics_and_not_the_training(tmp_path):
    """A limit on the size of files stands in for the disk: the write itself fails, in both files."""
    script = f"""
        import resource, signal, sys, warnings
        sys.path.insert(0, {str(Path.cwd())!r})
        import numpy as np, keras, keras_initlab as kil
        from tests.statistics.networks import compiled, data

        def run(callbacks):
            keras.utils.set_random_seed(0)
            model = compiled("plain")
            model.fit(*data(64 * 60), batch_size=64, verbose=0, callbacks=callbacks)
            return model.get_weights()

        plain = run([])
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (40_000, 40_000))
        watching = kil.callbacks.LayerStatistics({str(tmp_path)!r}, update_freq=1)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            watched = run([watching])
        said = [str(w.message) for w in caught if "LayerStatistics stopped writing" in str(w.message)]
        print(len(said), len(watching.history), all(map(np.array_equal, plain, watched)))
        print(said[0])
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(script)], capture_output=True, text=True, timeout=300, check=True
    )
    counts, message = done.stdout.strip().splitlines()[-2:]
    assert counts == "2 60 True"  # once for each of the two files
    assert "Training goes on, and the statistics are kept in callback.history" in message
    assert 0 < len(kil.Profile.read(tmp_path)) < 60


def test_a_folder_that_is_removed_while_the_training_runs(tmp_path):
    """Open files are written on, out of sight; the statistics are in the history, and the training is the same."""

    class Remove(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                shutil.rmtree(tmp_path / "logs")

    def trained(*callbacks):
        keras.utils.set_random_seed(0)
        model = compiled("plain")
        model.fit(*data(96), batch_size=16, verbose=0, callbacks=list(callbacks))
        return model.get_weights()

    watching = kil.callbacks.LayerStatistics(tmp_path / "logs", update_freq=1)
    assert all(map(np.array_equal, trained(), trained(watching, Remove())))
    assert [profile.step for profile in watching.history] == [1, 2, 3, 4, 5, 6]


class Fails(keras.layers.Layer):
    """A user's layer with an error in it."""

    broken = False

    def call(self, x):
        if self.broken:
            raise KeyError("no such thing")
        return x


@pytest.mark.parametrize("mode", ["graph", "jit", "eager"])
def test_an_error_of_the_users_own_comes_through_as_it_is(mode):
    """The same as without the callback, which leaves everything as it found it."""

    def error_of(*callbacks):
        model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4), Fails()])
        model.layers[-1].broken = True
        model.compile("sgd", "mse", jit_compile=mode == "jit", run_eagerly=mode == "eager")
        with pytest.raises(KeyError, match="no such thing") as raised:
            model.fit(np.ones((4, 12)), np.ones((4, 4)), verbose=0, callbacks=list(callbacks))
        return model, raised

    before = keras.layers.Layer.__call__, tf.GradientTape.gradient
    (_, plain), (model, watched) = error_of(), error_of(kil.callbacks.LayerStatistics(update_freq=1))
    assert str(watched.value) == str(plain.value)
    assert (keras.layers.Layer.__call__, tf.GradientTape.gradient) == before
    assert not {"train_step", "call"} & set().union(vars(model), *map(vars, model.layers))
    model.layers[-1].broken = False
    model.compile("sgd", "mse")  # Keras itself wants that after a failed first step
    model.fit(np.ones((4, 12)), np.ones((4, 4)), verbose=0)


def test_restored_after_a_stop(tmp_path):
    """A callback used again after an error in the training writes on."""
    model = compiled("plain")

    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                raise KeyboardInterrupt

    watching = kil.callbacks.LayerStatistics(tmp_path, update_freq=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data(64), batch_size=16, verbose=0, callbacks=[watching, Stop()])
    model.fit(*data(64), batch_size=16, verbose=0, callbacks=[watching])
    assert [profile.step for profile in kil.Profile.read(tmp_path)] == [1, 2, 3, 4, 5, 6]


def test_two_of_them_in_one_fit_are_refused():
    pair = [kil.callbacks.LayerStatistics(update_freq=n) for n in (1, 2)]
    with pytest.raises(ValueError, match="callbacks has two LayerStatistics, and a step can be watched once only"):
        compiled("plain").fit(*data(32), verbose=0, callbacks=pair)


def test_another_model_starts_counting_anew():
    watching = fit()
    compiled("plain").fit(*data(32), batch_size=16, verbose=0, callbacks=[watching])
    assert [profile.step for profile in watching.history] == [1, 2, 1, 2]
