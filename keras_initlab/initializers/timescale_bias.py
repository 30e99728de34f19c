"""Bias of a recurrent layer that spreads its units' memories over many timescales."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Above, Choice, Count
from keras_initlab.initializers.gates import GATES, GatedBias
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed

__all__ = ["ChronoBias", "UniformGateBias"]


class _Remembering(GatedBias):
    """A random bias on the gate that keeps the old state, and its opposite on the gate that lets the new one in."""

    def _bias(self, dtype: str) -> Any:
        """Draw the bias of the gate that keeps."""
        raise NotImplementedError

    def _by_gate(self, dtype: str) -> dict[str, Any]:
        bias = self._bias(dtype)
        # A GRU lets in with 1 − z: one gate does both.
        return {"z": bias} if self.cell == "gru" else {"f": bias, "i": -bias}


@register(shape=(12,), units=4, max_timescale=50.0, cell="gru", seed=7)
class ChronoBias(_Remembering):
    """Memories of lengths uniform up to a longest one (chrono initialization).

    LSTM: ``b_f ~ log U[1, T − 1]``, ``b_i = −b_f``, 0 on c and o; GRU: ``b_z ~ log U[1, T − 1]``, 0 on r and h; with
    T = ``max_timescale``, one draw for each unit

    A gate σ(b) that keeps a state forgets it as exp(−t / τ) with τ ≈ 1 / (1 − σ(b)) = 1 + eᵇ, so the units' timescales
    are uniform on [2, T] steps. In Keras a GRU's z stands on the old state, hence the positive sign there.

    Args:
        units: The ``units`` of the layer (``filters`` of a ConvLSTM), at least 1, as in ``GateBias``.
        max_timescale: T, the longest dependency that is expected, in time steps; above 2, where every bias would be 0.
            It has no default, since it belongs to the data: at most the length of the sequences.
        cell: ``"lstm"`` (default; ConvLSTM too) or ``"gru"``.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.

    The shape has to be that of the layer's bias, as in ``GateBias``: (4 · units,) for an LSTM, with
    ``unit_forget_bias=False``; (3 · units,) or (2, 3 · units) for a GRU. Any float dtype; drawn in float32 or wider and
    cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape is not that of the layer's bias.

    Reference:
        Tallec & Ollivier (2018), Can recurrent neural networks warp time?

    Example:
        >>> bias = ChronoBias(100, max_timescale=50, seed=0)((400,))
        >>> i, f, c, o = keras.ops.convert_to_numpy(bias).reshape(4, 100)
        >>> timescales = 1 / (1 - keras.ops.sigmoid(f))
        >>> bool(keras.ops.min(timescales) > 1.99), bool(keras.ops.max(timescales) < 50.01), bool((i == -f).all())
        (True, True, True)
    """

    arguments: ClassVar = {
        "units": Count(mend="Pass the `units` of the layer."),
        "max_timescale": Above(low=2.0, mend="Pass the longest dependency that is expected, in time steps."),
        "cell": Choice(tuple(GATES)),
        "seed": Seed(),
    }
    max_timescale: float

    def __init__(self, units: int, max_timescale: float, cell: str = "lstm", seed: Any = None) -> None:
        super().__init__(units=units, max_timescale=max_timescale, cell=cell, seed=seed)

    def _bias(self, dtype: str) -> Any:
        return keras.ops.log(sampling.uniform((self.units,), 1.0, self.max_timescale - 1.0, dtype, self._next_seed()))


@register(shape=(12,), units=4, cell="gru", seed=7)
class UniformGateBias(_Remembering):
    """Gates that start anywhere between closed and open (uniform gate initialization).

    LSTM: ``σ(b_f) ~ U[1/n, 1 − 1/n]``, ``b_i = −b_f``, 0 on c and o; GRU: ``σ(b_z) ~ U[1/n, 1 − 1/n]``, 0 on r and h;
    with n = ``units`` and σ the sigmoid, one draw u for each unit, of which ``b = −log(1/u − 1)``

    The timescales 1 / (1 − u) have a tail as heavy as 1/τ², from n / (n − 1) up to n steps, with no argument for the
    data. In Keras a GRU's z stands on the old state, as an LSTM's f does.

    Args:
        units: The ``units`` of the layer (``filters`` of a ConvLSTM), at least 2: with 1 the interval [1, 0] is empty.
            With 2 it is the one point ½, the bias 0.
        cell: ``"lstm"`` (default; ConvLSTM too) or ``"gru"``.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.

    The shape has to be that of the layer's bias, as in ``GateBias``: (4 · units,) for an LSTM, with
    ``unit_forget_bias=False``; (3 · units,) or (2, 3 · units) for a GRU. Any float dtype; drawn in float32 or wider and
    cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape is not that of the layer's bias.

    Reference:
        Gu, Gulcehre, Paine, Hoffman & Pascanu (2020), Improving the gating mechanism of recurrent neural networks.
        There the input gate is 1 − f throughout; here it starts so, by b_i = −b_f.

    Example:
        >>> forget = keras.ops.sigmoid(UniformGateBias(100, seed=0)((400,))[100:200])
        >>> bool(keras.ops.min(forget) > 0.0099), bool(keras.ops.max(forget) < 0.9901)
        (True, True)
    """

    arguments: ClassVar = {
        "units": Count(low=2, mend="Pass the `units` of the layer; for one unit, GateBias."),
        "cell": Choice(tuple(GATES)),
        "seed": Seed(),
    }

    def __init__(self, units: int, cell: str = "lstm", seed: Any = None) -> None:
        super().__init__(units=units, cell=cell, seed=seed)

    def _bias(self, dtype: str) -> Any:
        edge = 1.0 / self.units
        opening = sampling.uniform((self.units,), edge, 1.0 - edge, dtype, self._next_seed())
        return keras.ops.log(opening) - keras.ops.log1p(-opening)
