"""What an experiment has to show, as plain data: lines, heat maps, histograms by layer, tables.

`keras_initlab.lab.drawing` makes Plotly figures of them; files and tests need no drawing library.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from keras_initlab.statistics.profile import Profile

__all__ = ["Figure", "Heatmap", "Line", "Lines", "Ridges", "Table", "figure_from_dict", "figure_to_dict", "numbers"]

Numbers = tuple[float, ...]


def numbers(values: Iterable[Any]) -> Numbers:
    """Plain floats, so that figures compare equal and go to JSON."""
    return tuple(float(value) for value in np.ravel(np.asarray(list(values), np.float64)))


@dataclass(frozen=True)
class Line:
    """One line of a picture.

    Attributes:
        name: for the legend.
        x: places.
        y: values; those that are not finite leave a gap.
        predicted: whether it is what theory says; drawn dashed, in the colour of the line of the same name.
    """

    name: str
    x: Numbers
    y: Numbers
    predicted: bool = False

    @classmethod
    def of(cls, name: str, y: Iterable[Any], x: Iterable[Any] | None = None, *, predicted: bool = False) -> Line:
        """A line through values, by default against 1, 2, 3 and so on."""
        y = numbers(y)
        return cls(name, numbers(range(1, len(y) + 1) if x is None else x), y, predicted)


@dataclass(frozen=True)
class Lines:
    """Values against depth, step or anything else."""

    title: str
    x_label: str
    y_label: str
    lines: tuple[Line, ...]
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Heatmap:
    """A value over two axes, with lines over it: `values[i][j]` is that at `y[i]` and `x[j]`."""

    title: str
    x_label: str
    y_label: str
    value_label: str
    x: Numbers
    y: Numbers
    values: tuple[Numbers, ...]
    lines: tuple[Line, ...] = ()
    log_x: bool = False
    log_y: bool = False


@dataclass(frozen=True)
class Ridges:
    """Histograms above one another, one for each layer: rows of (lower edge, upper edge, count)."""

    title: str
    x_label: str
    names: tuple[str, ...]
    histograms: tuple[tuple[Numbers, ...], ...]

    @classmethod
    def of(cls, title: str, profile: Profile, quantity: str = "activation", x_label: str = "activation") -> Ridges:
        """The histograms of one quantity of a Profile, from the first layer to the last."""
        rows = [row for row in profile.rows if row["quantity"] == quantity and row["histogram"]]
        histograms = tuple(tuple(numbers(_within(b, row["min"], row["max"])) for b in row["histogram"]) for row in rows)
        return cls(title, x_label, tuple(row["layer"] for row in rows), histograms)


def _within(bucket: Sequence[float], least: float, largest: float) -> tuple[float, float, float]:
    """A bin as far as there are values: what saturates at 1 is one value, not all of the bin from 1 to 1.5."""
    low, high, count = bucket
    low = max(low, min(least, high))
    return low, max(low, min(high, largest)), count


@dataclass(frozen=True)
class Table:
    """Rows under columns; cells are strings or numbers."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str | float, ...], ...]

    @classmethod
    def of(cls, title: str, columns: Sequence[str], rows: Iterable[Sequence[str | float]]) -> Table:
        """A table of any sequences."""
        return cls(title, tuple(columns), tuple(tuple(row) for row in rows))


Figure = Lines | Heatmap | Ridges | Table
_KINDS: dict[str, type[Any]] = {"lines": Lines, "heatmap": Heatmap, "ridges": Ridges, "table": Table}


def figure_to_dict(figure: Figure) -> dict[str, Any]:
    """A figure as JSON can hold it; numbers that are not finite are strings."""
    kind = next(name for name, cls in _KINDS.items() if isinstance(figure, cls))
    return {"kind": kind, **_written(asdict(figure))}


def figure_from_dict(data: Mapping[str, Any]) -> Figure:
    """The same figure again.

    Raises:
        ValueError: of a kind that this release does not know.
    """
    fields = {name: _read(value) for name, value in data.items() if name != "kind"}
    if data.get("kind") not in _KINDS:
        raise ValueError(f"A figure must be one of {', '.join(_KINDS)}. Received: {data.get('kind')!r}.")
    if "lines" in fields:
        fields["lines"] = tuple(Line(**line) for line in fields["lines"])
    figure: Figure = _KINDS[data["kind"]](**fields)
    return figure


_NOT_FINITE = {"NaN": math.nan, "Infinity": math.inf, "-Infinity": -math.inf}


def _written(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _written(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_written(item) for item in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": "NaN" if math.isnan(value) else "Infinity" if value > 0 else "-Infinity"}
    return value


def _read(value: Any) -> Any:
    if isinstance(value, Mapping):
        if set(value) == {"float"}:
            return _NOT_FINITE[value["float"]]
        return {name: _read(item) for name, item in value.items()}
    return tuple(_read(item) for item in value) if isinstance(value, list) else value
