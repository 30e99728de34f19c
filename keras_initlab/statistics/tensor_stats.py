"""Statistics of tensors on the device.

Sums are taken in float32 where that is good to six digits, and else in float64: the square of the largest float32
(1e77) fits in it, so that moments do not overflow before the signal does, and E x² - (E x)² keeps all the digits that
float32 values have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.schema import HISTOGRAM_SAMPLE

# A unit counts as saturated where its slope is under 2 % of the steepest: |tanh| >= .99, and the same point of a
# sigmoid. The hard forms saturate exactly at their bounds.
OUTPUT_BOUNDS = {
    "tanh": (-0.99, 0.99),
    "sigmoid": (0.005, 0.995),
    "hard_tanh": (-1.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
}
# The same points before the activation.
INPUT_BOUNDS = {
    "tanh": (-math.atanh(0.99), math.atanh(0.99)),
    "sigmoid": (-math.log(199.0), math.log(199.0)),
    "hard_tanh": (-1.0, 1.0),
    "hard_sigmoid": (-3.0, 3.0),
}

FIELDS = ("count", "nonzero", "scale", "sum", "l2", "min", "max", "nonfinite")
"""What the device computes of a tensor. `sum`, `l2`, `min` and `max` are those of the finite values over `scale`."""


def measurable(x: Any) -> bool:
    """Whether x is a dense tensor of floats."""
    return isinstance(x, tf.Tensor) and x.dtype.is_floating


def widen(x: Any) -> Any:
    """The same values in float32 or wider; every narrower float is exact there."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)


def statistics_of(tensors: Sequence[Any], shortcut: bool) -> tuple[Any, list[Any]]:
    """Statistics of some tensors.

    Args:
        tensors: of shape (m, u): m values of u units, in float32 or float64.
        shortcut: try sums in float32 first, which halves the time where operations run one by one; XLA fuses the
            conversion to float64 into the sum, which leaves nothing to gain.

    Returns:
        A float64 tensor (tensors, FIELDS), and for each tensor, by unit, the number of values that are not zero.
    """
    if not shortcut or any(x.dtype != tf.float32 for x in tensors):
        found = [_CAREFUL[x.dtype](x) for x in tensors]
        return tf.stack([fields for fields, _ in found]), [units for _, units in found]
    # The sign needs one pass, and the sum of its squares no other memory; of up to 2^22 values a unit it is exact.
    units = [tf.round(tf.square(tf.math.reduce_euclidean_norm(tf.sign(x), axis=0))) for x in tensors]
    nonzero = tf.stack([tf.reduce_sum(n) for n in units])
    count = tf.stack([tf.cast(tf.size(x, tf.int64), tf.float64) for x in tensors])
    total, l2, low, high = (
        tf.stack([function(x) for x in tensors])
        for function in (tf.reduce_sum, tf.math.reduce_euclidean_norm, tf.reduce_min, tf.reduce_max)
    )
    # Between these bounds the squares have neither overflowed, nor vanished, nor met what is not finite, and the mean
    # has not cancelled the deviation. Of equal values only their number and value are needed.
    spread = 0.75 * tf.cast(count, tf.float32) * l2 * l2 - total * total
    good = tf.reduce_all((spread > 1e-24) & (spread < 1e30) | tf.equal(high - low, 0.0))

    def quick() -> Any:
        columns = [count, nonzero, tf.ones_like(total), total, l2, low, high, tf.zeros_like(total)]
        return tf.stack([tf.cast(column, tf.float64) for column in columns], axis=1)

    return tf.cond(good, quick, lambda: tf.stack([_CAREFUL[x.dtype](x)[0] for x in tensors])), units


def _careful(x: Any) -> tuple[Any, Any]:
    finite = tf.math.is_finite(x)
    known = tf.where(finite, x, tf.zeros_like(x))
    scale = _power_of_two(known)
    units = tf.reduce_sum(tf.cast(tf.not_equal(x, 0), tf.float64), axis=0)
    wide = tf.cast(known / tf.cast(scale, x.dtype), tf.float64)
    low, high = (tf.where(finite, x, tf.constant(bound, x.dtype)) for bound in (np.inf, -np.inf))
    fields = [
        tf.cast(tf.size(x, tf.int64), tf.float64),
        tf.reduce_sum(units),
        scale,
        tf.reduce_sum(wide),
        tf.sqrt(tf.reduce_sum(tf.square(wide))),
        tf.cast(tf.reduce_min(low), tf.float64) / scale,
        tf.cast(tf.reduce_max(high), tf.float64) / scale,
        tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.float64)),
    ]
    return tf.stack(fields), tf.cast(units, tf.float32)


