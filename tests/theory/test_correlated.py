"""Means over two correlated normal variables against closed forms and an independent double integral."""

import math

import numpy as np
import pytest
from scipy import integrate, special

from keras_initlab.theory.activations import Scalar
from keras_initlab.theory.correlated import pair_mean

CORRELATIONS = [-1.0, -1 + 1e-9, -0.9, -0.3, 0.0, 0.3, 0.9, 0.99, 1 - 1e-6, 1 - 1e-10, 1.0]
VARIANCES = [1e-6, 0.3, 1.0, 30.0, 1e4]

RELU = Scalar("relu", lambda h: np.maximum(h, 0.0), lambda h: (h > 0) * 1.0, (0.0,))
ERF = Scalar("erf", special.erf, lambda h: 2 / math.sqrt(math.pi) * np.exp(-h * h))
SIN = Scalar("sin", np.sin, np.cos)
RAMP = Scalar("ramp", lambda h: np.clip(h, -0.5, 2.0), lambda h: ((h > -0.5) & (h < 2)) * 1.0, (-0.5, 2.0))


def arc_cosine(c):
    """E relu(u) relu(v) / q, Cho & Saul (2009)."""
    return (math.sqrt((1 - c) * (1 + c)) + (math.pi - math.acos(c)) * c) / (2 * math.pi)


def product(phi):
    return lambda u, v: phi.function(u) * phi.function(v)


def slopes(phi):
    return lambda u, v: phi.derivative(u) * phi.derivative(v)


@pytest.mark.parametrize("q", VARIANCES)
@pytest.mark.parametrize("c", CORRELATIONS)
def test_relu(c, q):
    assert pair_mean(product(RELU), RELU, q, 1 - c) == pytest.approx(q * arc_cosine(c), rel=1e-12, abs=1e-14 * q)
    # The chance that both are positive; acos turns the rounding of 1 - c, 1e-16, into its root.
    both = (math.pi - math.acos(c)) / (2 * math.pi)
    assert pair_mean(slopes(RELU), RELU, q, 1 - c) == pytest.approx(both, rel=1e-12, abs=2e-8 if abs(c) > 0.999 else 0)


@pytest.mark.parametrize("q", VARIANCES)
@pytest.mark.parametrize("c", CORRELATIONS)
def test_erf(c, q):
    """Williams (1997), Computing with infinite networks; its derivative by c."""
    closed = 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q))
    assert pair_mean(product(ERF), ERF, q, 1 - c) == pytest.approx(closed, rel=1e-11, abs=1e-14)
    closed = 4 / math.pi / math.sqrt((1 + 2 * q * (1 - c)) * (1 + 2 * q * (1 + c)))
    assert pair_mean(slopes(ERF), ERF, q, 1 - c) == pytest.approx(closed, rel=1e-10, abs=0)


@pytest.mark.parametrize("q", [1e-6, 0.3, 1.0, 30.0, 1e3])
@pytest.mark.parametrize("c", CORRELATIONS)
def test_sine(c, q):
    closed = (math.exp(-q * (1 - c)) - math.exp(-q * (1 + c))) / 2
    assert pair_mean(product(SIN), SIN, q, 1 - c) == pytest.approx(closed, rel=1e-11, abs=1e-12)


@pytest.mark.parametrize("c", [-0.8, 0.2, 0.95])
def test_two_kinks_against_a_double_integral(c):
    """u = √q·x and v = √q·(c·x + s·y): the inner integral over y in closed form, the outer by SciPy."""
    q = 1.7
    s = math.sqrt(1 - c * c)

    def inner(x):
        # E clip(m + t·y, a, b) = a + t·(g((m − a)/t) − g((m − b)/t)) with g(x) = xΦ(x) + φ(x), the mean of relu(x + y)
        m, t = math.sqrt(q) * c * x, math.sqrt(q) * s
        low, high = ((m - end) / t for end in (-0.5, 2.0))
        g = [k * special.ndtr(k) + math.exp(-k * k / 2) / math.sqrt(2 * math.pi) for k in (low, high)]
        return -0.5 + t * (g[0] - g[1])

    def outer(x):
        return min(max(math.sqrt(q) * x, -0.5), 2.0) * inner(x) * math.exp(-x * x / 2) / math.sqrt(2 * math.pi)

    ends = [-12, -0.5 / math.sqrt(q), 2 / math.sqrt(q), 12]
    expected = sum(integrate.quad(outer, *ends[i : i + 2], epsabs=1e-14, epsrel=1e-13, limit=200)[0] for i in range(3))
    assert pair_mean(product(RAMP), RAMP, q, 1 - c) == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("gap", [1e-4, 1e-8, 1e-12])
def test_no_digit_of_the_distance_is_lost_next_to_one(gap):
    """1 − C of ReLU to three terms of its series, of which C itself would leave four digits at 1e-12."""

    def distance(u, v):
        return (RELU.function(u) - RELU.function(v)) ** 2

    angle = 2 * math.asin(math.sqrt(gap / 2))
    # 1 − (sin θ + (π − θ) cos θ)/π = 2 sin²(θ/2) − (sin θ − θ cos θ)/π, the latter θ³/3 − θ⁵/30 + …
    closed = gap - (angle**3 / 3 - angle**5 / 30) / math.pi
    assert pair_mean(distance, RELU, 1.0, gap) == pytest.approx(closed, rel=1e-9, abs=0)
    # The second term is seen: it makes up a share of √(2·gap)·2/(3π).
    assert pair_mean(distance, RELU, 1.0, gap) != pytest.approx(gap, rel=math.sqrt(2 * gap) / (3 * math.pi), abs=0)


def test_values_with_the_noise_of_float32():
    """Rounding to float32 is no reason to halve panels without end."""
    rounded = Scalar("tanh", lambda h: np.tanh(h.astype("float32")).astype("float64"), SIN.derivative)
    exact = Scalar("tanh", np.tanh, SIN.derivative)
    for gap in (0.1, 0.5, 1.3):
        a, b = pair_mean(product(rounded), rounded, 1.0, gap), pair_mean(product(exact), exact, 1.0, gap)
        assert a == pytest.approx(b, abs=1e-7)


def test_an_unnamed_kink_costs_accuracy_only():
    unnamed = Scalar("relu", RELU.function, RELU.derivative, ())
    moved = Scalar("relu", lambda h: np.maximum(h - 0.3, 0), RELU.derivative, ())
    named = Scalar("relu", moved.function, RELU.derivative, (0.3,))
    assert pair_mean(product(unnamed), unnamed, 1.0, 0.5) == pytest.approx(arc_cosine(0.5), abs=1e-9)
    expected = pair_mean(product(named), named, 1.0, 0.5)
    assert pair_mean(product(moved), moved, 1.0, 0.5) == pytest.approx(expected, abs=1e-9)
