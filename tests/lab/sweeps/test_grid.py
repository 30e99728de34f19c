"""What a grid may say, and what it means; nothing is trained here."""

import itertools

import numpy as np
import pytest

from keras_initlab.initializers.registry import REGISTRY
from keras_initlab.lab.result import key_of
from keras_initlab.lab.sweeps import AXES, configurations
from keras_initlab.lab.sweeps.names import InitializerName, OptimizerName

NAMES = [axis.name for axis in AXES]

WRONG = [
    ({"widht": 64}, ValueError, r"A grid has no key 'widht'\. Did you mean 'width'\? It may have initializer, "),
    ({"initialiser": "HeNormal"}, ValueError, "Did you mean 'initializer'"),
    ({3: 4}, ValueError, "A grid has no key 3"),
    ({"depth": []}, ValueError, "'depth' is an empty list"),
    ({"depth": np.zeros(0, int)}, ValueError, "'depth' is an empty list"),
    ({"seed": [1, 2, 1]}, ValueError, "'seed' has 1 twice"),
    ({"initializer": ["HeNormal", "he_normal"]}, ValueError, "'initializer' has 'HeNormal' twice"),
    ({"initializer": ["RandomNormal", "RandomNormal(stddev=0.05)"]}, ValueError, "'RandomNormal' twice"),
    ({"depth": 0}, ValueError, r"`depth` must be a whole number from 1 to 1000\. Received: depth=0"),
    ({"depth": [1, "2"]}, TypeError, "Received: depth='2'"),
    ({"width": 1}, ValueError, "`width` must be a whole number from 2 to 8192"),
    ({"batchnorm": 1}, TypeError, "`batchnorm` must be True or False"),
    ({"learning_rate": 0}, ValueError, "`learning_rate` must be a number above 0"),
    ({"learning_rate": [0.1, None]}, TypeError, "Received: learning_rate=None"),
    ({"seed": -1}, ValueError, "`seed` must be a whole number from 0"),
    ({"dataset": "digit"}, ValueError, 'Did you mean "digits"'),
    ({"activation": "rleu"}, ValueError, "Received: activation='rleu'.*relu"),
    ({"activation": "softmax"}, ValueError, "that takes one number"),
    ({"activation": None}, TypeError, '"linear" is none'),
    ({"optimizer": "adamm"}, ValueError, "Received: optimizer='adamm'.*Did you mean 'Adam'"),
    ({"optimizer": "SGD(learning_rate=0.1)"}, ValueError, "Give `learning_rate` as a key of the grid"),
    ({"optimizer": "SGD(momentum=2)"}, ValueError, r"SGD\(momentum=2\).*momentum"),
    ({"initializer": "HeNormall"}, ValueError, "Did you mean 'HeNormal'"),
    ({"initializer": "keras_initlab>HeNorml"}, ValueError, "Did you mean 'keras_initlab>HeNormal'"),
    ({"initializer": "HeNormal(seed=3)"}, ValueError, "Give `seed` as a key of the grid"),
    ({"initializer": "RandomNormal(std=1)"}, ValueError, r"Received: initializer='RandomNormal\(std=1\)'.*'std'"),
    ({"initializer": "RandomNormal(0.1)"}, ValueError, "arguments with their names"),
    ({"initializer": "RandomNormal(stddev=open)"}, ValueError, "Received: initializer='RandomNormal"),
    ({"initializer": "RandomNormal(stddev=1"}, ValueError, "Received: initializer='RandomNormal"),
    ({"initializer": "keras_initlab>FromFile"}, ValueError, "FromFile needs argument"),
    ({"initializer": [None]}, TypeError, "`initializer` must be the name of an initializer"),
    ([("depth", 3)], TypeError, "grid must be a mapping"),
    (None, TypeError, "grid must be a mapping"),
]


@pytest.mark.parametrize(("grid", "error", "text"), WRONG, ids=lambda value: str(value)[:40])
def test_what_is_refused(grid, error, text):
    with pytest.raises(error, match=text):
        configurations(grid)


