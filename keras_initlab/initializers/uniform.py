"""Uniform law."""

from __future__ import annotations

from typing import Any, ClassVar

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed

__all__ = ["RandomUniform"]


@register(minval=-0.5, maxval=1.5, seed=7)
class RandomUniform(Initializer):
    """Uniform law.

    ``w ~ U[minval, maxval]``, with mean (minval + maxval) / 2 and standard deviation (maxval − minval) / √12

    Args:
        minval: Lower bound, a finite number. Default −0.05, as in Keras.
        maxval: Upper bound, a finite number not below ``minval``; equal bounds give a constant. Default 0.05.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.

    Any shape, any float dtype. The values lie within the bounds as rounded to the dtype; in a narrow dtype such as
    bfloat16 they can therefore meet either bound.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or ``maxval`` is below ``minval``.

    Reference:
        Glorot & Bengio (2010), section 2.3, equation 1: the scale 1/√n that was in common use, and that they improve
        on.

    Example:
        >>> values = RandomUniform(minval=0.0, maxval=1.0, seed=0)((1000,))
        >>> bool(values.numpy().min() >= 0.0), bool(values.numpy().max() <= 1.0)
        (True, True)
    """

    elementwise = True
    arguments: ClassVar = {"minval": Real(), "maxval": Real(), "seed": Seed()}
    minval: float
    maxval: float

    def __init__(self, minval: float = -0.05, maxval: float = 0.05, seed: Any = None) -> None:
        super().__init__(minval=minval, maxval=maxval, seed=seed)
        if self.maxval < self.minval:
            raise ValueError(
                f"Argument `maxval` must not be below `minval`. Received: minval={minval!r}, maxval={maxval!r}. "
                "Exchange the two."
            )

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        return sampling.uniform(shape, self.minval, self.maxval, dtype, self._next_seed())
