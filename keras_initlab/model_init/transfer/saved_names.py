"""What a layer with weights can be told by, in a file and in a model, so that the two can be compared."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from keras_initlab.initializers.weight_files import StoredWeights
from keras_initlab.model_init.places import PlacedWeight, placed_weights
from keras_initlab.model_init.transfer.saved_places import (
    class_names,
    layout_of,
    names_of,
    natural,
    parts_of,
    stem,
    texts_of,
)

__all__ = ["ModelLayer", "SavedLayer", "SavedWeight", "model_layers", "saved_layers"]

_KERAS_KEY = re.compile(r"(?:(.*)/)?vars/(\d+)")  # where Keras saves weight i of the layer at a path


@dataclass(frozen=True)
class SavedWeight:
    """An array of a file.

    Attributes:
        name: What the report calls it: its layer's place and its number in the layer, or its own name in the file.
        array: The values.
    """

    name: str
    array: Any


@dataclass(frozen=True)
class SavedLayer:
    """The arrays of a file that belong to one layer.

    Attributes:
        place: Where the layer is in the saved model.
        names: The place from each name on that a user gave, the longest first.
        weights: By number, or by name where the file was not written by Keras.
    """

    place: str
    names: tuple[str, ...]
    weights: dict[str, SavedWeight]


@dataclass(frozen=True)
class ModelLayer:
    """A layer of the model with weights of its own.

    Attributes:
        places: The name by which a file of Keras's knows its place, and the one of ``placed_weights``.
        names: As of a saved layer, of both places.
        weights: By number and by name.
    """

    places: tuple[str, ...]
    names: tuple[str, ...]
    weights: dict[str, PlacedWeight]


def saved_layers(stored: StoredWeights, model: Any, rename: Sequence[tuple[str, str]]) -> list[SavedLayer]:
    """The layers of a file, in the order of their numbers.

    Args:
        stored: The file.
        model: The model that they are compared with: names of its classes are not taken for given ones.
        rename: Regular expressions and what takes their place, applied to every name.

    Raises:
        ValueError: Two weights of a layer have the same name once they are renamed.
    """
    known = class_names(model)
    texts = texts_of(stored.layers, known)
    layers: dict[str, SavedLayer] = {}
    for key in sorted(stored.arrays, key=natural) if texts else stored.arrays:
        if match := _KERAS_KEY.fullmatch(key):
            path, number = match[1] or "", match[2]
            parts = parts_of(path, texts)
            name = "/".join([*(text for text, _ in parts), number])
            place, _, last = _renamed(name, rename).rpartition("/")
            names = [_renamed(f"{given}/{number}", rename).rpartition("/")[0] for given in names_of(parts)]
        else:
            name = key if "/" in key else key.replace(".", "/")
            path, _, last = _renamed(name, rename).rpartition("/")
            place, names = path, names_of([(word, stem(word) not in known) for word in path.split("/")])
        layer = layers.setdefault(path, SavedLayer(place, tuple(names), {}))
        if last in layer.weights:
            raise ValueError(
                "Argument `rename` must leave different names to different weights. Received: "
                f"rename={list(rename)!r}, by which {layer.weights[last].name!r} and {name!r} are both called "
                f"'{place}/{last}'. Write a pattern that fits one of the two."
            )
        layer.weights[last] = SavedWeight(name, stored.arrays[key])
    return list(layers.values())


def model_layers(model: Any, stored: StoredWeights) -> list[ModelLayer]:
    """The layers of a built model that have weights of their own, each as a file of Keras's would hold it.

    Args:
        model: The model.
        stored: The file that they are compared with: early versions of Keras wrote no names into it.
    """
    layout = layout_of(model)
    nameless = not stored.layers and any(_KERAS_KEY.fullmatch(key) for key in stored.arrays)
    texts = texts_of({} if nameless else layout.layers, class_names(model))
    placed = {id(weight.variable): weight for weight in placed_weights(model)}
    found: list[ModelLayer] = []
    met: set[int] = set()
    for path, variables in sorted(layout.variables.items(), key=lambda item: natural(item[0])):
        numbered = {number: placed[id(v)] for number, v in variables.items() if id(v) in placed}
        if not numbered:
            continue
        met.update(id(weight.variable) for weight in numbered.values())
        parts = parts_of(path, texts)
        # A wrapper may save a weight of the layer inside it too.
        own = min((weight.layer_place for weight in numbered.values()), key=len)
        given = {text for text, is_given in parts if is_given}
        names = [*names_of(parts), *names_of([(word, word in given) for word in own.split("/")])]
        places = dict.fromkeys(["/".join(text for text, _ in parts), own])
        named = {weight.name: weight for weight in numbered.values()}
        found.append(ModelLayer(tuple(places), tuple(dict.fromkeys(names)), named | numbered))
    left = [weight for key, weight in placed.items() if key not in met]
    return found + [ModelLayer((weight.layer_place,), (), {weight.name: weight}) for weight in left]


def _renamed(name: str, rename: Sequence[tuple[str, str]]) -> str:
    for pattern, replacement in rename:
        name = re.sub(pattern, replacement, name)
    return name
