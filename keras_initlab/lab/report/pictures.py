"""Profiles and rows as pictures: statistics against depth, accuracy against what a sweep varied."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from keras_initlab.lab.drawing import draw
from keras_initlab.lab.drawing.style import inert, short_names
from keras_initlab.lab.figures import Line, Lines, Ridges
from keras_initlab.lab.report.collecting import Row
from keras_initlab.statistics.profile import Profile

__all__ = ["over_depth", "over_grid", "varied"]

_MOST_LINES = 12
_LOGARITHMIC = 30.0
# The first of each pair that the Profiles have.
_PICTURES = (
    (("activation", "std", "Outputs of the layers", "standard deviation"),),
    (
        ("activation_gradient", "rms", "Gradients of the layers' outputs", "root mean square"),
        ("gradient", "l2", "Gradients of the weights", "norm"),
    ),
)
# What a run was given and what it cannot be told apart by.
_NO_AXES = {"key", "seed", "error", "versions", "seconds", "diverged"}
_MEASURED = ("accuracy", "test_accuracy", "accuracy_test", "loss_last", "loss")


def over_depth(profiles: Mapping[str, Profile], *, ridges: bool = False) -> list[Any]:
    """Deviations of activations and sizes of gradients against depth, a line for each Profile.

    Args:
        profiles: Profile by name.
        ridges: whether histograms of the activations are drawn too.
    """
    shown = _some(profiles)
    pictures = []
    for choices in _PICTURES:
        for quantity, statistic, title, label in choices:
            columns = {name: _column(profile, statistic, quantity) for name, profile in shown.items()}
            columns = {name: column for name, column in columns.items() if len(column[0]) > 1}
            if columns:
                few = f" ({len(shown)} of {len(profiles)} Profiles)" if len(shown) < len(profiles) else ""
                pictures.append(_against_layers(title + few, label, columns))
                break
    if ridges:
        drawn = {name: Ridges.of(f"Histograms of the outputs, {name}", profile) for name, profile in shown.items()}
        pictures += [draw(figure) for figure in drawn.values() if figure.names]
    return pictures


def _some(profiles: Mapping[str, Profile]) -> dict[str, Profile]:
    names = list(profiles)
    places = np.unique(np.linspace(0, len(names) - 1, min(len(names), _MOST_LINES)).round().astype(int))
    return {names[i]: profiles[names[i]] for i in places.tolist()}


def _column(profile: Profile, statistic: str, quantity: str) -> tuple[list[str], Any]:
    names, values = profile.column(statistic, quantity)
    if quantity == "gradient":
        kernels = [i for i, name in enumerate(names) if name.endswith("kernel")]
        return [names[i] for i in kernels], values[kernels]
    return names, values


def _against_layers(title: str, label: str, columns: Mapping[str, tuple[list[str], Any]]) -> Any:
    lines = tuple(Line.of(name, values) for name, (_, values) in columns.items())
    drawn = draw(Lines(title, "layer", label, lines, log_y=_logarithmic([y for line in lines for y in line.y])))
    for trace, (paths, _) in zip(drawn.data, columns.values(), strict=True):
        trace.update(text=[inert(name) for name in paths], hovertemplate="%{text}<br>%{y:.4~g}")
    layers = {tuple(names) for names, _ in columns.values()}
    names = short_names(layers.pop())
    # As many as stand beside each other in a picture of 900 pixels.
    if not layers and sum(map(len, names)) + 2 * len(names) <= 110:
        drawn.update_xaxes(tickvals=list(range(1, len(names) + 1)), ticktext=[inert(name) for name in names])
    return drawn


def _logarithmic(values: Sequence[float]) -> bool:
    positive = [value for value in values if value > 0 and math.isfinite(value)]
    return bool(positive) and min(values) >= 0 and max(positive) > _LOGARITHMIC * min(positive)


def varied(rows: Sequence[Row]) -> tuple[list[str], dict[str, Any]]:
    """Columns to show of a sweep: those that differ between rows; and those that do not, with their value."""
    columns = list(dict.fromkeys(name for row in rows for name in row if name not in ("key", "versions")))
    values = {name: {repr(row.get(name)) for row in rows} for name in columns}
    same = {name: rows[0].get(name) for name in columns if len(values[name]) == 1 and len(rows) > 1}
    return [name for name in columns if name not in same], {n: v for n, v in same.items() if v is not None}


def over_grid(rows: Sequence[Row]) -> list[Any]:
    """How well runs of a sweep did, against depth or what else was varied; the mean over all runs of a place."""
    measured = next((name for name in _MEASURED if any(_is_number(row.get(name)) for row in rows)), None)
    # The configuration stands before what was measured.
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if measured is None:
        return []
    axes = [name for name in columns[: columns.index(measured)] if name not in _NO_AXES]
    axes = [name for name in axes if len({repr(row.get(name)) for row in rows}) > 1]
    along = next((name for name in axes if all(_is_number(row.get(name)) for row in rows)), None)
    if along is None:
        return []
    others = [name for name in axes if name != along]
    groups: dict[str, dict[float, list[float]]] = {}
    for row in rows:
        if _is_number(row.get(measured)):
            name = ", ".join(_named(column, row.get(column)) for column in others) or measured
            groups.setdefault(name, {}).setdefault(float(row[along]), []).append(float(row[measured]))
    lines = []
    for name, found in list(groups.items())[:_MOST_LINES]:
        places = sorted(found)
        lines.append(Line.of(name, [float(np.mean(found[x])) for x in places], places))
    few = f" ({_MOST_LINES} of {len(groups)} settings)" if len(groups) > _MOST_LINES else ""
    title = f"{measured.replace('_', ' ').capitalize()} by {along.replace('_', ' ')}, mean over runs{few}"
    log_x = _logarithmic([x for line in lines for x in line.x])
    return [draw(Lines(title, along.replace("_", " "), measured.replace("_", " "), tuple(lines), log_x=log_x))]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _named(column: str, value: Any) -> str:
    return f"{column} {value}" if isinstance(value, (bool, int, float)) or value is None else str(value)
