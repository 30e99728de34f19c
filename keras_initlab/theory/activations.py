"""What an activation is, whatever it is given as: a function of one number, its derivative and its kinks."""

from __future__ import annotations

import difflib
import functools
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from keras_initlab.theory.formulas import FORMULAS
from keras_initlab.theory.piecewise import Piecewise
from keras_initlab.theory.probing import elementwise

__all__ = ["Named", "Scalar", "identify", "resolve", "scalar"]

Array = NDArray[np.float64]

# Rounding above this, relative to the values, would keep quadrature from settling: the interpolants stand in then.
_ROUGH = 1e-12
_OF_SEVERAL = ("softmax", "log_softmax", "sparsemax", "glu")
_LAYERS = {
    "ReLU": ("relu", ("negative_slope", "max_value", "threshold")),
    "LeakyReLU": ("leaky_relu", ("negative_slope",)),
    "ELU": ("elu", ("alpha",)),
    "Softmax": ("softmax", ()),
}


@dataclass(frozen=True)
class Scalar:
    """An activation as a function of one number.

    Attributes:
        name: What errors call it.
        function: f; maps a float64 array to one of its shape.
        derivative: f′, likewise, and at a kink that of one side. It raises ValueError where f jumps anywhere.
        kinks: Where f or f′ is not smooth, for quadrature to split its range at.
    """

    name: str
    function: Callable[[Array], Array]
    derivative: Callable[[Array], Array]
    kinks: tuple[float, ...] = ()


class Named(NamedTuple):
    """One of Keras's activations with the parameters that were given, sorted by name."""

    name: str
    parameters: tuple[tuple[str, Any], ...] = ()

    def __str__(self) -> str:
        inside = ", ".join(f"{name}={value}" for name, value in self.parameters)
        return f"{self.name}({inside})" if inside else self.name


def scalar(activation: Any) -> Scalar:
    """Resolve an activation to its function of one number, its derivative and its kinks.

    Keras's own activations are computed by float64 formulas that keep their digits in the tails. Of any other callable
    only values are known: it is sampled from −16 to 16 (and further when its derivative is asked for further out), its
    kinks are found by halving panels, and its derivative is that of Chebyshev interpolants between them, to about
    1e-10 for a callable that computes in float64. The result is kept for the next call with the same object.

    Args:
        activation: A name of ``keras.activations``; such a function, or a ``functools.partial`` of it that sets its
            parameters; a ``keras.layers`` ``Activation``, ``ReLU``, ``LeakyReLU`` or ``ELU``; or any callable of an
            array or of a float that returns what NumPy can read. None is linear, as in Keras.

    Returns:
        A ``Scalar``.

    Raises:
        TypeError: It is none of these.
        ValueError: The name is unknown, or it is not a function of one number, or too rough to be resolved.

    Example:
        >>> scalar("relu").kinks
        (0.0,)
        >>> round(float(scalar(np.sin).derivative(np.array([1.0]))[0] / np.cos(1.0)), 10)
        1.0
    """
    return resolve(identify(activation))


def resolve(key: Named | Callable[..., Any]) -> Scalar:
    """Make the ``Scalar`` of what ``identify`` gave, or take the one made before."""
    try:
        hash(key)
    except TypeError:
        return _build(key)
    return _kept(key)


def identify(activation: Any) -> Named | Callable[..., Any]:
    """Tell one of Keras's activations, whatever it is given as, from any other callable.

    Args:
        activation: As in ``scalar``.

    Returns:
        ``Named`` for one of Keras's, the callable itself otherwise.

    Raises:
        TypeError: It is neither a name nor callable.
        ValueError: The name is unknown, or it is not a function of one number.
    """
    if activation is None:
        return Named("linear")
    if isinstance(activation, str):
        return _checked(activation)
    if isinstance(activation, functools.partial) and _of_keras(activation.func, "activations"):
        if activation.args:
            raise ValueError(
                "Argument `activation` must set the parameters of a Keras activation by name. "
                f"Received: {activation!r}, whose first argument stands where the pre-activation does."
            )
        return _checked(activation.func.__name__, activation.keywords)
    if _of_keras(activation, "activations"):
        return _checked(activation.__name__)
    if any(base.__name__ == "Layer" and _of_keras(base, "layers") for base in type(activation).__mro__):
        return _of_layer(activation)
    if not callable(activation) or isinstance(activation, type):
        raise TypeError(
            "Argument `activation` must be a name, a function or an activation layer. "
            f"Received: activation={activation!r}. None stands for linear."
        )
    return activation  # type: ignore[no-any-return]


