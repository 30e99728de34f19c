"""Statistics of tensors on the device, in one function that is traced once a dtype.

Values are summed in float64: the square of the largest float32 (1e77) fits in it, so that moments do not overflow before
the signal does, and E x² - (E x)² keeps all the digits that float32 values have.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from keras_initlab.statistics.schema import DEVICE_BINS, DEVICE_SHIFT, HISTOGRAM_SAMPLE

RAW = ("count", "zeros", "dead", "scale", "sum", "l2", "min", "max", "nonfinite")
"""What the device returns for one tensor; a Profile makes its columns of it."""

# A unit counts as saturated where its slope is under 2 % of the steepest: |tanh| >= .99, and the same point of a
# sigmoid. The hard forms saturate exactly at their bounds.
SATURATION_BOUNDS = {
    "tanh": (-0.99, 0.99),
    "sigmoid": (0.005, 0.995),
    "hard_tanh": (-1.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
}

_STRIDES = (1, *(p for p in range(2, 1 << 14) if all(p % q for q in range(2, math.isqrt(p) + 1))))


def measurable(x: Any) -> bool:
    """Whether x is a dense tensor of floats."""
    return isinstance(x, tf.Tensor) and x.dtype.is_floating


def widen(x: Any) -> Any:
    """The same values in float32 or wider; every narrower float is exact there."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)


@tf.function(reduce_retracing=True)  # type: ignore[untyped-decorator]
def raw_statistics(x: Any) -> Any:
    """Raw statistics of k tensors of one shape at once.

    Args:
        x: float32 or float64 tensor of shape (k, m, u): k tensors of u units with m values each.

    Returns:
        float64 tensor (k, len(RAW)). `sum`, `l2`, `min` and `max` are those of the finite values divided by `scale`,
        `dead` is the share of the units all of whose values are zero.
    """
    # Column sums first: one pass gives the zeros and the dead units. NaN counts as not zero.
    nonzero = tf.reduce_sum(tf.cast(tf.cast(x, tf.bool), tf.float32), axis=1)
    values, units = tf.cast(tf.shape(x)[1], tf.float64), tf.cast(tf.shape(x)[2], tf.float64)
    dead = tf.reduce_sum(tf.cast(tf.equal(nonzero, 0), tf.float64), axis=1) / units
    count = tf.ones_like(dead) * values * units
    zeros = count - tf.reduce_sum(tf.cast(nonzero, tf.float64), axis=1)
    scale = _power_of_two(x)
    if x.dtype == tf.float64:
        x = x / scale[:, tf.newaxis, tf.newaxis]
    moments = _moments(x)
    # The sum of finite values is finite here, so one number tells whether the slower path is needed.
    moments = tf.cond(tf.reduce_all(tf.math.is_finite(moments)), lambda: moments, lambda: _moments_of_finite(x))
    return tf.concat([tf.stack([count, zeros, dead, scale], axis=1), moments], axis=1)


def _power_of_two(x: Any) -> Any:
    """What each tensor is divided by: 1, but for float64, whose square overflows at 1e154."""
    if x.dtype != tf.float64:
        return tf.ones(tf.shape(x)[:1], tf.float64)
    largest = tf.reduce_max(tf.where(tf.math.is_finite(x), tf.abs(x), 0.0), axis=(1, 2))
    exponent = tf.floor(tf.math.log(tf.maximum(largest, 1e-300)) / math.log(2.0))
    return tf.pow(tf.constant(2.0, tf.float64), exponent)


def _moments(x: Any) -> Any:
    wide = tf.cast(x, tf.float64)
    total, l2 = tf.reduce_sum(wide, axis=(1, 2)), tf.math.reduce_euclidean_norm(wide, axis=(1, 2))
    low, high = tf.reduce_min(x, axis=(1, 2)), tf.reduce_max(x, axis=(1, 2))
    return tf.stack([total, l2, tf.cast(low, tf.float64), tf.cast(high, tf.float64), tf.zeros_like(total)], axis=1)


def _moments_of_finite(x: Any) -> Any:
    finite = tf.math.is_finite(x)
    total, l2, _, _, _ = tf.unstack(_moments(tf.where(finite, x, 0.0)), axis=1)
    low = tf.reduce_min(tf.where(finite, x, np.inf), axis=(1, 2))
    high = tf.reduce_max(tf.where(finite, x, -np.inf), axis=(1, 2))
    nonfinite = tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.float64), axis=(1, 2))
    return tf.stack([total, l2, tf.cast(low, tf.float64), tf.cast(high, tf.float64), nonfinite], axis=1)


def saturated_share(x: Any, bounds: tuple[float, float]) -> Any:
    """Share of the values at or beyond the bounds, a float64 scalar."""
    outside = tf.logical_or(x <= bounds[0], x >= bounds[1])
    return tf.reduce_sum(tf.cast(outside, tf.float64)) / tf.cast(tf.maximum(tf.size(x), 1), tf.float64)


def sample(x: Any) -> Any:
    """At most HISTOGRAM_SAMPLE values of each of k tensors (k, m, u), evenly spread; all of them where they are fewer.

    The stride is a prime that does not divide the number of units, so that every unit is met.
    """
    units = x.shape[2] or 1
    allowed = [s for s in _STRIDES if s == 1 or units % s]
    strides = tf.constant(allowed, tf.int32)
    size = tf.shape(x)[1] * tf.shape(x)[2]
    wanted = (size + HISTOGRAM_SAMPLE - 1) // HISTOGRAM_SAMPLE
    stride = tf.gather(strides, tf.minimum(tf.searchsorted(strides, [wanted])[0], len(allowed) - 1))
    return tf.reshape(x, tf.stack([tf.shape(x)[0], size]))[:, ::stride]


def histograms(samples: Sequence[Any]) -> Any:
    """Counts by sign, exponent and first mantissa bit of the values in each row of each (k, n) tensor.

    Returns:
        int32 tensor (sum of k, DEVICE_BINS).
    """
    indices, rows = [], 0
    for x in samples:
        bits = tf.bitcast(tf.cast(x, tf.float32), tf.uint32)
        bins = tf.bitcast(tf.bitwise.right_shift(bits, tf.constant(DEVICE_SHIFT, tf.uint32)), tf.int32)
        offset = DEVICE_BINS * (rows + np.arange(x.shape[0], dtype=np.int32))
        indices.append(tf.reshape(bins + offset[:, np.newaxis], [-1]))
        rows += int(x.shape[0])
    # One count over all tensors: a call for each costs 6 times as much on a network of 60 layers.
    size = rows * DEVICE_BINS
    counts = tf.raw_ops.DenseBincount(input=tf.concat(indices, axis=0), size=size, weights=tf.constant([], tf.int32))
    return tf.reshape(counts, [rows, DEVICE_BINS])
