"""Normal laws, whole and cut."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Real, Seed
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register

__all__ = ["RandomNormal", "TruncatedNormal"]

# Further out, neighbouring float32 numbers lie further apart than the law is wide (1/a).
_LOWER = Real(low=-1e3, high=1e3, no_bound=-math.inf)
_UPPER = Real(low=-1e3, high=1e3, no_bound=math.inf)


@register(mean=0.5, stddev=0.25, seed=7)
class RandomNormal(Initializer):
    """Normal law.

    ``w ~ N(mean, stddev²)``

    Args:
        mean: Centre of the law, a finite number. Default 0.0: a weight has no preferred sign.
        stddev: Standard deviation, at least 0. Default 0.05, as in Keras. It knows nothing of the fan, so a deep
            network wants ``HeNormal`` or ``LecunNormal`` instead.
        seed: An integer from 0 to 2**32 − 1 (NumPy's too) repeats the same values at each call with the same shape; a
            ``keras.random.SeedGenerator`` advances; None (the default) draws anew at each call, from the operating
            system's entropy (under ``tf.function``: at each trace). On TensorFlow, Keras takes seeds modulo 2**31 − 2,
            and XLA draws other values from a seed than the interpreter does.

    Any shape, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, on what a fixed scale does to a deep network.

    Example:
        >>> initializer = RandomNormal(stddev=0.05, seed=0)
        >>> initializer((2, 3)).shape
        TensorShape([2, 3])
    """

    arguments: ClassVar = {"mean": Real(), "stddev": Real(low=0.0), "seed": Seed()}
    mean: float
    stddev: float

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        return sampling.normal(shape, self.mean, self.stddev, dtype, self._next_seed())


@register(mean=0.5, stddev=0.25, lower=-1.0, upper=3.0, seed=7)
class TruncatedNormal(Initializer):
    """Normal law cut at any two bounds.

    ``w = mean + stddev · z`` with ``z ~ N(0, 1)`` given that ``lower ≤ z ≤ upper``

    The cut narrows the law: at ±2 the standard deviation of the values is 0.8796 times ``stddev``, in general
    ``stddev · keras_initlab.theory.truncated_moments(lower, upper)[1]``.

    Args:
        mean: Mean of the law before the cut, a finite number. Default 0.0.
        stddev: Standard deviation of the law *before* the cut, at least 0, as in Keras. Default 0.05, as in Keras.
        lower: Lower bound in standard deviations from the mean, from −1000 to 1000; None or minus infinity for none.
            Default −2.0, as in Keras: it costs 4.6 % of the values and keeps any unit from starting out saturated.
        upper: Upper bound likewise, above ``lower``. Default 2.0.
        seed: An integer, a ``keras.random.SeedGenerator`` or None, as in ``RandomNormal``.

    Any shape, any float dtype. The values lie within the bounds as rounded to the dtype, for any bounds, also far in
    a tail: they are drawn by inverting the distribution function, not by rejection.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or ``lower`` is not below ``upper``.

    Reference:
        Devroye (1986), Non-uniform random variate generation, section II.2, on inversion.

    Example:
        >>> values = TruncatedNormal(stddev=1.0, lower=3.0, upper=None, seed=0)((1000,))
        >>> bool(values.numpy().min() >= 3.0)
        True
    """

    arguments: ClassVar = {"mean": Real(), "stddev": Real(low=0.0), "lower": _LOWER, "upper": _UPPER, "seed": Seed()}
    mean: float
    stddev: float
    lower: float | None
    upper: float | None

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 0.05,
        lower: float | None = -2.0,
        upper: float | None = 2.0,
        seed: Any = None,
    ) -> None:
        super().__init__(mean=mean, stddev=stddev, lower=lower, upper=upper, seed=seed)
        low, high = self.bounds
        if not low < high:
            raise ValueError(
                f"Argument `lower` must be below `upper`. Received: lower={lower!r}, upper={upper!r}. "
                "Both are in standard deviations from the mean, not in units of the weight."
            )

    @property
    def bounds(self) -> tuple[float, float]:
        """The two bounds in standard deviations from the mean, infinite where there is none."""
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        return sampling.truncated_normal(shape, self.mean, self.stddev, *self.bounds, dtype, self._next_seed())
