"""One contract for every registered initializer: class, config, attributes and drawn values survive."""

import copy
import inspect
import json
import os
import pickle
import re
import subprocess
import sys
from pathlib import Path

import contract
import keras
import pytest

import keras_initlab as kil
from keras_initlab import initializers
from keras_initlab.initializers import REGISTRY
from keras_initlab.initializers.registry import PACKAGE

NAMES = sorted(REGISTRY)
COPIES = {
    "config": lambda one: type(one).from_config(one.get_config()),
    "JSON": lambda one: type(one).from_config(json.loads(json.dumps(one.get_config(), allow_nan=False))),
    "Keras": lambda one: keras.initializers.deserialize(keras.initializers.serialize(one)),
    "clone": lambda one: one.clone(),
    "copy": copy.copy,
    "deepcopy": copy.deepcopy,
    "pickle": lambda one: pickle.loads(pickle.dumps(one)),
}


@pytest.mark.parametrize("how", sorted(COPIES))
@pytest.mark.parametrize("name", NAMES)
def test_a_copy_is_the_same(name, how):
    original = REGISTRY[name].make()
    twin = COPIES[how](original)
    assert twin is not original
    contract.check_initializer(name, twin)


def test_every_format_loads_in_a_fresh_process(tmp_path):
    model = contract.whole_model()
    contract.check_model(model)
    contract.check_model(keras.models.clone_model(model))
    contract.save_all(model, tmp_path)
    root = Path(kil.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])}
    command = [sys.executable, contract.__file__, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]


def test_the_check_tells_a_lost_argument():
    with pytest.raises(AssertionError, match="Orthogonal: config"):
        contract.check_initializer("Orthogonal", REGISTRY["Orthogonal"].make(gain=1.0))
    with pytest.raises(AssertionError, match="HeNormal: class"):
        contract.check_initializer("HeNormal", REGISTRY["GlorotNormal"].make())


def required(cls):
    return [name for name, one in inspect.signature(cls).parameters.items() if one.default is one.empty]


@pytest.mark.parametrize("name", NAMES)
def test_resolved_by_its_string(name):
    cls = REGISTRY[name].cls
    assert keras.saving.get_registered_name(cls) == f"{PACKAGE}>{name}" == f"keras_initlab>{name}"
    if required(cls):
        call = re.escape(f"Pass {name}({', '.join(f'{one}=...' for one in required(cls))}).")
        with pytest.raises(TypeError, match=f"{name} needs argument.*and so cannot be given by its name alone.*{call}"):
            keras.initializers.get(f"keras_initlab>{name}")
    else:
        assert type(keras.initializers.get(f"keras_initlab>{name}")) is cls


def test_the_registry_is_what_the_package_exports():
    public = {name for name in initializers.__all__ if inspect.isclass(getattr(initializers, name))}
    assert public == {*NAMES, "Initializer", "PortableSeed"}
    for name, entry in REGISTRY.items():
        assert getattr(kil, name) is getattr(initializers, name) is entry.cls
        assert issubclass(entry.cls, keras.initializers.Initializer)


@pytest.mark.parametrize("name", NAMES)
def test_fits_into_keras(name):
    cls = REGISTRY[name].cls
    # JAX compiles the call with exactly these names, or hands it the layout.
    assert list(inspect.signature(cls.__call__).parameters) == ["self", "shape", "dtype", "layout"]
    if issubclass(cls, keras.initializers.VarianceScaling):
        # EinsumDense and MultiHeadAttention pass these.
        assert {"seed", "input_axes", "output_axes"} <= set(inspect.signature(cls).parameters)


@pytest.mark.parametrize("name", NAMES)
def test_documentation_says_what_a_reader_needs(name):
    text = inspect.getdoc(REGISTRY[name].cls)
    for part in ["``", "Args:", "Raises:", "Reference:", "Example:", ">>>", "float dtype"]:
        assert part in text, part
    for argument in inspect.signature(REGISTRY[name].cls).parameters:
        assert f"{argument}: " in text, argument
