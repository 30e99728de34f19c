"""Lines against depth, step or anything else."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from keras_initlab.lab.drawing.style import Picture, axis, below, colours, inert
from keras_initlab.lab.figures import Line, Lines

__all__ = ["draw_lines", "traces_of"]


def draw_lines(figure: Lines) -> Picture:
    """Traces and layout."""
    traces, entries = traces_of(figure.lines, log_y=figure.log_y)
    x = [place for line in figure.lines for place in line.x]
    # There is no layer 1.5.
    whole = bool(x) and all(place == round(place) for place in x if math.isfinite(place)) and max(x) - min(x) <= 12
    return traces, {
        "xaxis": {**axis(figure.x_label, figure.log_x), **({"dtick": 1} if whole and not figure.log_x else {})},
        "yaxis": axis(figure.y_label, figure.log_y),
        **below(entries if len(entries) > 1 else []),
    }


def traces_of(
    lines: Sequence[Line], *, log_y: bool = False, halo: bool = False
) -> tuple[list[dict[str, Any]], list[str]]:
    """The traces of lines, and what the legend says of each.

    Args:
        lines: what to draw.
        log_y: whether values that are not positive are gaps.
        halo: whether a white line runs beneath each, for dark grounds.
    """
    names = list(dict.fromkeys(line.name for line in lines))
    colour = dict(zip(names, colours(len(names)), strict=True))
    measured = {line.name for line in lines if not line.predicted}
    traces: list[dict[str, Any]] = []
    entries: list[str] = []
    # What is predicted goes beneath, so that where both agree dashes do not hide what was measured.
    for line in sorted(lines, key=lambda line: not line.predicted):
        twin = line.predicted and line.name in measured
        label = f"{line.name}, predicted" if line.predicted else line.name
        style: dict[str, Any] = {"color": colour[line.name], "width": 2}
        if line.predicted:
            style = {**style, "dash": "dash", "width": 4 if twin else 2}
        few = len(line.y) <= 30 and not line.predicted
        trace = {
            "type": "scatter",
            "x": list(line.x),
            "y": [y if math.isfinite(y) and (y > 0 or not log_y) else None for y in line.y],
            "name": inert(label),
            "legendgroup": inert(line.name),
            "mode": "lines+markers" if few and not halo else "lines",
            "line": style,
            "marker": {"size": 5},
            "opacity": 0.45 if twin else 1.0,
            "showlegend": not twin,
            "connectgaps": False,
        }
        if halo:
            white = {"color": "white", "width": 4}
            traces.append({**trace, "mode": "lines", "line": white, "showlegend": False, "hoverinfo": "skip"})
        traces.append(trace)
        if not twin:
            entries.append(label)
    if any(line.predicted and line.name in measured for line in lines):
        entries.append("predicted")
        dashes = {"color": "#222222", "width": 4, "dash": "dash"}
        traces.append(
            {
                "type": "scatter",
                "x": [None],
                "y": [None],
                "name": "predicted",
                "mode": "lines",
                "line": dashes,
                "opacity": 0.45,
            }
        )
    return traces, entries
