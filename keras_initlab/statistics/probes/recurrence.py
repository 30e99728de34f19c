"""Recurrent layers by time step: their states, and the gradient of the loss as it flows back through time.

A layer's loop hides both. So the loop is run once more, from the same inputs, states, masks and weights, with the
layer's own cell; and then back, the vector-Jacobian product of one step after that of the next. It starts with the
gradient of the loss for the layer's outputs, which the tape of the training step knows. That is exact for any number of
steps, and needs no more memory than the states.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from keras_initlab.replacing import replaced
from keras_initlab.statistics.layout import Key
from keras_initlab.statistics.probes.apart import apart
from keras_initlab.statistics.taps import Tap, Taps
from keras_initlab.statistics.tensor_stats import FIELDS, widen

# A sequence may have thousands of steps; each has a row for every state and its gradient.
MOST_STEPS = 64
_DROPOUT = ("_dropout_mask", "_recurrent_dropout_mask")


@dataclass(eq=False)
class Loop:
    """One call of a recurrent layer.

    Attributes:
        layer: the layer.
        taken: what its loop takes: `sequences`, `states` and `mask`, and as `dropout` the masks of its cells.
        training: whether it runs in training mode.
        outputs: taps of what the layer puts out.
    """

    layer: Any
    taken: dict[str, Any]
    training: Any
    outputs: list[Tap]


class LoopTaps(Taps):
    """Taps that also note what the loops of recurrent layers take."""

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loops: list[Loop] = []

    def call(self, layer: Any, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As in Taps."""
        if id(layer) not in self._by_layer or not isinstance(layer, keras.layers.RNN):
            return super().call(layer, call, args, kwargs)
        first, noted = len(self._outputs), []

        def inner_loop(sequences: Any, initial_state: Any, mask: Any, training: Any = False) -> Any:
            # The states of a stateful layer are variables, which the step is about to change.
            states = keras.tree.map_structure(tf.convert_to_tensor, list(initial_state))
            taken = {"sequences": sequences, "states": states, "mask": tf.nest.flatten(mask)[0]}
            taken["dropout"] = [getattr(cell, name, None) for cell in _cells(layer) for name in _DROPOUT]
            noted.append((taken, training))
            return loop(sequences, initial_state, mask, training=training)

        def call_apart(layer: Any, *args: Any, **kwargs: Any) -> Any:
            return keras.tree.map_structure(_identity, call(layer, *args, **kwargs))

        loop = layer.inner_loop
        # Without a loop of TensorFlow's the last c of an LSTM is the very tensor that its last h is made of, and what
        # flows back to it would have come through both.
        within = layer.return_state and (layer.unroll or tf.executing_eagerly())
        with replaced(layer, "inner_loop", inner_loop):
            outputs = super().call(layer, call_apart if within else call, args, kwargs)
        if len(noted) == 1 and len(self._outputs) - first == len(tf.nest.flatten(outputs)):
            self.loops.append(Loop(layer, *noted[0], self._outputs[first:]))
        return outputs

    def gradients(self, loop: Loop) -> list[Any]:
        """Of the loss for each output of a layer; None where none flows."""
        found = [self._gradients.get(id(tap)) for tap in loop.outputs]
        return [None if g is None else self.read(g) for g in found]

    @property
    def scale(self) -> Any:
        """The factor of mixed precision, without which small gradients vanish in float16."""
        return tf.constant(1.0) if self._scale is None else self._scale


class Steps(NamedTuple):
    """The rows of one call: depth and path of the layer, names of its states, and whether their gradients are known."""

    depth: int
    layer: str
    states: tuple[str, ...]
    gradients: bool

    def keys(self, length: int) -> list[Key]:
        """Of the rows, for sequences of so many steps, in the order of their statistics."""
        quantities = ("state", "state_gradient") if self.gradients else ("state",)
        return [
            (self.depth, self.layer, quantity, f"{name}t{t:04d}")
            for quantity in quantities
            for name in self.states
            for t in chosen_steps(length)
        ]


