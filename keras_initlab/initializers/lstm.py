"""Bias of an LSTM by gate."""

from __future__ import annotations

from typing import Any, ClassVar

import numpy as np
from keras import ops

from keras_initlab.initializers.arguments import Count, Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register

__all__ = ["LSTMForgetBias"]

# Keras lays the gates out as input, forget, cell candidate, output.
_GATES, _FORGET = 4, 1


@register(shape=(20,), units=5, value=2.5)
class LSTMForgetBias(Initializer):
    """A constant on the forget gate of an LSTM's bias, 0 on the other gates.

    ``b = (b_i, b_f, b_c, b_o) = (0, value, 0, 0)``, each of ``units`` entries

    With the default 1.0 the forget gate starts at σ(1) = 0.73 in place of 0.5: after 10 steps 0.043 of the cell's
    state is left in place of 0.001, and of its gradient likewise.

    Args:
        units: The ``units`` of the LSTM layer, at least 1. Needed since a bias of another length must not be filled
            with gates in the wrong places.
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
        >>> LSTMForgetBias(units=2)((8,)).numpy()
        array([0., 0., 1., 1., 0., 0., 0., 0.], dtype=float32)
    """

    arguments: ClassVar = {"units": Count(mend="Pass the `units` of the LSTM layer."), "value": Real()}
    units: int
    value: float

    def __init__(self, units: int, value: float = 1.0) -> None:
        super().__init__(units=units, value=value)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> LSTMForgetBias:
        """Make one from its config.

        Args:
            config: Constructor arguments. A bare string name comes here with none.

        Raises:
            TypeError: ``units`` is missing.
        """
        if "units" not in config:
            raise TypeError(
                f"{cls.__name__} needs argument `units`, a whole number that is at least 1, and so cannot be given by "
                f"its name alone. Received: {config!r}. "
                f"Pass {cls.__name__}(units=...) with the `units` of the LSTM layer."
            )
        return cls(**config)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        expected = (_GATES * self.units,)
        if shape != expected:
            raise ValueError(
                f"LSTMForgetBias(units={self.units}) fills a bias of shape {expected} only. Received: shape={shape}. "
                "LSTM(unit_forget_bias=True), which is the default, asks for the gates in pieces: set "
                "`unit_forget_bias=False`, and `units` to that of the layer."
            )
        bias = np.zeros((_GATES, self.units))
        bias[_FORGET] = self.value
        return ops.convert_to_tensor(bias.ravel(), dtype=dtype)
