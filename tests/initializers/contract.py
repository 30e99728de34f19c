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
import tensorflow as tf

from keras_initlab.initializers import REGISTRY

INPUTS = {1: (3, 2), 2: (24,), 4: (6, 9, 5)}


def layer(name):
    """A Keras layer one of whose weights has the shape of the registry's example."""
    entry = REGISTRY[name]
    rank, shape, label = len(entry.shape), entry.shape, name.lower()
    if rank == 4:
        return keras.layers.Conv2D(shape[3], shape[:2], kernel_initializer=entry.make(), name=label)
    if rank == 2:
        return keras.layers.Dense(shape[1], kernel_initializer=entry.make(), name=label)
    bias = {"bias_initializer": entry.make(), "unit_forget_bias": False}
    return keras.layers.LSTM(
        shape[0] // 4, name=label, kernel_initializer="zeros", recurrent_initializer="zeros", **bias
    )


def whole_model():
    """A functional model with one layer for each registered class."""
    inputs = {rank: keras.Input(shape, name=f"rank{rank}") for rank, shape in INPUTS.items()}
    outputs = [layer(name)(inputs[len(REGISTRY[name].shape)]) for name in sorted(REGISTRY)]
    return keras.Model(list(inputs.values()), outputs, name="every_initializer")


def initializer_of(model, name):
    """The initializer in question, as the model holds it."""
    found = model.get_layer(name.lower())
    return found.bias_initializer if isinstance(found, keras.layers.LSTM) else found.kernel_initializer


def weight_of(model, name):
    """The weight that it made."""
    found = model.get_layer(name.lower())
    weight = found.cell.bias if isinstance(found, keras.layers.LSTM) else found.kernel
    return weight.numpy()


def check_initializer(name, initializer):
    """Class, config, attributes and drawn values are those of the registry's example."""
    entry = REGISTRY[name]
    original = entry.make()
    assert type(initializer) is entry.cls, f"{name}: class {type(initializer)}"
    assert initializer.get_config() == original.get_config(), f"{name}: config {initializer.get_config()}"
    assert vars(initializer) == vars(original), f"{name}: attributes {vars(initializer)}"
    assert np.array_equal(initializer(entry.shape), original(entry.shape)), f"{name}: values"


def check_model(model):
    """Every initializer, and every weight, is the one that it was."""
    for name, entry in REGISTRY.items():
        check_initializer(name, initializer_of(model, name))
        assert np.array_equal(weight_of(model, name), entry.make()(entry.shape)), f"{name}: weight"


def save_all(model, folder):
    """Write the model in every format. Keras calls HDF5 legacy through absl's log, not as a warning."""
    model.save(folder / "model.keras")
    model.save(folder / "model.h5")
    (folder / "model.json").write_text(model.to_json())
    model.export(folder / "exported", verbose=False)
    initializers = {name: entry.make() for name, entry in REGISTRY.items()}
    (folder / "initializers.pickle").write_bytes(pickle.dumps(initializers))
    (folder / "configs.json").write_text(
        json.dumps({name: keras.initializers.serialize(one) for name, one in initializers.items()}, allow_nan=False)
    )
    advanced = REGISTRY["HeNormal"].cls(seed=keras.random.SeedGenerator(3))
    advanced((4,))
    (folder / "advanced.pickle").write_bytes(pickle.dumps(advanced))
    np.save(folder / "advanced.npy", np.asarray(advanced((4,))))


def load_all(folder):
    """Read everything back and check it."""
    for file in ("model.keras", "model.h5"):
        model = keras.saving.load_model(folder / file)
        check_model(model)
        check_model(keras.models.clone_model(model))
    check_model(keras.models.model_from_json((folder / "model.json").read_text()))

    exported = tf.saved_model.load(str(folder / "exported"))
    stored = {variable.name.split(":")[0]: variable.numpy() for variable in exported.variables}
    for name, entry in REGISTRY.items():
        values = [
            value for key, value in stored.items() if key.startswith(f"{name.lower()}/") and value.shape == entry.shape
        ]
        assert len(values) == 1, f"{name}: {sorted(stored)}"
        assert np.array_equal(values[0], entry.make()(entry.shape)), f"{name}: exported weight"

    for name, initializer in pickle.loads((folder / "initializers.pickle").read_bytes()).items():
        check_initializer(name, initializer)
        check_initializer(name, copy.deepcopy(initializer))
    for name, config in json.loads((folder / "configs.json").read_text()).items():
        check_initializer(name, keras.initializers.deserialize(config))
    advanced = pickle.loads((folder / "advanced.pickle").read_bytes())
    assert np.array_equal(advanced((4,)), np.load(folder / "advanced.npy")), "the generator's place"


if __name__ == "__main__":
    load_all(Path(sys.argv[1]))
