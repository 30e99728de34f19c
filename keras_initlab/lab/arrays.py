"""A Profile of arrays, for what runs without a Keras model: stacks of matrices, products in NumPy."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.profile import Profile
from keras_initlab.statistics.schema import RAW_BINS

__all__ = ["profile_of"]


def profile_of(tensors: Mapping[tuple[str, str], Any], step: int = 0) -> Profile:
    """The statistics of arrays, each in float64 by its definition.

    Args:
        tensors: array by layer and quantity, in order of depth.
        step: training steps done.
    """
    depth = {layer: i for i, layer in enumerate(dict.fromkeys(layer for layer, _ in tensors))}
    keys = [(depth[layer], layer, quantity, None) for layer, quantity in tensors]
    rows = [_statistics(np.asarray(array)) for array in tensors.values()]
    columns = {name: np.array([row[name] for row in rows]) for name in (rows[0] if rows else ())}
    # Bins are those of float32; what lies beyond it is left out of them.
    with np.errstate(over="ignore"):
        values = [np.asarray(array, np.float32).ravel() for array in tensors.values()]
    first = np.repeat(np.arange(len(values)) * RAW_BINS, [len(v) for v in values])
    flat = np.concatenate(values) if values else np.zeros(0, np.float32)
    histograms = Histograms.from_values(flat, first, len(values), range(len(values)))
    return Profile(step, keys, columns, histograms)


def _statistics(array: Any) -> dict[str, float]:
    x = array.astype(np.float64).ravel()
    finite = x[np.isfinite(x)]
    found = {"count": x.size, "nonfinite": x.size - finite.size}
    if not finite.size:
        return {**found, **dict.fromkeys(("mean", "std", "rms", "min", "max", "l2", "zeros"), np.nan)}
    # The squares of float64's own largest values would overflow; those of float32's do not.
    return {
        **found,
        "mean": finite.mean(),
        "std": finite.std(),
        "rms": np.sqrt(np.mean(finite**2)),
        "min": finite.min(),
        "max": finite.max(),
        "l2": np.sqrt(np.sum(finite**2)),
        "zeros": np.mean(x == 0),
    }