def _of_keras(thing: Any, part: str) -> bool:
    """Whether it was defined in that part of Keras, told without importing Keras."""
    return hasattr(thing, "__name__") and str(getattr(thing, "__module__", "")).startswith(
        (f"keras.src.{part}.", f"keras.{part}")
    )


def _checked(name: str, parameters: dict[str, Any] | None = None) -> Named:
    """A name of which there is a formula; parameters that are None are left to the formula."""
    if name in _OF_SEVERAL:
        raise ValueError(
            f"Argument `activation` must be a function of one number. Received: {name}, whose outputs depend on "
            "several pre-activations at once. Take the gain of a layer before it, or pass a scalar function."
        )
    if name not in FORMULAS:
        near = difflib.get_close_matches(name.lower(), FORMULAS, n=1, cutoff=0.5)
        raise ValueError(
            "Argument `activation` must be an activation of Keras when it is a name. "
            f"Received: activation={name!r}. "
            + (f'Did you mean "{near[0]}"?' if near else "Pass the function itself if it is your own.")
        )
    given = {key: value for key, value in (parameters or {}).items() if value is not None}
    if name == "threshold" and len(given) < 2:
        raise ValueError(
            "Activation threshold has no default parameters. Pass functools.partial(keras.activations.threshold, "
            "threshold=..., default_value=...)."
        )
    numbers = {key: value if isinstance(value, bool) else float(value) for key, value in given.items()}
    return Named(name, tuple(sorted(numbers.items())))


def _of_layer(layer: Any) -> Named | Callable[..., Any]:
    kind = type(layer).__name__
    if kind == "Activation":
        return identify(layer.activation)
    mend = "a LeakyReLU with the slope that it begins with" if kind == "PReLU" else "the function that it applies"
    if kind not in _LAYERS or not _of_keras(type(layer), "layers"):
        raise ValueError(
            "Argument `activation` must be a function of one number. "
            f"Received: a layer {kind}, which has weights or a shape of its own. Pass {mend}."
        )
    name, parameters = _LAYERS[kind]
    given = {parameter: getattr(layer, parameter) for parameter in parameters}
    if kind == "ReLU":
        # Its slope and threshold do nothing at 0: without them it is the same activation as the name's.
        given = {key: value for key, value in given.items() if value or key == "max_value"}
    return _checked(name, given)


def _build(key: Named | Callable[..., Any]) -> Scalar:
    return _of_formula(key) if isinstance(key, Named) else _of_callable(key)


_kept: Callable[[Hashable], Scalar] = functools.lru_cache(maxsize=128)(_build)


def _of_formula(key: Named) -> Scalar:
    formula, name = FORMULAS[key.name](**dict(key.parameters)), str(key)

    def no_derivative(x: Array) -> Array:
        raise _jumps(name, formula.jumps)

    return Scalar(name, formula.function, no_derivative if formula.jumps else formula.derivative, formula.kinks)


def _of_callable(activation: Callable[..., Any]) -> Scalar:
    name = getattr(activation, "__name__", None) or type(activation).__name__
    function = elementwise(activation, name)
    try:
        with np.errstate(all="ignore"):
            pieces = Piecewise(function)
    except ValueError as error:
        raise ValueError(f"Activation {name} cannot be resolved. {error}") from error

    def derivative(x: Array) -> Array:
        with np.errstate(all="ignore"):
            slope = pieces.derivative(np.asarray(x, "float64"))
        # Further out there may have been jumps that were not known before.
        if pieces.jumps:
            raise _jumps(name, pieces.jumps)
        return slope

    return Scalar(name, pieces if pieces.noise > _ROUGH else function, derivative, pieces.kinks)


def _jumps(name: str, jumps: tuple[float, ...]) -> ValueError:
    places = list(dict.fromkeys(f"{jump:.6g}" for jump in jumps))
    places[3:] = ["…"] * (len(places) > 3)
    return ValueError(
        f"Activation {name} jumps at {', '.join(places)}, or is infinitely steep there: its derivative has no mean "
        'square. The criteria "forward" and "centred" need no derivative.'
    )
