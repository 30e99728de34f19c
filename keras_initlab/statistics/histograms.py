"""Histograms of several tensors in little memory: only the bins that are not empty."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.schema import BIN_EDGES, BIN_SHIFT, RAW_BINS, STORED_BIN


@dataclass(frozen=True, eq=False)
class Histograms:
    """Histograms of several tensors: the bins of `schema` that are not empty, a run of them for each tensor.

    Attributes:
        runs: which run is that of each row of the Profile, -1 for one without; rows of one tensor share theirs.
        starts: where each run starts, and at last where the last one ends.
        bins: number of each bin in `schema.BIN_EDGES`.
        counts: values in each bin.
    """

    runs: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    bins: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int32]

    @classmethod
    def from_values(
        cls, values: npt.NDArray[np.float32], first: npt.NDArray[np.int64], tensors: int, runs: Sequence[int]
    ) -> Histograms:
        """Of the values of several tensors, each value with the number of its tensor's first bin.

        One shift and one count over all of them; values that are not finite are left out.
        """
        bits = values.view(np.int32)
        # From the left: negative values, the largest first, then positive ones.
        bins = ((bits >> BIN_SHIFT) & (RAW_BINS - 1)) ^ ((bits >> 31) & (RAW_BINS // 2 - 1) | RAW_BINS // 2)
        counts = np.bincount(first + bins, minlength=tensors * RAW_BINS)
        return cls._from_counts(counts.reshape(tensors, RAW_BINS), runs)

    @classmethod
    def _from_counts(cls, counts: npt.NDArray[np.int64], runs: Sequence[int]) -> Histograms:
        rows, places = np.divmod(np.flatnonzero(counts != 0), RAW_BINS)  # of integers it would take four times as long
        found, bins = counts[rows, places], STORED_BIN[places]
        # Zeros of both signs share a bin, and stand next to each other.
        first = (bins >= 0) & np.append(True, (np.diff(bins) != 0) | (np.diff(rows) != 0))[: len(bins)]
        owner = np.cumsum(first) - 1
        sums = np.bincount(owner[bins >= 0], weights=found[bins >= 0], minlength=int(first.sum()))
        starts = np.searchsorted(rows[first], np.arange(len(counts) + 1))
        return cls(
            np.asarray(runs, np.int32), starts.astype(np.int32), bins[first].astype(np.uint16), sums.astype(np.int32)
        )

    def buckets(self, row: int) -> list[list[float]] | None:
        """Lower edge, upper edge and count of each bin of one row that is not empty, from left to right."""
        if self.runs[row] < 0:
            return None
        part = slice(self.starts[self.runs[row]], self.starts[self.runs[row] + 1])
        edges = BIN_EDGES[self.bins[part]].tolist()
        return [[low, high, count] for (low, high), count in zip(edges, self.counts[part].tolist(), strict=True)]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Histograms) and all(
            np.array_equal(getattr(self, f.name), getattr(other, f.name)) for f in fields(self)
        )

    __hash__ = None  # type: ignore[assignment]
