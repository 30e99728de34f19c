"""Statistics of tensors on the device.

Sums are taken in float32 where that is good to six digits, and else in float64: the square of the largest float32
(1e77) fits in it, so that moments do not overflow before the signal does, and E x² - (E x)² keeps all the digits that
float32 values have.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.blocks import Block, by_unit
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

FIELDS = ("count", "nonzero", "scale", "nonfinite", "sum", "l2", "min", "max", "saturated")
"""What the device computes of a tensor. `sum`, `l2`, `min` and `max` are those of the finite values over `scale`."""


def measurable(x: Any) -> bool:
    """Whether x is a dense tensor of floats."""
    return isinstance(x, tf.Tensor) and x.dtype.is_floating


def widen(x: Any) -> Any:
    """The same values in float32 or wider; every narrower float is exact there."""
    return x if x.dtype in (tf.float32, tf.float64) else tf.cast(x, tf.float32)


class Found(NamedTuple):
    """Statistics of the subjects of a block.

    Attributes:
        fields: float64 (subjects, FIELDS).
        units: for each subject in turn, by unit, the number of values that are not zero.
        samples: for each in turn, float32, what `sample` takes of it.
    """

    fields: Any
    units: Any
    samples: Any


def statistics_of(block: Block, shortcut: bool, histograms: bool = True) -> Found:
    """Statistics of the subjects of a block.

    Args:
        block: what to measure.
        shortcut: try sums in float32 first, all subjects at once, which halves the time where operations run one by
            one; XLA fuses the conversion to float64 into the sum, which leaves nothing to gain.
        histograms: whether samples are taken; otherwise there are none.
    """
    bounds = tf.constant(block.bounds or (np.nan, np.nan), block.dtype)
    if not shortcut or block.dtype != tf.float32:
        return _one_by_one(block, bounds, histograms)
    parts = block.parts()
    fields, units, good = _quick(parts, block, bounds)

    def quick() -> Found:
        return Found(fields(), units, _samples(parts) if histograms else tf.zeros(0))

    def careful() -> Found:
        found = Found(*_LOOP(block.rows(), block.lengths, bounds))
        return found if histograms else found._replace(samples=tf.zeros(0))

    found = tf.cond(good & block.equal, quick, careful)
    number = len(block.subjects)
    return Found(
        tf.ensure_shape(found.fields, (number, len(FIELDS))),
        tf.ensure_shape(found.units, (number * block.width,)),
        found.samples,
    )


def _quick(parts: Sequence[Any], block: Block, bounds: Any) -> tuple[Callable[[], Any], Any, Any]:
    """By sums in float32: the fields, the units, and whether all are good to six digits."""
    rows, whole = tf.constant([-2]), tf.constant([-2, -1])

    def reduced(function: Callable[..., Any], tensors: Sequence[Any], axes: Any) -> Any:
        found = [function(x, axis=axes) for x in tensors]
        return found[0] if len(parts[0].shape) == 3 else tf.stack(found)

    # The sign needs one pass, and the sum of its squares no other memory; of up to 2^22 values a unit it is exact.
    units = tf.round(tf.square(reduced(tf.math.reduce_euclidean_norm, [tf.sign(x) for x in parts], rows)))
    total, l2, low, high = (
        reduced(function, parts, whole)
        for function in (tf.reduce_sum, tf.math.reduce_euclidean_norm, tf.reduce_min, tf.reduce_max)
    )
    outside = [_outside(x, bounds) for x in parts] if block.bounds else []
    saturated = reduced(tf.reduce_sum, outside, whole) if outside else tf.zeros_like(total)
    count = tf.cast(block.lengths, tf.float64) * block.width
    # Between these bounds the squares have neither overflowed, nor vanished, nor met what is not finite, and the mean
    # has not cancelled the deviation. Of equal values only their number and value are needed.
    spread = 0.75 * tf.cast(count, tf.float32) * l2 * l2 - total * total
    good = (spread > 1e-24) & (spread < 1e30) | tf.equal(high - low, 0.0)

    def fields() -> Any:
        nonzero = tf.reduce_sum(tf.cast(units, tf.float64), axis=1)
        one = tf.ones_like(nonzero)
        counts = tf.stack([count, nonzero, one, tf.zeros_like(one)], axis=1)
        sums = tf.stack([total, l2, low, high, saturated], axis=1)
        return tf.concat([counts, tf.cast(sums, tf.float64)], axis=1)

    return fields, tf.reshape(units, [-1]), tf.reduce_all(good)


def _outside(x: Any, bounds: Any) -> Any:
    """1 for each value that is saturated, and else 0."""
    return tf.cast(tf.logical_or(x <= bounds[0], x >= bounds[1]), x.dtype)


def _one_by_one(block: Block, bounds: Any, histograms: bool) -> Found:
    parts = [by_unit(subject.tensor, subject.axis, (-1, block.width)) for subject in block.subjects]
    found = [_CAREFUL[x.dtype](x, bounds) for x in parts]
    samples = tf.concat([sample(x) for x in parts], axis=0) if histograms else tf.zeros(0)
    return Found(tf.stack([fields for fields, _ in found]), tf.concat([units for _, units in found], axis=0), samples)


def _careful(x: Any, bounds: Any) -> tuple[Any, Any]:
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
        tf.reduce_sum(tf.cast(tf.logical_not(finite), tf.float64)),
        tf.reduce_sum(wide),
        tf.sqrt(tf.reduce_sum(tf.square(wide))),
        tf.cast(tf.reduce_min(low), tf.float64) / scale,
        tf.cast(tf.reduce_max(high), tf.float64) / scale,
        tf.reduce_sum(tf.cast(_outside(x, bounds), tf.float64)),
    ]
    return tf.stack(fields), tf.cast(units, tf.float32)


def _loop(rows: Any, lengths: Any, bounds: Any) -> tuple[Any, Any, Any]:
    """Subject by subject, of whatever lengths."""
    number = tf.shape(lengths)[0]
    ends = tf.cumsum(lengths)
    arrays = [tf.TensorArray(t, number, infer_shape=False) for t in (tf.float64, tf.float32, tf.float32)]

    def one(i: Any, fields: Any, units: Any, samples: Any) -> tuple[Any, ...]:
        x = rows[ends[i] - lengths[i] : ends[i]]
        found = _careful(x, bounds)
        return i + 1, fields.write(i, found[0]), units.write(i, found[1]), samples.write(i, sample(x))

    _, *arrays = tf.while_loop(lambda i, *_: i < number, one, (0, *arrays), parallel_iterations=1)
    fields, units, samples = arrays
    return tf.ensure_shape(fields.stack(), (None, len(FIELDS))), units.concat(), samples.concat()


def _power_of_two(x: Any) -> Any:
    """What a tensor is divided by: 1, but for float64, whose square overflows at 1e154."""
    if x.dtype != tf.float64:
        return tf.constant(1.0, tf.float64)
    exponent = tf.floor(tf.math.log(tf.maximum(tf.reduce_max(tf.abs(x)), 1e-300)) / math.log(2.0))
    return tf.pow(tf.constant(2.0, tf.float64), exponent)


def compiled(function: Callable[..., Any], *signature: tf.TensorSpec) -> Any:
    """One function for tensors of any size.

    Not inlined: with a copy of its body for each of 200 tensors the first step takes 12 s to optimize in place of 3 s.
    """
    return tf.function(function, signature, autograph=False, experimental_attributes={"_noinline": True})


def rows_of(dtype: Any) -> tf.TensorSpec:
    """Any number of rows of any number of units."""
    return tf.TensorSpec([None, None], dtype)


_CAREFUL = {dtype: compiled(_careful, rows_of(dtype), tf.TensorSpec([2], dtype)) for dtype in (tf.float32, tf.float64)}
_LOOP = compiled(_loop, rows_of(tf.float32), tf.TensorSpec([None], tf.int32), tf.TensorSpec([2], tf.float32))


def sample(x: Any) -> Any:
    """Every value of a tensor (m, u), or of a larger one every so manieth of the m rows, as float32.

    About HISTOGRAM_SAMPLE values, all units alike. The stride is odd, so that it walks through images of even width.
    """
    # Gathering whole rows takes a fifth of the time of a strided slice.
    return tf.reshape(tf.cast(tf.gather(x, _sampled_rows(x)), tf.float32), [-1])


def _samples(parts: Sequence[Any]) -> Any:
    """What `sample` takes of each of some tensors of equal shape (m, u), which may be joined."""
    places, axis = _sampled_rows(parts[0]), tf.constant(len(parts[0].shape) - 2)
    return tf.reshape(tf.concat([tf.gather(x, places, axis=axis) for x in parts], axis=0), [-1])


def _sampled_rows(x: Any) -> Any:
    if x.shape.is_fully_defined():
        rows, units = x.shape[-2:]
        return tf.range(0, rows, max(rows * units // HISTOGRAM_SAMPLE, 1) | 1)
    rows, units = tf.shape(x)[-2], x.shape[-1] or tf.shape(x)[-1]
    return tf.range(0, rows, tf.bitwise.bitwise_or(tf.maximum(rows * units // HISTOGRAM_SAMPLE, 1), 1))


def sample_sizes(counts: npt.NDArray[np.int64], units: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """How many values `sample` takes of tensors with so many values and units."""
    stride = np.maximum(counts // HISTOGRAM_SAMPLE, 1) | 1
    return -(-(counts // np.maximum(units, 1)) // stride) * units
