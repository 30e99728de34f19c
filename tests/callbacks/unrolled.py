"""Recurrent layers by hand: one step after the other, in plain TensorFlow, each state a tensor that a tape can see.

Imports nothing from the package under test.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import tensorflow as tf


def lstm(x: Any, states: list[Any], weights: list[Any]) -> list[Any]:
    kernel, recurrent, bias = weights
    i, f, g, o = tf.split(x @ kernel + states[0] @ recurrent + bias, 4, axis=1)
    c = tf.sigmoid(f) * states[1] + tf.sigmoid(i) * tf.tanh(g)
    return [tf.sigmoid(o) * tf.tanh(c), c]


def gru(x: Any, states: list[Any], weights: list[Any]) -> list[Any]:
    kernel, recurrent, bias = weights
    z, r, new = tf.split(x @ kernel + bias[0], 3, axis=1)
    of_z, of_r, of_new = tf.split(states[0] @ recurrent + bias[1], 3, axis=1)
    z = tf.sigmoid(z + of_z)
    return [z * states[0] + (1 - z) * tf.tanh(new + tf.sigmoid(r + of_r) * of_new)]


def simple(x: Any, states: list[Any], weights: list[Any]) -> list[Any]:
    kernel, recurrent, bias = weights
    return [tf.tanh(x @ kernel + states[0] @ recurrent + bias)]


STEPS = {"LSTM": (lstm, 2), "GRU": (gru, 1), "SimpleRNN": (simple, 1)}


def unrolled(
    layer: Any, x: Any, *, mask: Any = None, states: Any = None, dropout: Any = 1.0, recurrent_dropout: Any = 1.0
) -> tuple[Any, list[list[Any]]]:
    """What a Keras layer puts out, and its states after each step, in the order in which the layer goes."""
    step, number = STEPS[type(layer).__name__]
    weights = [tf.convert_to_tensor(v) for v in layer.cell.trainable_weights]
    states = states or [tf.zeros((len(x), layer.cell.units)) for _ in range(number)]
    times = range(x.shape[1])
    output, outputs, seen = tf.zeros_like(states[0]), [], []
    for t in reversed(times) if layer.go_backwards else times:
        new = step(x[:, t] * dropout, [states[0] * recurrent_dropout, *states[1:]], weights)
        kept = np.ones((len(x), 1), bool) if mask is None else mask[:, t, None]
        states = [tf.where(kept, one, other) for one, other in zip(new, states, strict=True)]
        output = tf.where(kept, states[0], tf.zeros_like(output) if layer.zero_output_for_mask else output)
        outputs.append(output)
        seen.append(states)
    return (tf.stack(outputs, axis=1) if layer.return_sequences else output), seen
