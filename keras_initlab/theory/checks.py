"""Arguments of the mean-field theory: which values they take, and how a wrong one is refused."""

from __future__ import annotations

import math
import numbers
from typing import Any

__all__ = ["count", "number"]


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
