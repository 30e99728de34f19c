"""One forward pass in which every linear map is corrected when the pass reaches it."""

from __future__ import annotations

import contextlib
import functools
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import keras
from keras import ops

from keras_initlab.model_init.correction import Correction
from keras_initlab.model_init.eager import readable
from keras_initlab.model_init.linear_maps import CELLS, cell_map, maps_of
from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.unit_moments import unit_moments
from keras_initlab.replacing import replaced

__all__ = ["UnitVariancePass"]

_layers = keras.layers


@dataclass
class UnitVariancePass:
    """Steps into the calls of a model's layers and has each corrected on what it gets.

    Attributes:
        correction: What is done to each map.
        weights: Kernels and embeddings to be corrected, by ``id`` of their layer.
        sums: Standard deviation of each sum, by its place.
        opaque: Places of the layers that can't be seen through.
        in_loops: Places of the layers that ran where no values can be read.
        normalized: Whether BatchNormalization was run on the batch.
    """

    correction: Correction
    weights: dict[int, list[PlacedWeight]]
    sums: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    opaque: list[str] = field(default_factory=list)
    in_loops: dict[str, None] = field(default_factory=dict)
    normalized: bool = False
    _expanded: set[int] = field(default_factory=set)
    _paused: bool = False

    @contextlib.contextmanager
    def listening(self, layers: Iterable[Any], sums: Iterable[tuple[str, Any]]) -> Any:
        """Replaces the calls while the context lasts.

        Args:
            layers: All layers of the model.
            sums: Place and operation of each sum.
        """
        with contextlib.ExitStack() as stack:
            for layer in layers:
                handler = self._handler(layer)
                if handler is not None:
                    hooked = functools.partial(handler, layer, layer.call)
                    stack.enter_context(replaced(layer, "call", functools.wraps(layer.call)(hooked)))
            for place, operation in sums:
                hooked = functools.partial(self._sum, place, operation.call)
                stack.enter_context(replaced(operation, "call", functools.wraps(operation.call)(hooked)))
            yield

    def _handler(self, layer: Any) -> Any:
        if isinstance(layer, _layers.BatchNormalization):
            return self._batch_normalization
        if isinstance(layer, (_layers.RNN, _layers.Bidirectional)):
            return self._recurrent
        if isinstance(layer, _layers.TimeDistributed):
            return self._time_distributed
        return self._layer if id(layer) in self.weights else None

    # -- kinds of layers ---------------------------------------------------------------------------------------------

    def _batch_normalization(self, layer: Any, call: Any, inputs: Any, training: Any = None, mask: Any = None) -> Any:
        self.normalized |= bool(layer.trainable)
        return call(inputs, training=True, mask=mask)

    def _sum(self, place: str, call: Any, *args: Any, **kwargs: Any) -> Any:
        output = call(*args, **kwargs)
        if not self._paused and ops.is_tensor(output) and readable(output):
            self.sums[place].append(unit_moments(output, tuple(range(len(output.shape) - 1))).std)
        return output

    def _layer(self, layer: Any, call: Any, *args: Any, **kwargs: Any) -> Any:
        weights = self.weights[id(layer)]
        if self._paused or not readable(args, kwargs):
            self.in_loops[weights[0].layer_place] = None
            return call(*args, **kwargs)
        maps = maps_of(layer, weights, call, args, kwargs)
        if not maps:
            self.opaque.append(weights[0].layer_place)
        output = None
        for linear in maps:
            output = (
                self.correction.measure(linear) if self.correction.is_done(linear) else self.correction.correct(linear)
            )
        return call(*args, **kwargs) if output is None else output

    def _recurrent(self, layer: Any, call: Any, sequences: Any, *args: Any, **kwargs: Any) -> Any:
        """Cells run in a loop: their inputs' part of the pre-activations is corrected before it begins."""
        if not self._paused and id(layer) not in self._expanded and readable(sequences):
            self._expanded.add(id(layer))
            both = isinstance(layer, _layers.Bidirectional)
            for one in (layer.forward_layer, layer.backward_layer) if both else (layer,):
                self._cells(one, sequences, kwargs.get("mask"))
        with self._in_loop():
            return call(sequences, *args, **kwargs)

    def _cells(self, layer: Any, x: Any, mask: Any) -> None:
        cells = layer.cell.cells if isinstance(layer.cell, _layers.StackedRNNCells) else [layer.cell]
        if len(cells) > 1 and layer.go_backwards:
            x, mask = ops.flip(x, axis=1), None if mask is None else ops.flip(mask, axis=1)
        for index, cell in enumerate(cells):
            weights = self.weights.get(id(cell))
            if weights and isinstance(cell, CELLS):
                linear = cell_map(cell, weights, x)
                if not self.correction.is_done(linear):
                    self.correction.draw([weight for weight in weights if weight.role.kind == "recurrent_kernel"])
                    self.correction.correct(linear)
            if index + 1 < len(cells):
                with self._in_loop():
                    x = _layers.RNN(cell, return_sequences=True, name="one_cell")(x, mask=mask, training=False)

    def _time_distributed(self, layer: Any, call: Any, inputs: Any, *args: Any, **kwargs: Any) -> Any:
        """Keras calls the layer inside once a step: it is corrected on all steps at once before."""
        if not self._paused and id(layer) not in self._expanded and readable(inputs):
            self._expanded.add(id(layer))
            options = {"training": False} if layer.layer._call_has_training_arg else {}
            layer.layer(ops.reshape(inputs, (-1, *inputs.shape[2:])), **options)
        with self._in_loop():
            return call(inputs, *args, **kwargs)

    @contextlib.contextmanager
    def _in_loop(self) -> Any:
        paused, self._paused = self._paused, True
        try:
            yield
        finally:
            self._paused = paused
