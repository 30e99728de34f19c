"""Arguments of the theory: which values they take, and how a wrong one is refused."""

from __future__ import annotations

import difflib
import math
import numbers
from collections.abc import Iterable
from typing import Any

__all__ = ["choice", "count", "number"]


def number(name: str, value: Any, low: float, high: float) -> float:
    """Return a real number in its range, as a float.

    Args:
        name: The argument's name, for the error.
        value: What the caller passed.
        low: Least value allowed.
        high: Largest value allowed.

    Raises:
        TypeError: It is not a real number.
        ValueError: It is out of range.
    """
    wrong = (
        f"Argument `{name}` must be a number from {low:g} to {high:g}. Received: {name}={value!r}. "
        "Pass a Python or NumPy number in that range."
    )
    if isinstance(value, bool) or not isinstance(value, numbers.Real):
        raise TypeError(wrong)
    try:
        real = float(value)
    except OverflowError:
        real = math.nan
    if not low <= real <= high:
        raise ValueError(wrong)
    return real


def count(name: str, value: Any) -> int:
    """Return a whole number that is at least 1, as an int.

    Args:
        name: The argument's name, for the error.
        value: What the caller passed.

    Raises:
        TypeError: It is not a whole number.
        ValueError: It is below 1.
    """
    wrong = f"Argument `{name}` must be a whole number that is at least 1. Received: {name}={value!r}."
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(wrong)
    if value < 1:
        raise ValueError(wrong)
    return int(value)


def choice(name: str, value: Any, options: Iterable[str]) -> None:
    """Refuse what is not one of a few strings, and propose the nearest.

    Args:
        name: The argument's name, for the error.
        value: What the caller passed.
        options: The strings.

    Raises:
        TypeError: It is not a string.
        ValueError: It is another one.
    """
    options = list(options)
    allowed = " or ".join(f'"{option}"' for option in options)
    wrong = f"Argument `{name}` must be {allowed}. Received: {name}={value!r}."
    if not isinstance(value, str):
        raise TypeError(wrong)
    if value not in options:
        near = difflib.get_close_matches(value.lower(), options, n=1, cutoff=0.5)
        raise ValueError(wrong + (f' Did you mean "{near[0]}"?' if near else ""))