def chosen_steps(length: int) -> list[int]:
    """Numbers of all the steps, or of MOST_STEPS evenly spaced ones, the first and the last among them."""
    last = min(length, MOST_STEPS) - 1
    return [i * (length - 1) // max(last, 1) for i in range(last + 1)]


def loop_statistics(taps: LoopTaps) -> tuple[dict[str, Any], tuple[Steps, ...], dict[str, str]]:
    """Statistics of the states of every recurrent layer, step by step.

    Returns:
        `steps`, a float64 tensor (rows, FIELDS), and `lengths`, the number of steps of each call; whose they are; and
        why some layers have none.
    """
    old = {id(tap.variable): tap.old for tap in taps.weights}
    fields, lengths, found = [], [], []
    recurrent = {e.path: "its loop is not run by Keras" for e in taps.entries if isinstance(e.layer, keras.layers.RNN)}
    for loop in taps.loops:
        tap, weights = loop.outputs[0], _weights(loop.layer)
        recurrent.pop(tap.layer, None)
        if not all(id(v) in old for v in weights):
            recurrent[tap.layer] = "its cell has weights that are not watched"
            continue
        gradients = taps.gradients(loop)
        unrolled = _Unrolled(loop, weights)
        taken = keras.tree.map_structure(lambda x: None if x is None else taps.read(x), loop.taken)
        fields.append(apart(unrolled.statistics, taken, [old[id(v)] for v in weights], gradients, taps.scale))
        lengths.append(tf.shape(loop.taken["sequences"])[1])
        found.append(Steps(tap.depth, tap.layer, _state_names(loop), any(g is not None for g in gradients)))
    arrays = {"steps": tf.concat([tf.zeros((0, len(FIELDS)), tf.float64), *fields], axis=0)}
    arrays["lengths"] = tf.stack(lengths) if lengths else tf.zeros(0, tf.int32)
    return arrays, tuple(found), recurrent


class _Unrolled:
    """The loop of a recurrent layer, as a function of what it takes and of its weights.

    What one step hands on to the next is a list of tensors: its output, which the next one may repeat where the mask
    leaves a step out, and its states.
    """

    def __init__(self, loop: Loop, weights: list[Any]) -> None:
        self.layer, self.training, self.weights = loop.layer, loop.training, weights
        self.states = loop.taken["states"]

    def statistics(self, taken: dict[str, Any], weights: list[Any], gradients: list[Any], scale: Any) -> Any:
        """FIELDS of the chosen steps' states, then of the gradients for them."""
        with contextlib.ExitStack() as stack:
            stack.enter_context(keras.StatelessScope(list(zip(self.weights, weights, strict=True))))
            for (cell, name), mask in zip(self._dropout(), taken["dropout"], strict=True):
                stack.enter_context(replaced(cell, name, mask))
            self.x, self.mask = self._by_time(taken["sequences"]), self._by_time(taken["mask"])
            self.length = tf.shape(self.x)[0]
            states = tf.nest.flatten(taken["states"])
            output, after = self._cell(self.x[0], states)
            self.outputs_state = output is after[0]
            carried = self._forward([tf.zeros_like(output), *states])
            chosen = _chosen(self.length)
            rows = [_fields(tf.gather(state, chosen + 1)) for state in carried[1:]]
            if any(g is not None for g in gradients):
                back = self._backward(carried, gradients, scale)
                rows += [_fields(tf.gather(g, chosen), scale) for g in back]
        return tf.concat(rows, axis=0)

    def _forward(self, carry: list[Any]) -> list[Any]:
        """What is handed on, from before the first step to after the last; time in front."""
        stores = [tf.TensorArray(x.dtype, self.length, element_shape=x.shape) for x in carry]

        def body(t: Any, carry: list[Any], stores: list[Any]) -> Any:
            after = self._step(t, carry)
            return t + 1, after, [store.write(t, x) for store, x in zip(stores, after, strict=True)]

        _, _, stores = tf.while_loop(lambda t, *_: t < self.length, body, (tf.constant(0), carry, stores))
        return [tf.concat([x[tf.newaxis], store.stack()], axis=0) for x, store in zip(carry, stores, strict=True)]

    def _backward(self, carried: list[Any], gradients: list[Any], scale: Any) -> list[Any]:
        """Gradients for the states after each step; time in front."""
        scaled = [None if g is None else widen(g) * tf.cast(scale, widen(g).dtype) for g in gradients]
        output, last = carried[0], [tf.zeros_like(x[0]) for x in carried]
        sequence = None
        if scaled[0] is not None:
            if self.layer.return_sequences:
                sequence = tf.cast(tf.transpose(scaled[0], _time_and_batch(scaled[0])), output.dtype)
            else:
                last[0] = tf.cast(scaled[0], output.dtype)
        for i, g in enumerate(scaled[1:], start=1):
            last[i] = last[i] if g is None else tf.cast(g, last[i].dtype)
        stores = [tf.TensorArray(x.dtype, self.length, element_shape=x.shape) for x in last[1:]]

        def body(t: Any, adjoint: list[Any], stores: list[Any]) -> Any:
            if sequence is not None:
                adjoint = [adjoint[0] + sequence[t], *adjoint[1:]]
            own = list(adjoint[1:])
            if self.outputs_state:
                own[0] += (
                    adjoint[0] if self.mask is None else _where(self.mask[t], adjoint[0], tf.zeros_like(adjoint[0]))
                )
            stores = [store.write(t, g) for store, g in zip(stores, own, strict=True)]
            before = [x[t] for x in carried]
            with tf.GradientTape(watch_accessed_variables=False) as tape:
                tape.watch(before)
                after = self._step(t, before)
            through = tape.gradient(after, before, adjoint, unconnected_gradients=tf.UnconnectedGradients.ZERO)
            return t - 1, _shaped_like(adjoint, through), stores

        _, _, stores = tf.while_loop(lambda t, *_: t >= 0, body, (self.length - 1, last, stores))
        return [store.stack() for store in stores]

    def _step(self, t: Any, carry: list[Any]) -> list[Any]:
        output, states = self._cell(self.x[t], carry[1:])
        if self.mask is not None:
            repeated = tf.zeros_like(output) if self.layer.zero_output_for_mask else carry[0]
            output = _where(self.mask[t], output, repeated)
            states = [_where(self.mask[t], new, old) for new, old in zip(states, carry[1:], strict=True)]
        return _shaped_like(carry, [output, *states])

    def _cell(self, x: Any, states: list[Any]) -> tuple[Any, list[Any]]:
        cell = self.layer.cell
        training = {"training": self.training} if cell._call_has_training_arg else {}
        output, after = cell(x, keras.tree.pack_sequence_as(self.states, states), **training)
        return output, tf.nest.flatten(after)

    def _dropout(self) -> list[tuple[Any, str]]:
        return [(cell, name) for cell in _cells(self.layer) for name in _DROPOUT]

    def _by_time(self, x: Any) -> Any:
        if x is None:
            return None
        by_time = tf.transpose(x, _time_and_batch(x))
        return tf.reverse(by_time, [0]) if self.layer.go_backwards else by_time


def _identity(x: Any) -> Any:
    """The same tensor as one of its own."""
    y = tf.identity(x)
    if getattr(x, "_keras_mask", None) is not None:
        y._keras_mask = x._keras_mask
    return y


def _cells(layer: Any) -> list[Any]:
    return list(getattr(layer.cell, "cells", [layer.cell]))


def _weights(layer: Any) -> list[Any]:
    return [v for cell in _cells(layer) for v in getattr(cell, "weights", ())]


def _state_names(loop: Loop) -> tuple[str, ...]:
    """Nothing for the only state, or h of an LSTM; `c/` for its c; numbers for those of other cells."""
    number = len(tf.nest.flatten(loop.taken["states"]))
    if isinstance(loop.layer.cell, keras.layers.LSTMCell):
        return ("", "c/")
    return ("",) if number == 1 else tuple(f"state_{i}/" for i in range(number))


def _time_and_batch(x: Any) -> list[int]:
    return [1, 0, *range(2, len(x.shape))]


def _where(mask: Any, x: Any, y: Any) -> Any:
    return tf.where(tf.reshape(tf.cast(mask, tf.bool), [-1] + [1] * (len(x.shape) - 1)), x, y)


def _shaped_like(known: Sequence[Any], tensors: Sequence[Any]) -> list[Any]:
    """The same tensors; a loop wants to be told that their shapes stay."""
    for x, tensor in zip(known, tensors, strict=True):
        tensor.set_shape(x.shape)
    return list(tensors)


def _chosen(length: Any) -> Any:
    last = tf.minimum(length, MOST_STEPS) - 1
    return tf.range(last + 1) * (length - 1) // tf.maximum(last, 1)


def _fields(x: Any, scale: Any = 1.0) -> Any:
    """FIELDS of each of several tensors, one behind the other in x; the values over `scale`."""
    rows = tf.cast(tf.reshape(x, (tf.shape(x)[0], -1)), tf.float64) / tf.cast(scale, tf.float64)
    finite = tf.math.is_finite(rows)
    known = tf.where(finite, rows, tf.zeros_like(rows))
    low, high = (tf.where(finite, rows, tf.constant(bound, tf.float64)) for bound in (np.inf, -np.inf))
    count = tf.ones_like(rows[:, 0]) * tf.cast(tf.shape(rows)[1], tf.float64)
    columns = {
        "count": count,
        "nonzero": tf.reduce_sum(tf.cast(tf.not_equal(rows, 0), tf.float64), axis=1),
        "scale": tf.ones_like(count),
        "sum": tf.reduce_sum(known, axis=1),
        "l2": tf.sqrt(tf.reduce_sum(tf.square(known), axis=1)),
        "min": tf.reduce_min(low, axis=1),
        "max": tf.reduce_max(high, axis=1),
        "nonfinite": tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.float64), axis=1),
        "saturated": tf.zeros_like(count),  # states have no bounds of their own
    }
    return tf.stack([columns[name] for name in FIELDS], axis=1)
