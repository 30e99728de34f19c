"""What an initializer's arguments may be, declared once: the same object checks, words the error and goes to JSON."""

from __future__ import annotations

import difflib
import math
import numbers
import os
import string
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from keras_initlab.theory import scalar

__all__ = [
    "Above",
    "Activation",
    "Argument",
    "Axes",
    "Checksum",
    "Choice",
    "Count",
    "FilePath",
    "Flag",
    "GateValues",
    "Real",
    "Text",
    "Wrapped",
    "check_disjoint",
]

# Products of two such numbers, such as a draw times its standard deviation, stay finite in float32.
_LARGEST = 1e30


class Argument:
    """One constructor argument: which values it takes, and how it is written to a config."""

    allowed: str
    mend: str = ""
    wrong: tuple[Any, ...] = ()
    """Values that must be refused; the tests try each of them on each class."""

    def check(self, name: str, value: Any) -> Any:
        """Return the value in its normal form.

        Args:
            name: The argument's name, for the error.
            value: What the caller passed.

        Raises:
            TypeError: The value is of the wrong kind.
            ValueError: The value is of the right kind and out of range.
        """
        raise NotImplementedError

    def to_config(self, value: Any) -> Any:
        """Write a checked value as JSON can hold it."""
        return value

    def refuse(self, error: type[Exception], name: str, value: Any, mend: str = "") -> Exception:
        """Word the error: what is allowed, what was received, how to mend it."""
        parts = [f"Argument `{name}` must be {self.allowed}.", f"Received: {name}={value!r}.", mend or self.mend]
        return error(" ".join(part for part in parts if part))


