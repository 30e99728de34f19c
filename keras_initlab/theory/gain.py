"""The factor on a layer's weights that makes up for its activation."""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

from keras_initlab.theory.activations import Named, Scalar, identify, resolve
from keras_initlab.theory.checks import choice, number
from keras_initlab.theory.quadrature import gaussian_mean

__all__ = ["gain"]

_CRITERIA = ("forward", "backward", "centred", "geometric")
_CONVENTIONS = ("exact", "torch")
_TORCH = {"linear": 1.0, "sigmoid": 1.0, "tanh": 5 / 3, "relu": math.sqrt(2.0), "selu": 0.75}
_TORCH_SLOPE = 0.01
# Smaller than this, relative to the mean square, a variance is the rounding of a constant.
_CONSTANT = 1e-26


def gain(activation: Any, criterion: str = "forward", q: float = 1.0, convention: str = "exact") -> float:
    """Gain of an activation: the standard deviation that weights times √fan should have after it.

    With ``x = √q · z``, z ~ N(0, 1), the pre-activation, f the activation and ``Var w = g² / fan_in``:

    - ``forward``: ``g = √(q / E f(x)²)``, which keeps the mean square q of the pre-activations from layer to layer.
    - ``backward``: ``g = 1 / √E f′(x)²``, which keeps that of the gradients (with fan-out in place of fan-in).
    - ``centred``: ``g = √(q / Var f(x))``, which keeps the variance where a mean is removed afterwards, as
      normalization layers do.
    - ``geometric``: ``g = √(g_forward · g_backward)``, a compromise.

    Names and functions of Keras use closed float64 formulas, other callables their values (see ``scalar``). Results
    are kept per object, criterion and q; a callable that changes its behaviour has to be a new object.

    Args:
        activation: A name of ``keras.activations``, such a function (or a ``functools.partial`` of it), an activation
            layer, or any function of one number. None is linear.
        criterion: One of the four above. Default ``"forward"``, as in He's and LeCun's initializers.
        q: Mean square of the pre-activations, from 1e-12 to 1e12. Default 1.0. It matters for every function that is
            not, like ReLU, proportional on either side of 0.
        convention: ``"exact"`` (default) or ``"torch"``, the table of ``torch.nn.init.calculate_gain``: linear 1,
            sigmoid 1, tanh 5/3, ReLU √2, leaky ReLU √(2 / (1 + slope²)), SELU 3/4. Without a slope, leaky ReLU has
            torch's .01 there and Keras's .2 otherwise.

    The tables agree for linear and the two ReLUs. Torch's other numbers were chosen, not derived, and one layer with
    them does not keep q = 1: under tanh deep pre-activations settle at a mean square of 1.178 and activations at a
    root mean square of .651 (the exact gain 1.593 keeps 1, activations at .628). Under SELU activations decay to .202
    (the exact gain is 1 and keeps 1). Under the sigmoid pre-activations decay to a mean square of .265 (the exact gain
    1.846 keeps 1).

    Returns:
        g, to about 1e-12 for the activations of Keras, 1e-10 for callables that compute in float64 and 1e-4 for those
        that compute in float32.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range or not in torch's table; or the gain does not exist, since f is zero
            or constant, not finite, or has a jump under ``backward`` or ``geometric``.

    Reference:
        He et al. (2015), Delving deep into rectifiers, section 2.2, for ReLU's √2 by both criteria; Poole et al.
        (2016), Exponential expressivity in deep neural networks through transient chaos, for the two mean squares of
        any f; Klambauer et al. (2017), Self-normalizing neural networks, for SELU.

    Example:
        >>> round(gain("tanh"), 10), round(gain("tanh", "backward"), 10)
        (1.5925374197, 1.4674135916)
        >>> import numpy as np
        >>> round(gain(lambda x: np.maximum(x, 0.3 * x)), 10)
        1.354570923
        >>> gain("selu", convention="torch")
        0.75
    """
    choice("criterion", criterion, _CRITERIA)
    choice("convention", convention, _CONVENTIONS)
    q = number("q", q, 1e-12, 1e12)
    key = identify(activation)
    if convention == "torch":
        return _of_torch(key, criterion, q)
    try:
        hash(key)
    except TypeError:
        return _exact(key, criterion, q)
    return _kept(key, criterion, q)


def _of_torch(key: Named | Callable[..., Any], criterion: str, q: float) -> float:
    """The table's entry, for what the table has."""
    if (criterion, q) != ("forward", 1.0):
        raise ValueError(
            'The table of convention="torch" has one number an activation, for criterion="forward" and q=1. '
            f'Received: criterion={criterion!r}, q={q:g}. Leave both out, or use convention="exact".'
        )
    if isinstance(key, Named):
        parameters = dict(key.parameters)
        if key.name == "leaky_relu":
            return math.sqrt(2 / (1 + parameters.get("negative_slope", _TORCH_SLOPE) ** 2))
        if key.name in _TORCH and not parameters:
            return _TORCH[key.name]
    received = key if isinstance(key, Named) else getattr(key, "__name__", type(key).__name__)
    raise ValueError(
        f'The table of convention="torch" has {", ".join(_TORCH)} and leaky_relu. Received: activation={received}. '
        'Use convention="exact", which takes any activation.'
    )


def _exact(key: Named | Callable[..., Any], criterion: str, q: float) -> float:
    """The gain by quadrature."""
    if criterion == "geometric":
        return math.sqrt(_exact(key, "forward", q) * _exact(key, "backward", q))
    f = resolve(key)
    try:
        mean = _mean_square(f, criterion, q)
    except ValueError as error:
        raise ValueError(f"Activation {f.name} has no {criterion} gain at q={q:g}. {error}") from error
    if not 0 < mean < math.inf:
        what = {"forward": "is zero", "backward": "has a zero slope", "centred": "is constant"}[criterion]
        what = what if mean == 0 else "overflows"
        raise ValueError(
            f"Activation {f.name} has no {criterion} gain at q={q:g}: it {what} wherever pre-activations of that mean "
            "square fall. Try another q or criterion."
        )
    return math.sqrt((1.0 if criterion == "backward" else q) / mean)


_kept = functools.lru_cache(maxsize=512)(_exact)


def _mean_square(f: Scalar, criterion: str, q: float) -> float:
    """What the weights have to make up for: ``E f²``, ``E f′²`` or ``Var f``."""
    scale = math.sqrt(q)
    if criterion == "backward":
        return gaussian_mean(lambda x: f.derivative(x) ** 2, f.kinks, scale)
    if criterion == "forward":
        return gaussian_mean(lambda x: f.function(x) ** 2, f.kinks, scale)
    mean = gaussian_mean(f.function, f.kinks, scale)
    variance = gaussian_mean(lambda x: (f.function(x) - mean) ** 2, f.kinks, scale)
    return variance if variance > _CONSTANT * mean**2 else 0.0
