"""Profile: one measurement of a network, a row for each measured tensor, in order of depth."""

from __future__ import annotations

import json
from base64 import b64decode, b64encode
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.schema import (
    BIN_EDGES,
    COLUMNS,
    COUNTS,
    DEVICE_BINS,
    FILE_NAME,
    KEYS,
    QUANTITIES,
    STATISTICS,
    STORED_BIN,
    VERSION,
)

Key = tuple[int, str, str, str | None]


@dataclass(frozen=True)
class Histograms:
    """Histograms of several tensors: the bins of `schema` that are not empty, a run of them for each tensor.

    Attributes:
        runs: which run is that of each row of the Profile; rows of one tensor share theirs.
        starts: where each run starts, and at last where the last one ends.
        bins: number of each bin in `schema.BIN_EDGES`.
        counts: values in each bin.
    """

    runs: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int32]
    bins: npt.NDArray[np.uint16]
    counts: npt.NDArray[np.int32]

    @classmethod
    def from_counts(cls, counts: npt.NDArray[np.int32], runs: Sequence[int]) -> Histograms:
        """From the counts that the device took, in order; values that are not finite are left out."""
        rows, places = np.divmod(np.flatnonzero(counts), DEVICE_BINS)
        found, bins = counts[rows, places], STORED_BIN[places]
        # Zeros of both signs share a bin, and stand next to each other.
        first = (bins >= 0) & np.append(True, (np.diff(bins) != 0) | (np.diff(rows) != 0))[: len(bins)]
        owner = np.cumsum(first) - 1
        sums = np.bincount(owner[bins >= 0], weights=found[bins >= 0], minlength=int(first.sum()))
        starts = np.searchsorted(rows[first], np.arange(len(counts) + 1))
        return cls(
            np.asarray(runs, np.int32), starts.astype(np.int32), bins[first].astype(np.uint16), sums.astype(np.int32)
        )

    def buckets(self, row: int) -> list[list[float]]:
        """Lower edge, upper edge and count of each bin of one row that is not empty, from left to right."""
        part = slice(self.starts[self.runs[row]], self.starts[self.runs[row] + 1])
        edges = BIN_EDGES[self.bins[part]].tolist()
        return [[low, high, count] for (low, high), count in zip(edges, self.counts[part].tolist(), strict=True)]

    def to_dict(self) -> dict[str, str]:
        """The arrays in base64, little endian: as numbers they would be most of the work of writing a Profile."""
        return {f.name: _encode(getattr(self, f.name), _HISTOGRAM_TYPES[f.name]) for f in fields(self)}

    @classmethod
    def from_dict(cls, data: Mapping[str, str]) -> Histograms:
        """What `to_dict` wrote."""
        return cls(**{name: np.frombuffer(b64decode(data[name]), dtype) for name, dtype in _HISTOGRAM_TYPES.items()})


_HISTOGRAM_TYPES = {"runs": "<i4", "starts": "<i4", "bins": "<u2", "counts": "<i4"}


def _encode(array: npt.NDArray[Any], dtype: str) -> str:
    return b64encode(array.astype(dtype).tobytes()).decode()


class Profile:
    """A table of statistics, a row for each measured tensor, in order of depth.

    Every row has the columns `step, depth, layer, quantity, variable, count, mean, std, rms, min, max, l2, zeros, dead,
    saturated, nonfinite, relative, histogram`; what does not apply is `None`.

    | column | meaning |
    |---|---|
    | step | training steps done when this one ends; 0 before training |
    | depth | place of the layer in the order of execution, from 0 |
    | layer | path of the layer; `#2` marks the second call of a shared layer |
    | quantity | `activation` (the layer's output), `activation_gradient` (of the loss with respect to it, where it
      flows: not before the first trainable weight, nor into a softmax whose logits the loss takes), `weight`
      (before the step's update), `gradient`, `update` (new weight less old), `displacement` (weight less weight at the
      start of training), `batchnorm` |
    | variable | name of the weight; in `batchnorm`: `input`, `batch_mean`, `batch_variance`, `moving_mean`,
      `moving_variance` (before the step), `mean_drift` = (batch mean - moving mean) / √(moving variance + ε),
      `variance_ratio` = (batch variance + ε) / (moving variance + ε); number of the output where there are several |
    | count, nonfinite | number of values; of those that are infinite or not a number |
    | mean, std, rms, min, max, l2 | of the finite values; std divides by count, l2 = √Σx², rms = l2 / √count |
    | zeros | share of the values that are zero |
    | dead | `activation`: share of the units that are zero for the whole batch |
    | saturated | `activation` of tanh, sigmoid and their hard forms: share of the values where the slope is under 2 %
    of
      the steepest (|tanh| ≥ .99, sigmoid ≤ .005 or ≥ .995, hard forms at their bounds) |
    | relative | `update`: ‖update‖ / ‖weight‖; `displacement`: ‖displacement‖ / ‖weight at the start‖ |
    | histogram | list of [lower edge, upper edge, count], 2 bins an octave, zero by itself; of every value in tensors
    of
      up to 4095 values, in larger ones of about 2048 |

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
            data["histogram"] = self.histograms.to_dict()
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Profile:
        """The Profile that `to_dict` wrote.

        Raises:
            ValueError: the data are of a later version of the format.
        """
        if data["version"] > VERSION:
            raise ValueError(
                f"This Profile was written in version {data['version']} of the format, and this release of "
                f"keras_initlab reads versions up to {VERSION}. Install a newer keras_initlab."
            )
        keys = list(zip(data["depth"], data["layer"], data["quantity"], data["variable"], strict=True))
        statistics = {
            name: np.array([np.nan if v is None else v for v in data[name]], np.float64) for name in STATISTICS
        }
        histograms = Histograms.from_dict(data["histogram"]) if "histogram" in data else None
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
        return list(column.astype(np.int64).tolist())
    values = column.astype(object)
    values[np.isnan(column)] = None
    return list(values.tolist())


def _parse(line: str) -> dict[str, Any] | None:
    try:
        data: dict[str, Any] = json.loads(line)
    except json.JSONDecodeError:
        return None
    return data


def _check(argument: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}. Received: {argument}={value!r}.")
