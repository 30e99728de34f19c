"""A copy of a model that needs this package no more."""

from __future__ import annotations

import json
import tempfile
import warnings
from pathlib import Path
from typing import Any

import keras

from keras_initlab.initializers.base import Initializer
from keras_initlab.model_init.graph import check_built
from keras_initlab.model_init.places import layer_places
from keras_initlab.model_init.transfer.portable_config import leftovers, without_package

__all__ = ["portable"]


def portable(model: Any) -> Any:
    """Copy a model so that, once saved, it loads where keras_initlab is not installed.

    Keras writes each layer's initializers into a saved model and makes them again when it loads it. In the copy they
    are Keras's own: the same law where Keras has it, such as ``keras.initializers.HeNormal`` for ``HeNormal``; else one
    that Keras can draw in any shape, zeros for a bias, ones for a scale and Glorot's uniform law for a kernel. The
    weights are copied, so the initializers matter only to who makes new layers from the copy's configuration.

    The copy gives the same outputs to the bit. It is of the same classes and compiled in the same way, its optimizer
    where the model's was; classes of yours stay as they are, and those that the saved model needs anyhow are needed on.
    The copy goes by way of a temporary folder, which takes the disk space of the weights and of the optimizer's.

    Args:
        model: A built Keras model of any kind that ``model.save`` can write and ``keras.saving.load_model`` read. It is
            not changed.

    Returns:
        The copy. Save it with ``model.save``, or as ``to_json`` and ``save_weights``.

    Raises:
        TypeError: ``model`` is not a Keras model.
        ValueError: The model is not built; Keras cannot save it or load it again, for want of a ``get_config`` or a
            registered class; or something else of keras_initlab is in it, such as an initializer that the code of a
            class makes by itself.

    Example:
        >>> from keras_initlab import HeNormal
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, kernel_initializer=HeNormal(seed=0))])
        >>> copy = portable(model)
        >>> type(copy.layers[0].kernel_initializer).__module__.startswith("keras.")
        True
        >>> "keras_initlab" in model.to_json(), "keras_initlab" in copy.to_json()
        (True, False)
    """
    check_built(model)
    with tempfile.TemporaryDirectory() as folder:
        saved = Path(folder) / "model"
        _save(model, saved)
        description = saved / "config.json"
        config = without_package(json.loads(description.read_text()))
        if left := list(leftovers(config)):
            raise ValueError(
                f"Argument `model` must hold nothing of keras_initlab but initializers and seeds. Received: "
                f"model={model.name!r}, with {'; '.join(left[:5])}. Put something else there before the copy is made."
            )
        description.write_text(json.dumps(config))
        copy = _load(model, saved)
    _check_code(copy)
    # Keras saves no state of the generators of dropout and noise.
    for ours, theirs in zip(_generators(model), _generators(copy), strict=True):
        theirs.assign(ours)
    return copy


def _save(model: Any, folder: Path) -> None:
    try:
        model.save(folder, zipped=False)
    except NotImplementedError as error:
        raise ValueError(
            f"Argument `model` must be one that Keras can save. Received: model={model.name!r}, for which it says: "
            f"{_gist(error)} Write get_config in that class, and register it with "
            "keras.saving.register_keras_serializable()."
        ) from error


def _load(model: Any, folder: Path) -> Any:
    try:
        with warnings.catch_warnings():
            # An optimizer that has made no step yet is saved without slots and loaded with them.
            warnings.filterwarnings("ignore", "Skipping variable loading for optimizer")
            # What this process has just written needs no protection from itself.
            return keras.saving.load_model(folder, safe_mode=False)
    # Keras runs the constructors of all classes in the model here, which may raise anything.
    except Exception as error:
        raise ValueError(
            f"Argument `model` must be one that Keras can load once it is saved. Received: model={model.name!r}, for "
            f"which it says: {_gist(error)} Register your classes with "
            "keras.saving.register_keras_serializable(), or call this within keras.saving.custom_object_scope(...); "
            "give a layer an initializer, not an array or a lambda."
        ) from error


def _gist(error: Exception) -> str:
    """What Keras says, without the configuration that it prints along."""
    innermost = str(error).rpartition("Exception encountered: ")[2].strip()
    text = " ".join(innermost.split("\n\n")[0].split()).partition(" Full object config")[0]
    return (text[:400] + " ..." if len(text) > 400 else text.rstrip(":.")) + "."


def _generators(model: Any) -> list[Any]:
    return [variable for variable in model.variables if variable.name == "seed_generator_state"]


def _check_code(copy: Any) -> None:
    """No configuration tells of what the code of a class makes by itself; the attributes of its layers do."""
    for place, layer in layer_places(copy):
        for name, value in vars(layer).items():
            if isinstance(value, Initializer):
                raise ValueError(
                    f"Argument `model` must take the initializers of keras_initlab from its configuration only. "
                    f"Received: model={copy.name!r}, where the code of layer {place or copy.name!r} makes {name} = "
                    f"{value!r} by itself. Let its class take the initializer as an argument and return it in "
                    "get_config, and base initializers of your own on Keras's."
                )
