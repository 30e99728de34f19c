"""What an initializer's arguments may be, declared once: the same object checks, words the error and goes to JSON."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import keras

__all__ = ["Argument", "Axes", "Choice", "Count", "Real", "Seed"]

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
    """A whole number, at least 1."""

    mend: str = ""
    allowed = "a whole number that is at least 1"
    wrong = (0, -1, 1.5, 2.0, True, "4", None, [4])

    def check(self, name: str, value: Any) -> int:
        """Return an int."""
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise self.refuse(TypeError, name, value)
        if value < 1:
            raise self.refuse(ValueError, name, value)
        return int(value)


@dataclass(frozen=True)
class Choice(Argument):
    """One of a few strings."""

    options: tuple[str, ...]
    wrong = ("", "fan", "FAN_IN", "normal", "QR", None, 1, ["qr"])

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
class Seed(Argument):
    """None, a whole number that every backend can hold, or a ``keras.random.SeedGenerator``."""

    allowed = "None, a whole number from 0 to 2**32 - 1, or a keras.random.SeedGenerator"
    mend = "Pass an integer to repeat the values, None to draw anew at each call."
    wrong = (-1, 2**32, 1.0, True, "0", [1], (1, 2), {"class_name": "nothing"})

    def check(self, name: str, value: Any) -> Any:
        """Return an int, a SeedGenerator or None; a generator's config is made into a generator."""
        if isinstance(value, dict) and value.get("class_name") == "SeedGenerator":
            value = keras.saving.deserialize_keras_object(value)
        if value is None or isinstance(value, keras.random.SeedGenerator):
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise self.refuse(TypeError, name, value)
        if not 0 <= int(value) < 2**32:
            raise self.refuse(ValueError, name, value)
        return int(value)

    def to_config(self, value: Any) -> Any:
        """Write an int or None as it is, a generator as Keras does."""
        return keras.saving.serialize_keras_object(value)
