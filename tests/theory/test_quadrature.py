"""Means over a normal law against closed forms and an independent integration."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from keras_initlab.theory import gaussian_mean

SCALES = [1e-6, 1e-3, 0.3, 1.0, 7.0, 1e3, 1e6]


def slow_mean(f, breaks, scale):
    """SciPy's adaptive integration between the breaks, over 14 standard deviations to either side."""
    ends = sorted({-14.0, -1.0, 0.0, 1.0, 14.0, *(place / scale for place in breaks if abs(place) < 14 * scale)})
    return math.fsum(
        integrate.quad(lambda z: f(scale * z) * stats.norm.pdf(z), *pair, epsabs=0, epsrel=1e-13, limit=200)[0]
        for pair in itertools.pairwise(ends)
    )


@pytest.mark.parametrize("scale", SCALES)
@pytest.mark.parametrize("power", [0, 2, 4, 8])
def test_even_moments(power, scale):
    expected = math.prod(range(1, power, 2)) * scale**power
    assert gaussian_mean(lambda x: x**power, scale=scale) == pytest.approx(expected, rel=1e-13)


@pytest.mark.parametrize("scale", SCALES)
def test_an_odd_function_has_mean_0(scale):
    # E |x| is the scale times √(2/π); what is left of it is rounding.
    assert gaussian_mean(lambda x: x, scale=scale) == pytest.approx(0.0, abs=1e-15 * scale)


@pytest.mark.parametrize("scale", [1e-6, 0.5, 1.0, 3.0, 10.0, 18.0])
def test_exponential_growth_is_followed_into_the_tail(scale):
    # The integrand peaks at z = scale, beyond the core of 10 for the last.
    assert gaussian_mean(np.exp, scale=scale) == pytest.approx(math.exp(scale**2 / 2), rel=1e-12)


@pytest.mark.parametrize("rate", [0.5, 3.0, 30.0])
def test_oscillation(rate):
    # Relative to E |cos|, since the mean of a fast oscillation is next to nothing.
    assert gaussian_mean(lambda x: np.cos(rate * x)) == pytest.approx(math.exp(-(rate**2) / 2), abs=1e-13)


@pytest.mark.parametrize("named", [True, False])
@pytest.mark.parametrize("scale", [0.01, 1.0, 40.0])
@pytest.mark.parametrize("place", [0.0, 0.3217, -1.5, 1.0005, 2.0000001])
def test_a_kink_and_a_jump(place, scale, named):
    breaks, a = ([place] if named else []), place / scale
    kink = scale * (2 * stats.norm.pdf(a) + a * (2 * stats.norm.cdf(a) - 1))
    # An unnamed jump next to an end of a panel may hide in the 1e-8 of it beyond the outermost point.
    assert gaussian_mean(lambda x: np.abs(x - place), breaks, scale) == pytest.approx(kink, rel=1e-12)
    assert gaussian_mean(lambda x: np.where(x > place, 3.0, 1.0), breaks, scale) == pytest.approx(
        1 + 2 * stats.norm.sf(a), rel=1e-12 if named else 3e-9
    )


def test_a_narrow_bump_is_not_missed_at_a_large_scale():
    # ∫ sech² = 2, against a density that is flat over the bump to 1e-12.
    for scale in (1e3, 1e6):
        measured = gaussian_mean(lambda x: 1 / np.cosh(np.clip(x, -300, 300)) ** 2, scale=scale)
        assert measured == pytest.approx(2 / (scale * math.sqrt(2 * math.pi)), rel=1 / scale**2 + 1e-12)


FUNCTIONS = {
    "tanh": (np.tanh, ()),
    "softsign squared": (lambda x: (x / (1 + np.abs(x))) ** 2, (0.0,)),
    "clipped": (lambda x: np.clip(x, -0.7, 2.1) ** 2, (-0.7, 2.1)),
    "bump": (lambda x: np.exp(-((x - 1.3) ** 2)), ()),
}


@pytest.mark.parametrize("scale", [0.2, 1.0, 5.0])
@pytest.mark.parametrize("name", FUNCTIONS)
def test_independent_integration(name, scale):
    f, breaks = FUNCTIONS[name]
    size = slow_mean(lambda x: abs(f(x)), (*breaks, 0.0), scale)
    assert gaussian_mean(f, breaks, scale) == pytest.approx(slow_mean(f, breaks, scale), abs=2e-12 * size)


def test_the_independent_integration_tells_a_shift():
    f, breaks = FUNCTIONS["clipped"]
    assert slow_mean(lambda x: f(x + 1e-6), breaks, 1.0) != pytest.approx(slow_mean(f, breaks, 1.0), rel=1e-9)


def test_breaks_need_no_order_and_may_lie_anywhere():
    f = FUNCTIONS["clipped"][0]
    messy = gaussian_mean(f, [2.1, -0.7, 2.1, 1e9, -0.7000000001, 0.0])
    assert messy == pytest.approx(gaussian_mean(f, (-0.7, 2.1)), rel=1e-13)


def test_rounding_of_the_function_is_not_chased():
    calls = []

    def noisy(x):
        calls.append(x.size)
        return ((1 + x) - 1) ** 2

    # Each value is off by up to 2e-16 of 1, which is 2e-10 of the typical value squared.
    assert gaussian_mean(noisy, scale=1e-6) == pytest.approx(1e-12, rel=1e-9)
    assert sum(calls) < 10_000


def test_a_singularity_that_has_a_mean():
    expected = -(math.log(2) + np.euler_gamma) / 2
    assert gaussian_mean(lambda x: np.log(np.abs(x))) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize(
    ("f", "scale", "message"),
    [
        (np.sqrt, 1.0, r"not finite .* standard deviations from 0, where its mean needs it\. Bound it"),
        (lambda x: np.where(x > 3, np.inf, x), 1.0, "not finite 3 standard deviations"),
        (lambda x: np.exp(x**2), 1.0, "not finite .* where its mean needs it"),
        (lambda x: np.exp(x**2 / 2), 1.0, "does not exist: the function outgrows the density"),
        (lambda x: 1 / np.abs(x), 1.0, "does not settle after .* panels.*or its mean does not exist"),
        (np.tanh, 0.0, r"`scale` must be a finite number above 0\. Received: scale=0\.0"),
        (np.tanh, -1.0, "`scale` must be a finite number above 0"),
        (np.tanh, math.nan, "`scale` must be a finite number above 0"),
    ],
)
def test_what_has_no_mean(f, scale, message):
    with pytest.raises(ValueError, match=message):
        gaussian_mean(f, scale=scale)


def test_infinity_beyond_what_matters_is_left_alone():
    assert gaussian_mean(lambda x: np.where(x > 11, np.inf, x * x)) == pytest.approx(1.0, rel=1e-12)
