"""Stepping into a forward pass: an instance's method is another one for a while, on every backend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras

# Keras exports no way to read a variable in its own dtype inside a layer of mixed precision.
from keras.src.backend.common.variables import AutocastScope

__all__ = ["own_dtypes", "readable", "replaced"]


@contextlib.contextmanager
def replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an instance past its class's attribute tracking, and put back what was there."""
    missing = object()
    saved = vars(target).get(name, missing)
    vars(target)[name] = value
    try:
        yield
    finally:
        if saved is missing:
            del vars(target)[name]
        else:
            vars(target)[name] = saved


def readable(*tensors: Any) -> bool:
    """Whether the tensors have values: inside a loop or a function that is being compiled there are none."""
    leaves = [leaf for leaf in keras.tree.flatten(tensors) if keras.ops.is_tensor(leaf)]
    if keras.backend.backend() == "tensorflow":
        return all(hasattr(leaf, "numpy") for leaf in leaves)
    try:
        for leaf in leaves:
            # Of no elements, so that nothing is copied from the device.
            keras.ops.convert_to_numpy(leaf[:0] if len(leaf.shape) else leaf)
    except Exception:  # each backend has an error of its own for what has no value yet
        return False
    return True


def own_dtypes() -> Any:
    """A context in which variables are read in their own dtype, not in their layer's compute dtype."""
    return AutocastScope(None)
