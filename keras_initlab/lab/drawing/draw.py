"""A figure of an experiment as a picture."""

from __future__ import annotations

import textwrap
from typing import Any

from keras_initlab.lab.drawing.heatmaps import draw_heatmap
from keras_initlab.lab.drawing.lines import draw_lines
from keras_initlab.lab.drawing.ridges import draw_ridges
from keras_initlab.lab.drawing.style import LAYOUT, inert
from keras_initlab.lab.drawing.tables import draw_table
from keras_initlab.lab.figures import Figure, Heatmap, Lines, Ridges, Table

__all__ = ["draw"]

# Characters and pixels: Plotly breaks no lines by itself.
_TITLE_WIDTH, _TITLE_LINE = 92, 22
_KINDS = {Lines: draw_lines, Heatmap: draw_heatmap, Ridges: draw_ridges, Table: draw_table}


def draw(figure: Figure) -> Any:
    """A Plotly figure of what an experiment has to show.

    Args:
        figure: lines, a heat map, ridges or a table.

    Returns:
        A `plotly.graph_objects.Figure`; `figure.show()` opens it, `figure.write_html(file)` saves it.

    Raises:
        ImportError: Plotly is not installed.

    Example:
        >>> from keras_initlab.lab.drawing import draw
        >>> from keras_initlab.lab.figures import Line, Lines
        >>> drawn = draw(Lines("Decay", "layer", "std", (Line.of("tanh", [1, 0.1, 0.01]),), log_y=True))
        >>> drawn.data[0].name, drawn.layout.yaxis.type
        ('tanh', 'log')
    """
    try:
        import plotly.graph_objects as go
    except ImportError as error:
        raise ImportError("Pictures need Plotly, which is not installed: pip install 'keras_initlab[lab]'.") from error
    kind: Any = _KINDS[type(figure)]
    traces, layout = kind(figure)
    layout = {**LAYOUT, **layout}
    lines = textwrap.wrap(figure.title, _TITLE_WIDTH) or [""]
    more = _TITLE_LINE * (len(lines) - 1)
    title = {"text": "<br>".join(map(inert, lines)), "x": 0.01, "xanchor": "left", "yref": "container"}
    height, margin = layout["height"] + more, {**layout["margin"], "t": layout["margin"]["t"] + more}
    title |= {"y": 1 - 12 / height, "yanchor": "top"}
    return go.Figure({"data": traces, "layout": {**layout, "title": title, "height": height, "margin": margin}})
