"""Signals layer by layer: theory against networks in NumPy, and laws that it must refuse."""

import math

import numpy as np
import pytest

import keras_initlab as kil
from keras_initlab.lab.experiment import Run
from keras_initlab.lab.signals import farthest, measured_signal, predicted_signal

PHI = {"relu": lambda h: np.maximum(h, 0), "tanh": np.tanh}


def spread(activation, sigma_w2, *, networks, depth, width, batch):
    """Standard deviations by layer of many networks, each of its own weights and inputs."""
    generator = np.random.default_rng(0)
    h = generator.standard_normal((networks, batch, width))
    h *= np.sqrt(1 / np.mean(h**2, (1, 2), keepdims=True))
    found = []
    for _ in range(depth):
        h = PHI[activation](h @ (generator.standard_normal((networks, width, width)) * math.sqrt(sigma_w2 / width)))
        found.append(np.std(h, axis=(1, 2)))
    return np.array(found)


@pytest.mark.parametrize(("activation", "sigma_w2"), [("relu", 2.0), ("relu", 1.0), ("tanh", 1.0), ("tanh", 0.1)])
def test_of_one_example_in_networks_of_numpy(activation, sigma_w2):
    std = spread(activation, sigma_w2, networks=400, depth=4, width=64, batch=1)
    signal = predicted_signal(activation, sigma_w2, 1.0, depth=4, width=64)
    # Five standard errors of 400 logarithms; these have a mean below 0, of the order of their variance.
    far = np.abs(np.mean(np.log(std / signal.std[:, None]), 1))
    assert np.all(far < 5 * signal.errors / 20 + 2 * signal.errors**2)
    # A standard deviation of 400 has a relative error of 3.5 %.
    assert np.std(np.log(std), axis=1) == pytest.approx(signal.errors, rel=0.25)


@pytest.mark.parametrize("sigma_w2", [1.0, 0.05, 40.0])
def test_over_a_batch_the_error_of_an_odd_activation_is_less(sigma_w2):
    std = spread("tanh", sigma_w2, networks=100, depth=4, width=64, batch=32)
    signal = predicted_signal("tanh", sigma_w2, 1.0, depth=4, width=64, batch=32)
    measured = np.std(np.log(std), axis=1)
    assert np.all(measured < 1.2 * signal.errors)
    assert signal.errors[-1] < 0.4 * predicted_signal("tanh", sigma_w2, 1.0, depth=4, width=64).errors[-1]
    assert measured[-1] > 0.2 * signal.errors[-1]


def test_relu_in_closed_form():
    """Half the mean square is left, and a share 1/π of that is the square of the mean."""
    signal = predicted_signal("relu", 1.0, 3.0, depth=3, width=100)
    assert signal.variance == pytest.approx([3, 1.5, 0.75])
    assert signal.std**2 == pytest.approx(np.array([1.5, 0.75, 0.375]) * (1 - 1 / math.pi))
    # The logarithm of a mean square, four times the variance of that of the std, takes steps of 5/n.
    assert np.diff(4 * signal.errors**2) == pytest.approx([0.05, 0.05])


def test_what_is_too_small_to_be_held_is_zero():
    signal = predicted_signal("tanh", 1e-30, 1.0, depth=20, width=10)
    assert signal.std[-1] == 0
    assert np.isfinite(signal.errors).all()
    assert farthest(np.zeros(20), signal) == math.inf


@pytest.mark.parametrize(("told", "holds"), [(2.0, True), (1.0, False)])
def test_a_wrong_variance_is_refused(told, holds):
    run = Run(0)
    sizes = {"width": 128, "depth": 6, "batch": 32}
    profile, _, lines = measured_signal(run, "He", lambda seed: kil.HeNormal(seed=seed), told, "relu", **sizes)
    assert [check.holds for check in run.checks] == [holds, holds]
    assert run.profiles == {"He": profile}
    assert [line.predicted for line in lines] == [False, True]
