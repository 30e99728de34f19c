"""Where Keras saves what, and how a place in its files is called."""

from __future__ import annotations

import collections
import io
import re
from collections.abc import Collection
from typing import Any

import keras
from keras.src.saving import saving_lib

from keras_initlab.model_init.places import layer_places, snake_case

__all__ = ["Layout", "class_names", "layout_of", "names_of", "natural", "parts_of", "stem", "texts_of"]


class Layout(saving_lib.H5IOStore):
    """Takes down where Keras would save each variable, in place of saving it."""

    def __init__(self) -> None:
        super().__init__(io.BytesIO(), mode="w")
        self.layers: dict[str, str] = {}
        self.variables: dict[str, dict[str, Any]] = collections.defaultdict(dict)

    def make(self, path: str, metadata: dict[str, str] | None = None) -> Layout:
        """What Keras calls before it saves the variables of a layer at a path."""
        self.path = path
        if path and metadata:
            self.layers[path] = metadata["name"]
        return self

    def __setitem__(self, key: str, value: Any) -> None:
        self.variables[self.path][key] = value


def layout_of(model: Any) -> Layout:
    """The variables of each layer by the path at which Keras saves it, and the layers' names."""
    layout = Layout()
    optimizer = getattr(model, "optimizer", None)
    saving_lib._save_state(model, layout, None, "", {id(optimizer)} if optimizer is not None else set())
    layout.close()
    return layout


def class_names(model: Any) -> set[str]:
    """Names that Keras gives by itself, without the number."""
    classes = [cls for cls in vars(keras.layers).values() if isinstance(cls, type)]
    classes += [type(layer) for _, layer in layer_places(model)]
    return {snake_case(cls.__name__) for cls in classes} | {"sequential", "functional", "model"}


def stem(name: str) -> str:
    """A name without the number behind it and the direction that Bidirectional puts before it."""
    return re.sub(r"^(?:forward|backward)_|_\d+$", "", name)


def natural(path: str) -> list[Any]:
    """``dense_2`` before ``dense_10``."""
    return [(int(part) if part.isdigit() else -1, part) for part in re.split(r"(\d+)", path)]


def texts_of(layers: dict[str, str], known: Collection[str]) -> dict[str, tuple[str, bool]]:
    """What each layer is called at its path, and whether a user may have called it so.

    In a list of layers that is the given name, else the class and the number among such in the list; as an attribute
    the given name, else the attribute's.
    """
    counts: collections.Counter[tuple[str, str]] = collections.Counter()
    texts = {}
    for path in sorted(layers, key=natural):
        parent, _, last = path.rpartition("/")
        listed = bool(parent) and parent not in layers
        kind, name = re.sub(r"_\d+$", "", last), layers[path]
        if stem(name) not in known and not (listed and stem(name) == kind):
            texts[path] = name, listed
        elif listed:
            number = counts[parent, kind]
            counts[parent, kind] += 1
            texts[path] = (f"{kind}_{number}" if number else kind), False
        else:
            texts[path] = last, False
    return texts


def parts_of(path: str, texts: dict[str, tuple[str, bool]]) -> list[tuple[str, bool]]:
    """The place of a path of Keras's, word by word, each with whether it is a given name."""
    words, parts = path.split("/") if path else [], []
    for index, word in enumerate(words):
        above = "/".join(words[: index + 1])
        if above in texts or word != "layers":
            parts.append(texts.get(above, (word, False)))
    return parts


def names_of(parts: list[tuple[str, bool]]) -> list[str]:
    """A place from each given name in it on, the longest first."""
    return ["/".join(text for text, _ in parts[index:]) for index, (_, given) in enumerate(parts) if given]
