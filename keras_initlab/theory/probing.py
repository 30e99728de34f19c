"""How to call a function that may take arrays or floats and may return anything that NumPy can read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["elementwise"]

Array = NDArray[np.float64]

_PROBES = np.array([-2.3, -1.1, -0.4, 0.2, 0.7, 1.3, 2.9])


def elementwise(function: Callable[[Any], Any], name: str) -> Callable[[Array], Array]:
    """Wrap a function of an array, or of a float, as one that maps a float64 array to one of its shape.

    Args:
        function: Called with a float64 array of rank 1; if it cannot take one, with float after float.
        name: What errors call it.

    Returns:
        The wrapped function. Where a function of floats overflows or is not defined it gives NaN.

    Raises:
        ValueError: The function takes neither, or its value for one number depends on the others.
    """

    def of_arrays(x: Array) -> Array:
        # Filled up to a power of 2: a backend that compiles a program for each shape then meets few shapes.
        filled = np.append(x.ravel(), np.full((1 << max(x.size - 1, 63).bit_length()) - x.size, x.flat[-1]))
        return _real(function(filled))[: x.size].reshape(x.shape)

    def of_floats(x: Array) -> Array:
        return np.array([_one(function, value) for value in x.ravel().tolist()]).reshape(x.shape)

    with np.errstate(all="ignore"):
        try:
            together = _real(function(_PROBES.copy()))
        except Exception:
            # It cannot take an array, or has another fault that a float will show.
            _check_floats(function, name)
            return of_floats
        alone = of_arrays if together.shape == _PROBES.shape else of_floats
        # A constant gives one number for the whole array, and so does a mean: only the first gives it for each float.
        if alone is of_floats:
            _check_floats(function, name)
            together = np.broadcast_to(together.mean(), _PROBES.shape)
        one_by_one = np.concatenate([alone(_PROBES[i : i + 1]) for i in range(len(_PROBES))])
    if not np.allclose(together, one_by_one, rtol=1e-4, atol=1e-6, equal_nan=True):
        raise ValueError(
            f"Activation {name} must be a function of one number. Its value for a number changes with the other "
            "numbers of the array, or from call to call."
        )
    return alone


def _check_floats(function: Callable[[Any], Any], name: str) -> None:
    """Refuse what maps no float to a float; the error says what happened to one of them."""
    try:
        if np.isnan([_one(function, value) for value in _PROBES.tolist()]).all():
            float(function(float(_PROBES[-1])))
    except Exception as error:
        raise ValueError(
            f"Activation {name} must map an array to one of its shape, or a float to a float. "
            f"Called with a float it raised {type(error).__name__}: {error}"
        ) from error


def _real(values: Any) -> Array:
    array = np.asarray(values)
    if array.dtype.kind in "cOSU":
        raise TypeError("it returns no real numbers")
    return array.astype("float64")


def _one(function: Callable[[Any], Any], value: float) -> float:
    try:
        return float(function(value))
    except (ArithmeticError, ValueError):
        return np.nan
