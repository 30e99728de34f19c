"""Values of a portable seed: drawn on the host, whole or by shard, and handed to the backend."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.initializers import sharding
from keras_initlab.initializers.seeds import PortableSeed

__all__ = ["draw"]

Values = NDArray[np.float64]
Quantile = Callable[[Values], Values]

# Values that one task draws: enough to outweigh its start, few enough for its temporaries to stay in the cache.
_BLOCK = 2**18


def draw(seed: PortableSeed, shape: tuple[int, ...], dtype: str, quantile: Quantile) -> Any:
    """Draw a tensor whose value i is ``quantile`` of uniform number i of the seed's stream.

    Args:
        seed: The stream.
        shape: Sizes of the axes.
        dtype: ``"float32"`` or ``"float64"``; the values are made in float64 and rounded once.
        quantile: Inverse of the distribution function on [0, 1), elementwise.

    Returns:
        A tensor; within ``sharding.laid_out`` one whose shards were drawn each on its own.
    """

    def part(index: Sequence[slice]) -> NDArray[Any]:
        return _part(seed, shape, index, quantile).astype(dtype)

    whole = (slice(None),) * len(shape)
    if keras.backend.backend() != "jax":
        return keras.ops.convert_to_tensor(part(whole), dtype=dtype)
    import jax

    if (placed := sharding.current.get()) is not None:
        return jax.make_array_from_callback(shape, placed, _once(part))
    if isinstance(jax.numpy.zeros(()), jax.core.Tracer):
        # Traced: a constant of the weight's size would be baked into the program.
        described = jax.ShapeDtypeStruct(shape, jax.dtypes.canonicalize_dtype(dtype))
        return jax.pure_callback(lambda: part(whole).astype(described.dtype), described)
    return jax.numpy.asarray(part(whole))


def _once(part: Callable[[Sequence[slice]], NDArray[Any]]) -> Callable[[Sequence[slice]], NDArray[Any]]:
    """The same with a memory, since JAX asks for every replica of a shard."""
    drawn: dict[str, NDArray[Any]] = {}

    def drawn_once(index: Sequence[slice]) -> NDArray[Any]:
        if str(index) not in drawn:
            drawn[str(index)] = part(index)
        return drawn[str(index)]

    return drawn_once


def _part(seed: PortableSeed, shape: tuple[int, ...], index: Sequence[slice], quantile: Quantile) -> Values:
    """The values at ``index``, a slice of step 1 for each axis."""
    bounds = [part.indices(size)[:2] for part, size in zip(index, shape, strict=True)]
    sizes = tuple(stop - start for start, stop in bounds)
    # From this axis on the values lie side by side in the stream.
    axis = next((axis for axis in reversed(range(len(shape))) if sizes[axis] < shape[axis]), 0)
    run, stride = math.prod(sizes[axis:]), math.prod(shape[axis:])
    before = np.arange(math.prod(shape[:axis])).reshape(shape[:axis])[tuple(slice(*pair) for pair in bounds[:axis])]
    offset = bounds[axis][0] * math.prod(shape[axis + 1 :]) if shape else 0
    values = np.empty((before.size, run))

    def fill(task: tuple[int, int]) -> None:
        row, start = task
        block = values[row, start : start + _BLOCK]
        block[:] = quantile(seed.uniform(int(before.flat[row]) * stride + offset + start, block.size))

    # NumPy and SciPy let go of the interpreter: two cores draw twice as fast.
    with ThreadPoolExecutor() as threads:
        list(threads.map(fill, ((row, start) for row in range(before.size) for start in range(0, run, _BLOCK))))
    return values.reshape(sizes)
