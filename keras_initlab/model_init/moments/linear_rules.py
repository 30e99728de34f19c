"""Rules of linear layers: a layer's own linear map, with its kernel for the mean and the squares for the variance."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call
from keras_initlab.model_init.moments.activation_rules import after_activation
from keras_initlab.model_init.moments.rules import Moments, Weights, rule, weights
from keras_initlab.model_init.moments.sampled import vector_product
from keras_initlab.model_init.roles import own_weights

__all__ = ["LINEAR", "Stage", "linear", "stages"]

Array = NDArray[np.float64]

LINEAR = (
    "Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "Conv1DTranspose", "Conv2DTranspose", "Conv3DTranspose",
    "DepthwiseConv1D", "DepthwiseConv2D", "SeparableConv1D", "SeparableConv2D",
)  # fmt: skip
"""Layers that are one linear map after another, a bias and a fused activation."""


class Stage(NamedTuple):
    """A linear map with one kernel.

    Attributes:
        variable: The kernel's variable.
        apply: Takes the map of one example, without the batch axis, and a kernel.
        adjoint: Takes the map of what comes back to the outputs, a kernel, and the shape of the input's map.
    """

    variable: Any
    apply: Callable[[Array, Array], Array]
    adjoint: Callable[[Array, Array, tuple[int, ...]], Array]


@rule(*LINEAR)
def _linear(call: Call, inputs: Sequence[Moments]) -> Any:
    before = linear(call.operation, inputs[0])
    return NotImplemented if before is None else after_activation(call.operation.activation, before)


def linear(layer: Any, moments: Moments, source: Weights | None = None) -> Moments | None:
    """Moments of the pre-activation: the product with the kernel, and the bias.

    ``μ′ = W μ + b`` and ``v′ = W² v``, with W the layer's linear map (its padding, strides, groups and dilation) and
    W² the same map with each element of the kernel squared. μ′ is exact. v′ is exact for independent inputs; what
    covariances add to it has mean 0 over random kernels.

    Args:
        layer: One of ``LINEAR``.
        moments: Of its input.
        source: Where weights are taken from. Default None: ``rules.weights()``.

    Returns:
        The moments; None for a layer that is quantized or under low-rank adaptation.
    """
    source = source or weights()
    found = stages(layer)
    if found is None:
        return None
    for stage in found:
        moments = _through(stage, moments, source)
    bias = layer.bias
    if bias is None:
        return moments
    value = source.value(bias)
    if getattr(layer, "data_format", "") == "channels_first":
        value = value.reshape(-1, *[1] * (moments.mean.ndim - 1))
    return Moments(moments.mean + value, moments.variance)


def _through(stage: Stage, moments: Moments, source: Weights) -> Moments:
    def mean_square() -> float:
        return float(stage.apply(moments.square, np.ones(stage.variable.shape)).mean())

    kernel = source.kernel(stage.variable, mean_square)
    return Moments(stage.apply(moments.mean, kernel), stage.apply(moments.variance, kernel**2))


def stages(layer: Any) -> list[Stage] | None:
    """The linear maps of a layer, in order; None where its kernels are not what it multiplies with."""
    own = {weight.name: weight for weight in own_weights(layer)}
    if any(weight.role.kind == "adapted" for weight in own.values()):
        return None
    if isinstance(layer, keras.layers.Dense):
        return [Stage(own["kernel"].variable, np.matmul, lambda y, kernel, _: y @ kernel.T)]
    if isinstance(layer, keras.layers.EinsumDense):
        return [_einsum(own["kernel"].variable, layer.equation)]
    return [_convolution(own[name].variable, layer, apply) for name, apply in _parts(layer)]


def _einsum(variable: Any, equation: str) -> Stage:
    operands, result = equation.split("->")
    data, kernel = operands.split(",")
    back = f"{result},{kernel}->{data}"
    return Stage(
        variable,
        lambda x, w: np.einsum(equation, x[None], w)[0],
        lambda y, w, _: np.einsum(back, y[None], w)[0],
    )


def _parts(layer: Any) -> list[tuple[str, Callable[[Any, Any], Any]]]:
    """Names of a convolution's kernels, with what the layer does with each, channels last."""
    shared = {"padding": layer.padding, "data_format": "channels_last"}
    steps = {**shared, "strides": layer.strides, "dilation_rate": layer.dilation_rate}
    if hasattr(layer, "depth_multiplier"):
        one = len(layer.kernel_size) * (1,)

        def depthwise(x: Any, kernel: Any) -> Any:
            return keras.ops.depthwise_conv(x, kernel, **{**steps, "strides": _one(layer.strides)})

        def pointwise(x: Any, kernel: Any) -> Any:
            return keras.ops.conv(x, kernel, strides=one, padding="valid", data_format="channels_last")

        both = hasattr(layer, "pointwise_kernel")
        return [("depthwise_kernel", depthwise), ("pointwise_kernel", pointwise)] if both else [("kernel", depthwise)]
    if hasattr(layer, "output_padding"):
        more = {**steps, "output_padding": layer.output_padding}
        return [("kernel", lambda x, kernel: keras.ops.conv_transpose(x, kernel, **more))]

    def convolve(x: Any, kernel: Any) -> Any:
        if layer.padding == "causal":
            x = keras.ops.pad(x, ((0, 0), (layer.dilation_rate[0] * (layer.kernel_size[0] - 1), 0), (0, 0)))
        return keras.ops.conv(
            x, kernel, **{**steps, "padding": "valid" if layer.padding == "causal" else layer.padding}
        )

    return [("kernel", convolve)]


def _one(strides: tuple[int, ...]) -> Any:
    """Equal strides as one number, which all backends take for depthwise convolutions."""
    return strides[0] if len(set(strides)) == 1 else strides


def _convolution(variable: Any, layer: Any, apply: Callable[[Any, Any], Any]) -> Stage:
    """The same on NumPy arrays without the batch axis, whose values may exceed what float32 holds."""
    first = layer.data_format == "channels_first"
    # JAX has no float64 unless it is told to.
    dtype = "float32" if keras.backend.backend() == "jax" else "float64"

    def tensor(array: Array) -> Any:
        return keras.ops.convert_to_tensor(array, dtype=dtype)

    def last(x: Array) -> Array:
        return np.moveaxis(x, 0, -1) if first else x

    def to_array(x: Any, scale: float) -> Array:
        array = np.asarray(keras.ops.convert_to_numpy(x), "float64")[0] * scale
        return np.moveaxis(array, -1, 0) if first else array

    def convolve(x: Array, kernel: Array) -> Array:
        (x, one), (kernel, other) = _scaled(last(x)), _scaled(kernel)
        return to_array(apply(tensor(x[None]), tensor(kernel)), one * other)

    def back(y: Array, kernel: Array, shape: tuple[int, ...]) -> Array:
        (y, one), (kernel, other) = _scaled(last(y)), _scaled(kernel)
        zeros, weight = tensor(last(np.zeros(shape))[None]), tensor(kernel)
        found = vector_product(lambda x: [apply(x, weight)], [zeros], lambda _: [tensor(y[None])])
        return to_array(found[0], one * other)

    return Stage(variable, convolve, back)


def _scaled(x: Array) -> tuple[Array, float]:
    """Divided by a power of two, so that the largest is about 1 and nothing is rounded."""
    scale = 2.0 ** math.frexp(np.abs(x).max(initial=0.0))[1]
    return x / scale, scale
