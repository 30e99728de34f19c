"""Histograms as ridges: which axis shows all of them, and how high each ridge is where."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.interpolate import PchipInterpolator

__all__ = ["Axis", "Ridge", "axis_for", "ridge_of"]

Array = npt.NDArray[Any]
_CELLS = 120
# Bins near zero are so narrow that few values are in each: on a linear axis they are joined until they are this share.
_BUMPS = 28
# Layers whose values differ by more than this have no linear axis in common: the smaller ones would be spikes on it.
_LINEAR_SPAN = 50.0


@dataclass(frozen=True)
class Axis:
    """Where values stand: from `low` to `high`; in octaves on both sides of zero where there is a `threshold`.

    Attributes:
        low: leftmost value.
        high: rightmost value.
        threshold: values closer to zero than this stand between -1 and 1 in proportion; above it each octave takes 1.
    """

    low: float
    high: float
    threshold: float | None = None

    def place(self, values: Any) -> Array:
        """Places of values on the axis."""
        values = np.asarray(values, np.float64)
        if self.threshold is None:
            return np.asarray(values)
        size = np.abs(values) / self.threshold
        return np.asarray(np.sign(values) * np.where(size > 1, 1 + np.log2(np.maximum(size, 1)), size))

    def decades(self, most: int = 4) -> list[int]:
        """Powers of ten to name on each side of zero."""
        if self.threshold is None:
            return []
        first, last = np.ceil(np.log10(self.threshold)), np.floor(np.log10(max(-self.low, self.high)))
        stride = max(1, int(np.ceil((last - first + 1) / most)))
        return list(range(int(last), int(first) - 1, -stride))


@dataclass(frozen=True)
class Ridge:
    """One histogram on an axis.

    Attributes:
        places: along the axis.
        heights: density there; the highest ridge without masses has height 1.
        masses: places of single values and their shares; a share of 1 would be as high as the highest ridge.
    """

    places: Array
    heights: Array
    masses: tuple[tuple[float, float], ...]


def axis_for(histograms: Sequence[Sequence[Sequence[float]]]) -> Axis:
    """An axis on which each of these histograms can be read.

    Args:
        histograms: rows of (lower edge, upper edge, count).
    """
    rows = [np.asarray(h, np.float64).reshape(-1, 3) for h in histograms]
    sizes = [_quantile(np.abs(r[:, :2]).max(1), r[:, 2], 0.9) for r in rows]
    sizes = [size for size in sizes if size > 0]
    if not sizes:
        return Axis(-1.0, 1.0)
    low = min(min(_quantile(r[:, 0], r[:, 2], 0.002) for r in rows if len(r)), 0.0)
    high = max(max(_quantile(r[:, 1], r[:, 2], 0.998) for r in rows if len(r)), 0.0)
    if max(sizes) <= _LINEAR_SPAN * min(sizes):
        margin = 0.04 * (high - low)
        return Axis(low - margin, high + margin)
    # A tenth of the smallest layer's values is about what one normal layer has within an eighth of its deviation.
    threshold = min(_quantile(np.abs(r[:, :2]).max(1), r[:, 2], 0.1, positive=True) for r in rows if np.any(r[:, :2]))
    return Axis(2 * low, 2 * high, threshold)


def ridge_of(histogram: Sequence[Sequence[float]], axis: Axis) -> Ridge:
    """The ridge of one histogram: rows of (lower edge, upper edge, count), from left to right."""
    rows = np.asarray(histogram, np.float64).reshape(-1, 3)
    total = rows[:, 2].sum()
    low, high = axis.place([axis.low, axis.high])
    edges = np.linspace(low, high, _CELLS + 1)
    places = (edges[:-1] + edges[1:]) / 2
    single = rows[:, 1] <= rows[:, 0]
    masses = tuple((float(axis.place(lower)), float(count / total)) for lower, _, count in rows[single])
    spread = rows[~single]
    if not len(spread):
        return Ridge(places, np.zeros(_CELLS), masses)
    least = 0.0 if axis.threshold is not None else (high - low) / _BUMPS
    below = _cumulative(axis.place(spread[:, 0]), axis.place(spread[:, 1]), spread[:, 2], least)
    density = np.diff(below(np.clip(edges, *below.x[[0, -1]])))
    # As high as its share of the values, so that a ridge beside a mass is not taken for the whole layer.
    share = spread[:, 2].sum() / total
    return Ridge(places, density / max(density.max(), 1e-300) * share, masses)


def _cumulative(lower: Array, upper: Array, counts: Array, least: float) -> Any:
    """Count of the values below a place, smooth and without a dip, through the edges that are `least` apart."""
    x, y = [lower[0]], [0.0]
    for left, right, count in zip(lower, upper, counts, strict=True):
        if left > x[-1]:
            x.append(left)
            y.append(y[-1])
        if right > x[-1]:
            x.append(right)
            y.append(y[-1] + count)
    wide = np.diff(x) >= least
    kept = [0]
    for i in range(1, len(x)):
        # Edges of what is wide, a bin or a gap, stay where they are.
        if x[i] - x[kept[-1]] >= least or i == len(x) - 1 or wide[i] or wide[i - 1]:
            kept.append(i)
    return PchipInterpolator(np.array(x)[kept], np.array(y)[kept])


def _quantile(values: Array, counts: Array, q: float, *, positive: bool = False) -> float:
    """The value below which a share of all counted ones lies; of those above zero alone, if asked."""
    chosen = values > 0 if positive else np.full(len(values), True)
    values, counts = values[chosen], counts[chosen]
    if not len(values):
        return 0.0
    order = np.argsort(values)
    place = np.searchsorted(np.cumsum(counts[order]), q * counts.sum())
    return float(values[order][min(place, len(values) - 1)])
