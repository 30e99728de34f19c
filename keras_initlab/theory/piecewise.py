"""A function of which nothing is known but its values: where it is not smooth, and its derivative elsewhere."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from keras_initlab.theory.chebyshev import coefficients, evaluate, points, slopes, tails

__all__ = ["Piecewise"]

Array = NDArray[np.float64]
Panels = tuple[Array, Array, Array]

_REACH, _SMALLEST = 16.0, 2.0**-20
_RESOLVED, _ROUNDING = 1e-13, 5e-16
# Halving that goes on below the first, relative to the distance from 0, has met a kink; below the second are no floats.
_NARROW, _NARROWEST = 1e-3, 2.0**-48
# What tells a jump, and a kink, from two interpolants that end at the same value or slope but for rounding.
_JUMP, _BEND = 1e-9, 1e-6
_MOST_NOISE = 1e-5
_MOST_PANELS = 50_000


class Piecewise:
    """Chebyshev interpolants of a function between its kinks, resolved to 13 digits or to the function's own rounding.

    A panel whose coefficients do not die out is halved. Where halving goes on and on something is not smooth: that
    place becomes an end of panels, which are then made anew. What is asked for beyond the range is examined then.

    Args:
        function: Maps a float64 array to one of its shape. Where it is not finite, so are the interpolants.

    Raises:
        ValueError: The function is too rough.
    """

    def __init__(self, function: Callable[[Array], Array]) -> None:
        self._function = function
        near = np.abs(function(points(np.array([-1.0, 0.0]), np.array([0.0, 1.0]))))
        self._unit = float(np.where(np.isfinite(near), near, 0.0).max())
        self.noise = _rounding(function, self._unit)
        """Rounding of the function's values, relative to the larger of them and of those near 0."""
        self.kinks: tuple[float, ...] = ()
        """Where the function or its derivative is not smooth, or is so steep that it makes no difference."""
        self.jumps: tuple[float, ...] = ()
        """Where the function is not continuous."""
        self._reach = _REACH
        self._panels = self._examine(np.array([-16.0, -8.0, -4.0, -2.0, -1.0, 0.0, 1.0, 2.0, 4.0, 8.0, 16.0]))

    def __call__(self, x: Array) -> Array:
        """The function's values."""
        panel, t = self._locate(x)
        return evaluate(self._panels[2][panel], t).reshape(x.shape)

    def derivative(self, x: Array) -> Array:
        """The derivative, at a kink that of one side."""
        panel, t = self._locate(x)
        left, right, series = self._panels
        return (evaluate(slopes(series)[panel], t) * (2 / (right - left))[panel]).reshape(x.shape)

    def _locate(self, x: Array) -> tuple[NDArray[np.intp], Array]:
        """The panel of each number, and its place in it from −1 to 1."""
        while np.abs(x).max(initial=0.0, where=np.isfinite(x)) > self._reach:
            near, self._reach = self._reach, 4 * self._reach
            sides = (
                self._examine(np.array([-self._reach, -near])),
                self._panels,
                self._examine(np.array([near, self._reach])),
            )
            left, right, series = (np.concatenate(parts) for parts in zip(*sides, strict=True))
            self._panels = left, right, series
        left, right, _ = self._panels
        flat = x.ravel()
        panel = np.clip(np.searchsorted(left, flat, side="right") - 1, 0, len(left) - 1)
        return panel, (2 * flat - left[panel] - right[panel]) / (right - left)[panel]

    def _examine(self, edges: Array) -> Panels:
        """Panels between the edges, split at the kinks, which are noted."""
        panels = self._resolve(edges)
        kinks, reach = _narrowest(*panels[:2])
        if kinks.size:
            left, _, _ = panels = self._resolve(np.union1d(edges, kinks))
            gaps, bends, _, bent = self._joins(panels)
            moves = np.where(bent, gaps / np.where(bent, bends, 1.0), 0.0)[np.isin(left[1:], kinks)]
            kinks = np.sort(kinks + np.where(np.abs(moves) < reach, moves, 0.0))
            panels = self._resolve(np.union1d(edges, kinks))
        _, _, torn, bent = self._joins(panels)
        joins = panels[0][1:]
        self.jumps += tuple(joins[torn].tolist())
        self.kinks = tuple(np.unique(np.concatenate([self.kinks, kinks, joins[torn | bent]])).tolist())
        return panels

    def _joins(self, panels: Panels) -> tuple[Array, Array, NDArray[np.bool_], NDArray[np.bool_]]:
        """How much value and slope change from each panel to the next, and which changes are not rounding."""
        left, right, series = panels
        half = (right - left)[:, None] / 2
        # Every Chebyshev polynomial is 1 at the right end and 1 or −1 at the left one.
        signs = (-1.0) ** np.arange(series.shape[1])
        size = np.abs(series).sum(axis=1)
        slope, steepest = slopes(series) / half, np.abs(slopes(series) / half).sum(axis=1)
        gaps = series[:-1].sum(axis=1) - series[1:] @ signs
        bends = slope[1:] @ signs - slope[:-1].sum(axis=1)
        noise = 1000 * self.noise * np.maximum(size, self._unit)
        shaky = np.maximum(_JUMP * size, noise)
        torn = np.abs(gaps) > np.maximum(shaky[:-1], shaky[1:])
        shaky = _BEND * steepest + np.maximum(1e3 * _RESOLVED * size, noise) / half[:, 0]
        return gaps, bends, torn, np.abs(bends) > np.maximum(shaky[:-1], shaky[1:])

    def _resolve(self, edges: Array) -> Panels:
        """Halve until every panel is resolved, is down to noise, or is as narrow as floats allow."""
        left, right = edges[:-1], edges[1:]
        scale = np.zeros(0)
        settled: list[Panels] = []
        count = 0
        while len(left):
            count += len(left)
            if count > _MOST_PANELS:
                raise ValueError(f"The function is too rough: it does not settle on {count} panels.")
            values = self._function(points(left, right))
            sizes, reach = np.abs(values).max(axis=1), np.maximum(np.abs(left), np.abs(right))
            if not settled:
                scale = np.maximum(np.where(np.isfinite(sizes), sizes, 0.0), self._unit)
            series = coefficients(values)
            rough = tails(values, series) > self._allowed(left, right, values, np.fmax(scale, sizes))
            series[np.abs(series) < _ROUNDING * sizes[:, None]] = 0.0
            go_on = rough & (right - left > _NARROWEST * np.maximum(reach, _SMALLEST))
            go_on |= ~np.isfinite(sizes) & (right - left > 0.05 * np.maximum(reach, 1.0))
            # What is still rough between neighbouring floats has no derivative there.
            series[rough & ~go_on] = np.nan
            settled.append((left[~go_on], right[~go_on], series[~go_on]))
            middle = ((left + right) / 2)[go_on]
            left, right = np.concatenate([left[go_on], middle]), np.concatenate([middle, right[go_on]])
            scale = np.tile(scale[go_on], 2)
        lefts, rights, rows = (np.concatenate(parts) for parts in zip(*settled, strict=True))
        order = np.argsort(lefts)
        return lefts[order], rights[order], rows[order]

    def _allowed(self, left: Array, right: Array, values: Array, scale: Array) -> Array:
        """Tail of a panel that counts as resolved, for values of that scale in it or in the panel it was cut from."""
        widths, nearest = right - left, np.minimum(np.abs(left), np.abs(right))
        # Next to 0 the small values there set the scale, so that they keep their digits.
        at_zero = np.where(left == 0, np.abs(values[:, 1]), np.abs(values[:, 30]))
        scale = np.where((nearest == 0) & (widths > _SMALLEST), at_zero, scale)
        # The rounding of a number moves its value along the slope.
        moved = 4 * _ROUNDING * nearest / widths * np.ptp(values, axis=1)
        return np.asarray(max(_RESOLVED, 20 * self.noise) * scale + moved)


