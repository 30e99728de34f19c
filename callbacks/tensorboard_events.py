"""A Profile as one TensorBoard event: scalars by statistic, histograms by quantity, both in order of depth."""

from __future__ import annotations

import functools
import math
import time
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf

from ..statistics.histograms import Histograms
from ..statistics.profile import Profile
from ..statistics.schema import BIN_EDGES, ZERO_BIN

# Group of tags, quantity, variable (None for any), statistic. Not all that a Profile holds: a page that shows
# everything shows nothing. The JSON lines beside the event file have the rest.
SCALARS = (
    ("activation_mean", "activation", None, "mean"),
    ("activation_std", "activation", None, "std"),
    ("activation_zeros", "activation", None, "zeros"),
    ("activation_dead", "activation", None, "dead"),
    ("activation_saturated", "activation", None, "saturated"),
    ("activation_nonfinite", "activation", None, "nonfinite"),
    ("activation_gradient_rms", "activation_gradient", None, "rms"),
    ("activation_gradient_l2", "activation_gradient", None, "l2"),
    ("weight_mean", "weight", None, "mean"),
    ("weight_std", "weight", None, "std"),
    ("weight_l2", "weight", None, "l2"),
    ("gradient_rms", "gradient", None, "rms"),
    ("gradient_l2", "gradient", None, "l2"),
    ("gradient_nonfinite", "gradient", None, "nonfinite"),
    ("update_l2", "update", None, "l2"),
    ("update_ratio", "update", None, "relative"),
    ("displacement_l2", "displacement", None, "l2"),
    ("displacement_ratio", "displacement", None, "relative"),
    ("batchnorm_input_mean", "batchnorm", "input", "mean"),
    ("batchnorm_input_std", "batchnorm", "input", "std"),
    ("batchnorm_mean_drift", "batchnorm", "mean_drift", "rms"),
    ("batchnorm_variance_ratio", "batchnorm", "variance_ratio", "mean"),
)
HISTOGRAMS = ("activation", "activation_gradient", "weight", "gradient")
# Octaves below the largest value that a histogram shows bin by bin; on a linear axis the rest is one narrow bar.
_SIDE_BINS = 14

Keys = tuple[tuple[int, str, str, str | None], ...]


def event_of(profile: Profile) -> Any:
    """The event to write for a Profile."""
    template, scalars, histograms = _template(profile.keys, profile.histograms is not None)
    event = tf.compat.v1.Event()
    event.CopyFrom(template)
    event.wall_time, event.step = time.time(), profile.step
    values = event.summary.value
    absent = []
    for place, (row, statistic) in enumerate(scalars):
        values[place].simple_value = profile.statistics[statistic][row]
        if math.isnan(values[place].simple_value) and statistic in ("saturated", "relative"):
            absent.append(place)
    if profile.histograms is not None:
        tables = tensorboard_buckets(profile.histograms)
        for place, row in enumerate(histograms, start=len(scalars)):
            values[place].tensor.tensor_content = tables[profile.histograms.runs[row]].tobytes()
    for place in reversed(absent):
        del values[place]
    return event


@functools.lru_cache(maxsize=8)
def _template(keys: Keys, with_histograms: bool) -> tuple[Any, list[tuple[int, str]], list[int]]:
    """The event without its numbers, and which row of the Profile each value of it shows.

    Tags and metadata are the larger part of the work and the same at every step.
    """
    event = tf.compat.v1.Event()
    scalars: list[tuple[int, str]] = []
    for group, quantity, variable, statistic in SCALARS:
        for row, key in enumerate(keys):
            if key[2] == quantity and variable in (None, key[3]):
                event.summary.value.add(tag=f"{group}/{tag_of(key if variable is None else (*key[:3], None))}")
                scalars.append((row, statistic))
    histograms = [row for row, key in enumerate(keys) if with_histograms and key[2] in HISTOGRAMS]
    for row in sorted(histograms, key=lambda row: HISTOGRAMS.index(keys[row][2])):
        value = event.summary.value.add(tag=f"{keys[row][2]}/{tag_of(keys[row])}")
        value.metadata.plugin_data.plugin_name = "histograms"
        value.metadata.data_class = 2  # DATA_CLASS_TENSOR
        value.tensor.dtype = tf.float64.as_datatype_enum
        for size in (2 * _SIDE_BINS + 1, 3):
            value.tensor.tensor_shape.dim.add(size=size)
    return event, scalars, sorted(histograms, key=lambda row: HISTOGRAMS.index(keys[row][2]))


def tag_of(key: tuple[int, str, str, str | None]) -> str:
    """`003_path/of/layer/kernel`: TensorBoard sorts tags by name, so the depth comes first."""
    depth, layer, _, variable = key
    return f"{depth:03d}_{layer}" + (f"/{variable}" if variable else "")


def tensorboard_buckets(histograms: Histograms) -> npt.NDArray[np.float64]:
    """Histograms as TensorBoard's histogram tab takes them: (runs, buckets, [left, right, count])."""
    tensors = len(histograms.starts) - 1
    rows = np.repeat(np.arange(tensors), np.diff(histograms.starts))
    distance = histograms.bins.astype(np.int64) - ZERO_BIN
    top = np.full(tensors, _SIDE_BINS)
    np.maximum.at(top, rows, np.abs(distance))
    # The bins of the upper octaves keep their place; whatever is smaller falls into the middle.
    inward = np.maximum(np.abs(distance) - (top[rows] - _SIDE_BINS), 0)
    place = _SIDE_BINS + np.sign(distance) * inward
    width = 2 * _SIDE_BINS + 1
    counts = np.bincount(rows * width + place, weights=histograms.counts, minlength=tensors * width)
    side = ZERO_BIN + top[:, np.newaxis] - np.arange(_SIDE_BINS - 1, -1, -1)
    positive = BIN_EDGES[side]
    middle = np.stack([-positive[:, :1, 0], positive[:, :1, 0]], axis=-1)
    edges = np.concatenate([-positive[:, ::-1, ::-1], middle, positive], axis=1)
    return np.concatenate([edges, counts.reshape(tensors, width, 1)], axis=2)
