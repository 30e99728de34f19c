"""Working points: the usual gain where the depth allows it, else a quiet one, and what deep networks make of it."""

import math

import numpy as np
import pytest

from keras_initlab.model_init.gains import working_point
from keras_initlab.theory import gain, gaussian_mean, scalar

SMOOTH = ["gelu", "silu", "mish", "tanh", "softsign", "softplus", "sigmoid", "elu"]
KINKED = ["relu", "leaky_relu", "selu", "relu6"]


@pytest.mark.parametrize("name", [*SMOOTH[:5], "elu", *KINKED])
def test_few_layers_have_the_gain_of_the_literature(name):
    assert working_point(name, 2) == (gain(name), 0.0, 1.0)


@pytest.mark.parametrize("name", KINKED)
def test_a_kink_at_zero_leaves_no_quiet_point(name):
    assert working_point(name, 200) == (gain(name), 0.0, 1.0)


def growth_of_a_small_difference(name, sigma, layers):
    """Monte Carlo: two signals of one scale whose difference is small, through centred layers of infinite width."""
    f, rng = scalar(name).function, np.random.default_rng(0)
    mean = gaussian_mean(f, (), sigma)
    rms = math.sqrt(gaussian_mean(lambda x: (f(x) - mean) ** 2, (), sigma))
    gap, z, w = 1e-4, *rng.standard_normal((2, 400_000))
    u, v = sigma * z, sigma * ((1 - gap) * z + math.sqrt(1 - (1 - gap) ** 2) * w)
    after = np.mean((f(u) - f(v)) ** 2) / (2 * rms**2)
    assert abs(np.mean(f(u)) - mean) < 5 * rms / math.sqrt(len(z))
    return (after / gap) ** layers


@pytest.mark.parametrize("name", ["gelu", "tanh", "sigmoid"])
def test_a_difference_grows_by_half_over_all_quiet_layers(name):
    depth = 40
    point = working_point(name, depth)
    assert point.is_quiet
    # A mean of 4e5 squares of normals has a relative standard error of √2/632, which forty layers multiply by 40;
    # the depth itself is seen.
    grown = growth_of_a_small_difference(name, point.gain, depth)
    np.testing.assert_allclose(grown, 1.5, rtol=5 * 40 * math.sqrt(2 / 4e5))


@pytest.mark.parametrize("name", SMOOTH)
def test_deeper_is_quieter_and_its_moments_are_right(name):
    sigmas = [working_point(name, depth).gain for depth in (20, 60, 180)]
    deep = [working_point(name, depth) for depth in (60, 180)]
    assert sigmas == sorted(sigmas, reverse=True)
    assert all(point.is_quiet and point.gain <= 1 for point in deep)
    f = scalar(name).function
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    for point in deep:
        values, law = f(point.gain * nodes), weights / weights.sum()
        # The nodes cannot see the bend of softsign and ELU at 0: that costs the reference some digits, and no more.
        np.testing.assert_allclose(values @ law, point.mean, atol=3e-3 * point.rms)
        np.testing.assert_allclose(np.sqrt(values**2 @ law - (values @ law) ** 2), point.rms, rtol=3e-3)


def test_what_is_no_function_of_one_number_counts_as_linear():
    assert working_point("softmax", 10) == (1.0, 0.0, 1.0)


def through(name, depth, width, point):
    """Correlation between the geometry of the inputs and that of what sixty layers make of them, and the scale."""
    f, rng = scalar(name).function, np.random.default_rng(1)
    x = h = rng.standard_normal((64, width))
    mean, rms = 0.0, 1.0
    for _ in range(depth):
        w = np.linalg.qr(rng.standard_normal((width, width)))[0] * point.gain / rms
        h = f(h @ w - mean * w.sum(0))
        mean, rms = point.mean, point.rms
    upper = np.triu_indices(64, 1)
    return np.corrcoef(np.corrcoef(h)[upper], np.corrcoef(x)[upper])[0, 1], h.std() / rms


@pytest.mark.parametrize("name", SMOOTH)
def test_sixty_layers_keep_the_geometry_of_the_inputs_where_the_usual_gain_loses_it(name):
    point = working_point(name, 60)
    kept, scale = through(name, 60, 96, point)
    assert kept > 0.5
    assert 0.5 < scale < 2
    usual, _ = through(name, 60, 96, type(point)(gain(name)))
    assert usual < 0.3
