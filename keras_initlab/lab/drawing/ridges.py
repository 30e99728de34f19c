"""Histograms above one another, from the first layer at the top to the last."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_initlab.lab.drawing.ridgelines import Axis, axis_for, ridge_of
from keras_initlab.lab.drawing.style import GRID, NOTHING, Picture, axis, inert, shades, short_names
from keras_initlab.lab.figures import Ridges

__all__ = ["draw_ridges"]

_MOST_RIDGES, _LONGEST_NAME = 24, 32
# How many layers high a ridge may be: they overlap a little, and are the easier to compare.
_OVERLAP = 1.6


def draw_ridges(figure: Ridges) -> Picture:
    """Traces and layout."""
    scale = axis_for(figure.histograms)
    count = len(figure.names)
    # As many as can be read, among them the first and the last.
    shown = np.unique(np.linspace(0, count - 1, min(count, _MOST_RIDGES)).round().astype(int)).tolist()
    traces: list[dict[str, Any]] = []
    for i, (place, shade) in enumerate(zip(shown, shades(len(shown)), strict=True)):
        ridge, base = ridge_of(figure.histograms[place], scale), -float(i)
        name = inert(figure.names[place])
        top = base + _OVERLAP * ridge.heights
        traces.append(
            {
                "type": "scatter",
                "x": [ridge.places[0], *ridge.places, ridge.places[-1]],
                "y": [base, *top, base],
                "mode": "lines",
                "fill": "toself",
                "fillcolor": shade,
                "opacity": 0.85,
                "line": {"color": "white", "width": 1.2},
                "hoverinfo": "text",
                "hoveron": "fills",
                "text": name,
                "showlegend": False,
            }
        )
        if ridge.masses:
            traces.append(
                {
                    "type": "scatter",
                    "x": [x for mass in ridge.masses for x in (mass[0], mass[0], None)],
                    "y": [y for mass in ridge.masses for y in (base, base + _OVERLAP * mass[1], None)],
                    "mode": "lines",
                    "line": {"color": shade, "width": 5},
                    "hoverinfo": "text",
                    "text": [f"{name}: {share:.1%} are one value" for _, share in ridge.masses for _ in range(3)],
                    "showlegend": False,
                }
            )
    names = short_names([figure.names[place] for place in shown])
    pitch = 40 if len(names) <= 12 else 26
    return traces, {
        "height": 120 + pitch * (len(names) + 1),
        "xaxis": {**axis(figure.x_label), **_ticks(scale), "range": scale.place([scale.low, scale.high]).tolist()},
        "yaxis": {
            "tickvals": [-i for i in range(len(names))],
            "ticktext": [inert(_short(name)) for name in names],
            "range": [-len(names) + 0.6, _OVERLAP + 0.1],
            "showgrid": True,
            "gridcolor": GRID,
            "zeroline": False,
            "automargin": True,
        },
    }


def _ticks(scale: Axis) -> dict[str, Any]:
    if scale.threshold is None:
        return {"zeroline": True, "zerolinecolor": NOTHING}
    ticks = [(0.0, "0")]
    for power in scale.decades():
        ticks += [(sign * 10.0**power, f"{'−' if sign < 0 else ''}10<sup>{power}</sup>") for sign in (-1, 1)]
    places = scale.place([value for value, _ in ticks]).tolist()
    return {"tickvals": places, "ticktext": [text for _, text in ticks], "zeroline": True, "zerolinecolor": NOTHING}


def _short(name: str) -> str:
    return name if len(name) <= _LONGEST_NAME else f"…{name[-_LONGEST_NAME + 1 :]}"
