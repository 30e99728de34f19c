"""Rules of what only arranges elements: reshapes, transposes, padding, cropping, repetition, slices, concatenation."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call, Value
from keras_initlab.model_init.moments.rules import Moments, rule

__all__ = ["ARRANGING", "UNCHANGED", "origins"]

ARRANGING = (
    "Flatten", "Reshape", "Permute", "RepeatVector", "ZeroPadding1D", "ZeroPadding2D", "ZeroPadding3D", "Cropping1D",
    "Cropping2D", "Cropping3D", "UpSampling1D", "UpSampling2D", "UpSampling3D", "Concatenate", "Stack", "Transpose",
    "Moveaxis", "Swapaxes", "Squeeze", "ExpandDims", "GetItem", "Split", "Unstack", "Flip", "Roll", "Repeat", "Tile",
    "Pad", "Ravel", "BroadcastTo", "Take", "DepthToSpace", "SpaceToDepth",
)  # fmt: skip
"""Layers and operations each of whose outputs is one of the inputs or 0."""

UNCHANGED = ("Identity", "ActivityRegularization", "InputLayer", "StopGradient", "Copy")
"""Layers and operations that return what they get."""


@rule(*UNCHANGED)
def _unchanged(call: Call, inputs: Sequence[Moments]) -> Any:
    return inputs[0]


@rule("Cast")
def _cast(call: Call, inputs: Sequence[Moments]) -> Any:
    both = (call.inputs[0].dtype, call.outputs[0].dtype)
    return inputs[0] if all(map(keras.backend.is_float_dtype, both)) else NotImplemented


@rule("Masking", assumption="no step has the mask's value in all its features")
def _masking(call: Call, inputs: Sequence[Moments]) -> Moments:
    return inputs[0]


@rule(*ARRANGING)
def _arranged(call: Call, inputs: Sequence[Moments]) -> Any:
    places = origins(call, [moments.mean.shape for moments in inputs])
    if places is None:
        return NotImplemented
    flat = [np.concatenate([[0.0], *(part.ravel() for part in parts)]) for parts in zip(*inputs, strict=True)]
    found = [Moments(flat[0][place], flat[1][place]) for place in places]
    return found[0] if len(call.outputs) == 1 else found


def origins(call: Call, shapes: Sequence[tuple[int, ...]]) -> list[NDArray[np.int64]] | None:
    """For each element of the outputs the number of the input element that it is; 0 for a zero, else from 1.

    The operation itself is run on the numbers of its inputs' elements.

    Args:
        call: A call of one of ``ARRANGING``.
        shapes: Of its inputs, without the batch axis.

    Returns:
        An array for each output; None where the operation does more, or mixes examples.
    """
    operation = call.operation
    if getattr(operation, "interpolation", "nearest") != "nearest" or getattr(operation, "constant_values", None):
        return None
    numbers: dict[Value, Any] = {}
    start = 1
    for value, shape in zip(call.inputs, shapes, strict=True):
        size = int(np.prod(shape))
        numbered = np.arange(start, start + size, dtype="int32").reshape(1, *shape)
        numbers[value] = keras.ops.convert_to_tensor(numbered)
        start += size

    def filled(leaf: Any) -> Any:
        return numbers[leaf] if isinstance(leaf, Value) else leaf

    args, kwargs = keras.tree.map_structure(filled, (call.args, call.kwargs))
    try:
        outputs = keras.tree.flatten(operation.call(*args, **kwargs))
        found = [np.asarray(keras.ops.convert_to_numpy(output), "int64") for output in outputs]
    except Exception:  # each backend has errors of its own for what it cannot do with integers
        return None
    apart = all(output.ndim and len(output) == 1 for output in found)
    return [output[0] for output in found] if apart else None
