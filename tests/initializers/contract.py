"""One model that holds every registered initializer, and what has to survive a copy of it.

Run as a script it is the other side of the saving test: it loads in a fresh process what the test has saved.
"""

import copy
import json
import pickle
import sys
from pathlib import Path

import keras
import numpy as np
from laws import numbers

from keras_initlab.initializers import REGISTRY

RECURRENT = (keras.layers.LSTM, keras.layers.GRU)


def layer(name):
    """A Keras layer one of whose weights has the shape of the registry's example, and an input for it."""
    entry = REGISTRY[name]
    initializer, shape, label = entry.make(), entry.shape, name.lower()
    if len(shape) == 4:
        groups = getattr(initializer, "groups", 1)
        convolution = keras.layers.Conv2D(
            shape[3], shape[:2], groups=groups, kernel_initializer=initializer, name=label
        )
        return convolution, (6, 9, shape[2] * groups)
    if len(shape) == 2:
        return keras.layers.Dense(shape[1], kernel_initializer=initializer, name=label), shape[:1]
    zeros = {"kernel_initializer": "zeros", "recurrent_initializer": "zeros", "name": label}
    if getattr(initializer, "cell", "lstm") == "gru":
        gru = keras.layers.GRU(shape[0] // 3, reset_after=False, bias_initializer=initializer, **zeros)
        return gru, (3, 2)
    lstm = keras.layers.LSTM(shape[0] // 4, unit_forget_bias=False, bias_initializer=initializer, **zeros)
    return lstm, (3, 2)


def whole_model():
    """A functional model with one layer for each registered class."""
    inputs, outputs = [], []
    for name in sorted(REGISTRY):
        one, shape = layer(name)
        inputs.append(keras.Input(shape, name=f"to_{name.lower()}"))
        outputs.append(one(inputs[-1]))
    return keras.Model(inputs, outputs, name="every_initializer")


def initializer_of(model, name):
    """The initializer in question, as the model holds it."""
    found = model.get_layer(name.lower())
    return found.bias_initializer if isinstance(found, RECURRENT) else found.kernel_initializer


def weight_of(model, name):
    """The weight that it made."""
    found = model.get_layer(name.lower())
    return numbers(found.cell.bias if isinstance(found, RECURRENT) else found.kernel)


def attributes(initializer):
    """Every attribute, a wrapped initializer by its config."""
    return {
        name: keras.initializers.serialize(value) if isinstance(value, keras.initializers.Initializer) else value
        for name, value in vars(initializer).items()
    }


def check_initializer(name, initializer):
    """Class, config, attributes and drawn values are those of the registry's example."""
    entry = REGISTRY[name]
    original = entry.make()
    assert type(initializer) is entry.cls, f"{name}: class {type(initializer)}"
    assert initializer.get_config() == original.get_config(), f"{name}: config {initializer.get_config()}"
    assert attributes(initializer) == attributes(original), f"{name}: attributes {vars(initializer)}"
    assert np.array_equal(numbers(initializer(entry.shape)), numbers(original(entry.shape))), f"{name}: values"


def check_model(model):
    """Every initializer, and every weight, is the one that it was."""
    for name, entry in REGISTRY.items():
        check_initializer(name, initializer_of(model, name))
        assert np.array_equal(weight_of(model, name), numbers(entry.make()(entry.shape))), f"{name}: weight"


def save_all(model, folder):
    """Write the model in every format. Keras calls HDF5 legacy through absl's log, not as a warning."""
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    (folder / "model.json").write_text(model.to_json())
    if keras.backend.backend() == "tensorflow":
        model.export(folder / "exported", verbose=False)
    initializers = {name: entry.make() for name, entry in REGISTRY.items()}
    (folder / "initializers.pickle").write_bytes(pickle.dumps(initializers))
    (folder / "configs.json").write_text(
        json.dumps({name: keras.initializers.serialize(one) for name, one in initializers.items()}, allow_nan=False)
    )
    advanced = REGISTRY["HeNormal"].cls(seed=keras.random.SeedGenerator(3))
    advanced((4,))
    (folder / "advanced.pickle").write_bytes(pickle.dumps(advanced))
    np.save(folder / "advanced.npy", numbers(advanced((4,))))


def check_exported(folder):
    """The weights in a SavedModel, which holds no initializers."""
    import tensorflow as tf

    exported = tf.saved_model.load(str(folder / "exported"))
    stored = {variable.name.split(":")[0]: variable.numpy() for variable in exported.variables}
    for name, entry in REGISTRY.items():
        found = [
            value for key, value in stored.items() if key.startswith(f"{name.lower()}/") and value.shape == entry.shape
        ]
        assert len(found) == 1, f"{name}: {sorted(stored)}"
        assert np.array_equal(found[0], numbers(entry.make()(entry.shape))), f"{name}: exported weight"


def load_all(folder):
    """Read everything back and check it."""
    for file in ("model.keras", "model.h5"):
        model = keras.saving.load_model(folder / file)
        check_model(model)
        check_model(keras.models.clone_model(model))
    check_model(keras.models.model_from_json((folder / "model.json").read_text()))

    if keras.backend.backend() == "tensorflow":
        check_exported(folder)

    for name, initializer in pickle.loads((folder / "initializers.pickle").read_bytes()).items():
        check_initializer(name, initializer)
        check_initializer(name, copy.deepcopy(initializer))
    for name, config in json.loads((folder / "configs.json").read_text()).items():
        check_initializer(name, keras.initializers.deserialize(config))
    advanced = pickle.loads((folder / "advanced.pickle").read_bytes())
    assert np.array_equal(numbers(advanced((4,))), np.load(folder / "advanced.npy")), "the generator's place"


if __name__ == "__main__":
    load_all(Path(sys.argv[1]))
