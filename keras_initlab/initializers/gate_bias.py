"""Bias of a recurrent layer, constant in each gate."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from keras_initlab.initializers.arguments import Choice, Count, GateValues, Real
from keras_initlab.initializers.gates import GATES, GatedBias
from keras_initlab.initializers.registry import register

__all__ = ["GateBias", "LSTMForgetBias"]


@register(shape=(12,), units=4, values={"z": -1.5, "h": 0.5}, cell="gru")
class GateBias(GatedBias):
    """A constant for each gate of a recurrent layer's bias, by the gate's name.

    ``b = (b_i, b_f, b_c, b_o)`` of an LSTM or ConvLSTM, ``b = (b_z, b_r, b_h)`` of a GRU, with ``b_g = values[g]`` in
    all ``units`` entries of gate g, and 0 where ``values`` has no g

    The gates of an LSTM are i (input), f (forget), c (candidate) and o (output): the new cell is f · c_prev + i · c̃, so
    a positive bias of f remembers. Those of a GRU are z (update), r (reset) and h (candidate): in Keras the new state
    is z · h_prev + (1 − z) · h̃, so a positive bias of z remembers. Papers that write it the other way round need the
    opposite sign here.

    Args:
        units: The ``units`` of the layer (``filters`` of a ConvLSTM), at least 1. Needed since a bias of another length
            must not be filled with gates in the wrong places.
        values: A finite number for each gate that is to have one, such as ``{"f": 1.0}``.
        cell: ``"lstm"`` (default, the layer whose gates are most often biased; ConvLSTM's too) or ``"gru"``.

    The shape has to be (4 · units,) for an LSTM, as it asks for with ``unit_forget_bias=False``; for a GRU
    (3 · units,), or (2, 3 · units) as it asks for with ``reset_after=True``, its default. There the values go into the
    first row, which is added to the input's product; the second, added to the state's, is 0. Any float dtype.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or ``values`` names a gate that the cell has not; when called, if the
            shape is not that of the layer's bias.

    Reference:
        Gers, Schmidhuber & Cummins (2000), Learning to forget: continual prediction with LSTM, section 3, for the LSTM;
        Cho et al. (2014), Learning phrase representations using RNN encoder-decoder for statistical machine
        translation, for the GRU, with z on the old state as in Keras.

    Example:
        >>> bias = GateBias(2, {"f": 1.0, "o": -1.0})((8,))
        >>> keras.ops.convert_to_numpy(bias)
        array([ 0.,  0.,  1.,  1.,  0.,  0., -1., -1.], dtype=float32)
        >>> bias = GateBias(2, {"z": 1.0}, cell="gru")((2, 6))
        >>> keras.ops.convert_to_numpy(bias)
        array([[1., 1., 0., 0., 0., 0.],
               [0., 0., 0., 0., 0., 0.]], dtype=float32)
    """

    arguments: ClassVar = {
        "units": Count(mend="Pass the `units` of the layer."),
        "values": GateValues(),
        "cell": Choice(tuple(GATES)),
    }
    values: dict[str, float]

    def __init__(self, units: int, values: Mapping[str, float], cell: str = "lstm") -> None:
        super().__init__(units=units, values=values, cell=cell)
        gates = GATES[self.cell]
        if unknown := [gate for gate in self.values if gate not in gates]:
            names = ", ".join(f'"{gate}" ({meaning})' for gate, meaning in gates.items())
            raise ValueError(
                f'Argument `values` must name gates of cell "{self.cell}": {names}. Received: values={values!r}, of '
                f"which {unknown} are none. Use these names, or pass the `cell` that has such gates."
            )

    def _by_gate(self, dtype: str) -> dict[str, Any]:
        return {gate: keras.ops.full((self.units,), value, dtype=dtype) for gate, value in self.values.items()}


@register(shape=(20,), units=5, value=2.5)
class LSTMForgetBias(GateBias):
    """A constant on the forget gate of an LSTM's bias, 0 on the other gates.

    ``b = (b_i, b_f, b_c, b_o) = (0, value, 0, 0)``, each of ``units`` entries: ``GateBias(units, {"f": value})``

    With the default 1.0 the forget gate starts at σ(1) = 0.73 in place of 0.5: after 10 steps 0.044 of the cell's
    state is left in place of 0.001, and of its gradient likewise.

    Args:
        units: The ``units`` of the layer, at least 1, as in ``GateBias``.
        value: Bias of the forget gate, a finite number. Default 1.0.

    The shape has to be (4 · units,), as an LSTM asks for with ``unit_forget_bias=False``. Any float dtype.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape is not (4 · units,).

    Reference:
        Gers, Schmidhuber & Cummins (2000), Learning to forget: continual prediction with LSTM, section 3, for the
        positive bias; Jozefowicz, Zaremba & Sutskever (2015), An empirical exploration of recurrent network
        architectures, section 2.2, for the value 1.

    Example:
        >>> keras.ops.convert_to_numpy(LSTMForgetBias(units=2)((8,)))
        array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    arguments: ClassVar = {**GateBias.arguments, "value": Real()}
    value: float

    def __init__(self, units: int, value: float = 1.0) -> None:
        self.value = self.arguments["value"].check("value", value)
        super().__init__(units, {"f": self.value})
