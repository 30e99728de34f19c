"""Profile: one measurement of a network, a row for each measured tensor, in order of depth."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from keras_initlab.statistics.histograms import Histograms
from keras_initlab.statistics.schema import (
    COLUMNS,
    COUNTS,
    FILE_NAME,
    KEYS,
    QUANTITIES,
    STATISTICS,
)
from keras_initlab.terminal import as_html, as_text

Key = tuple[int, str, str, str | None]
# What a step computes on its way forward in a layer, in this order.
_FORWARD = ("weight", "batchnorm", "normalization", "preactivation", "activation")


class Profile:
    """A table of statistics, a row for each measured tensor, in order of depth.

    Every row has the columns of the table below; what does not apply is `None`.

    | column | meaning |
    |---|---|
    | step | training steps done when this one ends; 0 before training |
    | depth | place of the layer in the order of execution, from 0 |
    | layer | path of the layer; `#2` marks the second call of a shared layer |
    | quantity | `preactivation` (what goes into an activation function inside the layer), `activation` (the layer's
      output), `activation_gradient` (of the loss with respect to it, where it
      flows: not before the first trainable weight, nor into a softmax whose logits the loss takes), `weight`
      (that the step computed with), `gradient`, `update` (new weight less old), `displacement` (new weight less weight
      at the start of training), `batchnorm`, `normalization` (of LayerNormalization and its kin); on demand
      `inference_gap` (output in training less output in inference mode), `state` and `state_gradient` (of a recurrent
      layer, by time step) |
    | variable | name of the weight; in `batchnorm`: `input`, `batch_mean`, `batch_variance`, `moving_mean`,
      `moving_variance` (before the step), `mean_drift` = (batch mean - moving mean) / √(moving variance + ε),
      `variance_ratio` = (batch variance + ε) / (moving variance + ε); in `normalization`: `mean` and `variance`, by
      which each example is normalized; `t0007` for a time step, `c/t0007` for the cell state of an LSTM; number of the
      output where there are several |
    | count, nonfinite | number of values; of those that are infinite or not a number |
    | mean, std, rms, min, max, l2 | of the finite values; std divides by count, l2 = √Σx², rms = l2 / √count |
    | zeros | share of the values that are zero |
    | dead | `activation`: share of the units that are zero for the whole batch |
    | dead_window | `activation`, during training: share of the units that were zero in all of the last watched steps |
    | saturated | `activation` of tanh, sigmoid and their hard forms: share of the values where the slope is under
      2 % of the steepest (|tanh| ≥ .99, sigmoid ≤ .005 or ≥ .995, hard forms at their bounds) |
    | relative | `update`: ‖update‖ / ‖weight‖; `displacement`: ‖displacement‖ / ‖weight at the start‖; `inference_gap`:
      ‖gap‖ / ‖output in training‖ |
    | cosine | `update`: cosine of the angle to the update of the watched step before |
    | angle | `displacement`: angle between the weight and what it was at the start, in degrees |
    | noise_scale | `gradient`, on demand: trace of the gradient's covariance over examples / ‖gradient‖², from
      the two halves of the batch: the batch size beyond which a larger one hardly helps |
    | histogram | list of [lower edge, upper edge, count], 2 bins an octave, zero by itself; of every value in
      tensors of up to 2047 values, in larger ones of about 1024 |

    `notes` holds what has to be said of a layer besides its numbers, by the layer's name: of a predicted Profile what
    was measured instead or assumed; measured ones have none. `fans` holds `(fan_in, fan_out)` of each kernel by its
    layer and name, in a predicted Profile as `propagate` returns it: files hold rows and notes. `channels` holds, on
    demand, `mean`, `std` and `zeros` of each channel by layer and quantity.

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
        notes: Mapping[str, str] | None = None,
        channels: Mapping[tuple[str, str], Mapping[str, npt.NDArray[np.float64]]] | None = None,
    ) -> None:
        self.step = step
        self.keys = tuple(keys)
        absent = np.full(len(self.keys), np.nan)
        self.statistics = {name: np.asarray(statistics.get(name, absent), np.float64) for name in STATISTICS}
        self.histograms = histograms
        self.notes = dict(notes or {})
        self.channels = {key: dict(values) for key, values in (channels or {}).items()}
        self.fans: dict[tuple[str, str], tuple[float, float]] = {}

    def __len__(self) -> int:
        return len(self.keys)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile) or (self.step, self.keys) != (other.step, other.keys):
            return False
        same = all(np.array_equal(self.statistics[n], other.statistics[n], equal_nan=True) for n in STATISTICS)
        return (
            same
            and (self.histograms, self.notes) == (other.histograms, other.notes)
            and self.channels.keys() == other.channels.keys()
            and all(
                np.array_equal(value, other.channels[key][name], equal_nan=True)
                for key, values in self.channels.items()
                for name, value in values.items()
            )
        )

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

    @property
    def first_nonfinite(self) -> tuple[str, str, str | None] | None:
        """Layer, quantity and variable of the tensor in which infinities, or what is not a number, came up first.

        In the order in which a step computes them: weights and outputs from the first layer to the last, then the
        gradients on the way back. None where all is finite.
        """
        bad = [self.keys[i] for i in np.flatnonzero(self.statistics["nonfinite"] > 0)]
        # The row of all gradients together says no layer.
        bad = [key for key in bad if key[2:] != ("gradient", None)]
        if not bad:
            return None
        forward = [key for key in bad if key[2] in _FORWARD]
        if forward:
            first = min(forward, key=lambda key: (key[0], _FORWARD.index(key[2])))
        else:
            first = max(bad, key=lambda key: ("gradient" in key[2], key[0]))
        return first[1:]

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
        """The table by columns, as lists of plain numbers, strings and None."""
        rows = self.rows
        return {name: [row[name] for row in rows] for name in COLUMNS}

    @classmethod
    def read(cls, path: str | Path) -> list[Profile]:
        """Profiles that a LayerStatistics callback wrote, oldest first.

        Args:
            path: its log_dir, or the file `profiles.jsonl` in it.

        Returns:
            One Profile for each whole line; a line cut off when a run was killed is left out.

        Raises:
            FileNotFoundError: no such file.
            ValueError: a file of something else.
        """
        file = Path(path) / FILE_NAME if Path(path).is_dir() else Path(path)
        if not file.exists():
            raise FileNotFoundError(
                f"No Profiles at {str(path)!r}: path must be the log_dir of a LayerStatistics callback, or the file "
                f"{FILE_NAME} in it."
            )
        from keras_initlab.statistics.lines import from_line

        with file.open("rb") as lines:
            found = [from_line(line) for line in lines]
        profiles = [profile for profile in found if profile is not None]
        if len(found) > 1 and not profiles:
            raise ValueError(f"{str(file)!r} has no Profile in any of its {len(found)} lines. Was it {FILE_NAME}?")
        return profiles

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
        return as_text(self)

    def __rich__(self) -> Any:
        from keras_initlab.statistics.tables import layer_table

        return layer_table(self)

    def _repr_html_(self) -> str:
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


def _check(argument: str, value: str, allowed: Sequence[str]) -> None:
    if value not in allowed:
        raise ValueError(f"{argument} must be one of {', '.join(allowed)}. Received: {argument}={value!r}.")
