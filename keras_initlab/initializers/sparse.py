"""Few connections for each unit."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from keras import ops

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Count, Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed, fold

__all__ = ["Sparse"]


@register(nonzeros=5, stddev=0.5, seed=7)
class Sparse(Initializer):
    """A fixed number of normal weights into each unit, at random positions, and 0 elsewhere.

    ``w[i, j] ~ N(0, stddev²) for i in S_j, w[i, j] = 0 for the others``, with S_j a set of ``nonzeros`` inputs of unit
    j, each set equally likely and independent of the other units' and of the values

    The scale of a unit does not depend on its fan-in: for inputs of mean square 1 its variance is nonzeros · stddev².
    Units differ from each other in where they look, so weights can be large without making them alike.

    The weight is flattened to (inputs, units) = (product of all axes but the last, last axis), as in Keras.

    Args:
        nonzeros: Non-zero weights into each unit, at least 1 and at most the number of inputs. Default 15, as in the
            paper.
        stddev: Standard deviation of the non-zero weights, at least 0; 0 gives zeros. Default 1.0, as in the second
            reference, for units that saturate; 1/√nonzeros keeps the scale of a linear layer's input.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.

    Rank 2 or higher, any float dtype; drawn in float32 or wider and cast once, which rounds a value to 0 only where
    the dtype has nothing smaller. A zero-size axis gives an empty tensor.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the shape has fewer than two axes, or a unit has fewer
            inputs than ``nonzeros``.

    Reference:
        Martens (2010), Deep learning via Hessian-free optimization; Sutskever, Martens, Dahl & Hinton (2013), On the
        importance of initialization and momentum in deep learning.

    Example:
        >>> import keras
        >>> kernel = keras.ops.convert_to_numpy(Sparse(nonzeros=3, seed=0)((100, 5)))
        >>> (kernel != 0).sum(axis=0).tolist()
        [3, 3, 3, 3, 3]
    """

    arguments: ClassVar = {
        "nonzeros": Count(mend="Pass how many inputs each unit is connected to."),
        "stddev": Real(low=0.0),
        "seed": Seed(),
    }
    nonzeros: int
    stddev: float

    def __init__(self, nonzeros: int = 15, stddev: float = 1.0, seed: Any = None) -> None:
        super().__init__(nonzeros=nonzeros, stddev=stddev, seed=seed)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        if len(shape) < 2:
            raise ValueError(
                f"Sparse needs a shape with two axes or more. Received: shape={shape}. "
                "Use it for kernels, and zeros for a bias."
            )
        if math.prod(shape) == 0:
            return ops.zeros(shape, dtype=dtype)
        inputs, units = math.prod(shape[:-1]), shape[-1]
        if inputs < self.nonzeros:
            raise ValueError(
                f"Sparse(nonzeros={self.nonzeros}) needs at least {self.nonzeros} inputs for each unit. "
                f"Received: shape={shape}, which has {inputs}. Pass nonzeros={inputs} or fewer."
            )
        seed = self._next_seed()
        # The inputs with the smallest uniform numbers are a random set, which equal numbers make no smaller. Not those
        # with the largest: floats are densest near 0, and backends differ in which of two equal ones comes first.
        ranking = sampling.uniform((units, inputs), 0.0, 1.0, dtype, fold(seed, 0))
        _, chosen = ops.top_k(-ranking, self.nonzeros)
        unit = ops.broadcast_to(ops.arange(units, dtype="int32")[:, None], (units, self.nonzeros))
        places = ops.reshape(ops.stack([ops.sort(ops.cast(chosen, "int32"), axis=-1), unit], axis=-1), (-1, 2))
        values = sampling.normal((units * self.nonzeros,), 0.0, self.stddev, dtype, fold(seed, 1))
        return ops.reshape(ops.scatter_update(ops.zeros((inputs, units), dtype=dtype), places, values), shape)
