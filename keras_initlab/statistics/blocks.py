"""Tensors of one shape, that are measured together.

A graph of twenty operations for each of the four tensors of a layer takes longer to trace and to optimize than the
training step itself. Small tensors are joined, and one set of operations measures up to 64 of them; of large ones only
the constants, the lengths and the decisions are shared, since a copy would cost as much as two of their six readings.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple

import tensorflow as tf

# A block holds its tensors for as long as it is measured, so it is no larger than this, or a single tensor: watching
# needs little memory, and what has been read once is still in the processor's cache.
_BLOCK_VALUES = 1 << 18
_BLOCK_TENSORS = 64
_JOINED_VALUES = 1 << 14
_UNKNOWN_BATCH = 256


class Subject(NamedTuple):
    """A tensor to be measured.

    Attributes:
        tensor: of floats, at least 32 bits wide.
        axis: the one along which its units lie; `None` where all of it is one unit.
        bounds: at or beyond which its values count as saturated; `None` where saturation has no meaning.
    """

    tensor: Any
    axis: int | None = None
    bounds: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """Number of units."""
        return 1 if self.axis is None else int(self.tensor.shape[self.axis])


class Block:
    """Subjects of one static shape.

    Attributes:
        subjects: the tensors.
        width: units of each.
        bounds: of each.
        lengths: int32, how many values of each unit each subject has.
        equal: whether that is the same number for all: a shape that is not known before the step runs may differ.
    """

    def __init__(self, subjects: Sequence[Subject]) -> None:
        self.subjects = subjects
        first = subjects[0]
        self.width, self.bounds, self.dtype = first.width, first.bounds, first.tensor.dtype
        tensors = [subject.tensor for subject in subjects]
        self._joined = len(tensors) > 1 and _size(first.tensor) <= _JOINED_VALUES
        # All readings of a tensor are of these rows.
        whole = [tf.concat(tensors, axis=0)] if self._joined else tensors
        shape = tf.constant([-1, self.width])
        self._rows = [by_unit(x, first.axis, shape) for x in whole]
        if first.tensor.shape.is_fully_defined():
            self.lengths = tf.constant([first.tensor.shape.num_elements() // self.width] * len(tensors))
            self.equal: Any = True
        else:
            self.lengths = tf.reduce_prod(tf.stack(tf.shape_n(tensors)), axis=1) // self.width
            self.equal = len(tensors) == 1 or tf.reduce_all(tf.equal(self.lengths, self.lengths[0]))

    def rows(self) -> Any:
        """The values of all as (values of each unit, units)."""
        return self._rows[0] if len(self._rows) == 1 else tf.concat(self._rows, axis=0)

    def parts(self) -> list[Any]:
        """The values: of each subject (values of each unit, units), or of all that are joined with an axis in front.

        Those that are joined hold nothing of use unless all lengths are equal.
        """
        if not self._joined:
            return self._rows
        number, (rows,) = len(self.subjects), self._rows
        if self.equal is not True:
            rows = rows[: number * (tf.shape(rows)[0] // number)]
        return [tf.reshape(rows, (number, -1, self.width))]


def by_unit(x: Any, axis: int | None, shape: Any) -> Any:
    """A tensor as (values of each unit, units).

    Args:
        x: of any shape.
        axis: of the units; `None` where all values are of one.
        shape: -1, and the number of units.
    """
    last = len(x.shape) - 1
    if axis is not None and axis != last:
        x = tf.transpose(x, [*(a for a in range(last + 1) if a != axis), axis])
    return x if last == 1 and axis is not None else tf.reshape(x, shape)


def blocks_of(subjects: Sequence[Subject]) -> list[list[int]]:
    """Numbers of the subjects that are measured together."""
    blocks: list[list[int]] = []
    open_blocks: dict[Any, tuple[list[int], int]] = {}
    for i, subject in enumerate(subjects):
        x = subject.tensor
        shape = tuple(x.shape)
        # Tensors are joined along their first axis, which therefore must not be that of the units.
        joined = len(shape) == 1 or (len(shape) > 1 and subject.axis != 0)
        key = (x.dtype, shape, subject.axis, subject.bounds) if joined else i
        size = _size(x)
        block, room = open_blocks.get(key, ([], 0))
        if not block or size > room or len(block) == _BLOCK_TENSORS:
            block, room = [], _BLOCK_VALUES
            blocks.append(block)
        block.append(i)
        open_blocks[key] = block, room - size
    return sorted(blocks, key=max)


def _size(x: Any) -> int:
    return math.prod(_UNKNOWN_BATCH if n is None else n for n in x.shape)
