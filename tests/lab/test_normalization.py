"""BatchNormalization over weights that are too small."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.normalization import _growth
from keras_initlab.lab.scales import scales


@pytest.mark.lab
def test_small_weights_with_and_without_it():
    result = lab.run("batchnorm", depth=4, width=64, steps=80, seed=1, verbose=0)
    assert [check.what for check in result.checks if not check.holds] == []
    signals = result["relu, start"].column("rms", "activation")[1]
    # Of N(0, 0.01²) and 64 inputs half of whose squares are left: .01 √32 a layer.
    assert (signals[3] / signals[0]) ** (1 / 3) == pytest.approx(0.01 * math.sqrt(32), rel=0.3)
    # A network that passes its signals on as they are is not told to be this one.
    assert not _growth("He", signals[:4], [1.0, 1.0, 1.0, 1.0], 64).holds


def test_scales_of_relu_in_closed_form():
    signals, back = scales("relu", 64.0, 0.01, width=100, depth=30, epsilon=1e-3)
    # In equilibrium v / s² = σ² n (1/2 - 1/2π), s² = v / (v + ε).
    share = 1e-4 * 100 * (0.5 - 1 / (2 * math.pi))
    assert signals[-1] == pytest.approx(math.sqrt((1 - 1e-3 / share) / 2), rel=1e-6)
    assert back[-1] == pytest.approx(math.sqrt(math.pi / (math.pi - 1)), rel=1e-6)
    plain = scales("relu", 64.0, 0.01, width=100, depth=3)
    np.testing.assert_allclose(plain.signals, 0.08 / math.sqrt(2) * math.sqrt(0.005) ** np.arange(3), rtol=1e-6)
    np.testing.assert_allclose(plain.back, math.sqrt(0.005), rtol=1e-6)


def test_scales_of_a_signal_that_has_died_out():
    signals, back = scales("tanh", 64.0, 1e-9, width=2, depth=60)
    assert signals[-1] < 1e-18
    assert back[-1] == pytest.approx(1e-9 * math.sqrt(2))


@pytest.mark.lab
def test_statistics_that_have_not_arrived_are_told():
    result = lab.run("batchnorm", depth=2, width=2, steps=20, momentum=0.999, verbose=0)
    failed = [check.what for check in result.checks if not check.holds]
    assert "tanh, BatchNormalization: gap of the variances, end over start" in failed
    assert "tanh, BatchNormalization: moving variance after 9 updates" not in failed
