"""Which layers a model has, what each is called in a Profile, and which weights are its own."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras

LayerFilter = str | Callable[[Any], bool]


@dataclass
class MeasuredLayer:
    """A layer whose output is measured.

    Attributes:
        layer: the Keras layer.
        path: its name in a Profile, unique in the model.
        variables: the weights that belong to it and to none of the layers inside it, by their name in a Profile.
        composite: whether layers inside it are measured too.
    """

    layer: Any
    path: str
    variables: dict[str, Any] = field(default_factory=dict)
    composite: bool = False


def measured_layers(model: Any, layers: LayerFilter | None = None) -> list[MeasuredLayer]:
    """The layers of a model that can be measured, inner ones before those that contain them.

    The cells of a recurrent layer run inside its loop, where nothing can be read, so their weights are listed with it.

    Args:
        model: a Keras model or layer, built or not.
        layers: a regular expression searched for in the path, or a callable that takes the layer; `None` for all.

    Raises:
        ValueError: the filter chooses none of the layers.
    """
    found = _named(list(_walk(model, None)))
    chosen = [entry for entry in found if _chosen(entry, layers)]
    if not chosen and layers is not None:
        names = ", ".join(entry.path for entry in found)
        raise ValueError(f"layers={layers!r} chooses none of the layers of {model.name!r}. It has: {names}.")
    return chosen


def check_filter(layers: LayerFilter | None) -> None:
    """Refuses what is no filter.

    Raises:
        ValueError: not a regular expression, not a callable.
    """
    if layers is None or callable(layers):
        return
    if not isinstance(layers, str):
        raise ValueError(
            f"layers must be a regular expression, a callable that takes a layer, or None. Received: {layers!r}."
        )
    try:
        re.compile(layers)
    except re.error as error:
        raise ValueError(f"layers={layers!r} is not a regular expression: {error}.") from error


def _chosen(entry: MeasuredLayer, layers: LayerFilter | None) -> bool:
    if layers is None:
        return True
    return re.search(layers, entry.path) is not None if isinstance(layers, str) else bool(layers(entry.layer))


def _children(layer: Any) -> list[Any]:
    return (
        [] if isinstance(layer, keras.layers.RNN) else list(layer._flatten_layers(include_self=False, recursive=False))
    )


def _walk(layer: Any, parent: Any, seen: set[int] | None = None) -> Iterator[tuple[Any, Any]]:
    seen = set() if seen is None else seen
    if id(layer) in seen or isinstance(layer, keras.layers.InputLayer):
        return
    seen.add(id(layer))
    for child in _children(layer):
        yield from _walk(child, layer, seen)
    yield layer, parent


def _path(layer: Any, parent: Any) -> str:
    """The layer's own path; layers without weights have none inside some containers, so theirs follows a sibling's."""
    if layer.path or parent is None:
        return str(layer.path or layer.name)
    for sibling in _children(parent):
        if sibling.path and sibling.path.endswith(sibling.name):
            return str(sibling.path[: -len(sibling.name)] + layer.name)
    return f"{_path(parent, None)}/{layer.name}"


def _named(pairs: list[tuple[Any, Any]]) -> list[MeasuredLayer]:
    entries: list[MeasuredLayer] = []
    taken: set[str] = set()
    owned: set[int] = set()
    for layer, parent in pairs:
        path = base = _path(layer, parent)
        number = 1
        while path in taken:
            number += 1
            path = f"{base}_{number}"
        taken.add(path)
        own = [v for v in layer.weights if id(v) not in owned and _is_weight(layer, v)]
        owned.update(id(v) for v in layer.weights)
        entries.append(MeasuredLayer(layer, path, _variable_names(own), bool(_children(layer))))
    return entries


def _is_weight(layer: Any, variable: Any) -> bool:
    """Moving statistics are no weights, nor is what counts or seeds."""
    moving = isinstance(layer, keras.layers.BatchNormalization) and variable.name not in ("gamma", "beta")
    return not moving and keras.backend.is_float_dtype(variable.dtype)


def _variable_names(variables: list[Any]) -> dict[str, Any]:
    """`kernel`, `bias`; where two of one layer share a name (stacked cells), the path that tells them apart."""
    names = [v.name for v in variables]
    return {(v.name if names.count(v.name) == 1 else "/".join(v.path.split("/")[-2:])): v for v in variables}
