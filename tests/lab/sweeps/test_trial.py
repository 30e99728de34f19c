"""One run: its numbers against NumPy's of the same network, and what becomes of runs that go wrong."""

import json

import numpy as np
import pytest

from keras_initlab.lab.images import images
from keras_initlab.lab.networks import seeded
from keras_initlab.lab.result import key_of
from keras_initlab.lab.sweeps import configurations
from keras_initlab.lab.sweeps.names import InitializerName
from keras_initlab.lab.sweeps.trial import MEASURED, trial

QUICK = {"depth": 2, "width": 16, "steps": 5, "batch": 32}


def run(**grid):
    (configuration,) = configurations({**QUICK, **grid})
    return trial(configuration)


def losses(h, y):
    shifted = h - h.max(1, keepdims=True)
    return np.log(np.exp(shifted).sum(1)) - shifted[np.arange(len(y)), y]


def test_the_numbers_are_those_of_the_network():
    """A reference in NumPy, from the kernels on."""
    law = InitializerName().law("keras_initlab>HeNormal")
    data = images("digits", 3)
    first, second, last = (
        np.asarray(law(seeded(3, place))(shape), np.float64)
        for place, shape in ((1, (64, 16)), (2, (16, 16)), (0, (16, 10)))
    )
    x, y = data.x[:256].astype(np.float64), data.y[:256]
    h1 = np.maximum(x @ first, 0)
    h2 = np.maximum(h1 @ second, 0)
    said = np.exp(h2 @ last - (h2 @ last).max(1, keepdims=True))
    back = said / said.sum(1, keepdims=True)
    back[np.arange(256), y] -= 1
    back2 = (back / 256) @ last.T * (h2 > 0)
    back1 = back2 @ second.T * (h1 > 0)
    order = np.random.default_rng((3, 2)).permutation(len(data.x))[:32]
    batch = np.maximum(np.maximum(data.x[order] @ first, 0) @ second, 0) @ last

    row = run(initializer="keras_initlab>HeNormal", seed=3)
    expected = {
        "activation_std_first": h1.std(),
        "activation_std_last": h2.std(),
        "gradient_rms_first": np.sqrt(np.mean((x.T @ back1) ** 2)),
        "gradient_rms_last": np.sqrt(np.mean((h1.T @ back2) ** 2)),
        "dead_before": ((h1 == 0).all(0).mean() + (h2 == 0).all(0).mean()) / 2,
        "loss_first": losses(batch, data.y[order]).mean(),
    }
    for name, value in expected.items():
        assert row[name] == pytest.approx(value, rel=1e-4), name


def test_a_row_is_plain_and_whole():
    row = run(batchnorm=True, optimizer="adam", activation="tanh")
    assert json.loads(json.dumps(row, allow_nan=False)) == row
    (configuration,) = configurations({**QUICK, "batchnorm": True, "optimizer": "adam", "activation": "tanh"})
    assert {name: row[name] for name in configuration} == configuration
    assert row["key"] == key_of(configuration)
    assert row["error"] is None
    assert row["diverged"] is False
    assert all(isinstance(row[name], float) for name in MEASURED)
    # BatchNormalization makes what tanh is of standard in every layer.
    assert 0.55 < row["activation_std_first"] < 0.7
    assert row["seconds"] > 0
    assert set(row["versions"]) >= {"python", "keras", "tensorflow", "keras_initlab"}


@pytest.mark.lab
def test_training_learns_and_is_the_same_again():
    rows = [run(width=32, steps=60, optimizer="Adam", learning_rate=0.01, seed=seed) for seed in (1, 1, 2)]
    assert all(row["accuracy"] > 0.7 and row["loss_last"] < row["loss_first"] / 2 for row in rows)
    first, again, other = ([row[name] for name in MEASURED] for row in rows)
    assert first == pytest.approx(again, rel=1e-3)
    assert first != pytest.approx(other, rel=1e-3)


def test_what_diverges_is_a_result():
    row = run(learning_rate=1e3, initializer="RandomNormal(stddev=10.0)", steps=30, activation="linear")
    assert row["error"] is None
    assert row["diverged"] is True
    assert row["loss_last"] is None
    assert row["accuracy"] < 0.3
    assert json.dumps(row, allow_nan=False)


def test_values_that_overflow_have_no_deviation():
    row = run(initializer="RandomNormal(stddev=1e20)", activation="linear")
    assert row["activation_std_first"] > 1e19
    assert row["activation_std_last"] is None
    assert row["error"] is None


def test_an_error_is_a_row():
    row = run(initializer="keras_initlab>DeltaOrthogonal")
    assert row["error"].startswith("ValueError: ")
    assert all(row[name] is None for name in (*MEASURED, "diverged"))
    assert row["depth"] == 2
