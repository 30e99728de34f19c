"""Which layer of a file is which layer of a model."""

from __future__ import annotations

import collections
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras

from keras_initlab.model_init.places import PlacedWeight
from keras_initlab.model_init.transfer.saved_names import ModelLayer, SavedLayer, SavedWeight

__all__ = ["RULES", "Pairing", "pair"]


@dataclass
class Pairing:
    """What goes where.

    Attributes:
        taken: Weight of the model, saved weight, and the rule by which they are one.
        misfits: By id of the model's variable, the saved weight that has its name and the reason why it is not taken.
        unused: By id of the saved weight, the reason, where there is one.
    """

    taken: list[tuple[PlacedWeight, SavedWeight, str]] = field(default_factory=list)
    misfits: dict[int, tuple[SavedWeight | None, str]] = field(default_factory=dict)
    unused: dict[int, str] = field(default_factory=dict)


def pair(saved: Sequence[SavedLayer], ours: Sequence[ModelLayer], rules: Sequence[str]) -> Pairing:
    """Pair the layers by one rule after the other; a pair has to fit in all its weights.

    Args:
        saved: The layers of the file.
        ours: The layers of the model.
        rules: Some of ``RULES``.
    """
    pairing = Pairing()
    ours = [layer for layer in ours if all(w.role.kind != "adapted" for w in layer.weights.values())]
    for rule in rules:
        saved_labels, our_labels = RULES[rule]
        theirs_by, ours_by = _by_label(saved, saved_labels), _by_label(ours, our_labels)
        done: set[int] = set()
        for layer in saved:
            for label in saved_labels(layer):
                theirs, mine = ([one for one in side[label] if id(one) not in done] for side in (theirs_by, ours_by))
                if not mine or id(layer) in done:
                    continue
                if len(theirs) != len(mine) or (len(mine) > 1 and rule != "shape"):
                    reason = f"ambiguous by {rule}: {len(theirs)} in the file, {len(mine)} here"
                    _note(pairing, layer, mine, reason, found=False)
                    continue
                other = mine[[id(one) for one in theirs].index(id(layer))]
                if reason := _misfit(layer, other):
                    _note(pairing, layer, [other], reason, found=True)
                    continue
                done |= {id(layer), id(other)}
                pairing.taken += [
                    (other.weights[k], one, rule) for k, one in layer.weights.items() if k in other.weights
                ]
        saved = [layer for layer in saved if id(layer) not in done]
        ours = [layer for layer in ours if id(layer) not in done]
    return pairing


def _by_label(layers: Sequence[Any], labels: Callable[[Any], Sequence[Any]]) -> dict[Any, list[Any]]:
    found: dict[Any, list[Any]] = collections.defaultdict(list)
    for layer in layers:
        for label in labels(layer):
            found[label].append(layer)
    return found


def _saved_shapes(layer: SavedLayer) -> list[Any]:
    return [frozenset((part, one.array.shape) for part, one in layer.weights.items())]


def _our_shapes(layer: ModelLayer) -> list[Any]:
    """By number and by name, since it is the file that says which."""
    shapes = {part: tuple(weight.variable.shape) for part, weight in layer.weights.items()}
    numbered = {part for part in shapes if part.isdigit()}
    return [frozenset((part, shapes[part]) for part in parts) for parts in (numbered, shapes.keys() - numbered)]


# What a layer of the file and one of the model are compared by.
RULES: dict[str, tuple[Callable[[SavedLayer], Sequence[Any]], Callable[[ModelLayer], Sequence[Any]]]] = {
    "place": (lambda layer: [layer.place], lambda layer: layer.places),
    "name": (lambda layer: layer.names, lambda layer: layer.names),
    "shape": (_saved_shapes, _our_shapes),
}


def _misfit(saved: SavedLayer, ours: ModelLayer) -> str:
    """Why the one cannot be taken for the other; nothing if it can."""
    numbers = [part for part in ours.weights if part.isdigit()]
    if all(part.isdigit() for part in saved.weights) and len(numbers) != len(saved.weights):
        return f"other number of weights: {len(saved.weights)} in the file, {len(numbers)} here"
    common = [(part, saved.weights[part], weight) for part, weight in ours.weights.items() if part in saved.weights]
    if not common:
        return f"the layer's weights have other names: {', '.join(saved.weights)}"
    for part, one, weight in common:
        which = weight.name if part.isdigit() else part
        if one.array.shape != tuple(weight.variable.shape):
            return f"other shape of {which}: {one.array.shape} in the file, {tuple(weight.variable.shape)} here"
        here = keras.backend.standardize_dtype(weight.variable.dtype)
        if _kind(str(one.array.dtype)) != _kind(here):
            return f"other dtype of {which}: {one.array.dtype} in the file, {here} here"
    return ""


def _kind(dtype: str) -> str:
    """Floats are cast into each other; float8 and integers belong to a scale, and are taken as they are."""
    return "float" if dtype in ("float16", "bfloat16", "float32", "float64") else dtype


def _note(pairing: Pairing, layer: SavedLayer, ours: Sequence[ModelLayer], reason: str, found: bool) -> None:
    """Keep the reason of the first rule; which saved weight it was is known only where the layer was found."""
    for one in layer.weights.values():
        pairing.unused.setdefault(id(one), reason)
    for other in ours:
        for part, one in layer.weights.items() if found else ():
            if part in other.weights:
                pairing.misfits.setdefault(id(other.weights[part].variable), (one, reason))
        for weight in other.weights.values():
            pairing.misfits.setdefault(id(weight.variable), (None, reason))
