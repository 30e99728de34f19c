"""A Profile as a table: one line a layer, with what tells a healthy layer from a sick one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.table import Table

    from keras_initlab.statistics.profile import Profile

# Heading, quantity, statistic, as a share?
_COLUMNS = (
    ("output\nmean", "activation", "mean", False),
    ("output\nstd", "activation", "std", False),
    ("output\nzeros", "activation", "zeros", True),
    ("units\ndead", "activation", "dead", True),
    ("output\nsaturated", "activation", "saturated", True),
    ("gradient\nof output", "activation_gradient", "rms", False),
    ("weight\nstd", "weight", "std", False),
    ("gradient\nof weight", "gradient", "rms", False),
    ("update\n/ weight", "update", "relative", False),
    ("moved\n/ start", "displacement", "relative", False),
    ("not\nfinite", None, "nonfinite", False),
)


def layer_table(profile: Profile) -> Table:
    """The table that a terminal shows; of several weights of a layer the largest."""
    from rich.table import Table

    lines = _lines(profile)
    shown = [i for i in range(len(_COLUMNS)) if any(values[i] is not None for _, _, values in lines)]
    table = Table(title=f"step {profile.step}", title_justify="left", header_style="bold", caption_justify="left")
    table.add_column("depth", justify="right")
    table.add_column("layer", overflow="fold")
    for i in shown:
        table.add_column(_COLUMNS[i][0], justify="right", no_wrap=True)
    for depth, layer, values in lines:
        table.add_row(str(depth), layer, *(_format(values[i], *_COLUMNS[i][2:]) for i in shown))
    table.caption = "\n".join(f"{layer}: {note}" for layer, note in profile.notes.items()) or None
    return table


def _lines(profile: Profile) -> list[tuple[int, str, list[float | None]]]:
    by_layer: dict[str, list[dict[str, Any]]] = {}
    for row in profile.scalar_rows():
        by_layer.setdefault(row["layer"], []).append(row)
    return [
        (rows[0]["depth"], layer, [_value(rows, quantity, statistic) for _, quantity, statistic, _ in _COLUMNS])
        for layer, rows in by_layer.items()
    ]


def _value(rows: list[dict[str, Any]], quantity: str | None, statistic: str) -> float | None:
    if quantity is None:
        return sum(row[statistic] for row in rows) or None
    chosen = [row for row in rows if row["quantity"] == quantity]
    value: float | None = max(chosen, key=lambda row: row["count"])[statistic] if chosen else None
    return value


def _format(value: float | None, statistic: str, share: bool) -> str:
    if value is None:
        return ""
    if statistic == "nonfinite":
        return f"{value:,}"
    return f"{100 * value:.1f} %" if share else f"{value:.3g}"
