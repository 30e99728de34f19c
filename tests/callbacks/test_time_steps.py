"""States of recurrent layers and the gradients for them, against loops by hand."""

from __future__ import annotations

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil
from keras_initlab.statistics.probes.recurrence import MOST_STEPS, chosen_steps

from ..statistics.networks import data
from .steps import BATCH, assert_statistics, batch_of, name_of, recurrent, rows_of, watched
from .unrolled import unrolled

K = keras.layers


@pytest.fixture(autouse=True)
def _same_weights():
    # Of 80 steps the gradients differ by 1e-5 under some weights: the orders of the sums differ.
    keras.utils.set_random_seed(0)


def assert_steps(profile, layer, states, gradients):
    """Rows of one layer; states and gradients by step and number of the state."""
    names = ["", "c/"][: len(states[0])]
    for quantity, values in (("state", states), ("state_gradient", gradients)):
        rows = {key[1]: row for key, row in rows_of(profile, quantity).items() if name_of(key[0]) == layer.name}
        assert list(rows) == [f"{name}t{t:04d}" for name in names for t in chosen_steps(len(values))]
        for i, name in enumerate(names):
            for t in chosen_steps(len(values)):
                value = values[t][i]
                assert_statistics(rows[f"{name}t{t:04d}"], np.zeros(states[t][i].shape) if value is None else value)


def reference(model, layers, run, x, y):
    """States of these layers by hand, and the gradients of the model's own loss for them.

    Args:
        run: takes the outputs of the layers by hand, gives the model's prediction.
    """
    with tf.GradientTape() as tape:
        outputs, seen = zip(*(layer(x) for layer in layers), strict=True)
        for states in tf.nest.flatten(seen):
            tape.watch(states)
        loss = model.compute_loss(x=x, y=y, y_pred=run(*outputs))
    flat = tape.gradient(loss, tf.nest.flatten(seen))
    return seen, tf.nest.pack_sequence_as(seen, flat)


def rest(model, layer):
    """What comes after a layer in these models."""
    following = model.layers[model.layers.index(layer) + 1 :]

    def run(h):
        for one in following:
            h = one(h, training=True) if one._call_has_training_arg else one(h)
        return h

    return run


def check_layer(layer, *, mask=False, mode="eager", length=4, scale=1.0):
    # XLA draws dropout from a stream of its own, which no eager reference can follow.
    last = K.Activation("tanh") if mode == "xla" else None
    model = recurrent(layer, mask=mask, last=last, length=None if mode == "unknown length" else length)
    model.compile("sgd", "mse", run_eagerly=mode == "eager", jit_compile=mode == "xla")
    generator = np.random.default_rng(0)
    x = scale * generator.standard_normal((2 * BATCH, length, 3)).astype("float32")
    y = generator.standard_normal((2 * BATCH, 1)).astype("float32")
    if mask:
        x[generator.random(x.shape[:2]) < 0.3] = 0
    profile = watched(model, x, y, "time")
    x, y = batch_of(x), batch_of(y)
    kept = x.any(axis=-1) if mask else None
    masks = {}
    if layer.cell.dropout:
        masks["dropout"] = layer.cell.get_dropout_mask(tf.constant(x[:, 0]))
    if layer.cell.recurrent_dropout:
        units = tf.zeros((len(x), layer.cell.units))
        masks["recurrent_dropout"] = layer.cell.get_recurrent_dropout_mask(units)
    layer.cell.reset_dropout_mask()
    layer.cell.reset_recurrent_dropout_mask()
    by_hand = [lambda x: unrolled(layer, x, mask=kept, **masks)]
    (states,), (gradients,) = reference(model, by_hand, rest(model, layer), x, y)
    assert any(np.any(g.numpy()) for step in gradients for g in step if g is not None)
    assert_steps(profile, layer, states, gradients)


@pytest.mark.parametrize("mode", ["eager", pytest.param("graph", marks=pytest.mark.sweep)])
@pytest.mark.parametrize(
    ("kind", "arguments", "mask"),
    [
        ("LSTM", {}, True),
        ("LSTM", {"return_sequences": True, "go_backwards": True, "dropout": 0.4}, False),
        ("LSTM", {"return_sequences": True, "unroll": True}, True),
        ("GRU", {"return_sequences": True, "zero_output_for_mask": True}, True),
        ("GRU", {"go_backwards": True, "unroll": True}, False),
        ("SimpleRNN", {"dropout": 0.4, "recurrent_dropout": 0.3}, True),
        ("SimpleRNN", {"return_sequences": True, "unroll": True, "go_backwards": True}, True),
    ],
    ids=str,
)
def test_states_by_hand(kind, arguments, mask, mode):
    check_layer(getattr(K, kind)(5, **arguments), mask=mask, mode=mode)


