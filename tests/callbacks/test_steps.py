"""Which steps are recorded, and that nothing is traced twice."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest

import keras_initlab as kil

from ..statistics.networks import compiled, data

BATCH = 8


def fitted(update_freq, calls=((10, 2),), **compile_arguments):
    """Steps recorded over calls of fit, each of so many batches and epochs."""
    model = compiled("plain", **compile_arguments)
    watching = kil.callbacks.LayerStatistics(update_freq=update_freq)
    for batches, epochs in calls:
        x, y = data(batches * BATCH)
        model.fit(x, y, batch_size=BATCH, epochs=epochs, verbose=0, callbacks=[watching])
    return [profile.step for profile in watching.history]


@pytest.mark.parametrize(
    ("update_freq", "steps"),
    [
        (1, list(range(1, 21))),
        ("batch", list(range(1, 21))),
        (7, [7, 14]),
        (np.int64(10), [10, 20]),
        (21, []),
        ("epoch", [10, 20]),
        (kil.callbacks.PowersOfTwo(), [1, 2, 4, 8, 16]),
    ],
    ids=str,
)
def test_update_freq(update_freq, steps):
    assert fitted(update_freq) == steps


@pytest.mark.parametrize(("update_freq", "steps"), [(4, [4, 8, 12, 16]), ("epoch", [5, 10, 13, 16])])
def test_several_calls_of_fit(update_freq, steps):
    assert fitted(update_freq, calls=((5, 2), (3, 2))) == steps


def test_keras_counts_the_same_steps(tmp_path):
    """Keras's own TensorBoard callback names the steps that an integer watches."""
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    model = compiled("plain")
    x, y = data(10 * BATCH)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[keras.callbacks.TensorBoard(tmp_path, update_freq=3)])
    accumulator = EventAccumulator(str(tmp_path / "train"))
    accumulator.Reload()
    assert [event.step for event in accumulator.Tensors("batch_loss")] == fitted(3, calls=((10, 1),))


def test_a_model_trained_before_goes_on_counting():
    model = compiled("plain")
    x, y = data(5 * BATCH)
    model.fit(x, y, batch_size=BATCH, verbose=0)
    watching = kil.callbacks.LayerStatistics(update_freq=4)
    model.fit(x, y, batch_size=BATCH, verbose=0, callbacks=[watching])
    assert [profile.step for profile in watching.history] == [8]


def test_several_steps_an_execution():
    """Of four steps run at once the last is measured; the epoch of ten ends with two."""
    assert fitted(3, steps_per_execution=4) == [4, 8, 10, 14, 18]
    assert fitted("epoch", steps_per_execution=4) == [10, 20]


def test_a_resumed_training_goes_on_with_the_powers_of_two():
    model = compiled("plain")
    model.optimizer.iterations.assign(60)
    watching = kil.callbacks.LayerStatistics(update_freq=kil.callbacks.PowersOfTwo())
    model.fit(*data(10 * BATCH), batch_size=BATCH, verbose=0, callbacks=[watching])
    assert [profile.step for profile in watching.history] == [64]


def test_a_time_budget():
    """The steps watched are those that it says it chose, by the seconds of a real training."""
    budget = kil.callbacks.TimeBudget(0.5)
    model = compiled("plain")
    watching = kil.callbacks.LayerStatistics(update_freq=budget)
    model.fit(*data(400 * BATCH), batch_size=BATCH, epochs=2, verbose=0, callbacks=[watching])
    steps = [profile.step for profile in watching.history]
    assert steps[0] == 9
    assert len(steps) > 2
    changes, n = dict(budget.chosen), 0
    for step, after in itertools.pairwise(steps):
        n = changes.get(step, n)
        assert after - step == n
    notes = {profile.step: profile.notes["LayerStatistics"] for profile in watching.history if profile.notes}
    assert list(notes) == [after for step, after in itertools.pairwise(steps) if step in changes]
    assert notes[steps[1]] == f"every {changes[9]:,} steps from step 9 on, for 50 % of the training time"
    assert 0 < budget.spent < budget.total


def test_data_of_unknown_length():
    def batches():
        for seed in range(4):
            yield data(BATCH, seed)

    model = compiled("plain")
    watching = kil.callbacks.LayerStatistics()
    with pytest.warns(UserWarning, match="ran out of data"):
        model.fit(batches(), verbose=0, shuffle=False, callbacks=[watching])
    assert [profile.step for profile in watching.history] == [1]


def test_eager_training():
    assert fitted(5, run_eagerly=True) == [5, 10, 15, 20]


@pytest.fixture
def traces(monkeypatch):
    """Counts the traces of the model's own train step and of the tapped one."""
    from keras_initlab.callbacks import watched_step

    counts = {"any": 0, "watched": 0}
    train_step, tapped = keras.Model.train_step, watched_step.WatchedStep._tapped_step

    def counted_train_step(self, batch):
        counts["any"] += 1
        return train_step(self, batch)

    def counted_tapped(self, *arguments):
        counts["watched"] += 1
        return tapped(self, *arguments)

    monkeypatch.setattr(keras.Model, "train_step", counted_train_step)
    monkeypatch.setattr(watched_step.WatchedStep, "_tapped_step", counted_tapped)
    return counts


def test_no_retracing(traces):
    """The watched step is traced once, over epochs, over calls of fit, and for the smaller last batch."""
    x, y = data(4 * BATCH + 3)

    def train(callbacks):
        model = compiled("plain")
        for _ in range(2):
            model.fit(x, y, batch_size=BATCH, epochs=3, verbose=0, callbacks=callbacks)

    train([])
    plain, traces["any"] = traces["any"], 0
    watching = kil.callbacks.LayerStatistics(update_freq=2)
    train([watching])
    assert len(watching.history) == 15
    assert traces == {"any": plain + 1, "watched": 1}


@pytest.mark.parametrize("update_freq", [0, -1, 1.5, "sometimes", None, True])
def test_wrong_update_freq(update_freq):
    with pytest.raises(ValueError, match=r'must be "epoch", "batch", a positive number .* Received: upd'):
        kil.callbacks.LayerStatistics(update_freq=update_freq)


def test_a_recompiled_model_is_watched_with_its_new_loss():
    model = compiled("plain")
    x, y = data(BATCH)
    watching = kil.callbacks.LayerStatistics(update_freq=1)
    model.fit(x, y, verbose=0, callbacks=[watching])
    model.compile("sgd", lambda y_true, y_pred: 1000.0 * keras.ops.mean(y_pred**2, axis=-1))
    model.fit(x, y, verbose=0, callbacks=[watching])
    first, second = (max(p.column("rms", "activation_gradient")[1]) for p in watching.history)
    assert second > 100 * first
