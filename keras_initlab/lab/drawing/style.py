"""What all pictures share: colours, axes, legends, and text that stays text."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = ["GRID", "LAYOUT", "NOTHING", "Picture", "axis", "below", "cell", "colours", "inert", "shades", "short_names"]

Picture = tuple[list[dict[str, Any]], dict[str, Any]]
"""Traces, and the layout where it differs from `LAYOUT`."""

# Okabe and Ito's colours, which the colour-blind tell apart, without their yellow, which white paper swallows.
_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#222222")
_INK = "#222222"
GRID, NOTHING = "#e4e4e4", "#d0d0d0"
_PLOT_HEIGHT = 300
LAYOUT = {
    "template": "none",
    "font": {
        "family": "system-ui, -apple-system, 'Segoe UI', Roboto, 'DejaVu Sans', sans-serif",
        "size": 13,
        "color": _INK,
    },
    "paper_bgcolor": "white",
    "plot_bgcolor": "white",
    "hoverlabel": {"namelength": -1},
    "margin": {"l": 80, "r": 30, "t": 44, "b": 60},
}
"""The layout that every picture starts from."""


def inert(text: Any) -> str:
    """Text that Plotly shows as it is; it would take some of it for markup."""
    return html.escape(str(text), quote=False)


def cell(value: Any) -> str:
    """A table's cell: numbers to four digits; where there is none, a dash."""
    if value is None or value != value:
        return "–"
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def colours(count: int) -> list[str]:
    """Colours that can be told apart: of a palette, or where it has too few along a scale from dark to light."""
    if count <= len(_COLOURS):
        return list(_COLOURS[:count])
    from plotly.colors import sample_colorscale

    # The light end of the scale is too pale for a line on white.
    return list(sample_colorscale("Viridis", np.linspace(0, 0.88, count).tolist()))


def short_names(names: Sequence[str]) -> list[str]:
    """Paths of layers without the models that all of them lie in."""
    parts = [name.split("/") for name in names]
    same = 0
    while len(parts) > 1 and all(len(p) > same + 1 and p[same] == parts[0][same] for p in parts):
        same += 1
    return ["/".join(p[same:]) for p in parts]


def shades(count: int) -> list[str]:
    """Shades from dark to light, for areas that stand for layers."""
    from plotly.colors import sample_colorscale

    return list(sample_colorscale("Viridis", np.linspace(0.15, 0.75, count).tolist())) if count else []


def axis(label: str, log: bool = False) -> dict[str, Any]:
    """An axis with its label."""
    found: dict[str, Any] = {
        "title": {"text": inert(label), "standoff": 10},
        "gridcolor": GRID,
        "linecolor": _INK,
        "showline": True,
        "ticks": "outside",
        "zeroline": False,
        "automargin": True,
        "exponentformat": "power",
    }
    return {**found, "type": "log", "minor": {"ticks": ""}} if log else found


def below(entries: Sequence[str]) -> dict[str, Any]:
    """A legend beneath the picture, which is as much higher as it takes."""
    if not entries:
        return {"height": _PLOT_HEIGHT + 104, "showlegend": False}
    columns = max(1, 780 // (7 * max(map(len, entries)) + 50))
    below = 72 + 20 * math.ceil(len(entries) / columns)
    return {
        "height": _PLOT_HEIGHT + 44 + below,
        "margin": {"l": 80, "r": 30, "t": 44, "b": below},
        "showlegend": True,
        "legend": {"orientation": "h", "x": 0, "xanchor": "left", "y": -64 / _PLOT_HEIGHT, "yanchor": "top"},
    }
