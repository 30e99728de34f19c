"""From taps to a few packed arrays: what leaves the device in a watched step.

Of large tensors the device computes the statistics; small ones leave it as they are, in one vector, since a few
operations for each of a hundred biases cost more than all the large tensors together.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from keras_initlab.statistics.layout import Change, Derived, Layout, Row
from keras_initlab.statistics.memory import Memory
from keras_initlab.statistics.schema import HISTOGRAM_SAMPLE
from keras_initlab.statistics.taps import MomentsTap, Tap, Taps, WeightTap
from keras_initlab.statistics.tensor_stats import FIELDS, norms_of, sample, saturated_count, statistics_of, widen

SMALL = 2 * HISTOGRAM_SAMPLE - 1
# Tensors are measured in groups, with one decision for each whether float32 was good enough. A group holds its tensors
# for as long as it is measured, so it is no larger than this, or a single tensor: watching needs little memory.
_GROUP_VALUES = 1 << 18
_GROUP_TENSORS = 16
_UNKNOWN_BATCH = 256


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
    """The tensors to measure, in the order in which the packed arrays have them, and the rows that want them."""

    def __init__(self, read: Callable[[Any], Any], memory: Memory | None) -> None:
        self.read, self.memory = read, memory
        self.rows: list[Row] = []
        self.changes: list[Change] = []
        self.tensors: list[tuple[str, Any]] = []
        self.places: dict[int, int] = {}
        self.copies: dict[int, Any] = {}
        self.counted: set[int] = set()
        self.pairs: list[tuple[Any, Any]] = []
        self.small: list[Any] = []
        self.derived: list[Derived] = []
        self.saturated: list[Any] = []
        self.moved: list[tuple[Any, Any]] = []

    def tensor(self, tap: Tap) -> None:
        """An output, what flows back to it, or what a normalization takes or makes of it."""
        own = tap.quantity == "normalization"
        place = self._measure(tap.tensor if own else self._read(tap.tensor), tap)
        row = Row((tap.depth, tap.layer, tap.quantity, tap.variable), "fields", place)
        x = self.tensors[place][1]
        if tap.bounds is not None:
            row = row._replace(saturated=len(self.saturated))
            self.saturated.append(saturated_count(x, tap.bounds))
        if tap.quantity == "activation" and x.shape[1]:
            row = row._replace(units=x.shape[1])
            self.counted.add(place)
        self._row(row)

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
        source, put = ("small", self._segment) if small else ("fields", self._weight_tensor)
        row = self._row(Row((tap.depth, tap.layer, "weight", tap.name), source, put(tap.old)))
        if tap.gradient is not None:
            # What comes out of a loop over time steps does not know its shape.
            place = put(tf.reshape(self._read(tap.gradient), tap.variable.shape))
            self._row(Row((tap.depth, tap.layer, "gradient", tap.name), source, place))
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
            self.derived.append(Derived("difference", (new, self.rows[row].place)))
            update = self._row(Row((tap.depth, tap.layer, "update", tap.name), "derived", len(self.derived) - 1))
        if start is not None:
            self.derived.append(Derived("difference", (new, self._segment(start))))
            displacement = self._row(
                Row((tap.depth, tap.layer, "displacement", tap.name), "derived", len(self.derived) - 1)
            )
        self.changes.append(Change(row, update, displacement, new, norm))

    def _large_change(self, tap: WeightTap, row: int) -> None:
        update = displacement = -1
        start, norm = self._start.get(id(tap.variable), (None, 0.0))
        if tap.variable.trainable:
            moved = widen(tap.new - tap.old)
            last = None if start is None or self.memory is None else self.memory.updates[id(tap.variable)]
            update = self._row(Row((tap.depth, tap.layer, "update", tap.name), "norms", self._pair(moved, last)))
            if last is not None:
                self.moved.append((last, moved))
        if start is not None:
            place = self._pair(widen(tap.new) - tf.cast(start, widen(tap.new).dtype))
            displacement = self._row(Row((tap.depth, tap.layer, "displacement", tap.name), "norms", place))
        self.changes.append(Change(row, update, displacement, self._pair(widen(tap.new)), norm))

    # -- the lists ----------------------------------------------------------------------------------------------------

    def _row(self, row: Row) -> int:
        self.rows.append(row)
        return len(self.rows) - 1

    def _read(self, tensor: Any) -> Any:
        if id(tensor) not in self.copies:
            self.copies[id(tensor)] = self.read(tensor)
        return self.copies[id(tensor)]

    def _weight_tensor(self, x: Any) -> int:
        return self._measure(x, Tap(0, "", "weight", None, x))

    def _measure(self, x: Any, tap: Tap) -> int:
        if id(x) not in self.places:
            self.places[id(x)] = len(self.tensors)
            self.tensors.append((tap.quantity, by_unit(widen(x), tap)))
        return self.places[id(x)]

    def _pair(self, x: Any, y: Any = None) -> int:
        self.pairs.append((x, y))
        return len(self.pairs) - 1

    def _derive(self, derived: Derived) -> int:
        self.derived.append(derived)
        return len(self.derived) - 1

    def _segment(self, x: Any) -> int:
        self.small.append(tf.reshape(x, [-1]))
        return len(self.small) - 1

    # -- the arrays ---------------------------------------------------------------------------------------------------

    def packed(self, shortcut: bool, histograms: bool) -> dict[str, Any]:
        """The arrays that leave the device."""
        fields, units = [], []
        for group in groups_of([x for _, x in self.tensors]):
            found, counts = statistics_of([self.tensors[i][1] for i in group], shortcut)
            fields.append(found)
            units += [c for i, c in zip(group, counts, strict=True) if i in self.counted]
        norms = [norms_of([self.pairs[i] for i in group], shortcut) for group in groups_of([x for x, _ in self.pairs])]
        wide = tf.float64 if any(x.dtype == tf.float64 for x in self.small) else tf.float32
        packed = {
            "fields": tf.concat([tf.zeros((0, len(FIELDS)), tf.float64), *fields], axis=0),
            "units": tf.concat([tf.zeros(0), *units], axis=0),
            "norms": tf.concat([tf.zeros((0, 3), tf.float64), *norms], axis=0),
            "saturated": tf.stack(self.saturated) if self.saturated else tf.zeros(0, tf.float64),
            "small": tf.concat([tf.zeros(0, wide), *(tf.cast(x, wide) for x in self.small)], axis=0),
        }
        if histograms:
            packed["samples"] = tf.concat([tf.zeros(0), *(sample(x) for _, x in self.tensors)], axis=0)
        for last, moved in self.moved:
            last.assign(tf.cast(moved, last.dtype))
        return packed

    def layout(self) -> Layout:
        """What is where in them; the rows in order of depth."""
        order = sorted(range(len(self.rows)), key=lambda i: (self.rows[i].key[0], _RANK.get(self.rows[i].key[2], 4)))
        number = {old: new for new, old in enumerate(order)} | {-1: -1}
        return Layout(
            rows=tuple(self.rows[i] for i in order),
            widths=tuple(x.shape[1] or 0 for _, x in self.tensors),
            mirrored=tuple(quantity in ("weight", "gradient") for quantity, _ in self.tensors),
            segments=tuple(math.prod(x.shape) for x in self.small),
            derived=tuple(self.derived),
            changes=tuple(
                change._replace(
                    weight=number[change.weight], update=number[change.update], displacement=number[change.displacement]
                )
                for change in self.changes
            ),
        )


_RANK = {"preactivation": 0, "activation": 1, "batchnorm": 2, "normalization": 2, "activation_gradient": 3}


def by_unit(x: Any, tap: Tap) -> Any:
    """The tensor as (values, units)."""
    rank = len(x.shape)
    if rank <= 1:
        # A vector of weights has one value a unit; a vector of outputs is one unit over the batch.
        return tf.reshape(x, (1, -1) if tap.quantity in ("weight", "gradient") else (-1, 1))
    axis = tap.unit_axis % rank
    if axis != rank - 1:
        x = tf.transpose(x, [*(a for a in range(rank) if a != axis), axis])
    if x.shape[-1] is None:
        return tf.reshape(x, (-1, tf.shape(x)[-1]))
    return tf.reshape(x, (-1, x.shape[-1])) if x.shape[-1] else tf.zeros((1, 0), x.dtype)


def groups_of(tensors: Sequence[Any]) -> list[list[int]]:
    """Numbers of tensors that follow one another, as many as may be measured together."""
    groups: list[list[int]] = []
    room, dtype = 0, None
    for i, x in enumerate(tensors):
        size = math.prod(_UNKNOWN_BATCH if n is None else n for n in x.shape)
        if x.dtype != dtype or size > room or len(groups[-1]) == _GROUP_TENSORS:
            groups.append([])
            room, dtype = _GROUP_VALUES, x.dtype
        groups[-1].append(i)
        room -= size
    return groups
