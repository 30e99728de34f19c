"""Statistics of tensors on the device, by one function that is traced once a dtype.

Where there is doubt, values are summed in float64: the square of the largest float32 (1e77) fits in it, so that
moments do not overflow before the signal does, and E x² - (E x)² keeps all the digits that float32 values have.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from keras_initlab.statistics.schema import DEVICE_BINS, DEVICE_SHIFT, HISTOGRAM_SAMPLE

# A unit counts as saturated where its slope is under 2 % of the steepest: |tanh| >= .99, and the same point of a
# sigmoid. The hard forms saturate exactly at their bounds.
SATURATION_BOUNDS = {
    "tanh": (-0.99, 0.99),
    "sigmoid": (0.005, 0.995),
    "hard_tanh": (-1.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
}


class Raw(NamedTuple):
    """What the device computes of k tensors of one shape: float64 vectors of length k.

    `sum`, `l2`, `min` and `max` are those of the finite values divided by `scale`; `dead` is the share of the units
    all of whose values are zero.
    """

    count: Any
    nonzero: Any
    dead: Any
    scale: Any
    sum: Any
    l2: Any
    min: Any
    max: Any
    nonfinite: Any


def measurable(x: Any) -> bool:
    """Whether x is a dense tensor of floats."""
    return isinstance(x, tf.Tensor) and x.dtype.is_floating


def widen(x: Any) -> Any:
    """The same values in float32 or wider; every narrower float is exact there."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)


def raw_statistics(x: Any, shortcut: bool = False, units: bool = True) -> Raw:
    """Raw statistics of a float32 or float64 tensor (k, m, u): k tensors of u units with m values each.

    Args:
        x: the tensor.
        shortcut: try sums in float32 first. They are taken where they are good to six digits, and halve the time where
            operations run one by one; XLA fuses the conversion to float64 into the sum, which leaves nothing to gain.
        units: whether `dead` is wanted. Sums over units cost twice as much as sums over rows.
    """
    quick = _QUICK_BY_UNIT if units else _QUICK_BY_ROW
    return Raw(*(quick(x) if shortcut and x.dtype == tf.float32 else _CAREFUL[x.dtype](x)))


def _shortcut(x: Any, axis: int) -> Raw:
    total, l2 = tf.reduce_sum(x, axis=(1, 2)), tf.math.reduce_euclidean_norm(x, axis=(1, 2))
    low, high = tf.reduce_min(x, axis=(1, 2)), tf.reduce_max(x, axis=(1, 2))
    # Between these bounds the squares have neither overflowed, nor vanished, nor met what is not finite, and the mean
    # has not cancelled the deviation.
    spread = 0.75 * tf.cast(tf.size(x[0]), tf.float32) * l2 * l2 - total * total
    good = tf.reduce_all((spread > 1e-24) & (spread < 1e30))

    def quick() -> Raw:
        # The sign needs one pass, and the sum of its squares no other memory; it is exact up to 2^21.
        nonzero = tf.round(tf.square(tf.math.reduce_euclidean_norm(tf.sign(x), axis=axis)))
        one = tf.ones_like(total, tf.float64)
        moments = [tf.cast(v, tf.float64) for v in (total, l2, low, high)]
        return Raw._make([*_counts(tf.cast(nonzero, tf.float64), x), one, *moments, tf.zeros_like(one)])

    found: Raw = tf.cond(good, quick, lambda: _careful(x))
    return found


def _careful(x: Any) -> Raw:
    finite = tf.math.is_finite(x)
    scale = _power_of_two(tf.where(finite, x, 0.0))
    x = x / tf.cast(scale, x.dtype)[:, tf.newaxis, tf.newaxis]
    nonzero = tf.reduce_sum(tf.cast(tf.not_equal(x, 0), tf.float64), axis=1)
    wide = tf.cast(tf.where(finite, x, 0.0), tf.float64)
    low = tf.reduce_min(tf.where(finite, x, np.inf), axis=(1, 2))
    high = tf.reduce_max(tf.where(finite, x, -np.inf), axis=(1, 2))
    return Raw(
        *_counts(nonzero, x),
        scale,
        tf.reduce_sum(wide, axis=(1, 2)),
        tf.sqrt(tf.reduce_sum(tf.square(wide), axis=(1, 2))),
        tf.cast(low, tf.float64),
        tf.cast(high, tf.float64),
        tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.float64), axis=(1, 2)),
    )


