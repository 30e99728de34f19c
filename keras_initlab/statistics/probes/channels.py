"""Mean, deviation and share of zeros of each channel of each layer's output."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.statistics.measurement import by_unit
from keras_initlab.statistics.probes.apart import apart
from keras_initlab.statistics.taps import Taps
from keras_initlab.statistics.tensor_stats import widen


class Channels(NamedTuple):
    """The channels of one output: its layer, the name it has there, and their number."""

    layer: str
    quantity: str
    units: int


def channel_sums(taps: Taps) -> tuple[Any, tuple[Channels, ...], dict[str, str]]:
    """Sums over the values of each channel.

    Returns:
        A float64 tensor (5, channels of all outputs): number of values and of zeros; number, sum and sum of squares of
        the finite values. Then whose they are, and why some layers have none.
    """
    tensors, found, skipped = [], [], {}
    for tap in taps.tensors:
        if tap.quantity != "activation":
            continue
        x = by_unit(widen(taps.read(tap.tensor)), tap)
        if not x.shape[1]:
            skipped[tap.layer] = "the number of its channels is not known"
            continue
        tensors.append(x)
        name = "activation" if tap.variable is None else f"activation/{tap.variable}"
        found.append(Channels(tap.layer, name, x.shape[1]))
    if not tensors:
        return tf.zeros((5, 0), tf.float64), (), skipped
    return apart(_sums, tensors), tuple(found), skipped


def _sums(tensors: Sequence[Any]) -> Any:
    return tf.concat([_column_sums(x) for x in tensors], axis=1)


def _column_sums(x: Any) -> Any:
    finite = tf.math.is_finite(x)
    # In float64 the mean square less the squared mean keeps all the digits of float32 values.
    known = tf.cast(tf.where(finite, x, tf.zeros_like(x)), tf.float64)
    columns = [tf.cast(tf.equal(x, 0), tf.float64), tf.cast(finite, tf.float64), known, tf.square(known)]
    rows = tf.fill([x.shape[1]], tf.cast(tf.shape(x)[0], tf.float64))
    return tf.stack([rows, *(tf.reduce_sum(column, axis=0) for column in columns)])


def channel_statistics(
    sums: npt.NDArray[np.float64], found: Sequence[Channels]
) -> dict[tuple[str, str], dict[str, npt.NDArray[np.float64]]]:
    """`channels` of a Profile.

    Args:
        sums: as `channel_sums` gives them, with an axis for the replicas in front.
        found: whose they are.
    """
    count, zeros, finite, total, squares = sums.sum(axis=0)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = total / finite
        deviation = np.sqrt(np.maximum(squares / finite - mean**2, 0.0))
        columns = {"mean": mean, "std": deviation, "zeros": zeros / count}
    ends = np.cumsum([channels.units for channels in found])
    return {
        (channels.layer, channels.quantity): {
            name: values[end - channels.units : end] for name, values in columns.items()
        }
        for channels, end in zip(found, ends, strict=True)
    }
