"""Where a weight is in its model: a name that any process gives it, however many layers were made before."""

from __future__ import annotations

import collections
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

from keras_initlab.model_init.roles import LayerWeight, Role, own_weights

__all__ = ["PlacedWeight", "layer_places", "placed_weights", "snake_case"]


@dataclass(frozen=True)
class PlacedWeight:
    """A weight and its place.

    Attributes:
        place: Name that tells it from all others of the model, such as ``encoder/dense_1/kernel``.
        layer: The layer it belongs to.
        layer_place: The layer's own name in the model.
        name: The weight's name in its layer.
        variable: The Keras variable.
        role: What it is.
        initializer: The layer's own initializer of it, or None.
    """

    place: str
    layer: Any
    layer_place: str
    name: str
    variable: Any
    role: Role
    initializer: Any


def placed_weights(model: Any) -> list[PlacedWeight]:
    """Every weight of a model once, in the model's order.

    A layer is named as its user named it; one with an automatic name by its class in snake case and its number among
    the siblings of that class: ``dense``, ``dense_1``. So the names do not depend on how many layers the process made
    before. A layer or weight that is shared has the name of the place where it is met first.

    Args:
        model: A built Keras model or layer.

    Returns:
        The weights, seeds and metrics left out.

    Example:
        >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(3), keras.layers.Dense(1, name="head")])
        >>> [weight.place for weight in placed_weights(model)]
        ['dense/kernel', 'dense/bias', 'head/kernel', 'head/bias']
    """
    found: list[PlacedWeight] = []
    seen: set[int] = set()
    for layer_place, layer in layer_places(model):
        own = [weight for weight in own_weights(layer) if id(weight.variable) not in seen]
        seen.update(id(weight.variable) for weight in own)
        for name, weight in zip(_numbered([weight.name for weight in own]), own, strict=True):
            found.append(_placed(layer, layer_place, name, weight))
    return found


def _placed(layer: Any, layer_place: str, name: str, weight: LayerWeight) -> PlacedWeight:
    place = f"{layer_place}/{name}" if layer_place else name
    return PlacedWeight(place, layer, layer_place, name, weight.variable, weight.role, weight.initializer)


def layer_places(model: Any) -> list[tuple[str, Any]]:
    """Every layer inside a model once, the model itself first with the name "", then depth first."""
    return list(_walk(model, "", set()))


def _walk(layer: Any, place: str, seen: set[int]) -> Iterator[tuple[str, Any]]:
    if id(layer) in seen:
        return
    seen.add(id(layer))
    yield place, layer
    children = [c for c in layer._flatten_layers(include_self=False, recursive=False) if not _is_input(c)]
    for name, child in zip(_numbered([_stem(child) for child in children]), children, strict=True):
        yield from _walk(child, f"{place}/{name}" if place else name, seen)


def _is_input(layer: Any) -> bool:
    return isinstance(layer, keras.layers.InputLayer)


def _stem(layer: Any) -> str:
    """The name without the number that Keras's global counter put behind it."""
    # Bidirectional names its directions after the layer it was given.
    automatic = rf"((?:forward_|backward_)?{snake_case(type(layer).__name__)})(_\d+)?"
    match = re.fullmatch(automatic, layer.name)
    return match[1] if match else str(layer.name)


def snake_case(name: str) -> str:
    """As Keras makes a layer's name from its class."""
    name = re.sub("(.)([A-Z][a-z]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub("([a-z])([A-Z])", r"\1_\2", name).lower()


def _numbered(stems: list[str]) -> list[str]:
    """``a, a, b`` as ``a, a_1, b``; a number that another stem has already is passed over."""
    taken: set[str] = set()
    counts: collections.Counter[str] = collections.Counter()
    names = []
    for stem in stems:
        name = stem if not counts[stem] else f"{stem}_{counts[stem]}"
        while name in taken or (counts[stem] and name in stems):
            counts[stem] += 1
            name = f"{stem}_{counts[stem]}"
        counts[stem] += 1
        taken.add(name)
        names.append(name)
    return names