def _rounding(function: Callable[[Array], Array], unit: float) -> float:
    """What is left of the values on panels where the function is as good as linear, but for two that may hit a kink."""
    middles = np.pi * np.array([-4.7, -3.3, -2.1, -1.3, -0.8, -0.5, -0.3, -0.1, 0.1, 0.4, 0.7, 1.1, 1.7, 2.3, 3.4, 4.6])
    values = function(points(middles * (1 - 1e-5), middles * (1 + 1e-5)))
    sizes = np.maximum(np.abs(values).max(axis=1), max(unit, np.finfo(float).tiny))
    parts = tails(values, coefficients(values)) / sizes
    noise = float(np.sort(parts[np.isfinite(parts)])[:-2].max(initial=0.0))
    return noise if noise < _MOST_NOISE else 0.0


def _narrowest(left: Array, right: Array) -> tuple[Array, Array]:
    """Middles and half widths of the runs of panels that are narrow, and narrower than the panels on both sides."""
    widths = right - left
    starts = np.flatnonzero(np.append(True, np.abs(np.diff(widths)) > 0.25 * np.minimum(widths[1:], widths[:-1])))
    ends = np.append(starts[1:], len(widths)) - 1
    around = np.concatenate([[np.inf], widths[starts], [np.inf]])
    middles, halves = (left[starts] + right[ends]) / 2, (right[ends] - left[starts]) / 2
    narrow = widths[starts] < _NARROW * np.abs(middles)
    narrow &= (widths[starts] < around[:-2]) & (widths[starts] < around[2:])
    return middles[narrow], halves[narrow]
