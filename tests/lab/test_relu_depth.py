"""Fifty ReLU layers: norms against what is known of them exactly, and one run of it all."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.relu_depth import _checks
from keras_initlab.lab.relu_chains import chains, growth, log_growth, squares, typical


def drawn(networks, width, depth, c, seed=0):
    parts = zip(*chains(np.random.default_rng(seed), networks, width, depth, c), strict=True)
    return [np.concatenate(part) for part in parts]


@pytest.mark.parametrize("width", [1, 3, 40])
def test_log_growth(width):
    z = np.random.default_rng(0).standard_normal((100_000, width))
    logs = np.log(np.sum(np.maximum(z, 0) ** 2, 1), where=(z > 0).any(1), out=np.full(len(z), np.nan))
    mean, variance = log_growth(width)
    error = math.sqrt(variance / np.isfinite(logs).sum())
    assert mean == pytest.approx(np.nanmean(logs), abs=5 * error)
    # A kurtosis of 9, that of the logarithm of a chi-square of one degree, bounds the error of the variance.
    assert variance == pytest.approx(np.nanvar(logs), rel=5 * math.sqrt(8 / np.isfinite(logs).sum()))


def test_the_gradient_is_that_of_the_network():
    """Drawn again in the same order: the output's change along a direction is the gradient's product with it."""
    (signals, gradients), width, depth = drawn(1, 6, 4, 2.0, seed=3), 6, 4
    generator = np.random.default_rng(3)
    x = generator.standard_normal(width)
    kernels = [
        generator.standard_normal((width, width), np.float32) * np.float32(math.sqrt(2.0 / width)) for _ in range(depth)
    ]
    last = generator.standard_normal(width)

    def output(x):
        for kernel in kernels:
            x = np.maximum(kernel.astype(np.float64) @ x, 0)
        return x

    assert signals[0, 0] == pytest.approx(x)
    assert signals[0, -1] == pytest.approx(output(x))
    step = 1e-6 * np.eye(width)
    slopes = [(last @ output(x + s) - last @ output(x - s)) / 2e-6 for s in step]
    assert gradients[0, 0] == pytest.approx(slopes, rel=1e-5, abs=1e-8)
    assert np.abs(slopes).max() > 0.01


def test_in_parts_they_are_as_many():
    assert [part[0].shape for part in chains(np.random.default_rng(0), 3, 512, 1, 1.0)] == [(1, 2, 512)] * 3


def test_the_norms_of_numpy_networks():
    forward = squares(drawn(400, 20, 10, 2.0)[0])
    # A relative variance of (1 + 5/n)^L − 1 of the squared norm over that of the input.
    error = math.sqrt((1.25**10 - 1) / 400)
    assert np.mean(forward[:, -1] / forward[:, 0]) == pytest.approx(1.0, abs=5 * error)
    assert float(np.prod(growth(forward, 0))) == pytest.approx(1.0, abs=5 * math.sqrt(10 * 0.25 / 400))


def test_networks_that_died():
    norms = np.array([[1.0, 4.0, 0.0], [1.0, 0.0, 0.0]])
    assert growth(norms) == pytest.approx(4 / 3)
    assert growth(norms, 0) == pytest.approx([2, 0])
    assert all(math.isnan(value) for value in typical(norms))
    assert typical(norms[:, :2]) == pytest.approx((2, 1))


@pytest.mark.parametrize(("told", "holds"), [(2, True), (1, False), (3, False)])
def test_another_variance_is_not_as_expected(told, holds):
    signals, gradients = drawn(50, 40, 12, 2.0)
    checks = _checks("σ²", squares(signals), squares(gradients[:, ::-1]), told, 40)
    assert [check.holds for check in checks] == [holds] * 4


def test_the_experiment():
    """At this depth and in so few steps nothing is said of who learns."""
    result = lab.run("relu-50", width=30, depth=8, networks=60, steps=25, seed=1, verbose=0)
    checks = {check.what: check for check in result.checks}
    assert len(checks) == 15
    assert all(check.holds for what, check in checks.items() if "loss" not in what)
    assert checks["σ² = 3/n: norm after 8 layers, rms"].expected == pytest.approx(1.5**4)
    squared = result["σ² = 1/n"].column("rms")[1] ** 2
    assert (squared[-1] / squared[0]) ** (1 / 7) == pytest.approx(0.5, rel=5 * math.sqrt(5 / (30 * 60 * 7)) + 0.1)
    curves = {line.name: line.y for line in result.figures[-1].lines}
    assert [len(curve) for curve in curves.values()] == [25] * 3


def test_the_smallest_network():
    assert lab.run("relu-50", width=2, depth=2, networks=1, steps=1, verbose=0).checks
