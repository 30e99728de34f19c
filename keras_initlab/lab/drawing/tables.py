"""Tables, for notebooks; a page has tables of its own."""

from __future__ import annotations

from keras_initlab.lab.drawing.style import Picture, cell, inert
from keras_initlab.lab.figures import Table

__all__ = ["draw_table"]


def draw_table(figure: Table) -> Picture:
    """Traces and layout."""
    cells = [[inert(cell(row[i])) for row in figure.rows] for i in range(len(figure.columns))]
    trace = {
        "type": "table",
        "header": {
            "values": [f"<b>{inert(name)}</b>" for name in figure.columns],
            "align": "left",
            "fill": {"color": "#f0f0f0"},
        },
        "cells": {"values": cells, "align": "left", "fill": {"color": "white"}, "height": 26},
    }
    return [trace], {"height": min(110 + 27 * len(figure.rows), 700), "margin": {"l": 20, "r": 20, "t": 44, "b": 10}}
