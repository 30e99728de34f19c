"""Norms and scalar products of differences of large weights, on the device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_initlab.statistics.tensor_stats import widen

_GROUP_VALUES = 1 << 18
_GROUP_SIZE = 16


class Difference(NamedTuple):
    """The difference of two tensors.

    Attributes:
        minuend: a tensor.
        subtrahend: a tensor of the same shape; `None` for zero.
        other: what its scalar product is taken with; `None` for none.
        kept: a variable that takes it afterwards, which may be `other`; `None` for none.
    """

    minuend: Any
    subtrahend: Any = None
    other: Any = None
    kept: Any = None


def norms_of(differences: Sequence[Difference], shortcut: bool) -> Any:
    """Norm of the finite values, scalar product with the other tensor, number of values that are not finite.

    Args:
        differences: what to measure; without another tensor the product is not a number.
        shortcut: as in `statistics_of`.

    Returns:
        A float64 tensor (differences, 3).
    """
    found = [tf.zeros((0, 3), tf.float64)]
    for group in _groups(differences):
        # One group after the other: of all at once, the differences would take eight times the memory of the weights.
        with tf.control_dependencies(found[-1:]):
            found.append(_norms_of_group(group, shortcut))
    return tf.concat(found, axis=0)


def _groups(differences: Sequence[Difference]) -> Iterator[Sequence[Difference]]:
    """Those that follow one another, as many as may take memory at once."""
    start = size = 0
    for i, difference in enumerate(differences):
        x = difference.minuend
        values = x.shape.num_elements() or _GROUP_VALUES
        size += values
        full = size > _GROUP_VALUES or i - start == _GROUP_SIZE
        if i > start and (full or widen(x).dtype != widen(differences[start].minuend).dtype):
            yield differences[start:i]
            start, size = i, values
    if differences:
        yield differences[start:]


def _norms_of_group(group: Sequence[Difference], shortcut: bool) -> Any:
    pairs = [(_value(difference), difference.other) for difference in group]

    def careful() -> Any:
        finite = [tf.math.is_finite(x) for x, _ in pairs]
        wide = [
            (tf.cast(tf.where(known, x, tf.constant(0, x.dtype)), tf.float64), y)
            for known, (x, y) in zip(finite, pairs, strict=True)
        ]
        bad = [tf.reduce_sum(tf.cast(tf.logical_not(known), tf.float64)) for known in finite]
        return tf.concat([_norms(wide), tf.stack(bad)[:, tf.newaxis]], axis=1)

    if shortcut and all(x.dtype == tf.float32 for x, _ in pairs):
        quick = _norms(pairs)
        # Squares that have neither vanished nor overflowed, nor met what is not finite.
        good = tf.reduce_all((quick[:, 0] > 1e-12) & (quick[:, 0] < 1e15))
        norms = tf.cond(good, lambda: tf.cast(tf.pad(quick, [[0, 0], [0, 1]]), tf.float64), careful)
    else:
        norms = careful()
    with tf.control_dependencies([norms]):
        kept = [
            d.kept.assign(tf.cast(x, d.kept.dtype))
            for d, (x, _) in zip(group, pairs, strict=True)
            if d.kept is not None
        ]
    with tf.control_dependencies(kept):
        return tf.identity(norms)


def _value(difference: Difference) -> Any:
    x = widen(difference.minuend)
    return x if difference.subtrahend is None else x - tf.cast(difference.subtrahend, x.dtype)


def _norms(pairs: Sequence[tuple[Any, Any]]) -> Any:
    norms = tf.stack([_norm(x) for x, _ in pairs])
    absent = tf.constant(np.nan, norms.dtype)
    products = tf.stack([absent if y is None else tf.reduce_sum(x * tf.cast(y, x.dtype)) for x, y in pairs])
    return tf.stack([norms, products], axis=1)


def _norm(x: Any) -> Any:
    # One pass without memory for the squares. XLA, where all sums are in float64, does not have it.
    return tf.math.reduce_euclidean_norm(x) if x.dtype == tf.float32 else tf.sqrt(tf.reduce_sum(tf.square(x)))
