"""Profile: one measurement of a network, a row for each measured tensor, in order of depth."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.schema import (
    BIN_EDGES,
    COLUMNS,
    COUNTS,
    FILE_NAME,
    FINITE_BINS,
    KEYS,
    QUANTITIES,
    STATISTICS,
    VERSION,
    ZERO_BIN,
    ZERO_BINS,
)

Key = tuple[int, str, str, str | None]


@dataclass(frozen=True)
class Histograms:
    """Histograms of several tensors: the bins of `schema` that are not empty, one run of them a tensor.

    Attributes:
        starts: where the run of each tensor starts, and at last where the last one ends.
        bins: number of each bin in `schema.BIN_EDGES`.
        counts: values in each bin.
    """

    starts: npt.NDArray[np.int64]
    bins: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int32]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int32]) -> Histograms:
        """From the counts that the device took, a row for each tensor; values that are not finite are left out."""
        stored = counts[:, FINITE_BINS]
        stored[:, ZERO_BIN] = counts[:, ZERO_BINS].sum(axis=1)
        rows, bins = np.nonzero(stored)
        return cls(np.searchsorted(rows, np.arange(len(counts) + 1)), bins.astype(np.uint16), stored[rows, bins])

    def run(self, row: int) -> tuple[npt.NDArray[np.uint16], npt.NDArray[np.int32]]:
        """Bins and counts of one tensor."""
        part = slice(self.starts[row], self.starts[row + 1])
        return self.bins[part], self.counts[part]

    def buckets(self, row: int) -> list[list[float]]:
        """Lower edge, upper edge and count of each bin of one tensor that is not empty, from left to right."""
        bins, counts = self.run(row)
        edges = BIN_EDGES[bins].tolist()
        return [[low, high, count] for (low, high), count in zip(edges, counts.tolist(), strict=True)]


class Profile:
    """A table of statistics, a row for each measured tensor, in order of depth.

    Every row has the columns `step, depth, layer, quantity, variable, count, mean, std, rms, min, max, l2, zeros, dead,
    saturated, nonfinite, relative, histogram`; what does not apply is `None`.

    | column | meaning |
    |---|---|
    | step | training steps done when this one ends; 0 before training |
    | depth | place of the layer in the order of execution, from 0 |
    | layer | path of the layer; `#2` marks the second call of a shared layer |
    | quantity | `activation` (the layer's output), `activation_gradient` (of the loss with respect to it), `weight`
      (before the step's update), `gradient`, `update` (new weight less old), `displacement` (weight less weight at the
      start of training), `batchnorm` |
    | variable | name of the weight; in `batchnorm`: `input`, `batch_mean`, `batch_variance`, `moving_mean`,
      `moving_variance` (before the step), `mean_drift` = (batch mean - moving mean) / √(moving variance + ε),
      `variance_ratio` = (batch variance + ε) / (moving variance + ε); number of the output where there are several |
    | count, nonfinite | number of values; of those that are infinite or not a number |
    | mean, std, rms, min, max, l2 | of the finite values; std divides by count, l2 = √Σx², rms = l2 / √count |
    | zeros | share of the values that are zero |
    | dead | `activation`: share of the units that are zero for the whole batch |
    | saturated | `activation` of tanh, sigmoid and their hard forms: share of the values where the slope is under 2 % of
      the steepest (|tanh| ≥ .99, sigmoid ≤ .005 or ≥ .995, hard forms at their bounds) |
    | relative | `update`: ‖update‖ / ‖weight‖; `displacement`: ‖displacement‖ / ‖weight at the start‖ |
    | histogram | list of [lower edge, upper edge, count], 2 bins an octave, zero by itself; of at most 4096 values
      evenly spread over the tensor, of all where they are fewer |

    Example:
        >>> import numpy as np, keras, keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")])
        >>> profile = kil.observe(model, np.ones((4, 3), "float32"))
        >>> [(row["quantity"], row["variable"], row["count"]) for row in profile.rows]
        [('activation', None, 8), ('weight', 'kernel', 6), ('weight', 'bias', 2)]
    """

    def __init__(
        self,
        step: int,
        keys: Sequence[Key],
        statistics: Mapping[str, npt.NDArray[np.float64]],
        histograms: Histograms | None = None,
    ) -> None:
        self.step = step
        self.keys = tuple(keys)
        self.statistics = {name: np.asarray(statistics[name], np.float64) for name in STATISTICS}
        self.histograms = histograms

    def __len__(self) -> int:
        return len(self.keys)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Profile) and self.to_dict() == other.to_dict()

    __hash__ = None  # type: ignore[assignment]

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns, in order."""
        return COLUMNS

    @property
    def rows(self) -> list[dict[str, Any]]:
        """The table as a list of dictionaries, one for each measured tensor."""
        found = self.scalar_rows()
        for i, row in enumerate(found):
            row["histogram"] = None if self.histograms is None else self.histograms.buckets(i)
        return found

    def scalar_rows(self) -> list[dict[str, Any]]:
        """The rows without their histograms, which take most of the time to make."""
        values = {name: _to_python(name, column) for name, column in self.statistics.items()}
        return [
            {**dict(zip(KEYS, (self.step, *key), strict=True)), **{name: values[name][i] for name in STATISTICS}}
            for i, key in enumerate(self.keys)
        ]

    def column(
        self, statistic: str, quantity: str = "activation", variable: str | None = None
    ) -> tuple[list[str], npt.NDArray[np.float64]]:
        """One statistic of one quantity over depth.

        Args:
            statistic: one of the statistics' columns.
            quantity: one of the quantities.
            variable: only rows of this variable; by default all.

        Returns:
            The layers (with the weight's name behind a slash, where the rows are weights) and the values, nan where the
            statistic does not apply.

        Raises:
            ValueError: no such statistic or quantity.
        """
        _check("statistic", statistic, STATISTICS)
        _check("quantity", quantity, QUANTITIES)
        chosen = [i for i, key in enumerate(self.keys) if key[2] == quantity and variable in (None, key[3])]
        names = [f"{self.keys[i][1]}/{self.keys[i][3]}" if self.keys[i][3] else self.keys[i][1] for i in chosen]
        return names, self.statistics[statistic][chosen]

    def to_dict(self) -> dict[str, Any]:
        """The whole Profile as JSON-able columns; `from_dict` takes it back to the last bit."""
        depth, layer, quantity, variable = ([key[i] for key in self.keys] for i in range(4))
        data: dict[str, Any] = {
            "version": VERSION,
            "step": self.step,
            "depth": depth,
            "layer": layer,
            "quantity": quantity,
            "variable": variable,
        }
        data.update((name, _to_python(name, column)) for name, column in self.statistics.items())
        if self.histograms is not None:
            runs = [self.histograms.run(i) for i in range(len(self))]
            data["histogram"] = {"bins": [b.tolist() for b, _ in runs], "counts": [c.tolist() for _, c in runs]}
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The Profile that `to_dict` wrote.

        Raises:
            ValueError: the data are of a later version of the format.
        """
        if data["version"] > VERSION:
            raise ValueError(
                f"This Profile was written in version {data['version']} of the format, and this release of keras_initlab "
                f"reads versions up to {VERSION}. Install a newer keras_initlab."
            )
        keys = list(zip(data["depth"], data["layer"], data["quantity"], data["variable"], strict=True))
        statistics = {
            name: np.array([np.nan if v is None else v for v in data[name]], np.float64) for name in STATISTICS
        }
        histograms = None
        if "histogram" in data:
            bins, counts = data["histogram"]["bins"], data["histogram"]["counts"]
            starts = np.cumsum([0, *map(len, bins)])
            histograms = Histograms(
                starts, np.array(sum(bins, []), np.uint16), np.array(sum(counts, []), np.int32)
            )
        return cls(data["step"], keys, statistics, histograms)

    @classmethod
    def read(cls, path: str | Path) -> list[Profile]:
        """Profiles that a LayerStatistics callback wrote, oldest first.

        Args:
            path: its log_dir, or the file `profiles.jsonl` in it.

        Returns:
            One Profile for each whole line; a line cut off when a run was killed is left out.

        Raises:
            FileNotFoundError: no such file.
        """
        file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
        if not file.exists():
            raise FileNotFoundError(
                f"No Profiles at {str(path)!r}: path must be the log_dir of a LayerStatistics callback, or the file "
                f"{FILE_NAME} in it."
            )
        with file.open(encoding="utf-8") as lines:
            return [cls.from_dict(data) for data in map(_parse, lines) if data is not None]

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("Profile.to_dataframe needs pandas: pip install pandas. Or use Profile.rows.") from error
        return pd.DataFrame(self.rows, columns=list(COLUMNS))

    def plot(self, statistic: str = "std", quantity: str = "activation", *, ax: Any = None, **line: Any) -> Any:
        """Draws a statistic against depth.

        Args:
            statistic: one of the statistics' columns.
            quantity: one of the quantities.
            ax: matplotlib axes to draw into; by default a new figure's.
            **line: passed on to `Axes.plot`, such as `label="He"`.

        Returns:
            The matplotlib axes.

        Raises:
            ImportError: matplotlib is not installed.
            ValueError: no such statistic or quantity.
        """
        from keras_initlab.statistics.drawing import plot_over_depth

        return plot_over_depth(self, statistic, quantity, ax, line)

    def __str__(self) -> str:
        from keras_initlab.statistics.tables import as_text

        return as_text(self)

    def __rich__(self) -> Any:
        from keras_initlab.statistics.tables import layer_table

        return layer_table(self)

    def _repr_html_(self) -> str:
        from keras_initlab.statistics.tables import as_html

        return as_html(self)

    def __repr__(self) -> str:
        layers = len({key[1] for key in self.keys})
        return f"<Profile of {layers} layers at step {self.step}, {len(self)} rows>"

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)


def _to_python(name: str, column: npt.NDArray[np.float64]) -> list[Any]:
    """Counts as int, what does not apply as None."""
    if name in COUNTS:
        return [int(value) for value in column]
    return [None if math.isnan(value) else value for value in column.tolist()]


def _parse(line: str) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return data


def _check(argument: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}. Received: {argument}={value!r}.")
