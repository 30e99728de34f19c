"""Heat maps, with lines over them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np

from keras_initlab.lab.drawing.lines import traces_of
from keras_initlab.lab.drawing.style import NOTHING, Picture, axis, below, inert
from keras_initlab.lab.figures import Heatmap, Numbers

__all__ = ["draw_heatmap"]


def draw_heatmap(figure: Heatmap) -> Picture:
    """Traces and layout."""
    x, y = _edges(figure.x, figure.log_x), _edges(figure.y, figure.log_y)
    trace: dict[str, Any] = {
        "type": "heatmap",
        "x": x,
        "y": y,
        "z": [[value if math.isfinite(value) else None for value in row] for row in figure.values],
        "colorscale": "Viridis",
        "colorbar": {"title": {"text": inert(figure.value_label), "side": "right"}, "thickness": 16},
        "hoverongaps": False,
        "name": "",
    }
    few = len(figure.x) * len(figure.y) <= 80 and not figure.lines
    numbers = [_numbers(figure)] if few else []
    lines, entries = traces_of(figure.lines, halo=True)
    # A few places are named as they are; along more of them the axis has round numbers.
    named_x, named_y = (_named(values) for values in (figure.x, figure.y))
    return [trace, *numbers, *lines], {
        "xaxis": {**axis(figure.x_label, figure.log_x), **named_x, "range": _range(x, figure.log_x), "showgrid": False},
        "yaxis": {**axis(figure.y_label, figure.log_y), **named_y, "range": _range(y, figure.log_y), "showgrid": False},
        # Where there is no value.
        "plot_bgcolor": NOTHING,
        **below(entries),
    }


def _numbers(figure: Heatmap) -> dict[str, Any]:
    """The values in their cells, white on the dark half of the colours."""
    places = [
        (x, y, v) for y, row in zip(figure.y, figure.values, strict=True) for x, v in zip(figure.x, row, strict=True)
    ]
    finite = [v for _, _, v in places if math.isfinite(v)] or [0.0]
    middle = (min(finite) + max(finite)) / 2
    return {
        "type": "scatter",
        "mode": "text",
        "x": [x for x, _, _ in places],
        "y": [y for _, y, _ in places],
        "text": [f"{v:.3g}" for _, _, v in places],
        "textfont": {"color": ["white" if v <= middle else "#222222" for _, _, v in places]},
        "hoverinfo": "skip",
        "showlegend": False,
    }


def _named(values: Numbers) -> dict[str, Any]:
    if len(values) > 12:
        return {}
    return {"tickvals": list(values), "ticktext": [f"{value:.4g}" for value in values], "minor": {"ticks": ""}}


def _edges(centres: Numbers, log: bool) -> list[float]:
    """Where cells end: half-way between their centres, on a logarithmic axis as it is seen."""
    x = np.log(centres) if log else np.asarray(centres, np.float64)
    if len(x) == 1:
        inner, first, last = np.zeros(0), x[0] - 0.5, x[0] + 0.5
    else:
        inner = np.array([(a + b) / 2 for a, b in pairwise(x)])
        first, last = x[0] - (inner[0] - x[0]), x[-1] + (x[-1] - inner[-1])
    edges = np.array([first, *inner, last])
    return [float(edge) for edge in (np.exp(edges) if log else edges)]


def _range(edges: Sequence[float], log: bool) -> list[float]:
    return [math.log10(edges[0]), math.log10(edges[-1])] if log else [edges[0], edges[-1]]
