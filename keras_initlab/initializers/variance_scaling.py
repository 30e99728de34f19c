"""Laws whose variance is set by the fan of the weight."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, ClassVar

import keras

from keras_initlab.initializers import sampling
from keras_initlab.initializers.arguments import Activation, Axes, Choice, Real, check_disjoint
from keras_initlab.initializers.base import Initializer
from keras_initlab.initializers.registry import register
from keras_initlab.initializers.seeds import Seed
from keras_initlab.theory import fans, gain, truncated_moments

__all__ = ["VarianceScaling", "gain_of", "scaled_stddev"]

_CUT = (-2.0, 2.0)
# What an activation's gain has to keep for each mode: the signal, the gradient, or something of both.
_CRITERIA = {
    "fan_in": "forward",
    "fan_out": "backward",
    "fan_avg": "geometric",
    "fan_geo_avg": "geometric",
}


# EinsumDense and MultiHeadAttention hand their axes on only to instances of Keras's own class.
@register(
    shape=(3, 8, 5, 16),
    scale=3.0,
    mode="fan_geo_avg",
    distribution="uniform",
    seed=7,
    input_axes=[1],
    output_axes=[-2],
    batch_axes=[0],
    activation="gelu",
)
class VarianceScaling(Initializer, keras.initializers.VarianceScaling):
    """Zero-mean law with variance scale · gain² / fan.

    ``Var w = scale · g² / n``, with n the fan-in, the fan-out, (fan_in + fan_out) / 2 or √(fan_in · fan_out), and at
    least 1; and g = 1 or the gain of an activation

    - ``truncated_normal``: normal, cut at ±2 standard deviations of the law before the cut, which is made
      1 / 0.87963 wider so that the variance *after* the cut is that of the formula.
    - ``untruncated_normal``: the normal law of this variance.
    - ``uniform``: U[−l, l] with l = √(3 Var w).

    Args:
        scale: Factor of the variance, at least 0; 0 gives zeros. Default 1.0, which keeps the variance of a linear
            layer's input; 2.0 makes up for the half that ReLU cuts away.
        mode: ``"fan_in"`` (default: keeps the scale of the signal forward), ``"fan_out"`` (that of the gradient
            backward), ``"fan_avg"`` (a compromise) or ``"fan_geo_avg"`` (the compromise that changes both by inverse
            factors).
        distribution: ``"truncated_normal"`` (default, as in Keras), ``"untruncated_normal"`` or ``"uniform"``.
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes of the weight that are summed over; None (default) for Keras's convention, or for what
            ``output_axes`` leaves. Axes that are in no list are the receptive field and count in both fans.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, which count in neither fan: ``[-2]`` for a depthwise
            kernel. Default: none.
        activation: What follows the layer, by Keras's name, as a Keras activation or as any function that Keras can
            save: g is then ``keras_initlab.theory.gain`` of it for standard normal input, ``"forward"`` for fan_in,
            ``"backward"`` for fan_out and ``"geometric"`` for the two averages. Default None: g = 1.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range, or the activation has no gain; when called, if the declared axes do
            not fit the shape.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, equations 10 and 14 for the two modes; Glorot &
        Bengio (2010), section 4.2.1, equations 10 to 12 for the compromise.

    Example:
        >>> initializer = VarianceScaling(scale=2.0, mode="fan_in", distribution="uniform", seed=0)
        >>> initializer.target_stddev((50, 10))
        0.2
        >>> round(VarianceScaling(activation="gelu").target_stddev((100, 10)), 10)
        0.1533530441
    """

    elementwise = True
    arguments: ClassVar = {
        "scale": Real(low=0.0),
        "mode": Choice(tuple(_CRITERIA)),
        "distribution": Choice(("truncated_normal", "untruncated_normal", "uniform")),
        "seed": Seed(),
        "input_axes": Axes(),
        "output_axes": Axes(),
        "batch_axes": Axes(),
        "activation": Activation(),
    }
    scale: float
    mode: str
    distribution: str
    input_axes: tuple[int, ...] | None
    output_axes: tuple[int, ...] | None
    batch_axes: tuple[int, ...] | None
    activation: Any

    def __init__(
        self,
        scale: float = 1.0,
        mode: str = "fan_in",
        distribution: str = "truncated_normal",
        seed: Any = None,
        input_axes: Sequence[int] | None = None,
        output_axes: Sequence[int] | None = None,
        batch_axes: Sequence[int] | None = None,
        activation: Any = None,
    ) -> None:
        super().__init__(
            scale=scale,
            mode=mode,
            distribution=distribution,
            seed=seed,
            input_axes=input_axes,
            output_axes=output_axes,
            batch_axes=batch_axes,
            activation=activation,
        )
        check_disjoint(self)
        gain_of(self)  # an activation without one is refused here and not at the first call

    def target_stddev(self, shape: Sequence[int]) -> float:
        """Standard deviation that the values of a weight of this shape have.

        Args:
            shape: Sizes of the weight's axes.

        Returns:
            √(scale / n) times the activation's gain.

        Raises:
            ValueError: The declared axes do not fit the shape.
        """
        return scaled_stddev(self, *fans(shape, self.input_axes, self.output_axes, self.batch_axes or ()))

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        target, seed = self.target_stddev(shape), self._next_seed()
        if self.distribution == "uniform":
            limit = math.sqrt(3.0) * target
            return sampling.uniform(shape, -limit, limit, dtype, seed)
        if self.distribution == "untruncated_normal":
            return sampling.normal(shape, 0.0, target, dtype, seed)
        before_cut = target / truncated_moments(*_CUT)[1]
        return sampling.truncated_normal(shape, 0.0, before_cut, *_CUT, dtype, seed)


def scaled_stddev(initializer: Any, fan_in: float, fan_out: float) -> float:
    """The standard deviation that a variance scaling law has for these fans.

    Args:
        initializer: A ``VarianceScaling`` of this package or of Keras.
        fan_in: Inputs that feed one unit.
        fan_out: Units that one input feeds.

    Returns:
        √(scale / n) times the gain of the initializer's activation, if it has one.
    """
    fan = {
        "fan_in": fan_in,
        "fan_out": fan_out,
        "fan_avg": (fan_in + fan_out) / 2,
        "fan_geo_avg": math.sqrt(fan_in * fan_out),
    }[initializer.mode]
    return math.sqrt(initializer.scale / max(1.0, fan)) * gain_of(initializer)


def gain_of(initializer: Any) -> float:
    """What the activation that an initializer was told of multiplies its standard deviation by; 1 without one."""
    activation = getattr(initializer, "activation", None)
    return 1.0 if activation is None else gain(activation, _CRITERIA[initializer.mode])
