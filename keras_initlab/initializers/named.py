"""The named recipes: each is a variance scaling with three of its arguments fixed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from keras_initlab.initializers.registry import register
from keras_initlab.initializers.variance_scaling import VarianceScaling

__all__ = ["GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "LecunNormal", "LecunUniform"]

Axes = Sequence[int] | None


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class GlorotNormal(VarianceScaling):
    """Glorot's variance, cut normal law (Xavier normal).

    ``Var w = 2 / (fan_in + fan_out)``; normal, cut at ±2 standard deviations of the law before the cut

    For layers that are linear around 0, such as tanh: the variance lies between the one that keeps the signal's scale
    forward and the one that keeps the gradient's backward, and is both where the fans agree.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, section
        4.2.1, equation 12. They draw from the uniform law (equation 16); the cut normal law follows Keras.

    Example:
        >>> GlorotNormal(seed=0).target_stddev((30, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(1.0, "fan_avg", "truncated_normal", seed, input_axes, output_axes, batch_axes)


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class GlorotUniform(VarianceScaling):
    """Glorot's variance, uniform law (Xavier uniform).

    ``w ~ U[−l, l] with l = √(6 / (fan_in + fan_out))``

    For layers that are linear around 0, such as tanh; Keras's default for most kernels.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        Glorot & Bengio (2010), Understanding the difficulty of training deep feedforward neural networks, section
        4.2.1, equation 16.

    Example:
        >>> GlorotUniform(seed=0).target_stddev((30, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(1.0, "fan_avg", "uniform", seed, input_axes, output_axes, batch_axes)


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class HeNormal(VarianceScaling):
    """He's variance, cut normal law.

    ``Var w = 2 / fan_in``; normal, cut at ±2 standard deviations of the law before the cut

    For ReLU, which keeps half of the mean square of a symmetric input: the 2 makes up for it, at any depth.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, equation 10. They draw from the whole normal law;
        the cut at two standard deviations, widened so that the variance is exact, follows Keras.

    Example:
        >>> HeNormal(seed=0).target_stddev((50, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(2.0, "fan_in", "truncated_normal", seed, input_axes, output_axes, batch_axes)


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class HeUniform(VarianceScaling):
    """He's variance, uniform law.

    ``w ~ U[−l, l] with l = √(6 / fan_in)``

    For ReLU, with the variance 2 / fan_in of ``HeNormal`` and no value beyond 1.73 standard deviations.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, equation 10, which fixes the variance only.

    Example:
        >>> HeUniform(seed=0).target_stddev((50, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(2.0, "fan_in", "uniform", seed, input_axes, output_axes, batch_axes)


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class LecunNormal(VarianceScaling):
    """LeCun's variance, cut normal law.

    ``Var w = 1 / fan_in``; normal, cut at ±2 standard deviations of the law before the cut

    For activations of gain 1, such as SELU or none: the pre-activation has the mean square of the input.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, section 4.6, equation 16. The law is left open there;
        the cut at two standard deviations, widened so that the variance is exact, follows Keras.

    Example:
        >>> LecunNormal(seed=0).target_stddev((25, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(1.0, "fan_in", "truncated_normal", seed, input_axes, output_axes, batch_axes)


@register(shape=(3, 8, 5, 16), seed=7, input_axes=[1], output_axes=[3], batch_axes=[2])
class LecunUniform(VarianceScaling):
    """LeCun's variance, uniform law.

    ``w ~ U[−l, l] with l = √(3 / fan_in)``

    For activations of gain 1, with the variance 1 / fan_in of ``LecunNormal``.

    Args:
        seed: An integer, a ``keras.random.SeedGenerator``, a ``PortableSeed`` or None, as in ``RandomNormal``.
        input_axes: Axes that are summed over; None (default) for Keras's convention, as in ``VarianceScaling``.
        output_axes: Axes that lay out the output units, likewise.
        batch_axes: Axes along which whole weights are stacked, such as a depthwise kernel's channels. Default: none.

    Any shape whose axes exist, any float dtype; drawn in float32 or wider and cast once.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range; when called, if the declared axes do not fit the shape.

    Reference:
        LeCun, Bottou, Orr & Müller (1998), Efficient BackProp, section 4.6, equation 16.

    Example:
        >>> LecunUniform(seed=0).target_stddev((25, 20))
        0.2
    """

    def __init__(
        self, seed: Any = None, input_axes: Axes = None, output_axes: Axes = None, batch_axes: Axes = None
    ) -> None:
        super().__init__(1.0, "fan_in", "uniform", seed, input_axes, output_axes, batch_axes)