@pytest.mark.parametrize(
    ("kind", "mask", "mode"),
    [
        ("LSTM", True, "graph"),
        ("GRU", False, "unknown length"),
        pytest.param("LSTM", True, "xla", marks=pytest.mark.sweep),
        pytest.param("SimpleRNN", False, "unknown length", marks=pytest.mark.sweep),
    ],
)
def test_states_by_hand_when_compiled(kind, mask, mode):
    check_layer(getattr(K, kind)(5, return_sequences=mask), mask=mask, mode=mode)


def test_of_a_long_sequence_some_steps():
    check_layer(K.SimpleRNN(3), length=80, scale=0.1)
    assert len(chosen_steps(80)) == MOST_STEPS
    for length in (1, 2, MOST_STEPS, MOST_STEPS + 1, 1000):
        steps = chosen_steps(length)
        assert steps == sorted(set(steps))
        assert (steps[0], steps[-1], len(steps)) == (0, length - 1, min(length, MOST_STEPS))


@pytest.mark.parametrize("unroll", [False, True])
def test_both_directions_and_a_layer_started_by_another(unroll):
    """A Bidirectional, whose layers are measured each, and a decoder that starts from the states of an encoder."""
    inputs = keras.Input((4, 3))
    both = K.Bidirectional(K.GRU(4, return_sequences=True))
    encoder, decoder = K.LSTM(5, return_state=True, unroll=unroll), K.LSTM(5)
    hidden = both(inputs)
    _, *last = encoder(hidden)
    model = keras.Model(inputs, K.Dense(1)(decoder(hidden, initial_state=last)))
    model.compile("sgd", "mse", run_eagerly=True)
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2 * BATCH, 4, 3)).astype("float32")
    y = generator.standard_normal((2 * BATCH, 1)).astype("float32")
    profile = watched(model, x, y, "time")
    x, y = batch_of(x), batch_of(y)
    seen = []
    with tf.GradientTape() as tape:
        forward, states = unrolled(both.forward_layer, x)
        backward, more = unrolled(both.backward_layer, x)
        hidden = tf.concat([forward, backward[:, ::-1]], axis=-1)
        _, encoded = unrolled(encoder, hidden)
        output, decoded = unrolled(decoder, hidden, states=encoded[-1])
        seen = [states, more, encoded, decoded]
        loss = model.compute_loss(x=x, y=y, y_pred=model.layers[-1](output))
    gradients = tf.nest.pack_sequence_as(seen, tape.gradient(loss, tf.nest.flatten(seen)))
    layers = [both.forward_layer, both.backward_layer, encoder, decoder]
    for layer, values, flow in zip(layers, seen, gradients, strict=True):
        assert_steps(profile, layer, values, flow)


def test_a_stateful_layer_goes_on_from_the_batch_before():
    layer = K.LSTM(5, stateful=True)
    model = recurrent(layer, batch=BATCH)
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = data(2 * BATCH)
    x, y = x.reshape(-1, 4, 3), y.astype("float32")
    seen = []
    noting = keras.callbacks.LambdaCallback(on_train_batch_begin=lambda batch, logs: seen.append(_values(layer.states)))
    profile = watched(model, x, y, "time", callbacks=[noting])
    before = [tf.constant(v) for v in seen[1]]
    assert all(np.any(v) for v in before)
    by_hand = [lambda x: unrolled(layer, x, states=before)]
    (states,), (gradients,) = reference(model, by_hand, rest(model, layer), batch_of(x), batch_of(y))
    assert_steps(profile, layer, states, gradients)


def _values(variables):
    return [v.numpy() for v in variables]


def test_batches_of_different_length():
    def batches():
        for length in (4, 6):
            yield np.ones((BATCH, length, 3), "float32"), np.ones((BATCH, 1), "float32")

    model = recurrent(K.GRU(3), length=None)
    model.compile("sgd", "mse")
    watching = kil.callbacks.LayerStatistics(update_freq=1, strict=True, extras=["time", "inference_gap"])
    model.fit(batches(), steps_per_epoch=2, shuffle=False, verbose=0, callbacks=[watching])
    assert [sum(key[2] == "state" for key in profile.keys) for profile in watching.history] == [4, 6]
