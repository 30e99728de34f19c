"""Weights of another saved model, taken where they fit."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from keras_initlab.initializers.arguments import FilePath
from keras_initlab.initializers.weight_files import SUFFIXES, read_weights
from keras_initlab.model_init.places import PlacedWeight, placed_weights
from keras_initlab.model_init.report import Report
from keras_initlab.model_init.transfer.matching_arguments import (
    check_model,
    check_used,
    checked_rename,
    checked_rules,
    some,
)
from keras_initlab.model_init.transfer.pairing import Pairing, pair
from keras_initlab.model_init.transfer.saved_names import (
    ModelLayer,
    SavedLayer,
    SavedWeight,
    model_layers,
    saved_layers,
)

__all__ = ["load_matching"]

_COLUMNS = ("weight", "shape", "saved", "saved_shape", "rule", "reason")


def load_matching(
    model: Any,
    path: str | os.PathLike[str],
    rules: str | Sequence[str] = ("place", "name"),
    *,
    rename: Mapping[str, str] | Sequence[tuple[str, str]] | None = None,
) -> Report:
    """Take the weights of another saved model into a built one, where they fit.

    A layer is taken whole or not at all: all its weights have to have the shapes that they have in the model, and are
    cast to the model's dtypes. What does not fit stays as it is. Everything is checked before the first weight is
    assigned, and nothing of the file is run or unpickled.

    Args:
        model: A built Keras model.
        path: A ``.keras`` or ``.weights.h5`` file of Keras's, or an ``.npz`` or ``.safetensors`` file, whose arrays are
            named like the model's weights, ``encoder/dense_1/kernel`` or ``encoder.dense_1.kernel``.
        rules: How the layers are told, a rule after the other, each among those that the ones before left:

            - ``"place"``: by the whole path of names from the model down. Names that the user gave count as they are;
              automatic ones by the class and the number among its siblings, not by Keras's global counter, so that
              ``dense_7`` of one process is ``dense`` in another.
            - ``"name"``: by a name that the user gave and what stands inside it, wherever it stands in the model.
            - ``"shape"``: by the shapes of the layer's weights, in order, where the file and the model have equally
              many such layers left. A guess.

            Default ``("place", "name")``: neither takes a weight for another by accident of its shape.
        rename: Regular expressions, each with what takes the place of its matches (as in ``re.sub``) in the names of
            the saved weights, one after the other, before they are compared: ``{"^backbone/": "encoder/"}``. The names
            are those of the report's column ``saved``. Default None.

    Returns:
        A row for each weight of the model: its place and shape; the saved weight that it was taken from, or that it did
        not fit; the rule; and the reason if it was not taken. Then a row for each other weight of the file. In files
        of Keras's the weights of a layer have numbers, in the order of ``layer.weights``.

    The moving statistics of BatchNormalization are weights like others. The state of random generators, the optimizer
    and metrics are left alone, and so are quantized layers and those under low-rank adaptation. To load back the same
    architecture, ``model.load_weights`` does it.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The model is not built or has no weights; an argument is out of range; a pattern of ``rename`` fits
            no saved name or makes two the same; the file is a folder, is damaged or has no weights; nothing matches; a
            value is too large for the model's dtype.
        FileNotFoundError: There is no such file.
        ImportError: safetensors is needed and not installed.

    Example:
        >>> import tempfile
        >>> layers = [keras.Input((4,)), keras.layers.Dense(8), keras.layers.Dense(3, name="flowers")]
        >>> old = keras.Sequential(layers)
        >>> new = keras.Sequential([*layers[:1], keras.layers.Dense(8), keras.layers.Dense(5, name="birds")])
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     old.save(f"{folder}/old.keras")
        ...     report = load_matching(new, f"{folder}/old.keras")
        >>> report["dense/kernel"]["saved"], report["birds/kernel"]["reason"]
        ('dense/0', 'no match')
    """
    check_model(model)
    path = FilePath(SUFFIXES).check("path", path)
    order, patterns = checked_rules(rules), checked_rename(rename)
    stored = read_weights(path)
    saved, ours = saved_layers(stored, model, patterns), model_layers(model, stored)
    if not saved:
        raise ValueError(
            f"Argument `path` must name a file with weights. Received: path={path!r}, which has none. "
            "Save a model that is built."
        )
    check_used(patterns, saved)
    pairing = pair(saved, ours, order)
    if not pairing.taken:
        raise _nothing(path, saved, ours, order, pairing)
    values = [_cast(one.array, weight) for weight, one, _ in pairing.taken]
    for (weight, _, _), value in zip(pairing.taken, values, strict=True):
        weight.variable.assign(value)
    return _report(path, placed_weights(model), saved, pairing)


def _nothing(
    path: str, saved: list[SavedLayer], ours: list[ModelLayer], rules: Sequence[str], pairing: Pairing
) -> ValueError:
    theirs = [weight.name for layer in saved for weight in layer.weights.values()]
    named = {id(weight.variable): weight.place for layer in ours for weight in layer.weights.values()}
    places = list(named.values())
    misfit = next(iter(pairing.misfits.items()), None)
    return ValueError(
        f"No weight of {path!r} fits the model by {' or '.join(rules)}. The file has {some(theirs)}; the model "
        f"{some(places)}. "
        + (f"For {named[misfit[0]]!r}: {misfit[1][1]}. " if misfit else "")
        + "Pass rename={pattern: replacement} to give the saved weights the model's names"
        + ("." if "shape" in rules else ', or rules=("place", "name", "shape") to go by the shapes too.')
    )


def _cast(array: Any, weight: PlacedWeight) -> Any:
    dtype = keras.backend.standardize_dtype(weight.variable.dtype)
    with np.errstate(over="ignore"):
        values = array.astype(dtype)
    if dtype != str(array.dtype) and np.isfinite(array).all() and not np.isfinite(values).all():
        raise ValueError(
            f"The saved values for {weight.place!r} must fit its dtype {dtype}. Received: values up to "
            f"{np.abs(array).max():.4g}. Build the model in a wider dtype."
        )
    return values


def _report(path: str, placed: list[PlacedWeight], saved: list[SavedLayer], pairing: Pairing) -> Report:
    def theirs(one: SavedWeight | None) -> dict[str, Any]:
        return {"saved": one.name, "saved_shape": one.array.shape} if one else {}

    taken = {id(weight.variable): (one, rule) for weight, one, rule in pairing.taken}
    rows: list[dict[str, Any]] = []
    for weight in placed:
        row = {"weight": weight.place, "shape": tuple(weight.variable.shape)}
        if id(weight.variable) in taken:
            one, rule = taken[id(weight.variable)]
            rows.append(row | theirs(one) | {"rule": rule})
        else:
            other, reason = pairing.misfits.get(id(weight.variable), (None, weight.role.note or "no match"))
            rows.append(row | theirs(other) | {"reason": reason})
    # Where a wrapper lists a weight of the layer inside it, the file has it twice.
    shown = {row.get("saved") for row in rows} | {one.name for _, one, _ in pairing.taken}
    unused = [one for layer in saved for one in layer.weights.values() if one.name not in shown]
    rows += [theirs(one) | {"reason": pairing.unused.get(id(one), "no match")} for one in unused]
    return Report(
        f"Weights from {path}",
        _COLUMNS,
        rows,
        [f"{len(taken)} of the model's {len(placed)} weights were taken, and {len(unused)} of the file fit nowhere."],
    )
