"""Glorot's two conditions by layer."""

from itertools import pairwise

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.variance_proofs import _near, spreads


def test_factors_of_each_layer():
    result = lab.run("xavier-proof", width=64, batch=256, seed=1, verbose=0)
    assert result.as_expected
    (table,) = (figure for figure in result.figures if hasattr(figure, "rows"))
    rows = [row for row in table.rows if row[0] == "1/n_in"]
    # Var(W) = 1/n_in up to five errors of a variance of n_in·n_out normal draws.
    for (_, _, n_in, n_out, ins, _, outs, _), widths in zip(
        rows, [(64, 32), (32, 96), (96, 48), (48, 128), (128, 64), (64, 16)], strict=True
    ):
        assert (n_in, n_out) == widths
        assert ins == pytest.approx(1, abs=5 * np.sqrt(2 / (n_in * n_out)))
        assert outs == pytest.approx(ins * n_out / n_in)


def test_spreads_in_networks_of_numpy():
    """The growth of the signal and of the gradient over 300 networks of linear layers."""
    widths, batch = [16, 24, 12], 64
    generator = np.random.default_rng(0)
    forward, back = [], []
    for _ in range(300):
        kernels = [generator.standard_normal(shape) for shape in pairwise(widths)]
        signals, gradients = [generator.standard_normal((batch, 16))], [generator.standard_normal((batch, 12))]
        for kernel in kernels:
            signals.append(signals[-1] @ kernel)
        for kernel in reversed(kernels):
            gradients.append(gradients[-1] @ kernel.T)
        for found, values, fans in ((forward, signals, widths), (back, gradients[::-1], widths)):
            squares = np.array([np.mean(value**2) for value in values])
            found.append(
                squares[1:] / squares[:-1] / fans[:-1] if found is forward else squares[:-1] / squares[1:] / fans[1:]
            )
    for found, expected in zip((forward, back), spreads(widths, batch), strict=True):
        assert np.mean(found, 0) == pytest.approx(1, abs=5 * expected.max() / np.sqrt(300))
        # A standard deviation of 300 has a relative error of 4 %.
        assert np.std(found, axis=0) == pytest.approx(expected, rel=0.25)


def test_a_factor_that_is_off_is_not_as_expected():
    ratios, errors = np.array([1.01, 1.3, 0.99]), np.array([0.02, 0.02, 0.02])
    assert _near("a", ratios[[0, 2]], errors[:2]).holds
    assert not _near("a", ratios, errors).holds
    assert _near("a", ratios, errors).measured == 1.3
    assert not _near("a", np.array([1.0, np.nan]), errors[:2]).holds


def test_the_smallest_network():
    for seed in range(3):
        assert lab.run("xavier-proof", width=2, batch=2, seed=seed, verbose=0).checks
