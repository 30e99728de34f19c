"""Sweep: the rows of a sweep, and how they are shown, framed and stored as a whole."""

from __future__ import annotations

import io
import os
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, overload

from keras_initlab.lab.result import versions, write_whole
from keras_initlab.lab.sweeps.grid import AXES
from keras_initlab.lab.sweeps.trial import MEASURED, Row
from keras_initlab.terminal import as_html, as_text

__all__ = ["Sweep", "check_parquet", "write_parquet"]

COLUMNS = ("key", *(axis.name for axis in AXES), *MEASURED, "diverged", "seconds", "error", "versions")
_MOST_SHOWN = 60
_SHOWN = ("accuracy", "loss_last", "activation_std_first", "activation_std_last", "gradient_rms_first", "dead_after")


class Sweep(Sequence[Row]):
    """The rows of a sweep, in the order of its grid.

    Attributes:
        rows: a dictionary for each run.
        out: the folder that they are stored in.
    """

    def __init__(self, rows: Iterable[Row], out: str | os.PathLike[str]) -> None:
        self.rows = list(rows)
        self.out = Path(out)

    @overload
    def __getitem__(self, place: int) -> Row: ...
    @overload
    def __getitem__(self, place: slice) -> list[Row]: ...
    def __getitem__(self, place: int | slice) -> Row | list[Row]:
        return self.rows[place]

    def __len__(self) -> int:
        return len(self.rows)

    def __iter__(self) -> Iterator[Row]:
        return iter(self.rows)

    @property
    def failed(self) -> list[Row]:
        """The rows of runs that ended with an error."""
        return [row for row in self.rows if row["error"] is not None]

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame, a column for each library's version.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("Sweep.to_dataframe needs pandas: pip install pandas. Or use Sweep.rows.") from error
        libraries = {name: f"version_{name}" for name in versions()}
        rows = [{**row, **{column: row["versions"].get(name) for name, column in libraries.items()}} for row in self]
        frame = pd.DataFrame(rows, columns=[*COLUMNS[:-1], *libraries.values()])
        return frame.astype(dict.fromkeys((*MEASURED, "seconds"), "float64"))

    def __rich__(self) -> Any:
        from rich.markup import escape
        from rich.table import Table

        axes = [axis.name for axis in AXES]
        several = [name for name in axes if len({row[name] for row in self}) > 1]
        columns = [*several, *_SHOWN, *(["error"] if self.failed else [])]
        table = Table(header_style="bold", title=f"{len(self)} runs in {escape(str(self.out))}", title_justify="left")
        for name in columns:
            table.add_column(name, justify="left" if name in (*several, "error") else "right", overflow="fold")
        for row in self.rows[:_MOST_SHOWN]:
            style: Any = "red" if row["error"] is not None else None
            table.add_row(*(escape(_cell(name, row)) for name in columns), style=style)
        same = [f"{name} {self.rows[0][name]}" for name in axes if name not in several] if self.rows else []
        more = [f"and {len(self) - _MOST_SHOWN} rows more"] if len(self) > _MOST_SHOWN else []
        table.caption = escape("; ".join([*more, ", ".join(same)]))
        table.caption_justify = "left"
        return table

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        return f"<Sweep of {len(self)} runs, {len(self.failed)} with an error, in {str(self.out)!r}>"


def check_parquet() -> None:
    """Asks for pyarrow before anything runs.

    Raises:
        ImportError: it is not installed.
    """
    try:
        import pyarrow  # noqa: F401  that it is there
    except ImportError as error:
        raise ImportError(
            "rows='parquet' needs pyarrow: pip install 'keras_initlab[parquet]'. Or rows='jsonl', which pandas reads "
            "too."
        ) from error


def write_parquet(path: Path, rows: Iterable[Row]) -> None:
    """Writes all rows as one table, in the place of an older one.

    Raises:
        OSError: it cannot be written.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    whole, real, flag = pa.int64(), pa.float64(), pa.bool_()
    kinds: dict[str, Any] = {
        **dict.fromkeys(("depth", "width", "steps", "batch", "seed"), whole),
        **dict.fromkeys((*MEASURED, "learning_rate", "seconds"), real),
        **dict.fromkeys(("batchnorm", "diverged"), flag),
        "versions": pa.struct([(name, pa.string()) for name in versions()]),
    }
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in COLUMNS])
    content = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows], schema), content)
    write_whole(path, content.getvalue())


def _cell(name: str, row: Row) -> str:
    value = row[name]
    if name == "error":
        return textwrap.shorten(value or "", 100, placeholder="…")
    if name in MEASURED and value is None:
        return "" if row["error"] is not None else "-"
    if isinstance(value, float):
        return f"{value:.4g}"
    return "" if value is None else str(value)
