"""Normal laws, whole and cut."""

from __future__ import annotations

import math
from typing import Any, ClassVar

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Choice, Real
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed
from keras_initlab.theory import stddev_before_cut, truncated_moments

__all__ = ["RandomNormal", "TruncatedNormal"]

# Further out, neighbouring float32 numbers lie further apart than the law is wide (1/a).
_FARTHEST = 1e3


@register(mean=0.5, stddev=0.25, seed=7)
class RandomNormal(Initializer):
    """Normal law.

    ``w ~ N(mean, stddev²)``

    Args:
        mean: Centre of the law, a finite number. Default 0.0: a weight has no preferred sign.
        stddev: Standard deviation, at least 0. Default 0.05, as in Keras. It knows nothing of the fan, so a deep
            network wants ``HeNormal`` or ``LecunNormal`` instead.
        seed: An integer from 0 to 2**32 − 1 (NumPy's too) repeats the same values at each call with the same shape; a
            ``keras.random.SeedGenerator`` advances; a ``PortableSeed`` repeats the same bits on every backend; None
            (the default) draws anew at each call, from the operating system's entropy (under ``tf.function``: at each
            trace). On TensorFlow, Keras takes seeds modulo 2**31 − 2, and XLA draws other values from a seed than the
            interpreter does.

    Any shape, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, on what a fixed scale does to a deep network.

    Example:
        >>> initializer = RandomNormal(stddev=0.05, seed=0)
        >>> tuple(initializer((2, 3)).shape)
        (2, 3)
    """

    elementwise = True
    arguments: ClassVar = {"mean": Real(), "stddev": Real(low=0.0), "seed": Seed()}
    mean: float
    stddev: float

    def __init__(self, mean: float = 0.0, stddev: float = 0.05, seed: Any = None) -> None:
        super().__init__(mean=mean, stddev=stddev, seed=seed)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        return sampling.normal(shape, self.mean, self.stddev, dtype, self._next_seed())


@register(mean=0.5, stddev=0.25, lower=-1.0, upper=3.0, seed=7, units="absolute", stddev_of="values")
class TruncatedNormal(Initializer):
    """Normal law cut at any two bounds.

    ``w = mean + σ · z`` with ``z ~ N(0, 1)`` given that ``lower ≤ z ≤ upper``, or that ``lower ≤ w ≤ upper``

    The cut narrows the law: at ±2 the standard deviation of the values is 0.8796 times σ, in general
    ``σ · keras_initlab.theory.truncated_moments(lower, upper)[1]``.

    Args:
        mean: Mean of the law before the cut, a finite number. Default 0.0.
        stddev: A standard deviation, at least 0; ``stddev_of`` says which. Default 0.05, as in Keras.
        lower: Lower bound; None or minus infinity for none. Default −2.0, as in Keras: with the upper one it costs 4.6
            % of the values and keeps any unit from starting out saturated.
        upper: Upper bound, above ``lower``; None or infinity for none. Default 2.0.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        units: What the bounds count. ``"stddev"`` (default, as in Keras): standard deviations σ from the mean.
            ``"absolute"``: the weight itself, as in ``torch.nn.init.trunc_normal_``.
        stddev_of: ``"normal"`` (default, as in Keras): ``stddev`` is σ, that of the normal law before the cut.
            ``"values"``: that of the values after it; σ is then found so that it comes out, and has to exist: values
            between two absolute bounds cannot spread as much as evenly, (upper − lower) / √12.

    Any shape, any float dtype. The values lie within the bounds as rounded to the dtype, for any bounds within 1000
    standard deviations, also far in a tail: they are drawn by inverting the distribution function, not by rejection.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, ``lower`` is not below ``upper``, or no normal law cut at the bounds
            has this standard deviation.

    Reference:
        Devroye (1986), Non-uniform random variate generation, section II.2, on inversion.

    Example:
        >>> values = TruncatedNormal(stddev=1.0, lower=3.0, upper=None, seed=0)((1000,))
        >>> bool(keras.ops.min(values) >= 3.0)
        True
        >>> initializer = TruncatedNormal(stddev=0.5, lower=-1.0, upper=1.0, units="absolute", stddev_of="values")
        >>> round(initializer.law[0], 6)
        0.688951
    """

    elementwise = True
    arguments: ClassVar = {
        "mean": Real(),
        "stddev": Real(low=0.0),
        "lower": Real(no_bound=-math.inf),
        "upper": Real(no_bound=math.inf),
        "seed": Seed(),
        "units": Choice(("stddev", "absolute")),
        "stddev_of": Choice(("normal", "values")),
    }
    mean: float
    stddev: float
    lower: float | None
    upper: float | None
    units: str
    stddev_of: str

    def __init__(
        self,
        mean: float = 0.0,
        stddev: float = 0.05,
        lower: float | None = -2.0,
        upper: float | None = 2.0,
        seed: Any = None,
        units: str = "stddev",
        stddev_of: str = "normal",
    ) -> None:
        super().__init__(
            mean=mean, stddev=stddev, lower=lower, upper=upper, seed=seed, units=units, stddev_of=stddev_of
        )
        low, high = self._declared_bounds()
        if not low < high:
            raise ValueError(
                f"Argument `lower` must be below `upper`. Received: lower={lower!r}, upper={upper!r}. "
                'With units="stddev" both count standard deviations from the mean, with "absolute" the weight itself.'
            )
        _, low, high = self.law
        if self.stddev and max(low, -high) > _FARTHEST:
            raise ValueError(
                "Arguments `lower` and `upper` must leave values within "
                f"{_FARTHEST:g} standard deviations of the mean. "
                f"Received: lower={lower!r}, upper={upper!r}, of which the nearer is {max(low, -high):g} away. "
                "Further out neighbouring float32 numbers lie further apart than the law is wide."
            )

    @property
    def law(self) -> tuple[float, float, float]:
        """σ before the cut, and the two bounds in σ from the mean, infinite where there is none."""
        low, high = self._declared_bounds()
        after = self.stddev_of == "values"
        if self.stddev == 0.0:
            return 0.0, -math.inf, math.inf
        if self.units == "stddev":
            sigma = self.stddev / truncated_moments(low, high)[1] if after else self.stddev
            return sigma, low, high
        low, high = low - self.mean, high - self.mean
        sigma = stddev_before_cut(self.stddev, low, high) if after else self.stddev
        return sigma, low / sigma, high / sigma

    def _declared_bounds(self) -> tuple[float, float]:
        return (
            -math.inf if self.lower is None else self.lower,
            math.inf if self.upper is None else self.upper,
        )

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        sigma, lower, upper = self.law
        mean, (low, high) = self.mean, self._declared_bounds()
        if sigma == 0.0 and self.units == "absolute":
            mean = min(max(mean, low), high)  # where the law shrinks to as σ does
        return sampling.truncated_normal(shape, mean, sigma, lower, upper, dtype, self._next_seed())