def _counts(nonzero_by_unit: Any, x: Any) -> tuple[Any, Any, Any]:
    """Count, values that are not zero, share of dead units; of sums over rows the last has no meaning."""
    units = tf.cast(tf.shape(x)[2], tf.float64)
    dead = tf.reduce_sum(tf.cast(tf.equal(nonzero_by_unit, 0), tf.float64), axis=1) / units
    count = tf.ones_like(dead) * tf.cast(tf.shape(x)[1], tf.float64) * units
    return count, tf.reduce_sum(nonzero_by_unit, axis=1), dead


def _power_of_two(x: Any) -> Any:
    """What each tensor is divided by: 1, but for float64, whose square overflows at 1e154."""
    if x.dtype != tf.float64:
        return tf.ones(tf.shape(x)[:1], tf.float64)
    largest = tf.reduce_max(tf.abs(x), axis=(1, 2))
    exponent = tf.floor(tf.math.log(tf.maximum(largest, 1e-300)) / math.log(2.0))
    return tf.pow(tf.constant(2.0, tf.float64), exponent)


def _compiled(function: Callable[[Any], Raw], dtype: Any) -> Any:
    """One function for tensors of any size.

    Not inlined: a watched step of 60 layers calls it 200 times, and with 200 copies of its body the first step takes
    12 s to optimize instead of 3 s, for no gain in speed.
    """
    signature = [tf.TensorSpec([None, None, None], dtype)]
    return tf.function(function, signature, autograph=False, experimental_attributes={"_noinline": True})


_QUICK_BY_UNIT = _compiled(functools.partial(_shortcut, axis=1), tf.float32)
_QUICK_BY_ROW = _compiled(functools.partial(_shortcut, axis=2), tf.float32)
_CAREFUL = {dtype: _compiled(_careful, dtype) for dtype in (tf.float32, tf.float64)}


def saturated_share(x: Any, bounds: tuple[float, float]) -> Any:
    """Share of the values at or beyond the bounds, a float64 scalar."""
    outside = tf.logical_or(x <= bounds[0], x >= bounds[1])
    return tf.reduce_sum(tf.cast(outside, tf.float64)) / tf.cast(tf.maximum(tf.size(x), 1), tf.float64)


def sample(x: Any) -> Any:
    """Every value of each of k tensors (k, m, u), or of larger ones every so manieth of the m rows: (k, n).

    About HISTOGRAM_SAMPLE values, all units alike. The stride is odd, so that it walks through images of even width.
    """
    stride = tf.bitwise.bitwise_or(tf.maximum(tf.shape(x)[1] * tf.shape(x)[2] // HISTOGRAM_SAMPLE, 1), 1)
    # Gathering whole rows takes a fifth of the time of a strided slice.
    return tf.reshape(tf.gather(x, tf.range(0, tf.shape(x)[1], stride), axis=1), (x.shape[0], -1))


def histograms(samples: Sequence[Any]) -> Any:
    """Counts by sign, exponent and first mantissa bit of the values in each row of each (k, n) tensor.

    Returns:
        int32 tensor (sum of k, DEVICE_BINS), from the left to the right.
    """
    # One shift and one count over all tensors: a call for each costs 6 times as much on a network of 60 layers.
    values = tf.concat([tf.reshape(tf.cast(x, tf.float32), [-1]) for x in samples], axis=0)
    lengths = tf.concat([tf.fill([x.shape[0]], tf.shape(x)[1]) for x in samples], axis=0)
    rows = sum(int(x.shape[0]) for x in samples)
    bits = tf.bitwise.right_shift(tf.bitcast(values, tf.uint32), tf.constant(DEVICE_SHIFT, tf.uint32))
    bins = tf.bitcast(bits, tf.int32) + tf.repeat(DEVICE_BINS * tf.range(rows), lengths)
    counts = tf.raw_ops.DenseBincount(input=bins, size=rows * DEVICE_BINS, weights=tf.constant([], tf.int32))
    positive, negative = tf.split(tf.reshape(counts, [rows, DEVICE_BINS]), 2, axis=1)
    return tf.concat([tf.reverse(negative, [1]), positive], axis=1)
