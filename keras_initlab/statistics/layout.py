"""Which number in the packed arrays of a step belongs where in its Profile."""

from __future__ import annotations

from typing import NamedTuple

Key = tuple[int, str, str, str | None]


class Row(NamedTuple):
    """A row of the Profile.

    Attributes:
        key: depth, layer, quantity and variable.
        source: which array has what was measured of it: `fields`, `norms` or `small`.
        place: its place in that array; in `small`, the number of the segment.
        saturated: whether its saturated values are told.
        counted: whether those of its units that are dead are told.
    """

    key: Key
    source: str
    place: int
    saturated: bool = False
    counted: bool = False


class Derived(NamedTuple):
    """A segment that the host computes from others: `difference`, `drift` or `ratio`, their numbers, and a constant."""

    rule: str
    parts: tuple[int, ...]
    constant: float = 0.0


class Change(NamedTuple):
    """How a weight moved: the numbers of the rows that say it, and where the numbers are.

    Attributes:
        weight, update, displacement: numbers of the rows; -1 for one that there is not.
        new: place of the new weight's norm in `norms`, or its segment in `small`.
        start: norm of the weight at the start of training.
    """

    weight: int
    update: int
    displacement: int
    new: int
    start: float


class Layout(NamedTuple):
    """The rows of a Profile, and what goes into them.

    Attributes:
        rows: in order.
        widths: units of each tensor in `fields`, by which its values were counted and sampled.
        mirrored: whether that tensor is the same on all replicas.
        segments: length of each segment of `small`.
        derived: segments that follow those.
        changes: of each weight that a step may have moved.
    """

    rows: tuple[Row, ...]
    widths: tuple[int, ...]
    mirrored: tuple[bool, ...]
    segments: tuple[int, ...]
    derived: tuple[Derived, ...]
    changes: tuple[Change, ...]
