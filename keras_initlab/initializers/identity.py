"""Identity matrices."""

from __future__ import annotations

from typing import Any, ClassVar

from keras import ops

from keras_initlab.initializers.arguments import Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register

__all__ = ["Identity"]


@register(gain=1.5)
class Identity(Initializer):
    """Identity matrix times a gain, for Dense and recurrent kernels.

    ``w[i, j] = gain if i = j else 0``

    A layer that begins so passes its input on, times the gain. If the matrix is wide, further outputs are 0; if it is
    tall, further inputs are lost. A recurrent layer of ReLU units with this recurrent kernel, small input weights and
    zero biases begins by keeping its state, and its gradient, over any number of steps.

    Args:
        gain: Value on the diagonal, a finite number. Default 1.0, which neither shrinks nor grows a state that is
            multiplied by the matrix at each step; after t steps the factor is gainᵗ.

    Two axes, square or rectangular, any float dtype. Nothing is random: every call gives the same matrix.

    The fused recurrent kernel of an LSTM has shape (units, 4 · units), of which this would fill the input gate's
    block alone: ``PerGate(Identity(), gates=4)`` puts one identity on each gate.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape does not have two axes.

    Reference:
        Le, Jaitly & Hinton (2015), A simple way to initialize recurrent networks of rectified linear units.

    Example:
        >>> import keras
        >>> keras.ops.convert_to_numpy(Identity(gain=0.5)((2, 3))).tolist()
        [[0.5, 0.0, 0.0], [0.0, 0.5, 0.0]]
    """

    arguments: ClassVar = {"gain": Real()}
    gain: float

    def __init__(self, gain: float = 1.0) -> None:
        super().__init__(gain=gain)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        if len(shape) != 2:
            raise ValueError(
                f"Identity needs a shape with two axes. Received: shape={shape}. "
                "Use Dirac for a convolution kernel, and zeros for a bias."
            )
        return ops.eye(*shape, dtype=dtype) * self.gain
