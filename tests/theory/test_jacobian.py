"""Moments of a Jacobian's squared singular values against free products in closed form and random networks."""

import math

import numpy as np
import pytest

from keras_initlab.theory import JacobianMoments, MeanField, jacobian_moments

WIDTH, DEPTH, NETWORKS = 400, 5, 6


@pytest.mark.parametrize("depth", [1, 2, 7])
def test_linear_gaussian_networks_have_fuss_catalan_moments(depth):
    # The second Fuss–Catalan number of order L is L + 1, which leaves a variance of L.
    assert jacobian_moments(1, 1, 1, depth) == (1.0, depth)


def test_linear_orthogonal_networks_are_isometries():
    assert jacobian_moments(1, 1, 1, 1000, "orthogonal") == (1.0, 0.0)
    assert MeanField("linear", 1.0).jacobian_moments(1000, "orthogonal") == pytest.approx((1.0, 0.0), abs=1e-10)


def test_relu_under_he():
    # Half of the squared slopes are 1: μ₁ = μ₂ = 1/2, so that μ₂/μ₁² = 2.
    assert MeanField("relu", 2.0).jacobian_moments(10) == pytest.approx((1.0, 20.0), rel=1e-12)
    assert MeanField("relu", 2.0).jacobian_moments(10, "orthogonal") == pytest.approx((1.0, 10.0), rel=1e-12)


@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_the_formula_of_the_paper(weights):
    """Second moment m₂ = (σ_w² μ₁)^{2L} L (μ₂/μ₁² + 1/L − 1 − s₁)."""
    mu_1, mu_2, sigma_w2, depth, s_1 = 0.6, 0.5, 1.8, 7, -1 if weights == "gaussian" else 0
    mean, variance = jacobian_moments(mu_1, mu_2, sigma_w2, depth, weights)
    chi = sigma_w2 * mu_1
    assert mean == pytest.approx(chi**depth)
    assert variance + mean**2 == pytest.approx(chi ** (2 * depth) * depth * (mu_2 / mu_1**2 + 1 / depth - 1 - s_1))


def draw(weights, rng):
    matrix = rng.standard_normal((WIDTH, WIDTH))
    if weights == "gaussian":
        return matrix / math.sqrt(WIDTH)
    q, r = np.linalg.qr(matrix)
    return q * np.sign(np.diag(r))


def measure(weights, phi, slope, sigma_w2, sigma_b2, q, rng):
    """Mean m of the squared singular values of one network's Jacobian, and their variance over m².

    The ratio is free of the network's overall growth, which differs much between networks of this width.
    """
    h, jacobian = math.sqrt(q) * rng.standard_normal(WIDTH), np.eye(WIDTH)
    for _ in range(DEPTH):
        w = math.sqrt(sigma_w2) * draw(weights, rng)
        h = w @ phi(h) + math.sqrt(sigma_b2) * rng.standard_normal(WIDTH)
        jacobian = slope(h)[:, None] * (w @ jacobian)
    gram = jacobian @ jacobian.T  # its eigenvalues are the squared singular values
    mean = np.trace(gram) / WIDTH
    return mean, (gram**2).sum() / WIDTH / mean**2 - 1


def standard_errors_off(samples, expected):
    """By how many standard errors the mean over networks misses the limit of infinite width.

    A standard error is the deviation over networks by √networks. The finite width adds a bias: each of the L layers and
    each pair of them changes a moment by a share of order 1/n, together L²/n, which five of these errors must cover.
    """
    samples, expected = np.asarray(samples), np.asarray(expected)
    error = samples.std(axis=0, ddof=1) / math.sqrt(len(samples)) + expected * DEPTH**2 / WIDTH / 5
    return (samples.mean(axis=0) - expected) / error


CASES = {
    "tanh": (np.tanh, lambda h: 1 / np.cosh(h) ** 2, 1.5, 0.05),
    "relu": (lambda h: np.maximum(h, 0), lambda h: (h > 0) * 1.0, 1.5, 0.25),
}


@pytest.mark.parametrize("name", sorted(CASES))
@pytest.mark.parametrize("weights", ["gaussian", "orthogonal"])
def test_random_networks(name, weights):
    phi, slope, sigma_w2, sigma_b2 = CASES[name]
    network = MeanField(name, sigma_w2, sigma_b2)
    rng = np.random.default_rng(3)
    samples = [measure(weights, phi, slope, sigma_w2, sigma_b2, network.fixed_point, rng) for _ in range(NETWORKS)]
    mean, variance = network.jacobian_moments(DEPTH, weights)
    assert mean == pytest.approx(network.chi**DEPTH)
    off = standard_errors_off(samples, [mean, variance / mean**2])
    assert (np.abs(off) < 5).all(), off
    # The other law is told by the ratio.
    mean, variance = network.jacobian_moments(DEPTH, {"gaussian": "orthogonal", "orthogonal": "gaussian"}[weights])
    assert abs(standard_errors_off(samples, [mean, variance / mean**2])[1]) > 5


def test_nothing_passes():
    assert jacobian_moments(0, 0, 1, 3) == JacobianMoments(0.0, 0.0)
    assert MeanField("tanh", 0.0, 0.1).jacobian_moments(3) == (0.0, 0.0)


def test_more_than_float64_holds():
    assert jacobian_moments(1, 1, 10, 400) == (math.inf, math.inf)
    assert jacobian_moments(1, 1, 10, 400, "orthogonal") == (math.inf, 0.0)
    assert jacobian_moments(1, 1, 0.1, 400) == (0.0, 0.0)


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"depth": 0}, ValueError, "`depth` must be a whole number that is at least 1. Received: depth=0"),
        ({"depth": 2.0}, TypeError, "`depth` must be a whole number"),
        ({"mu_1": -1.0}, ValueError, "`mu_1` must be a number from 0"),
        ({"mu_2": 0.1}, ValueError, "`mu_2` must be a number from 0.25 to"),
        ({"sigma_w2": "2"}, TypeError, "`sigma_w2` must be a number"),
        ({"weights": "orthogonale"}, ValueError, 'must be "gaussian" or "orthogonal".*Did you mean "orthogonal"'),
        ({"weights": "uniform"}, ValueError, 'must be "gaussian" or "orthogonal"'),
        ({"weights": None}, TypeError, 'must be "gaussian" or "orthogonal"'),
    ],
)
def test_wrong_arguments(changes, error, message):
    with pytest.raises(error, match=message):
        jacobian_moments(**{"mu_1": 0.5, "mu_2": 0.5, "sigma_w2": 2.0, "depth": 4, **changes})
