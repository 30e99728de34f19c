"""Recurrent layers by time step: their states, and the gradient of the loss as it flows back through time.

A layer's loop hides both. So the loop is run once more, from the same inputs, states, masks and weights, with Keras's
own cell; and then back, one step's vector-Jacobian product after the other. What starts it is the gradient of the loss
with respect to the layer's outputs, which the step's tape knows. This is exact for any number of steps, and needs the
memory of the states only.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.replacing import replaced
from keras_initlab.statistics.layout import Key
from keras_initlab.statistics.probes.apart import apart
from keras_initlab.statistics.taps import Tap, Taps
from keras_initlab.statistics.tensor_stats import widen

MOST_STEPS = 64
"""Rows of a longer sequence are of this many of its steps."""
_MASKS = ("_dropout_mask", "_recurrent_dropout_mask")
_graph_of = tf.compat.v1.get_default_graph


@dataclass(eq=False)
class Loop:
    """One call of a recurrent layer.

    Attributes:
        layer: the layer.
        sequences, states, mask, training: what its loop takes.
        dropout: the masks of its cells, by cell and name.
        taps: of its outputs.
    """

    layer: Any
    sequences: Any
    states: Any
    mask: Any
    training: Any
    dropout: list[tuple[Any, str, Any]]
    taps: list[Tap]


class LoopTaps(Taps):
    """Taps that note, besides, what the loops of recurrent layers take.

    Attributes:
        loops: the calls of recurrent layers.
        weights_before: values of their cells' variables.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        self.loops: list[Loop] = []
        self.before: dict[int, Any] = {}

    @contextlib.contextmanager
    def watch(self, optimizer: Any = None) -> Iterator[None]:
        """As in Taps; reads the variables of the cells first."""
        for entry in self.entries:
            if isinstance(entry.layer, keras.layers.RNN):
                self.before.update((id(v), tf.convert_to_tensor(v)) for v in entry.layer.cell.variables)
        with super().watch(optimizer):
            yield

    def call(self, layer: Any, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """As in Taps; wraps the loop of a recurrent layer."""
        if id(layer) not in self._by_layer or not isinstance(layer, keras.layers.RNN):
            return super().call(layer, call, args, kwargs)
        taken: list[dict[str, Any]] = []
        with replaced(layer, "inner_loop", _noting(layer, taken)):
            outputs = super().call(layer, call, args, kwargs)
        with self.guarded():
            leaves = tf.nest.flatten(outputs)
            taps = [tap for leaf in leaves for tap in self._outputs if tap.tensor is leaf]
            if len(taken) == 1 and len(taps) == len(leaves):
                self.loops.append(Loop(layer, taps=taps, **taken[0]))
        return outputs

    def gradient_of(self, tap: Tap) -> Any:
        """Of the loss with respect to an output; None where none flows."""
        return self._gradients.get(id(tap))
