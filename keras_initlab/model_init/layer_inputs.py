"""What the layers inside a model get, read in passes through it."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initlab.replacing import replaced

__all__ = ["calls_of", "inputs_of", "to_arrays"]


class _Reached(BaseException):
    """All wanted inputs of a batch are there; no handler of Exception on the way may stop it."""


def to_arrays(x: Any) -> Any:
    """The data as NumPy arrays, in the structure in which the model takes it.

    Args:
        x: An array, a list or dictionary of arrays, or a ``tf.data.Dataset`` of batches, of which targets are dropped.

    Raises:
        ValueError: No examples, an endless dataset, arrays of different length, or values that are NaN or infinite.
    """
    if hasattr(x, "element_spec"):
        x = _read(x)
    leaves = keras.tree.flatten(x)
    if isinstance(x, (list, tuple)) and leaves and all(np.ndim(leaf) == 0 for leaf in leaves):
        x = np.asarray(x)
    arrays = keras.tree.map_structure(_to_array, x)
    leaves = keras.tree.flatten(arrays)
    lengths = {len(array) if array.ndim else 0 for array in leaves}
    if len(lengths) != 1 or 0 in lengths:
        raise ValueError(
            "Argument `x` must hold at least one example, as many in each array. "
            f"Received: arrays of shape {', '.join(str(array.shape) for array in leaves) or '()'}."
        )
    return arrays


def _to_array(leaf: Any) -> Any:
    array = np.asarray(keras.ops.convert_to_numpy(leaf) if keras.ops.is_tensor(leaf) else leaf)
    # "V" is bfloat16; what holds no floats has no NaN.
    if array.dtype.kind not in "fV" or np.isfinite(array).all():
        return array
    wrong = int(array.size - np.isfinite(array).sum())
    raise ValueError(
        f"Argument `x` must hold finite numbers. Received: {wrong} of {array.size} values are NaN or infinite. "
        "Drop or fill them: numpy.nan_to_num(x)."
    )


def _read(dataset: Any) -> Any:
    if dataset.cardinality() == -1:
        raise ValueError("Argument `x` must end. Received: an endless tf.data.Dataset. Cut it: dataset.take(batches).")
    batches = [batch[0] if isinstance(batch, tuple) else batch for batch in dataset]
    return keras.tree.map_structure(lambda *leaves: np.concatenate([np.asarray(leaf) for leaf in leaves]), *batches)


def calls_of(model: Any, layers: list[Any], x: Any) -> dict[int, list[Any]]:
    """What each layer gets in one pass, by ``id`` of the layer, in the order of the first calls.

    Args:
        model: The model.
        layers: Layers inside it.
        x: A small batch.

    Returns:
        A NumPy array for each call; None for a call inside a loop or a function that is being compiled, where there
        are no values to be read.
    """
    found: dict[int, list[Any]] = {}
    with _listening(layers, lambda layer, inputs: found.setdefault(id(layer), []).append(inputs)):
        model(x, training=False)
    return found


def inputs_of(model: Any, layer: Any, x: Any, calls: int, batch_size: int) -> Any:
    """All that a layer gets for the data, as one NumPy array; its calls one after the other.

    Args:
        model: The model.
        layer: A layer inside it.
        x: NumPy arrays as the model takes them.
        calls: How many calls to read in each pass. What comes after the last is not computed.
        batch_size: Examples in a pass.
    """
    found: list[list[Any]] = [[] for _ in range(calls)]
    now = iter(found)

    def note(_: Any, inputs: Any) -> None:
        next(now).append(inputs)

    length = len(keras.tree.flatten(x)[0])
    for start in range(0, length, batch_size):
        now = iter(found)
        batch = keras.tree.map_structure(lambda array, start=start: array[start : start + batch_size], x)
        with _listening([layer], note, calls), contextlib.suppress(_Reached):
            model(batch, training=False)
    return np.concatenate([part for call in found for part in call])


@contextlib.contextmanager
def _listening(layers: list[Any], note: Any, calls: int | None = None) -> Iterator[None]:
    """Notes what each layer is called with; breaks off after so many calls."""
    heard = 0

    def listening(layer: Any, call: Any) -> Any:
        @functools.wraps(call)
        def listen(*args: Any, **kwargs: Any) -> Any:
            nonlocal heard
            outputs = call(*args, **kwargs)
            note(layer, _values(args[0] if args else next(iter(kwargs.values()), None)))
            heard += 1
            if heard == calls:
                raise _Reached
            return outputs

        return listen

    with contextlib.ExitStack() as stack:
        for layer in layers:
            stack.enter_context(replaced(layer, "call", listening(layer, layer.call)))
        yield


def _values(inputs: Any) -> Any:
    try:
        return np.asarray(keras.ops.convert_to_numpy(inputs), dtype="float32")
    except Exception:  # each backend has an error of its own for what has no value yet
        return None
