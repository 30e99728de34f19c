"""Rules of propagation: from the moments of what goes into a call to those of what comes out."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call

__all__ = ["ABOUT", "RULES", "About", "Moments", "Rule", "Weights", "rule", "rule_for", "using", "weights"]

Array = NDArray[np.float64]


class Moments(NamedTuple):
    """Mean and variance over the examples of every element of a tensor.

    Attributes:
        mean: Shape of the tensor without the batch axis. Of what holds no floats, such as indices, all NaN.
        variance: Likewise.
    """

    mean: Array
    variance: Array

    @property
    def square(self) -> Array:
        """Mean square of every element."""
        return self.variance + self.mean**2


Rule = Callable[[Call, Sequence[Moments]], Any]
"""Takes a call and the moments of its inputs; gives the Moments of its output, or a list of them, one an output.

For a case that it does not cover it returns NotImplemented, and the call is measured."""


@dataclass(frozen=True)
class About:
    """What the engine has to know of a rule besides its formula.

    Attributes:
        independent: Whether it takes its operands as independent; where they are not, the call is measured.
        normal: Whether it takes its inputs as normal, likewise; or a function that tells it of a call.
        assumption: What it assumes of the model beyond that, for the notes; "" where there is nothing to be said.
    """

    independent: bool = False
    normal: bool | Callable[[Call], bool] = False
    assumption: str = ""


RULES: dict[str | type, Rule] = {}
ABOUT: dict[Rule, About] = {}
F = TypeVar("F", bound=Rule)


def rule(
    *operations: str | type,
    independent: bool = False,
    normal: bool | Callable[[Call], bool] = False,
    assumption: str = "",
) -> Callable[[F], F]:
    """Enter a rule that ``propagate`` uses for layers and operations.

    Args:
        *operations: Classes; those of Keras by their names too.
        independent: Whether the rule takes its operands as independent of each other. Where two of them depend on the
            same values, as in ``x + relu(x)``, it is not asked and the call is measured. Default False.
        normal: Whether the rule takes its inputs as normal. Where they are not, as behind another activation, the call
            is measured; or a function that tells it of a call. Default False: mean and variance are all it needs.
        assumption: What it assumes, for the notes of the Profile. Default "", nothing.

    Returns:
        A decorator for a function of a call and the ``Moments`` of its inputs, that returns those of its output, or a
        list with one for each of several outputs.

    Example:
        >>> class Double(keras.layers.Layer):
        ...     def call(self, x):
        ...         return 2 * x
        >>> @rule(Double)
        ... def _(call, inputs):
        ...     return Moments(2 * inputs[0].mean, 4 * inputs[0].variance)
        >>> rule_for(Double()) is _
        True
    """

    def enter(function: F) -> F:
        RULES.update(dict.fromkeys(operations, function))
        ABOUT[function] = About(independent, normal, assumption)
        return function

    return enter


def rule_for(operation: Any) -> Rule | None:
    """The rule of the nearest class; a subclass that has a ``call`` of its own and no rule has none."""
    for cls in type(operation).__mro__:
        if cls in RULES:
            return RULES[cls]
        if cls.__module__.startswith("keras.") and cls.__name__ in RULES:
            return RULES[cls.__name__]
        if "call" in vars(cls):
            return None
    return None


class Weights:
    """Where the rules take the weights from: from the model, as they are.

    Attributes:
        chosen: Whether ``kernel`` chooses values, so that every rule of a layer with kernels has to be asked.
    """

    chosen = False

    def value(self, variable: Any) -> Array:
        """The weight's value in float64."""
        return np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32")), "float64")

    def kernel(self, variable: Any, mean_square: Callable[[], float]) -> Array:
        """The value of a kernel.

        Args:
            variable: Its variable.
            mean_square: Tells the mean square that its product with the inputs would have if its elements were drawn
                with mean 0 and variance 1.
        """
        return self.value(variable)

    def replaced(self) -> list[tuple[Any, Array]]:
        """Variables whose values are not the model's own, with those values."""
        return []


_OF_THE_MODEL = Weights()
_WEIGHTS: ContextVar[Weights] = ContextVar("weights", default=_OF_THE_MODEL)


def weights() -> Weights:
    """The weights that rules compute with: the model's own, or others that ``using`` puts in their place."""
    return _WEIGHTS.get()


@contextlib.contextmanager
def using(source: Weights) -> Iterator[None]:
    """Lets the rules compute with other weights while the context lasts."""
    token = _WEIGHTS.set(source)
    try:
        yield
    finally:
        _WEIGHTS.reset(token)
