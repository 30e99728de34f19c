"""Profiles without a network: what writers are given."""

from __future__ import annotations

import numpy as np

from keras_initlab import Profile
from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.schema import STATISTICS, ZERO_BIN

OPTIONAL = {
    "dead": ("activation",),
    "dead_window": ("activation",),
    "saturated": ("preactivation", "activation"),
    "relative": ("update", "displacement", "inference_gap"),
    "cosine": ("update",),
    "angle": ("displacement",),
    "noise_scale": ("gradient",),
}
PER_LAYER = (
    ("preactivation", None),
    ("activation", None),
    ("activation_gradient", None),
    ("weight", "kernel"),
    ("gradient", "kernel"),
    ("update", "kernel"),
    ("displacement", "kernel"),
    ("batchnorm", "input"),
    ("batchnorm", "mean_drift"),
    ("batchnorm", "variance_ratio"),
    ("normalization", "mean"),
    ("normalization", "variance"),
    ("inference_gap", None),
)


def made(step=1, layers=3, histograms=True, seed=0):
    """A Profile with a row of every kind for each layer, of random numbers."""
    random = np.random.default_rng([seed, step])
    keys = [(depth, f"net/layer_{depth}", *kind) for depth in range(layers) for kind in PER_LAYER]
    statistics = {name: random.uniform(0.1, 2.0, len(keys)) for name in STATISTICS}
    statistics["count"], statistics["nonfinite"] = np.full(len(keys), 64.0), np.zeros(len(keys))
    for name, quantities in OPTIONAL.items():
        statistics[name][[key[2] not in quantities for key in keys]] = np.nan
    return Profile(step, keys, statistics, counted(random, len(keys)) if histograms else None)


def counted(random, runs):
    """Histograms of 8 to 40 bins around some magnitude, with and without zeros."""
    bins = []
    for _ in range(runs):
        around = random.integers(60, ZERO_BIN - 40)
        away = np.unique(random.integers(around - 20, around + 20, 20))
        zero = np.full(random.integers(0, 2), ZERO_BIN)
        bins.append(np.sort(np.concatenate([ZERO_BIN + away[::2], ZERO_BIN - away[1::2], zero])))
    starts = np.cumsum([0, *map(len, bins)])
    counts = random.integers(1, 9, starts[-1])
    owner = np.arange(runs, dtype=np.int32)
    owner[-1] = -1  # a row without one
    return Histograms(
        owner,
        starts.astype(np.int32),
        np.concatenate(bins).astype(np.uint16),
        counts.astype(np.int32),
    )


def same_as(profile, step):
    """The numbers of a Profile at another step: a long training costs the test one Profile."""
    return Profile(step, profile.keys, profile.statistics, profile.histograms, profile.notes, profile.channels)
