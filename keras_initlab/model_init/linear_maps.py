"""The linear maps in a layer: a kernel each, and how to run them on what the layer has just got."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import ops

# Keras exports the layers and keeps their cell to itself.
from keras.src.layers.rnn.conv_lstm import ConvLSTMCell

from keras_initlab.initializers.gates import GATES
from keras_initlab.model_init.eager import own_dtypes
from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.unit_moments import UnitMoments, unit_moments
from keras_initlab.replacing import replaced

__all__ = ["CELLS", "LinearMap", "cell_map", "maps_of"]

_layers = keras.layers
CELLS = (_layers.SimpleRNNCell, _layers.LSTMCell, _layers.GRUCell, ConvLSTMCell)
"""Recurrent cells whose product with the input is known."""

_WITH_ACTIVATION = (
    *(_layers.Dense, _layers.EinsumDense),
    *(_layers.Conv1D, _layers.Conv2D, _layers.Conv3D, _layers.DepthwiseConv1D, _layers.DepthwiseConv2D),
    *(_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose),
)
_SEPARABLE = (_layers.SeparableConv1D, _layers.SeparableConv2D)

Call = Callable[..., Any]
Run = Callable[[bool], tuple[Any, Any]]
Weights = Sequence[PlacedWeight]


@dataclass
class LinearMap:
    """A product of a kernel with what a layer got, and the bias that is added to it.

    Attributes:
        kernels: The weights that are scaled.
        run: Gives the pre-activation under the present weights, and the layer's output if it is made on the way; with
            False, the activation is left out and the output worth nothing.
        name: Which of the layer's maps it is; "" for the only one.
        gates: The gates' names if their kernels lie side by side on the last axis.
        bias: The variable that is part of the pre-activation, or None.
        fixed_bias: What is added where that is not known by a variable, in the layout of the moments.
        channel_axis: Axis of the units.
        drawn: Whether the kernels may be drawn again.
        finish: Makes the layer's output of a pre-activation, where that is all that the layer does after it.
        note: What a report should say.
    """

    kernels: list[PlacedWeight]
    run: Run
    name: str = ""
    gates: tuple[str, ...] = ()
    bias: Any = None
    fixed_bias: Any = None
    channel_axis: int = -1
    drawn: bool = True
    finish: Any = None
    note: str = ""

    def moments(self, tensor: Any) -> UnitMoments:
        """Moments of each unit of a pre-activation, flat."""
        grid = self._grid(tensor)
        axes = tuple(axis for axis, size in enumerate(grid) if size == 1)
        return unit_moments(tensor, axes)

    def shifted(self, tensor: Any, factor: float, shift: Any) -> Any:
        """A pre-activation times a factor, with a number added to each unit."""
        tensor = tensor * factor
        if not np.any(shift):
            return tensor
        return tensor + ops.reshape(ops.convert_to_tensor(shift, tensor.dtype), self._grid(tensor))

    def biases(self, units: int) -> Any:
        """The bias of each unit, flat."""
        if self.bias is None:
            return np.zeros(units) if self.fixed_bias is None else self.fixed_bias
        with own_dtypes():
            return np.asarray(ops.convert_to_numpy(ops.copy(self.bias))).astype("float64").reshape(-1)

    def _grid(self, tensor: Any) -> list[int]:
        """The tensor's shape with 1 on each axis along which a unit's values lie."""
        grid = [1] * len(tensor.shape)
        if self.bias is None or len(self.bias.shape) == 1:
            grid[self.channel_axis] = tensor.shape[self.channel_axis]
        else:
            grid[-len(self.bias.shape) :] = self.bias.shape
        return grid


def maps_of(layer: Any, weights: Weights, call: Call, args: Any, kwargs: Any) -> list[LinearMap]:
    """The maps of a layer in the order of execution, for one call of it.

    Args:
        layer: A layer with kernels that is no recurrent one.
        weights: Its kernels or embeddings.
        call: Its ``call``.
        args: What it is called with.
        kwargs: Likewise, by name.

    Returns:
        The maps; none where the layer's own class can't be seen through.
    """
    by_name = {weight.name: weight for weight in weights}
    axis = 1 if getattr(layer, "data_format", None) == "channels_first" else -1
    tapped = _tapped(layer, call, args, kwargs)
    if isinstance(layer, CELLS):
        return [cell_map(layer, weights, args[0] if args else kwargs["inputs"])]
    if isinstance(layer, _SEPARABLE):
        depthwise = _depthwise(layer, args[0])
        return [
            LinearMap([by_name["depthwise_kernel"]], depthwise, "depthwise", channel_axis=axis),
            LinearMap([by_name["pointwise_kernel"]], tapped, "pointwise", bias=layer.bias, channel_axis=axis),
        ]
    if isinstance(layer, _WITH_ACTIVATION):
        keras_own = type(layer).__module__.startswith("keras.")
        finish = (layer.activation or keras.activations.linear) if keras_own else None
        return [LinearMap([by_name["kernel"]], tapped, bias=layer.bias, channel_axis=axis, finish=finish)]
    if isinstance(layer, _layers.Embedding):
        reverse = len(weights) == 2 and (args[1] if len(args) > 1 else kwargs.get("reverse"))
        table = by_name["reverse_embeddings" if reverse else "embeddings"]
        return [LinearMap([table], tapped, drawn=bool(reverse), note="the output")]
    if isinstance(layer, _layers.AdditiveAttention):
        return [LinearMap(list(weights), _scores(layer, *(args[0] if args else kwargs["inputs"])), note="the scores")]
    return _own_class(layer, list(weights), tapped, axis)


def cell_map(cell: Any, weights: Weights, x: Any) -> LinearMap:
    """The product of a recurrent cell's kernel with its inputs, all steps and gates at once.

    Args:
        cell: One of ``CELLS``.
        weights: Its kernels.
        x: One step (batch, …) or all steps (batch, steps, …).
    """
    kernel = next(weight for weight in weights if weight.role.kind == "kernel")
    gates = tuple(GATES[kernel.role.cell].values()) if kernel.role.cell else ()
    convolutional = isinstance(cell, ConvLSTMCell)
    axis = 1 if convolutional and cell.data_format == "channels_first" else -1
    rank = cell.rank + 2 if convolutional else 2

    def run(_: bool) -> tuple[Any, Any]:
        with own_dtypes():
            w = ops.cast(kernel.variable, "float32")
            steps = ops.reshape(ops.cast(x, "float32"), (-1, *x.shape[len(x.shape) - rank + 1 :]))
            return cell.input_conv(steps, w, padding=cell.padding) if convolutional else ops.matmul(steps, w), None

    return LinearMap([kernel], run, gates=gates, channel_axis=axis, note="the input's part")


def _tapped(layer: Any, call: Call, args: Any, kwargs: Any) -> Run:
    """A call of the layer that also gives what its activation got; its output if it has none."""

    def run(activated: bool) -> tuple[Any, Any]:
        activation = getattr(layer, "activation", None)
        if not callable(activation) or isinstance(activation, keras.Layer):
            output = call(*args, **kwargs)
            return output, output
        seen: list[Any] = []

        def tap(tensor: Any, *rest: Any, **options: Any) -> Any:
            seen.append(tensor)
            return activation(tensor, *rest, **options) if activated else tensor

        with replaced(layer, "activation", tap):
            output = call(*args, **kwargs)
        return seen[-1] if seen else output, output

    return run


def _depthwise(layer: Any, x: Any) -> Run:
    names = ("strides", "padding", "dilation_rate", "data_format")
    options = {name: getattr(layer, name) for name in names}
    return lambda _: (ops.depthwise_conv(x, layer.depthwise_kernel, **options), None)


def _scores(layer: Any, query: Any, value: Any, key: Any = None) -> Run:
    return lambda _: (layer._calculate_scores(query, value if key is None else key), None)


def _own_class(layer: Any, kernels: list[PlacedWeight], run: Any, axis: int) -> list[LinearMap]:
    """A layer of a class of its own, if without its kernels nothing but a bias is left of its output."""
    linear = LinearMap(kernels, run, channel_axis=axis, note=_seen_as(layer))
    with own_dtypes():
        saved = [ops.copy(ops.convert_to_tensor(weight.variable)) for weight in kernels]
    try:
        for weight in kernels:
            weight.variable.assign(ops.zeros(weight.variable.shape, dtype=weight.variable.dtype))
        rest, _ = run(False)
        if not _is_float(rest):
            return []
        left = linear.moments(rest)
    finally:
        for weight, value in zip(kernels, saved, strict=True):
            weight.variable.assign(value)
    if not np.isfinite(left.mean).all() or left.has_spread_in_units:
        return []
    linear.fixed_bias = left.mean
    return [linear]


def _seen_as(layer: Any) -> str:
    return "" if callable(getattr(layer, "activation", None)) else "the output"


def _is_float(tensor: Any) -> bool:
    return bool(ops.is_tensor(tensor)) and keras.backend.is_float_dtype(keras.backend.standardize_dtype(tensor.dtype))
