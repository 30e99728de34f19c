"""Optimizers on the bowl and on images."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab import descents
from keras_initlab.lab.experiment import Run
from keras_initlab.lab.experiments.bowl import bowl

START = np.array([1.0, 1.0])


def gradient(p):
    return np.array([1.0, 10.0]) * p


@pytest.mark.parametrize("curvature", [2.0, 10.0, 100.0, 1000.0])
@pytest.mark.parametrize("seed", range(3))
def test_every_method_does_on_the_bowl_what_theory_says(curvature, seed):
    run = Run(seed)
    bowl(run, curvature, 60)
    assert [check.what for check in run.checks if not check.holds] == []
    assert len(run.checks) == 12


@pytest.mark.parametrize("steps", [10, 200])
def test_for_short_and_long_ways_too(steps):
    run = Run(0)
    bowl(run, 10.0, steps)
    assert all(check.holds for check in run.checks)


@pytest.mark.parametrize(("rate", "beta"), [(0.05, 0.9), (0.2, 0.5), (0.3, 0.9)])
@pytest.mark.parametrize("ahead", [False, True])
def test_momentum_is_a_power_of_its_matrix(rate, beta, ahead):
    path = (descents.nesterov if ahead else descents.momentum)(gradient, START, 30, rate, beta)
    for i, curvature in enumerate((1.0, 10.0)):
        a = 1 - rate * curvature
        row = [(1 + beta) * a, -beta * a] if ahead else [a + beta, -beta]
        power = np.linalg.matrix_power(np.array([row, [1, 0]]), 30)
        assert path[-1, i] == pytest.approx(power.sum(axis=1)[0], rel=1e-9)


def test_momentum_that_is_not_tuned_is_slower_than_what_is_expected_of_it():
    tuned = descents.momentum(
        gradient, START, 60, 4 / (math.sqrt(10) + 1) ** 2, ((math.sqrt(10) - 1) / (math.sqrt(10) + 1)) ** 2
    )
    other = descents.momentum(gradient, START, 60, 0.1, 0.9)
    assert np.linalg.norm(tuned[-1]) < 1e-12 * np.linalg.norm(other[-1]) < 1


def test_debiasing_makes_the_first_step_whole():
    biased = (1 - 0.9) * 0.1 * gradient(START)
    whole = START - descents.debiased_momentum(gradient, START, 1, 0.1, 0.9)[1]
    np.testing.assert_allclose(whole, 10 * biased, rtol=1e-12)


def test_adam_is_that_of_keras():
    import keras

    variable, optimizer = keras.Variable(START.astype("float32")), keras.optimizers.Adam(0.1, epsilon=1e-8)
    optimizer.build([variable])
    for _ in range(5):
        optimizer.apply([keras.ops.convert_to_tensor(gradient(keras.ops.convert_to_numpy(variable)).astype("float32"))])
    mine = descents.adam(gradient, START, 5, 0.1)[-1]
    np.testing.assert_allclose(keras.ops.convert_to_numpy(variable), mine, rtol=1e-5)


@pytest.mark.lab
def test_without_training_no_start_is_told_to_be_good():
    result = lab.run("optimizers", width=8, training=5, steps=20, verbose=0)
    failed = [check.what for check in result.checks if not check.holds]
    assert "from He: loss under the worst optimizer" in failed
    assert any(what.startswith("Adam from N(0, 0.01²)") for what in failed)
    assert not [what for what in failed if "factor" in what or "first step" in what]
    assert list(result) == ["N(0, 0.01²)", "Glorot", "He"]