def _power_of_two(x: Any) -> Any:
    """What a tensor is divided by: 1, but for float64, whose square overflows at 1e154."""
    if x.dtype != tf.float64:
        return tf.constant(1.0, tf.float64)
    exponent = tf.floor(tf.math.log(tf.maximum(tf.reduce_max(tf.abs(x)), 1e-300)) / math.log(2.0))
    return tf.pow(tf.constant(2.0, tf.float64), exponent)


def norms_of(pairs: Sequence[tuple[Any, Any]], shortcut: bool) -> Any:
    """Norm of the finite values of x, scalar product of x and y, number of values of x that are not finite.

    Args:
        pairs: x and y; without y the product is not a number.
        shortcut: as in `statistics_of`.

    Returns:
        A float64 tensor (pairs, 3).
    """

    def careful() -> Any:
        finite = [tf.math.is_finite(x) for x, _ in pairs]
        wide = [
            (tf.cast(tf.where(known, x, tf.zeros_like(x)), tf.float64), y)
            for known, (x, y) in zip(finite, pairs, strict=True)
        ]
        bad = [tf.reduce_sum(tf.cast(tf.logical_not(known), tf.float64)) for known in finite]
        return tf.concat([_norms(wide), tf.stack(bad)[:, tf.newaxis]], axis=1)

    if not shortcut or any(x.dtype != tf.float32 for x, _ in pairs):
        return careful()
    quick = _norms(pairs)
    # Squares that have neither vanished nor overflowed, nor met what is not finite.
    good = tf.reduce_all((quick[:, 0] > 1e-12) & (quick[:, 0] < 1e15))
    return tf.cond(good, lambda: tf.cast(tf.pad(quick, [[0, 0], [0, 1]]), tf.float64), careful)


def _norms(pairs: Sequence[tuple[Any, Any]]) -> Any:
    norms = tf.stack([_norm(x) for x, _ in pairs])
    absent = tf.constant(np.nan, norms.dtype)
    products = tf.stack([absent if y is None else tf.reduce_sum(x * tf.cast(y, x.dtype)) for x, y in pairs])
    return tf.stack([norms, products], axis=1)


def _norm(x: Any) -> Any:
    # One pass without memory for the squares. XLA, where all sums are in float64, does not have it.
    return tf.math.reduce_euclidean_norm(x) if x.dtype == tf.float32 else tf.sqrt(tf.reduce_sum(tf.square(x)))


def compiled(function: Callable[[Any], Any], dtype: Any) -> Any:
    """One function for tensors of any size.

    Not inlined: with a copy of its body for each of 200 tensors the first step takes 12 s to optimize in place of 3 s.
    """
    signature = [tf.TensorSpec([None, None], dtype)]
    return tf.function(function, signature, autograph=False, experimental_attributes={"_noinline": True})


_CAREFUL = {dtype: compiled(_careful, dtype) for dtype in (tf.float32, tf.float64)}


def saturated_count(x: Any, bounds: tuple[float, float]) -> Any:
    """Number of the values at or beyond the bounds, a float64 scalar."""
    outside = tf.logical_or(x <= bounds[0], x >= bounds[1])
    return tf.reduce_sum(tf.cast(outside, tf.float64))


def sample(x: Any) -> Any:
    """Every value of a tensor (m, u), or of a larger one every so manieth of the m rows, as float32.

    About HISTOGRAM_SAMPLE values, all units alike. The stride is odd, so that it walks through images of even width.
    """
    # Gathering whole rows takes a fifth of the time of a strided slice.
    if x.shape.is_fully_defined():
        rows, units = x.shape
        places: Any = np.arange(0, rows, max(rows * units // HISTOGRAM_SAMPLE, 1) | 1, dtype=np.int32)
    else:
        rows, units = tf.shape(x)[0], x.shape[1] or tf.shape(x)[1]
        stride = tf.bitwise.bitwise_or(tf.maximum(rows * units // HISTOGRAM_SAMPLE, 1), 1)
        places = tf.range(0, rows, stride)
    return tf.reshape(tf.cast(tf.gather(x, places), tf.float32), [-1])


def sample_sizes(counts: npt.NDArray[np.int64], units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many values `sample` takes of tensors with so many values and units."""
    stride = np.maximum(counts // HISTOGRAM_SAMPLE, 1) | 1
    return -(-(counts // np.maximum(units, 1)) // stride) * units
