"""Laws whose variance is set by the fan of the weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Axes, Choice, Real, Seed
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.theory import fans, truncated_moments

__all__ = ["VarianceScaling"]

_CUT = (-2.0, 2.0)


# EinsumDense and MultiHeadAttention hand their axes on only to instances of Keras's own class.
@register(scale=3.0, mode="fan_avg", distribution="uniform", seed=7, input_axes=[1], output_axes=[-2])
class VarianceScaling(Initializer, keras.initializers.VarianceScaling):
    """Zero-mean law with variance scale / fan.

    ``Var w = scale / n``, with n the fan-in, the fan-out, or (fan_in + fan_out) / 2, and at least 1

    - ``truncated_normal``: normal, cut at ±2 standard deviations of the law before the cut, which is made
      1 / 0.87963 wider so that the variance *after* the cut is scale / n.
    - ``untruncated_normal``: N(0, scale / n).
    - ``uniform``: U[−l, l] with l = √(3 · scale / n).

    Args:
        scale: Variance times fan, at least 0; 0 gives zeros. Default 1.0, which keeps the variance of a linear layer's
            input; 2.0 makes up for the half that ReLU cuts away.
        mode: ``"fan_in"`` (default: keeps the scale of the signal forward), ``"fan_out"`` (that of the gradient
            backward) or ``"fan_avg"`` (a compromise).
        distribution: ``"truncated_normal"`` (default, as in Keras), ``"untruncated_normal"`` or ``"uniform"``.
        seed: An integer, a ``keras.random.SeedGenerator`` or None, as in ``RandomNormal``.
        input_axes: Axes of the weight that are summed over; None (default) for Keras's convention, or for what
            ``output_axes`` leaves. Axes that are in neither list are the receptive field and count in both fans.
        output_axes: Axes that lay out the output units, likewise.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, equations 10 and 14 for the two modes; Glorot &
        Bengio (2010), section 4.2.1, equations 10 to 12 for the compromise.

    Example:
        >>> initializer = VarianceScaling(scale=2.0, mode="fan_in", distribution="uniform", seed=0)
        >>> initializer.target_stddev((50, 10))
        0.2
    """

    arguments: ClassVar = {
        "scale": Real(low=0.0),
        "mode": Choice(("fan_in", "fan_out", "fan_avg")),
        "distribution": Choice(("truncated_normal", "untruncated_normal", "uniform")),
        "seed": Seed(),
        "input_axes": Axes(),
        "output_axes": Axes(),
    }
    scale: float
    mode: str
    distribution: str
    input_axes: tuple[int, ...] | None
    output_axes: tuple[int, ...] | None

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
    ) -> None:
        super().__init__(
            scale=scale,
            mode=mode,
            distribution=distribution,
            seed=seed,
            input_axes=input_axes,
            output_axes=output_axes,
        )
        if shared := sorted(set(self.input_axes or ()) & set(self.output_axes or ())):
            raise ValueError(
                "Arguments `input_axes` and `output_axes` must not share an axis. "
                f"Received: input_axes={input_axes!r}, output_axes={output_axes!r}, which share {shared}. "
                "Declare an axis that is neither (a receptive field) by leaving it out of both."
            )

    def target_stddev(self, shape: Sequence[int]) -> float:
        """Standard deviation that the values of a weight of this shape have.

        Args:
            shape: Sizes of the weight's axes.

        Returns:
            √(scale / n).

        Raises:
            ValueError: The declared axes do not fit the shape.
        """
        fan_in, fan_out = fans(shape, self.input_axes, self.output_axes)
        fan = {"fan_in": fan_in, "fan_out": fan_out, "fan_avg": (fan_in + fan_out) / 2}[self.mode]
        return math.sqrt(self.scale / max(1.0, fan))

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        target, seed = self.target_stddev(shape), self._next_seed()
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * target
            return sampling.uniform(shape, -limit, limit, dtype, seed)
        if self.distribution == "untruncated_normal":
            return sampling.normal(shape, 0.0, target, dtype, seed)
        before_cut = target / truncated_moments(*_CUT)[1]
        return sampling.truncated_normal(shape, 0.0, before_cut, *_CUT, dtype, seed)
