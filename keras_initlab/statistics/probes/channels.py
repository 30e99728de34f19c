"""Mean, deviation and share of zeros of each channel of each layer's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.blocks import by_unit
from keras_initlab.statistics.taps import Taps
from keras_initlab.statistics.tensor_stats import compiled, rows_of, widen


class Channels(NamedTuple):
    """The channels of one output: its layer, the name it has there, and their number."""

    layer: str
    quantity: str
    units: int


def channel_moments(taps: Taps, shortcut: bool) -> tuple[Any, tuple[Channels, ...], dict[str, str]]:
    """Moments of the values of each channel.

    Args:
        taps: of the training step.
        shortcut: try float32 first, as in `statistics_of`.

    Returns:
        A float64 tensor (5, channels of all outputs): number of values, of zeros and of finite values; mean of the
        finite ones and sum of their squared deviations from it. Then whose they are, and why some layers have none.
    """
    columns, found, skipped = [tf.zeros((5, 0), tf.float64)], [], {}
    for tap in taps.tensors:
        if tap.quantity != "activation":
            continue
        x = widen(taps.read(tap.tensor))
        axis = tap.unit_axis % len(x.shape) if len(x.shape) > 1 else None
        width = 1 if axis is None else x.shape[axis]
        if not width:
            skipped[tap.layer] = "the number of its channels is not known"
            continue
        x = by_unit(x, axis, (-1, width))
        moments = (_CHECKED if shortcut and x.dtype == tf.float32 else _CAREFUL[x.dtype])(x)
        columns.append(tf.ensure_shape(moments, (5, x.shape[1])))
        name = "activation" if tap.variable is None else f"activation/{tap.variable}"
        found.append(Channels(tap.layer, name, x.shape[1]))
    return tf.concat(columns, axis=1), tuple(found), skipped


def _checked(x: Any) -> Any:
    """In float32, unless that loses digits."""
    rows, zeros = _rows_and_zeros(x)
    mean = tf.reduce_mean(x, axis=0)
    squares = tf.reduce_sum(tf.square(x - mean), axis=0)
    # Neither overflowed, nor vanished, nor met what is not finite; channels of zeros have nothing to lose.
    good = (squares > 1e-24) & (squares < 1e30) | (zeros == rows)

    def quick() -> Any:
        return tf.stack([rows, zeros, rows, *(tf.cast(column, tf.float64) for column in (mean, squares))])

    # Down a column float32 adds one value after the other: of 2^17 it keeps five digits.
    return tf.cond(tf.reduce_all(good) & (tf.shape(x)[0] <= 1 << 17), quick, lambda: _careful(x))


def _careful(x: Any) -> Any:
    finite = tf.math.is_finite(x)
    known = tf.cast(tf.where(finite, x, tf.zeros_like(x)), tf.float64)
    number = tf.reduce_sum(tf.cast(finite, tf.float64), axis=0)
    mean = tf.math.divide_no_nan(tf.reduce_sum(known, axis=0), number)
    squares = tf.reduce_sum(tf.where(finite, tf.square(known - mean), tf.zeros_like(known)), axis=0)
    return tf.stack([*_rows_and_zeros(x), number, mean, squares])


def _rows_and_zeros(x: Any) -> tuple[Any, Any]:
    zeros = tf.reduce_sum(tf.cast(tf.equal(x, 0), tf.int32), axis=0)
    return tf.fill(tf.shape(zeros), tf.cast(tf.shape(x)[0], tf.float64)), tf.cast(zeros, tf.float64)


_CAREFUL = {dtype: compiled(_careful, rows_of(dtype)) for dtype in (tf.float32, tf.float64)}
_CHECKED = compiled(_checked, rows_of(tf.float32))


def channel_statistics(
    moments: npt.NDArray[np.float64], found: Sequence[Channels]
) -> dict[tuple[str, str], dict[str, npt.NDArray[np.float64]]]:
    """`channels` of a Profile.

    Args:
        moments: as `channel_moments` gives them, with an axis for the replicas in front.
        found: whose they are.
    """
    rows, zeros, number, means, squares = np.moveaxis(moments, 1, 0)
    with np.errstate(invalid="ignore", divide="ignore"):
        share = number / number.sum(axis=0)
        mean = (share * means).sum(axis=0)
        variance = squares.sum(axis=0) / number.sum(axis=0) + (share * (means - mean) ** 2).sum(axis=0)
        columns = {"mean": mean, "std": np.sqrt(variance), "zeros": zeros.sum(axis=0) / rows.sum(axis=0)}
    ends = np.cumsum([channels.units for channels in found])
    return {
        (channels.layer, channels.quantity): {
            name: values[end - channels.units : end] for name, values in columns.items()
        }
        for channels, end in zip(found, ends, strict=True)
    }
