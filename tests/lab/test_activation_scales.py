"""Tanh networks by the scale of their weights."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.activation_scales import saturated
from keras_initlab.lab.signals import predicted_signal

SMALL = {"width": 64, "depth": 4, "batch": 32, "verbose": 0}


def values(result):
    return {check.what: check for check in result.checks}


def outputs(std, width=64, depth=4, examples=2000):
    """Outputs of the last of some tanh layers in NumPy."""
    generator = np.random.default_rng(1)
    h = generator.standard_normal((examples, width))
    for _ in range(depth):
        # New weights for each example: the law, and not one network.
        h = np.tanh(np.einsum("ei,eio->eo", h, generator.normal(0, std, (examples, width, width))))
    return h


def test_small_weights_die_and_large_ones_saturate():
    result = lab.run("tanh-scales", small=0.02, large=1.5, seed=1, **SMALL)
    assert result.as_expected
    checks = values(result)
    for name, std in {"small weights": 0.02, "large weights": 1.5}.items():
        h = outputs(std)
        # The standard error of 2000 · 64 values that are nearly independent is below 1 %.
        assert checks[f"{name}: std after layer 4"].expected == pytest.approx(h.std(), rel=0.03)
    share = np.mean(np.abs(h) >= 0.99)
    assert checks["large weights: share of outputs with |tanh| ≥ 0.99"].measured == pytest.approx(share, abs=0.03)
    assert share > 0.7
    assert result["small weights"].column("std")[1][-1] < 1e-3


def test_the_share_of_saturated_outputs():
    signal = predicted_signal("tanh", 9.0, 1.0, depth=1, width=10)
    h = np.tanh(3 * np.random.default_rng(0).standard_normal(100_000))
    assert saturated(signal)[0] == pytest.approx(np.mean(np.abs(h) >= 0.99), abs=5 * 0.5 / math.sqrt(100_000))


def test_glorot_keeps_tanh_alive():
    result = lab.run("xavier-tanh", seed=1, **SMALL)
    assert result.as_expected
    assert values(result)["Glorot: std after layer 4"].expected == pytest.approx(outputs(1 / 8).std(), rel=0.03)


def test_a_hundred_layers():
    result = lab.run("vanishing-tanh", width=48, depth=30, batch=8, seed=1, verbose=0)
    assert result.as_expected
    checks = values(result)
    # Far down tanh is the identity, and a third of the variance is left.
    assert checks["uniform ±1/√n: growth of the std in a layer"].expected == pytest.approx(math.sqrt(1 / 3), rel=0.01)
    uniform, glorot = (result[name].column("std")[1][-1] for name in ("uniform ±1/√n", "Glorot uniform"))
    assert uniform < 1e-5 < 0.01 < glorot


@pytest.mark.parametrize("name", ["tanh-scales", "xavier-tanh", "vanishing-tanh"])
def test_the_smallest_network(name):
    assert lab.run(name, width=2, depth=2, batch=2, verbose=0).checks


@pytest.mark.parametrize("small", [1e-9, 1e-200])
def test_weights_of_which_nothing_is_left(small):
    result = lab.run("tanh-scales", small=small, width=8, depth=6, batch=4, verbose=0)
    assert result["small weights"].column("std")[1][-1] == 0
