"""Any law, drawn for one gate at a time."""

from __future__ import annotations

from typing import Any, ClassVar

import keras

from keras_initlab.initializers.arguments import Count, Wrapped
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import fold

__all__ = ["PerGate", "with_seed"]


# Written out, since Keras's serializer imports TensorFlow, which the other backends can do without.
@register(
    initializer={
        "module": "keras_initlab.initializers.named",
        "class_name": "GlorotUniform",
        "config": {"seed": 7, "input_axes": None, "output_axes": None, "batch_axes": None},
        "registered_name": "keras_initlab>GlorotUniform",
    },
    gates=2,
)
class PerGate(Initializer):
    """Any law, drawn for each gate of a fused recurrent kernel on its own.

    ``W = (W_1, …, W_G)`` along the last axis, each ``W_g`` drawn as a weight of shape (…, units) of its own

    Keras keeps the kernels of all G gates in one weight of shape (…, G · units) and hands that shape to the
    initializer. An orthogonal law then makes the wide matrix orthogonal and not the gates' kernels, whose singular
    values spread between 0 and 1 with a root mean square of 1/√G (0.5 for an LSTM, 0.577 for a GRU); and a law that
    counts the fan-out counts that of all gates. Here each gate has the law that a layer of its own would have.

    Args:
        initializer: The law of one gate: an initializer of this package or of Keras, its string name or its config.
        gates: G, a whole number that is at least 1: 4 for an LSTM or ConvLSTM, 3 for a GRU. It has no default, since
            the shape alone does not tell: 12 columns are 3 gates of 4 units or 4 gates of 3.

    Each gate draws with a seed of its own, derived from that of ``initializer`` and the gate's place; a
    ``keras.random.SeedGenerator`` advances from gate to gate. The last axis of the shape has to be a multiple of
    ``gates``, and the rest is up to ``initializer``. Any float dtype: ``initializer`` draws in float32 or wider, which
    is cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or ``initializer`` names none; when called, if the last axis is not a
            multiple of ``gates``, or ``initializer`` refuses the shape of one gate.

    Reference:
        Hochreiter & Schmidhuber (1997), Long short-term memory, where every gate has weights of its own; Saxe,
        McClelland & Ganguli (2014), Exact solutions to the nonlinear dynamics of learning in deep linear neural
        networks, section 3, for orthogonal ones.

    Example:
        >>> kernel = keras.ops.convert_to_numpy(PerGate("orthogonal", gates=4)((3, 12)))
        >>> forget = kernel[:, 3:6]
        >>> (forget.T @ forget).round(5) + 0.0
        array([[1., 0., 0.],
               [0., 1., 0.],
               [0., 0., 1.]], dtype=float32)
    """

    arguments: ClassVar = {
        "initializer": Wrapped(),
        "gates": Count(mend="Pass 4 for an LSTM or ConvLSTM, 3 for a GRU."),
    }
    initializer: Any
    gates: int

    def __init__(self, initializer: Any, gates: int) -> None:
        super().__init__(initializer=initializer, gates=gates)

    @property
    def seed(self) -> Any:
        """Seed of the wrapped initializer, None where it has none."""
        return getattr(self.initializer, "seed", None)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        if not shape or shape[-1] % self.gates:
            raise ValueError(
                f"PerGate(gates={self.gates}) needs a shape whose last axis is a multiple of {self.gates}. "
                f"Received: shape={shape}. Pass gates=4 for an LSTM or ConvLSTM, gates=3 for a GRU."
            )
        block = (*shape[:-1], shape[-1] // self.gates)
        return keras.ops.concatenate([self._of_gate(gate)(block, dtype=dtype) for gate in range(self.gates)], axis=-1)

    def _of_gate(self, gate: int) -> Any:
        """The wrapped initializer as it draws one gate."""
        if self.seed is None:
            return self.initializer
        return with_seed(self.initializer, fold(self.seed, gate))


def with_seed(initializer: Any, seed: Any) -> Any:
    """Copy an initializer but for its seed; what has no seed is returned itself.

    Args:
        initializer: Any initializer or callable.
        seed: What its class takes for a seed.
    """
    if isinstance(initializer, PerGate):
        return PerGate(with_seed(initializer.initializer, seed), initializer.gates)
    config = initializer.get_config() if isinstance(initializer, keras.initializers.Initializer) else {}
    # A generator goes in itself, not as the config describes it, and so advances from copy to copy.
    return type(initializer).from_config({**config, "seed": seed}) if "seed" in config else initializer