@dataclass(frozen=True)
class Real(Argument):
    """A real number from ``low`` to ``high``; or the one infinity that ``no_bound`` names, which is None in JSON."""

    low: float = -_LARGEST
    high: float = _LARGEST
    no_bound: float | None = None
    mend: str = "Pass a Python or NumPy number in that range."

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """What the error says."""
        return f"a number from {self.low:g} to {self.high:g}" + (
            "" if self.no_bound is None else f", or None (or {self.no_bound}) for no bound"
        )

    @property
    def wrong(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Values that must be refused."""
        just_outside = (math.nextafter(self.low, -math.inf), math.nextafter(self.high, math.inf))
        infinite = {math.inf, -math.inf} - {self.no_bound}
        nothing = (None,) if self.no_bound is None else ()
        return (*just_outside, *infinite, *nothing, math.nan, True, "1", [1.0], 1j, 10**400)

    def check(self, name: str, value: Any) -> float | None:
        """Return a float, or None for no bound."""
        if self.no_bound is not None and value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            raise self.refuse(TypeError, name, value)
        try:
            number = float(value)
        except OverflowError:
            number = math.nan
        if number == self.no_bound:
            return None
        if not self.low <= number <= self.high:
            raise self.refuse(ValueError, name, value)
        return number


@dataclass(frozen=True)
class Count(Argument):
    """A whole number from ``low`` to ``high``."""

    low: int = 1
    high: int | None = None
    mend: str = ""

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """What the error says."""
        if self.high is None:
            return f"a whole number that is at least {self.low}"
        return f"a whole number from {self.low} to {self.high}"

    @property
    def wrong(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Values that must be refused."""
        above = () if self.high is None else (self.high + 1,)
        return (self.low - 1, *above, 1.5, 2.0, True, "4", None, [4])

    def check(self, name: str, value: Any) -> int:
        """Return an int."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise self.refuse(TypeError, name, value)
        number = int(value)
        if number < self.low or (self.high is not None and number > self.high):
            raise self.refuse(ValueError, name, value)
        return number


@dataclass(frozen=True)
class Flag(Argument):
    """True or False."""

    allowed = "True or False"
    wrong = (0, 1, "True", None, [True])

    def check(self, name: str, value: Any) -> bool:
        """Return a bool."""
        if isinstance(value, np.bool_):
            value = bool(value)
        if not isinstance(value, bool):
            raise self.refuse(TypeError, name, value)
        return value


@dataclass(frozen=True)
class Choice(Argument):
    """One of a few strings."""

    options: tuple[str, ...]

    @property
    def wrong(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Values that must be refused."""
        return ("", "nothing", self.options[0].upper(), self.options[0][:-1], None, 1, [self.options[0]])

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """What the error says."""
        return "one of " + ", ".join(f'"{option}"' for option in self.options)

    def check(self, name: str, value: Any) -> str:
        """Return the string itself; the error proposes the nearest right one."""
        if not isinstance(value, str):
            raise self.refuse(TypeError, name, value)
        if value not in self.options:
            near = difflib.get_close_matches(value.lower(), self.options, n=1, cutoff=0.5)
            raise self.refuse(ValueError, name, value, f'Did you mean "{near[0]}"?' if near else "")
        return value


@dataclass(frozen=True)
class Axes(Argument):
    """None, or whole numbers that name axes of the weight."""

    allowed = "None or a list of whole numbers, each naming one axis of the weight"
    mend = "Pass a list such as [0, 1]; negative axes count from the end."
    wrong = (0, "01", [0.0], [True], [None], [0, 0], {0: 1}, [[0]])

    def check(self, name: str, value: Any) -> tuple[int, ...] | None:
        """Return a tuple of ints or None."""
        if value is None:
            return None
        if isinstance(value, (str, bytes, dict)) or not isinstance(value, Iterable):
            raise self.refuse(TypeError, name, value)
        axes = tuple(value)
        if any(isinstance(axis, bool) or not isinstance(axis, numbers.Integral) for axis in axes):
            raise self.refuse(TypeError, name, value)
        if len(set(axes)) < len(axes):
            raise self.refuse(ValueError, name, value, "Remove the axis that is named twice.")
        return tuple(int(axis) for axis in axes)

    def to_config(self, value: Any) -> list[int] | None:
        """Write a list, which is what JSON gives back."""
        return None if value is None else list(value)


@dataclass(frozen=True)
class FilePath(Argument):
    """A path whose suffix says how to read the file; whether there is a file is asked when it is read."""

    suffixes: tuple[str, ...]
    mend = "Pass the path with its suffix, as text or as a pathlib.Path."
    wrong = ("", "weights", "weights.txt", ".npz/weights", b"weights.npz", None, 3, ["weights.npz"])

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """What the error says."""
        return "a path that ends in " + " or ".join(self.suffixes)

    def check(self, name: str, value: Any) -> str:
        """Return the path as text, as it was given."""
        path = os.fspath(value) if isinstance(value, os.PathLike) else value
        if not isinstance(path, str):
            raise self.refuse(TypeError, name, value)
        if os.path.splitext(path)[1].lower() not in self.suffixes:
            raise self.refuse(ValueError, name, value)
        return path


@dataclass(frozen=True)
class Text(Argument):
    """A string that is not empty."""

    mend: str = ""
    allowed = "a string that is not empty"
    wrong = ("", b"kernel", None, 0, ["kernel"])

    def check(self, name: str, value: Any) -> str:
        """Return the string."""
        if not isinstance(value, str):
            raise self.refuse(TypeError, name, value)
        if not value:
            raise self.refuse(ValueError, name, value)
        return value


@dataclass(frozen=True)
class Checksum(Argument):
    """None, or a SHA-256 in hexadecimal digits."""

    allowed = "None or the 64 hexadecimal digits of a SHA-256"
    mend = "`sha256sum FILE` prints them."
    wrong = ("", "0" * 63, "0" * 65, "g" * 64, "0" * 64 + "\n", b"0" * 64, 0, [])

    def check(self, name: str, value: Any) -> str | None:
        """Return lowercase digits or None."""
        if value is None:
            return None
        if not isinstance(value, str):
            raise self.refuse(TypeError, name, value)
        if len(value) != 64 or not set(value) <= set(string.hexdigits):
            raise self.refuse(ValueError, name, value)
        return value.lower()


@dataclass(frozen=True)
class Above(Real):
    """A real number above ``low``, which itself is refused."""

    @property
    def allowed(self) -> str:  # type: ignore[override]
        """What the error says."""
        return f"a number above {self.low:g} and up to {self.high:g}"

    @property
    def wrong(self) -> tuple[Any, ...]:  # type: ignore[override]
        """Values that must be refused."""
        return (self.low, *super().wrong)

    def check(self, name: str, value: Any) -> float | None:
        """Return a float."""
        number = super().check(name, value)
        if number == self.low:
            raise self.refuse(ValueError, name, value)
        return number


@dataclass(frozen=True)
class GateValues(Argument):
    """Numbers by the name of a gate."""

    allowed = 'a dict of finite numbers by the name of a gate, such as {"f": 1.0}'
    mend = "A gate that is left out gets 0."
    wrong = (None, 1.0, "f", ["f"], [("f", 1.0)], {0: 1.0}, {"f": None}, {"f": "1"}, {"f": True}, {"f": math.inf})

    def check(self, name: str, value: Any) -> dict[str, float | None]:
        """Return a dict of floats; which gates there are is up to the cell."""
        if not isinstance(value, Mapping) or not all(isinstance(gate, str) for gate in value):
            raise self.refuse(TypeError, name, value)
        try:
            return {str(gate): Real().check(f"{name}[{gate!r}]", number) for gate, number in value.items()}
        except (TypeError, ValueError) as error:
            raise self.refuse(type(error), name, value) from error

    def to_config(self, value: Any) -> dict[str, float]:
        """Write a dict that the caller may change."""
        return dict(value)


@dataclass(frozen=True)
class Wrapped(Argument):
    """Another initializer, of this package, of Keras or of the caller."""

    allowed = "an initializer, or what keras.initializers.get makes one of: its name or its config"
    mend = 'Pass an instance, such as keras.initializers.GlorotUniform(), or a name, such as "orthogonal".'
    wrong = (None, 1, 1.5, True, [1], "", "no_such_law", {"class_name": "nothing"})

    def check(self, name: str, value: Any) -> Any:
        """Return the initializer itself."""
        try:
            found = keras.initializers.get(value)
        except (TypeError, ValueError) as error:
            kind = ValueError if isinstance(value, (str, dict)) else TypeError
            raise self.refuse(kind, name, value) from error
        if found is None:
            raise self.refuse(TypeError, name, value)
        return found

    def to_config(self, value: Any) -> Any:
        """Write it as Keras writes an initializer."""
        return keras.initializers.serialize(value)


@dataclass(frozen=True)
class Activation(Argument):
    """None, or a function of one number that Keras can save: a name, a Keras activation, a registered function."""

    allowed = "None, the name of a Keras activation, or a function of one number that has a name"
    mend = 'Pass a name such as "gelu", or a function made with `def`; a lambda cannot be loaded again.'
    wrong = ("gelus", "softmax", 1.0, True, ["relu"], {"class_name": "nothing"}, lambda x: x)

    def check(self, name: str, value: Any) -> Any:
        """Return None, a name, or a callable; a Keras activation becomes its name."""
        if isinstance(value, dict):
            try:
                value = keras.saving.deserialize_keras_object(value)
            except (TypeError, ValueError) as error:
                raise self.refuse(ValueError, name, value) from error
        if value is None:
            return None
        if getattr(value, "__name__", "") == "<lambda>" or not (isinstance(value, str) or callable(value)):
            raise self.refuse(TypeError, name, value)
        try:
            known = scalar(value)
        except ValueError as error:
            mend = str(error).rpartition(". ")[2]
            raise self.refuse(ValueError, name, value, mend) from error
        plain = isinstance(value, str) or getattr(keras.activations, known.name, None) is value
        return known.name if plain else value

    def to_config(self, value: Any) -> Any:
        """Write a name as it is, a function as Keras does."""
        return value if value is None or isinstance(value, str) else keras.saving.serialize_keras_object(value)


def check_disjoint(initializer: Any) -> None:
    """Refuse an axis that is declared as two things, before there is a shape.

    Args:
        initializer: An object with ``input_axes``, ``output_axes`` and ``batch_axes``.

    Raises:
        ValueError: Two of the three share an axis.
    """
    declared = {name: getattr(initializer, name) or () for name in ("input_axes", "output_axes", "batch_axes")}
    named = [axis for axes in declared.values() for axis in axes]
    if shared := sorted({axis for axis in named if named.count(axis) > 1}):
        raise ValueError(
            "Arguments `input_axes`, `output_axes` and `batch_axes` must not share an axis. Received: "
            f"{', '.join(f'{name}={axes!r}' for name, axes in declared.items())}, which share {shared}. "
            "Declare an axis that is none of the three (a receptive field) by leaving it out of all. "
            "Keras's EinsumDense fills in the first two unless both are declared."
        )
