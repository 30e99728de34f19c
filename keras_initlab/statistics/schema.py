"""What a measurement is made of: the columns of a Profile and the bins of its histograms.

Writers and readers (Profile, event files, dashboards) share this file and nothing else.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

VERSION = 1
FILE_NAME = "profiles.jsonl"

QUANTITIES = (
    "preactivation",
    "activation",
    "activation_gradient",
    "weight",
    "gradient",
    "update",
    "displacement",
    "batchnorm",
    "normalization",
    "inference_gap",
    "state",
    "state_gradient",
)
KEYS = ("step", "depth", "layer", "quantity", "variable")
STATISTICS = (
    "count",
    "mean",
    "std",
    "rms",
    "min",
    "max",
    "l2",
    "zeros",
    "dead",
    "dead_window",
    "saturated",
    "nonfinite",
    "relative",
    "cosine",
    "angle",
    "noise_scale",
)
COLUMNS = (*KEYS, *STATISTICS, "histogram")
COUNTS = ("count", "nonfinite")

# A bin is the sign, the exponent and the leading mantissa bit of a float32: 2 bins an octave, every value has its
# bin, and finding it is one shift.
BIN_SHIFT = 22
RAW_BINS = 1024
# Histograms of larger tensors are of about this many values: counting every value of a network of 20 layers costs more
# than its training step (25 ms against 19 ms). The other statistics see every value.
HISTOGRAM_SAMPLE = 1024

_SIDE = RAW_BINS // 2
# Stored: exponent 0 (zero, and what the hardware takes for zero) is one bin of no width, whatever the sign; exponent
# 255 (infinite, or not a number) has none.
ZERO_BIN = _SIDE - 4
STORED_BIN = np.concatenate(
    [[-1, -1], np.arange(ZERO_BIN), [ZERO_BIN] * 4, np.arange(ZERO_BIN + 1, 2 * ZERO_BIN + 1), [-1, -1]]
)
"""Number of the stored bin of each of them, from the left; -1 where there is none."""


def _bin_edges() -> npt.NDArray[np.float64]:
    starts = (np.arange(2, _SIDE - 1, dtype=np.uint32) << BIN_SHIFT).view(np.float32).astype(np.float64)
    positive = np.stack([starts[:-1], starts[1:]], axis=1)
    positive[-1, 1] = 2.0**128
    return np.concatenate([-positive[::-1, ::-1], [[0.0, 0.0]], positive])


BIN_EDGES = _bin_edges()
"""(2 ZERO_BIN + 1, 2): lower and upper edge of every stored bin, from left to right, exact in float64."""
