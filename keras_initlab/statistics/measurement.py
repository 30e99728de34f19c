"""From taps to a few packed arrays: what leaves the device in a watched step.

Of large tensors the device computes the statistics; small ones leave it as they are, in one vector, since a few
operations for each of a hundred biases cost more than all the large tensors together.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable
from typing import Any

import tensorflow as tf

from keras_initlab.statistics.blocks import Block, Subject, blocks_of
from keras_initlab.statistics.layout import Change, Derived, Layout, Row
from keras_initlab.statistics.memory import Memory
from keras_initlab.statistics.norms import Difference, norms_of
from keras_initlab.statistics.schema import HISTOGRAM_SAMPLE
from keras_initlab.statistics.taps import MomentsTap, Tap, Taps, WeightTap
from keras_initlab.statistics.tensor_stats import FIELDS, Found, statistics_of, widen

SMALL = 2 * HISTOGRAM_SAMPLE - 1


def pack(taps: Taps, memory: Memory | None, shortcut: bool, histograms: bool = True) -> tuple[dict[str, Any], Layout]:
    """Adds the statistics of all that was tapped to the graph (or computes them, when eager).

    Args:
        taps: of one step.
        memory: of the weights' start; `None` where no step was made.
        shortcut: as in `statistics_of`.
        histograms: whether samples are taken.

    Returns:
        The packed arrays and their layout. A tensor tapped twice is measured once.
    """
    packing = _Packing(taps.read, memory)
    for tap in taps.tensors:
        packing.tensor(tap)
    for moments in taps.moments:
        packing.moments(moments)
    for weight in taps.weights:
        packing.weight(weight)
    return packing.packed(shortcut, histograms), packing.layout()


class _Packing:
    """The tensors to measure, and the rows that want them."""

    def __init__(self, read: Callable[[Any], Any], memory: Memory | None) -> None:
        self.read, self.memory = read, memory
        self.rows: list[Row] = []
        self.changes: list[Change] = []
        self.subjects: list[Subject] = []
        self.mirrored: list[bool] = []
        self.places: dict[Any, int] = {}
        self.copies: dict[int, Any] = {}
        self.differences: list[Difference] = []
        self.small: list[Any] = []
        self.starts: list[Any] = []
        self.derived: list[Derived] = []
        self._flat = tf.constant([-1])

    def tensor(self, tap: Tap) -> None:
        """An output, what flows back to it, or what a normalization takes or makes of it."""
        x = tap.tensor if tap.quantity == "normalization" else self._read(tap.tensor)
        place = self._subject(x, tap.unit_axis, tap.bounds, mirrored=False)
        counted = tap.quantity == "activation" and self.subjects[place].axis is not None
        key = (tap.depth, tap.layer, tap.quantity, tap.variable)
        self._row(Row(key, "fields", place, saturated=tap.bounds is not None, counted=counted))

    def moments(self, tap: MomentsTap) -> None:
        """What a BatchNormalization normalized by, and how far that is from its moving statistics."""
        segments = {name: self._segment(self._read(vector)) for name, vector in tap.vectors.items()}
        for name, place in segments.items():
            self._row(Row((tap.depth, tap.layer, "batchnorm", name), "small", place))
        parts = (*segments.values(), self._segment(tap.count))
        for name, rule in (("mean_drift", "drift"), ("variance_ratio", "ratio")):
            place = self._derive(Derived(rule, parts, tap.epsilon))
            self._row(Row((tap.depth, tap.layer, "batchnorm", name), "derived", place))

    def weight(self, tap: WeightTap) -> None:
        """A weight, its gradient, and how it moved."""
        small = 0 < math.prod(tap.variable.shape) <= SMALL
        source, put = ("small", self._segment) if small else ("fields", self._weight_subject)
        row = self._row(Row((tap.depth, tap.layer, "weight", tap.name), source, put(tap.old)))
        if tap.gradient is not None:
            gradient = self._read(tap.gradient)
            if not gradient.shape.is_fully_defined():  # it comes out of a loop over time steps
                gradient = tf.reshape(gradient, tap.variable.shape)
            self._row(Row((tap.depth, tap.layer, "gradient", tap.name), source, put(gradient)))
        if tap.new is not None and (tap.variable.trainable or id(tap.variable) in self._start):
            (self._small_change if small else self._large_change)(tap, row)

    @property
    def _start(self) -> dict[int, tuple[Any, float]]:
        return {} if self.memory is None else self.memory.start

    def _small_change(self, tap: WeightTap, row: int) -> None:
        update = displacement = -1
        start, norm = self._start.get(id(tap.variable), (None, 0.0))
        new = self._segment(tap.new)
        if tap.variable.trainable:
            place = self._derive(Derived("difference", (new, self.rows[row].place)))
            update = self._row(Row((tap.depth, tap.layer, "update", tap.name), "derived", place))
        if start is not None:
            self.starts.append(start)
            place = self._derive(Derived("displacement", (new, len(self.starts) - 1)))
            displacement = self._row(Row((tap.depth, tap.layer, "displacement", tap.name), "derived", place))
        self.changes.append(Change(row, update, displacement, new, norm))

    def _large_change(self, tap: WeightTap, row: int) -> None:
        update = displacement = -1
        start, norm = self._start.get(id(tap.variable), (None, 0.0))
        if tap.variable.trainable:
            last = None if start is None or self.memory is None else self.memory.updates[id(tap.variable)]
            place = self._change(Difference(tap.new, tap.old, last, last))
            update = self._row(Row((tap.depth, tap.layer, "update", tap.name), "norms", place))
        if start is not None:
            place = self._change(Difference(tap.new, start))
            displacement = self._row(Row((tap.depth, tap.layer, "displacement", tap.name), "norms", place))
        self.changes.append(Change(row, update, displacement, self._change(Difference(tap.new)), norm))

    # -- the lists ----------------------------------------------------------------------------------------------------

    def _row(self, row: Row) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def _read(self, tensor: Any) -> Any:
        if id(tensor) not in self.copies:
            self.copies[id(tensor)] = self.read(tensor)
        return self.copies[id(tensor)]

    def _weight_subject(self, x: Any) -> int:
        return self._subject(x, -1, None, mirrored=True)

    def _subject(self, x: Any, axis: int, bounds: tuple[float, float] | None, mirrored: bool) -> int:
        """A weight is the same on all replicas; a vector of weights has one value a unit, one of outputs is a unit."""
        key = id(x), bounds
        if key not in self.places:
            rank = len(x.shape)
            known = rank > (0 if mirrored else 1) and x.shape[axis]
            self.places[key] = len(self.subjects)
            self.subjects.append(Subject(widen(x), axis % rank if known else None, bounds))
            self.mirrored.append(mirrored)
        return self.places[key]

    def _change(self, difference: Difference) -> int:
        self.differences.append(difference)
        return len(self.differences) - 1

    def _derive(self, derived: Derived) -> int:
        self.derived.append(derived)
        return len(self.derived) - 1

    def _segment(self, x: Any) -> int:
        self.small.append(x if len(x.shape) == 1 else tf.reshape(x, self._flat))
        return len(self.small) - 1

    # -- the arrays ---------------------------------------------------------------------------------------------------

    def packed(self, shortcut: bool, histograms: bool) -> dict[str, Any]:
        """The arrays that leave the device."""
        found = [Found(tf.zeros((0, len(FIELDS)), tf.float64), tf.zeros(0), tf.zeros(0))]
        for block in self._blocks:
            found.append(statistics_of(Block([self.subjects[i] for i in block]), shortcut, histograms))
        fields, units, samples = (tf.concat(parts, axis=0) for parts in zip(*found, strict=True))
        small = [*self.small, *self._joined_starts()]
        wide = tf.float64 if any(x.dtype == tf.float64 for x in small) else tf.float32
        packed = {
            "fields": fields,
            "units": units,
            "norms": norms_of(self.differences, shortcut),
            "small": tf.concat([tf.zeros(0, wide), *(x if x.dtype == wide else tf.cast(x, wide) for x in small)], 0),
        }
        if histograms:
            packed["samples"] = samples
        return packed

    @functools.cached_property
    def _blocks(self) -> list[list[int]]:
        return blocks_of(self.subjects)

    def _joined_starts(self) -> list[Any]:
        """All starts of small weights in one, for each is an input of the graph of its own."""
        with tf.init_scope():
            wide = tf.float64 if any(start.dtype == tf.float64 for start in self.starts) else tf.float32
            flat = [tf.reshape(tf.cast(start, wide), [-1]) for start in self.starts]
            return [tf.concat(flat, axis=0)] if flat else []

    def layout(self) -> Layout:
        """What is where in them; the rows in order of depth."""
        order = sorted(range(len(self.rows)), key=lambda i: (self.rows[i].key[0], _RANK.get(self.rows[i].key[2], 4)))
        number = {old: new for new, old in enumerate(order)} | {-1: -1}
        measured = [i for block in self._blocks for i in block]
        place = {old: new for new, old in enumerate(measured)}
        starts = len(self.small)
        return Layout(
            rows=tuple(
                row._replace(place=place[row.place]) if row.source == "fields" else row
                for row in (self.rows[i] for i in order)
            ),
            widths=tuple(self.subjects[i].width for i in measured),
            mirrored=tuple(self.mirrored[i] for i in measured),
            segments=tuple(math.prod(x.shape) for x in (*self.small, *self.starts)),
            derived=tuple(
                Derived("difference", (d.parts[0], starts + d.parts[1])) if d.rule == "displacement" else d
                for d in self.derived
            ),
            changes=tuple(
                change._replace(
                    weight=number[change.weight], update=number[change.update], displacement=number[change.displacement]
                )
                for change in self.changes
            ),
        )


_RANK = {"preactivation": 0, "activation": 1, "batchnorm": 2, "normalization": 2, "activation_gradient": 3}
