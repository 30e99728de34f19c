"""Gates of Keras's recurrent layers: their order in a fused weight, and what a bias by gate needs."""

from __future__ import annotations

from typing import Any

import keras

from keras_initlab.initializers.base import Initializer

__all__ = ["GATES", "GatedBias"]

GATES = {
    "lstm": {"i": "input", "f": "forget", "c": "candidate", "o": "output"},
    "gru": {"z": "update", "r": "reset", "h": "candidate"},
}
"""Gates by cell, in the order in which Keras lays them out on the last axis; ConvLSTM has those of the LSTM."""


class GatedBias(Initializer):
    """Base of the laws that fill a bias gate by gate.

    A subclass has the attributes ``units`` and ``cell`` and gives its gates' values in ``_by_gate``.
    """

    units: int
    cell: str

    def _by_gate(self, dtype: str) -> dict[str, Any]:
        """Values of the gates that are not 0, each of shape (units,)."""
        raise NotImplementedError

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        gates = GATES[self.cell]
        width = len(gates) * self.units
        fitting = [(width,), (2, width)] if self.cell == "gru" else [(width,)]
        if shape not in fitting:
            raise ValueError(
                f"{type(self).__name__}(units={self.units}) fills a bias of shape {' or '.join(map(str, fitting))} "
                f"only. Received: shape={shape}. {self._mend()}"
            )
        zeros, values = keras.ops.zeros((self.units,), dtype=dtype), self._by_gate(dtype)
        row = keras.ops.concatenate([values.get(gate, zeros) for gate in gates])
        # GRU(reset_after=True) adds the second row to the recurrent product: in both, the value would count twice.
        return row if len(shape) == 1 else keras.ops.stack([row, keras.ops.zeros_like(row)])

    def _mend(self) -> str:
        if self.cell == "gru":
            return 'Set `units` to that of the GRU layer; for an LSTM, `cell` to "lstm".'
        return (
            "LSTM and ConvLSTM with unit_forget_bias=True, which is the default, ask for the gates in pieces of 1 and "
            "2 gates: set `unit_forget_bias=False`, and `units` to that of the layer (`filters` of a ConvLSTM); for a "
            'GRU, `cell` to "gru".'
        )
