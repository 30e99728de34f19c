"""Report: what was done to a model, a row for each weight or layer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from keras_initlab.terminal import as_html, as_text

if TYPE_CHECKING:
    from rich.table import Table

__all__ = ["Report"]


class Report:
    """A table of what was done to a model, in the model's order.

    It prints as a table in a terminal and in a notebook, and can be read as a list of dictionaries.

    Args:
        title: What was done.
        columns: Names of the columns, in order.
        rows: A dictionary for each line; what does not apply is None, and a column that is None everywhere is not
            printed.
        notes: Sentences to be read with the table, printed under it.

    Example:
        >>> report = Report("An example", ["weight", "std"], [{"weight": "head/kernel", "std": 0.0123456}])
        >>> report["head/kernel"]["std"]
        0.0123456
    """

    def __init__(
        self, title: str, columns: Sequence[str], rows: Sequence[dict[str, Any]], notes: Sequence[str] = ()
    ) -> None:
        self.title = title
        self.columns = tuple(columns)
        self.rows = [{name: row.get(name) for name in self.columns} for row in rows]
        self.notes = tuple(notes)

    def __getitem__(self, name: str) -> dict[str, Any]:
        """The row whose first column has this name.

        Raises:
            KeyError: no such row.
        """
        for row in self.rows:
            if row[self.columns[0]] == name:
                return row
        names = ", ".join(str(row[self.columns[0]]) for row in self.rows)
        raise KeyError(f"No row named {name!r}. There are: {names}.")

    def __iter__(self) -> Iterator[dict[str, Any]]:
        return iter(self.rows)

    def __len__(self) -> int:
        return len(self.rows)

    def to_dataframe(self) -> Any:
        """The rows as a pandas DataFrame.

        Raises:
            ImportError: pandas is not installed.
        """
        try:
            import pandas as pd
        except ImportError as error:
            raise ImportError("Report.to_dataframe needs pandas: pip install pandas. Or use Report.rows.") from error
        return pd.DataFrame(self.rows, columns=list(self.columns))

    def __rich__(self) -> Table:
        from rich.table import Table

        shown = [name for name in self.columns if any(row[name] is not None for row in self.rows)]
        table = Table(title=self.title, title_justify="left", header_style="bold", caption_justify="left")
        for name in shown:
            number = any(isinstance(row[name], (int, float)) for row in self.rows)
            table.add_column(name, justify="right" if number else "left", overflow="fold")
        for row in self.rows:
            table.add_row(*(_shown(row[name]) for name in shown))
        table.caption = "\n".join(self.notes) or None
        return table

    def __str__(self) -> str:
        return as_text(self)

    def _repr_html_(self) -> str:
        return as_html(self)

    def __repr__(self) -> str:
        return f"<Report {self.title!r}, {len(self)} rows>"


def _shown(value: Any) -> str:
    if value is None:
        return ""
    return f"{value:.4g}" if isinstance(value, float) else str(value)
