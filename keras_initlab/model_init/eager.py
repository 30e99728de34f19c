"""What a forward pass can be asked, on every backend: whether tensors have values; variables in their own dtype."""

from __future__ import annotations

from typing import Any

import keras

# Keras exports no way to read a variable in its own dtype inside a layer of mixed precision.
from keras.src.backend.common.variables import AutocastScope

__all__ = ["own_dtypes", "readable"]


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
