"""Tables for a terminal: what was expected and what was measured."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from keras_initlab.lab.result import Result

__all__ = ["CHECK_COLUMNS", "check_rows", "checks_table", "markdown"]

CHECK_COLUMNS = ("experiment", "what", "expected", "measured", "verdict")


def check_rows(results: Sequence[Result]) -> list[tuple[str, str, str, str, str]]:
    """A row for each check, in the order of `CHECK_COLUMNS`."""
    return [
        (result.experiment, check.what, check.expectation, f"{check.measured:.4g}", check.verdict)
        for result in results
        for check in result.checks
    ]


def checks_table(results: Sequence[Result], failed: Mapping[str, str] | None = None) -> Table:
    """The table at the end of `initlab run`; an experiment is named once.

    Args:
        results: what has been run.
        failed: the error by the experiment's name of what could not be.
    """
    from rich.markup import escape
    from rich.table import Table

    table = Table(header_style="bold")
    for name in CHECK_COLUMNS:
        table.add_column(name, justify="right" if name == "measured" else "left", overflow="fold")
    rows = check_rows(results)
    for i, (experiment, *cells) in enumerate(rows):
        first = i == 0 or rows[i - 1][0] != experiment
        last = i + 1 == len(rows) or rows[i + 1][0] != experiment
        style: Any = "red" if "NOT" in cells[-1] else None
        table.add_row(experiment if first else "", *map(escape, cells), style=style, end_section=last)
    for experiment, error in (failed or {}).items():
        table.add_row(escape(experiment), "failed", "", "", escape(error), style="red", end_section=True)
    return table


def markdown(results: Sequence[Result]) -> str:
    """The same table for a README; experiments are named once."""
    rows: list[Sequence[str]] = [CHECK_COLUMNS, ["---"] * len(CHECK_COLUMNS), *check_rows(results)]
    before = [""] + [row[0] for row in rows]
    lines = [
        ["" if row[0] == last and i > 1 else row[0], *row[1:]]
        for i, (row, last) in enumerate(zip(rows, before, strict=False))
    ]
    return "".join(f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in line)} |\n" for line in lines)
