"""Rules of activations: layers, operations, and what is fused into other layers."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np

from keras_initlab.model_init.graph import Call
from keras_initlab.model_init.moments.activated import Activated
from keras_initlab.model_init.moments.activation_moments import activation_moments, rectified
from keras_initlab.model_init.moments.rules import Moments, rule, weights
from keras_initlab.model_init.moments.softmax_moments import softmax_moments
from keras_initlab.theory import Scalar, scalar

__all__ = ["ACTIVATIONS", "after_activation", "function_of"]

# Operations of Keras, by class: the activation, and attributes that are its parameters.
_OPERATIONS: dict[str, tuple[str, tuple[str, ...]]] = {
    "ReLU": ("relu", ("negative_slope", "max_value", "threshold")),
    "LeakyReLU": ("leaky_relu", ("negative_slope",)),
    "ELU": ("elu", ("alpha",)),
    "Relu": ("relu", ()),
    "Relu6": ("relu6", ()),
    "Sigmoid": ("sigmoid", ()),
    "SparseSigmoid": ("sparse_sigmoid", ()),
    "Softplus": ("softplus", ()),
    "Softsign": ("softsign", ()),
    "SoftShrink": ("soft_shrink", ("threshold",)),
    "SparsePlus": ("sparse_plus", ()),
    "Silu": ("silu", ()),
    "Squareplus": ("squareplus", ("b",)),
    "LogSigmoid": ("log_sigmoid", ()),
    "LeakyRelu": ("leaky_relu", ("negative_slope",)),
    "HardSigmoid": ("hard_sigmoid", ()),
    "HardSilu": ("hard_silu", ()),
    "Elu": ("elu", ("alpha",)),
    "Selu": ("selu", ()),
    "Gelu": ("gelu", ("approximate",)),
    "Celu": ("celu", ("alpha",)),
    "TanhShrink": ("tanh_shrink", ()),
    "HardTanh": ("hard_tanh", ()),
    "HardShrink": ("hard_shrink", ("threshold",)),
    "Threshold": ("threshold", ("threshold", "default_value")),
    "Mish": ("mish", ()),
    "Tanh": ("tanh", ()),
    "Exp": ("exponential", ()),
}
_ALSO = {
    "Absolute": Scalar("absolute", np.abs, np.sign, (0.0,)),
    "Abs": Scalar("absolute", np.abs, np.sign, (0.0,)),
    "Square": Scalar("square", np.square, lambda x: 2 * x),
    "Sin": Scalar("sin", np.sin, np.cos),
    "Cos": Scalar("cos", np.cos, lambda x: -np.sin(x)),
    "Expm1": Scalar("expm1", np.expm1, np.exp),
    "Arctan": Scalar("arctan", np.arctan, lambda x: 1 / (1 + x * x)),
    "Arcsinh": Scalar("arcsinh", np.arcsinh, lambda x: 1 / np.sqrt(1 + x * x)),
}
ACTIVATIONS = ("Activation", *_OPERATIONS, *_ALSO)
"""Layers and operations that are a function of one number."""


@rule(*ACTIVATIONS, normal=True)
def _activation(call: Call, inputs: Sequence[Moments]) -> Any:
    if len(inputs) != 1:
        return NotImplemented
    return after_activation(function_of(call.operation), inputs[0])


@rule("PReLU", normal=True)
def _prelu(call: Call, inputs: Sequence[Moments]) -> Moments:
    return rectified(weights().value(call.operation.alpha), inputs[0])


def function_of(operation: Any) -> Any:
    """The activation that an activation layer or operation applies, with its parameters."""
    name = type(operation).__name__
    if isinstance(operation, keras.layers.Activation):
        return operation.activation
    if name in _ALSO:
        return _ALSO[name]
    base, parameters = next(_OPERATIONS[cls.__name__] for cls in type(operation).__mro__ if cls.__name__ in _OPERATIONS)
    function: Callable[..., Any] = getattr(keras.activations, base)
    given = {parameter: getattr(operation, parameter) for parameter in parameters}
    return functools.partial(function, **given) if given else function


def after_activation(activation: Any, moments: Moments) -> Any:
    """The moments after an activation; NotImplemented where no rule is known for it.

    Args:
        activation: A function, as layers hold it; None is linear.
        moments: Before it.
    """
    if getattr(activation, "__name__", "") == "softmax":
        return softmax_moments(moments.mean, moments.variance)
    try:
        phi = activation if isinstance(activation, Scalar) else scalar(activation)
        found = activation_moments(activation, moments)
    except (TypeError, ValueError):
        return NotImplemented
    return moments if phi.name == "linear" else Activated.of(found, phi.function, moments)