@pytest.mark.parametrize("axis", AXES, ids=NAMES)
def test_each_axis_refuses_what_its_limit_does(axis):
    refused = [value for value in axis.limit.wrong if not isinstance(value, (list, tuple))]
    assert refused or axis.name in ("initializer", "optimizer")
    for value in refused:
        with pytest.raises((TypeError, ValueError), match=f"`{axis.name}` must be"):
            configurations({axis.name: value})


def test_the_product_of_all():
    grid = {"seed": range(3), "initializer": ("glorot_normal", "keras_initlab>Orthogonal"), "depth": np.array([2, 5])}
    found = configurations(grid)
    product = itertools.product(["GlorotNormal", "keras_initlab>Orthogonal"], [2, 5], [0, 1, 2])
    assert [(c["initializer"], c["depth"], c["seed"]) for c in found] == list(product)
    assert all(list(c) == NAMES for c in found)
    assert len({key_of(c) for c in found}) == 12


def test_what_is_left_out_is_the_default():
    (only,) = configurations({})
    defaults = {axis.name: axis.default for axis in AXES}
    assert only == {**defaults, "learning_rate": 0.01}
    rates = {c["optimizer"]: c["learning_rate"] for c in configurations({"optimizer": ["SGD", "adam", "Adamax"]})}
    assert rates == {"SGD": 0.01, "Adam": 0.001, "Adamax": 0.001}


@pytest.mark.parametrize(
    ("limit", "given", "normal"),
    [
        (InitializerName(), "he_normal", "HeNormal"),
        (InitializerName(), "keras_initlab>HeNormal", "keras_initlab>HeNormal"),
        (InitializerName(), " RandomNormal ( stddev = .1, mean=0.) ", "RandomNormal(stddev=0.1)"),
        (InitializerName(), "constant(value=-1e-3)", "Constant(value=-0.001)"),
        (InitializerName(), "keras_initlab>VarianceScaling(scale=2.0)", "keras_initlab>VarianceScaling(scale=2.0)"),
        (OptimizerName(), "sgd", "SGD"),
        (OptimizerName(), "sgd(nesterov=True, momentum=0.9)", "SGD(momentum=0.9, nesterov=True)"),
    ],
)
def test_names_have_one_form(limit, given, normal):
    assert limit.check("axis", given) == normal
    assert limit.check("axis", normal) == normal


@pytest.mark.parametrize("name", REGISTRY)
def test_every_initializer_of_this_package_has_a_name_or_says_what_it_lacks(name):
    entry = REGISTRY[name]
    try:
        made = entry.cls()
    except TypeError:
        with pytest.raises(ValueError, match=rf"{name}.*needs|{name}.*argument"):
            InitializerName().check("initializer", f"keras_initlab>{name}")
        return
    text = InitializerName().check("initializer", f"keras_initlab>{name}")
    again = InitializerName().law(text)(5)
    assert type(again) is type(made)
    assert again.get_config() == {**made.get_config(), **({"seed": 5} if entry.seeded else {})}


def test_a_file_is_the_same_as_a_mapping(tmp_path):
    path = tmp_path / "grid.toml"
    path.write_text('initializer = ["he_normal", "keras_initlab>LecunNormal"]\nbatchnorm = [true, false]\nseed = 7\n')
    grid = {"initializer": ["HeNormal", "keras_initlab>LecunNormal"], "batchnorm": [True, False], "seed": 7}
    assert configurations(path) == configurations(str(path)) == configurations(grid)


@pytest.mark.parametrize("content", [b"depth = [1,", b"depth 3", b"\xff\xfe"])
def test_a_file_that_is_no_toml(tmp_path, content):
    path = tmp_path / "grid.toml"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"grid='.*grid\.toml' is no TOML file: .*Write lines like"):
        configurations(path)


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"grid='.*none\.toml' cannot be read: No such file"):
        configurations(tmp_path / "none.toml")
