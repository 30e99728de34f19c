"""A layout as arrays of places, so that the Profile of a step is made without a loop over its rows."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.layout import Layout
from keras_initlab.statistics.schema import RAW_BINS

Places = npt.NDArray[np.int64]
_RULES = ("difference", "drift", "ratio")
_SAMPLED = ("preactivation", "activation", "activation_gradient", "weight", "gradient", "batchnorm")


class Plan:
    """Where everything is that `unpack` needs; named after what it says of a layout.

    Small tensors follow one another in one vector, then the differences of some, the drifts and the variance ratios.
    """

    def __init__(self, layout: Layout) -> None:
        rows = layout.rows
        order = sorted(range(len(layout.derived)), key=lambda i: (_RULES.index(layout.derived[i].rule), i))
        number = {old: new for new, old in enumerate(order)}
        derived = [layout.derived[i] for i in order]
        by_rule = {rule: [d for d in derived if d.rule == rule] for rule in _RULES}
        ends = np.cumsum([0, *layout.segments])
        parts = [np.arange(low, high) for low, high in itertools.pairwise(ends)]

        self.new, self.old = (_joined(parts[d.parts[k]] for d in by_rule["difference"]) for k in (0, 1))
        self.batchnorm = [_joined(parts[d.parts[k]] for d in by_rule["drift"]) for k in range(4)]
        widths = [layout.segments[d.parts[0]] for d in by_rule["drift"]]
        self.epsilon = np.repeat([d.constant for d in by_rule["drift"]], np.array(widths, int))
        self.moments = [tuple(parts[d.parts[k]] for k in (0, 1, 4)) for d in by_rule["drift"]]
        self.difference_sizes = np.array([layout.segments[d.parts[0]] for d in by_rule["difference"]], int)
        self.sizes = np.array([*layout.segments, *(layout.segments[d.parts[0]] for d in derived)], np.int64)

        offsets = {"fields": 0, "norms": len(layout.widths)}
        offsets["small"] = offsets["norms"] + sum(row.source == "norms" for row in rows) + self._ends_of_large(layout)
        offsets["derived"] = offsets["small"] + len(layout.segments)
        self.places = np.array(
            [offsets[r.source] + (number[r.place] if r.source == "derived" else r.place) for r in rows], np.int64
        )
        self._shares(layout)
        self._changes(layout, number)
        self._histograms(layout, parts)

    @staticmethod
    def _ends_of_large(layout: Layout) -> int:
        """Norms of new weights, which have a place among the norms and no row."""
        return sum(layout.rows[change.weight].source != "small" for change in layout.changes)

    def _shares(self, layout: Layout) -> None:
        self.saturated_rows = np.array([i for i, row in enumerate(layout.rows) if row.saturated], np.int64)
        self.unit_rows, self.unit_places = _columns(
            [(i, row.place) for i, row in enumerate(layout.rows) if row.counted], 2
        )

    def _changes(self, layout: Layout, number: dict[int, int]) -> None:
        rows, changes = layout.rows, layout.changes
        self.updates, self.updated = _columns([(c.update, c.weight) for c in changes if c.update >= 0], 2)
        moved = [(i, c.weight) for c in changes for i in (c.update, c.displacement) if i >= 0]
        self.norm_rows, self.norm_weights = _columns([(i, w) for i, w in moved if rows[i].source == "norms"], 2)
        large = [c for c in changes if c.displacement >= 0 and rows[c.displacement].source == "norms"]
        small = [c for c in changes if c.displacement >= 0 and rows[c.displacement].source != "norms"]
        self.displacements = np.array([c.displacement for c in (*large, *small)], np.int64)
        self.start_norms = np.array([c.start for c in (*large, *small)])
        self.large_ends = np.array([c.new for c in large], np.int64)
        self.small_ends = np.array([c.new for c in small], np.int64)
        updates = [c.update for c in changes if c.update >= 0]
        self.large_update_rows, self.large_updates = _columns(
            [(i, rows[i].place) for i in updates if rows[i].source == "norms"], 2
        )
        self.small_update_rows, self.small_updates = _columns(
            [(i, number[rows[i].place]) for i in updates if rows[i].source == "derived"], 2
        )

    def _histograms(self, layout: Layout, parts: Sequence[Places]) -> None:
        self.widths = np.array(layout.widths, np.int64)
        self.mirrored = np.array(layout.mirrored, bool)
        self.runs: list[int] = []
        small: list[Places] = []
        for row in layout.rows:
            sampled = row.key[2] in _SAMPLED and row.source in ("fields", "small")
            if sampled and row.source == "small" and row.key[2] != "batchnorm":
                self.runs.append(len(layout.widths) + len(small))
                small.append(parts[row.place])
            else:
                self.runs.append(row.place if sampled and row.source == "fields" else -1)
        self.sampled = _joined(small)
        self.tensors = len(layout.widths) + len(small)
        self._small_bins = np.repeat(len(layout.widths) + np.arange(len(small)), [len(part) for part in small])
        self._owners: tuple[Any, Any, Any] | None = None

    def owners(self, sizes: Places) -> tuple[Places, Any]:
        """The first bin of the tensor of each value, and which samples are taken where replicas sent the same ones.

        Args:
            sizes: samples of each tensor on each replica; mostly those of the step before.
        """
        if self._owners is None or not np.array_equal(self._owners[0], sizes):
            owner = np.repeat(np.tile(np.arange(sizes.shape[1]), len(sizes)), sizes.ravel())
            keep = None
            if len(sizes) > 1:
                keep = (np.arange(len(owner)) < sizes[0].sum()) | ~self.mirrored[owner]
                owner = owner[keep]
            bins = RAW_BINS * np.concatenate([owner, self._small_bins]).astype(np.int64)
            self._owners = sizes, bins, keep
        return self._owners[1], self._owners[2]


def plan_of(layout: Layout) -> Plan:
    """The plan of a layout, made once."""
    for known, plan in _plans:
        if known is layout:
            return plan
    _plans.append((layout, Plan(layout)))
    del _plans[:-8]
    return _plans[-1][1]


_plans: list[tuple[Layout, Plan]] = []


def _joined(parts: Iterable[Places]) -> Places:
    return np.concatenate([np.zeros(0, np.int64), *parts])


def _columns(pairs: Sequence[tuple[int, ...]], number: int) -> Any:
    return np.array(pairs, np.int64).reshape(-1, number).T
