"""Moments of a cut normal law against constants, closed forms, an independent integration and SciPy."""

import itertools
import math

import numpy as np
import pytest
from scipy import integrate, stats

from keras_initlab.theory import (
    log_survival_ratio,
    mills_ratio,
    normal_quantile,
    stddev_before_cut,
    truncated_moments,
    truncated_quantile,
)

INF = math.inf


def slow_moments(lower, upper):
    """Adaptive integration of the density relative to its largest value, moments about the bound nearest 0."""
    nearest = min(max(lower, 0.0), upper)

    def moment(power, center):
        ends = max(lower, nearest - 40.0), min(upper, nearest + 40.0)
        pieces = sorted({*ends, *(nearest + side * step for side in (-1, 1) for step in (0, 0.01, 0.1, 1, 5))})
        pieces = [piece for piece in pieces if ends[0] <= piece <= ends[1]]

        def integrand(x):
            return (x - center) ** power * math.exp((nearest - x) * (nearest + x) / 2)

        return math.fsum(
            integrate.quad(integrand, *pair, epsabs=0, epsrel=1e-13, limit=200)[0]
            for pair in itertools.pairwise(pieces)
        )

    mass = moment(0, nearest)
    mean = nearest + moment(1, nearest) / mass
    return mean, math.sqrt(moment(2, mean) / mass)


@pytest.mark.parametrize(
    ("bound", "std"), [(0.5, 0.2838822900), (1, 0.5395600938), (2, 0.8796256610342398), (4, 0.9994645018)]
)
def test_symmetric_cut(bound, std):
    mean, measured = truncated_moments(-bound, bound)
    assert mean == pytest.approx(0.0, abs=1e-15)
    assert measured == pytest.approx(std, abs=6e-11 if bound != 2 else 1e-15)


def test_lopsided_cut():
    assert truncated_moments(-1, 3) == pytest.approx((0.2827861107, 0.7849469634), abs=6e-11)


def test_closed_forms():
    assert truncated_moments(-INF, INF) == pytest.approx((0.0, 1.0), abs=2e-15)
    half = (math.sqrt(2 / math.pi), math.sqrt(1 - 2 / math.pi))
    assert truncated_moments(0, INF) == pytest.approx(half, rel=1e-14)
    assert truncated_moments(-INF, 0) == pytest.approx((-half[0], half[1]), rel=1e-14)


WINDOWS = [
    (-2, 2),
    (-1, 3),
    (-INF, 1),
    (0.5, INF),
    (3, INF),
    (2, 2.5),
    (-8, -3),
    (0.9, 0.9001),
    (12, 12.5),
    (-1e-3, 1e-3),
]


@pytest.mark.parametrize(("lower", "upper"), WINDOWS)
def test_independent_integration(lower, upper):
    assert truncated_moments(lower, upper) == pytest.approx(slow_moments(lower, upper), rel=2e-12, abs=1e-15)


@pytest.mark.parametrize(("lower", "upper"), [(-2, 2), (-1, 3), (-INF, 1), (0.5, INF), (2, 2.5)])
def test_scipy_agrees_where_its_formula_keeps_its_digits(lower, upper):
    peer = stats.truncnorm(lower, upper)
    assert truncated_moments(lower, upper) == pytest.approx((peer.mean(), peer.std()), rel=1e-10, abs=1e-12)


@pytest.mark.parametrize("lower", [1e2, 1e4, 1e8])
def test_far_in_the_tail_the_excess_is_nearly_exponential(lower):
    # From the asymptotic series of the Mills ratio: excess a⁻¹ − 2a⁻³ + 10a⁻⁵ − 74a⁻⁷, std a⁻¹ − 3a⁻³ + O(a⁻⁵).
    mean, std = truncated_moments(lower, INF)
    assert mean - lower == pytest.approx(1 / lower - 2 / lower**3 + 10 / lower**5 - 74 / lower**7, abs=2e-16 * lower)
    assert std == pytest.approx(1 / lower - 3 / lower**3, rel=50 / lower**4 + 1e-13)


@pytest.mark.parametrize(("lower", "width"), [(0.9, 1e-9), (-3.0, 1e-6), (0.0, 1e-12)])
def test_a_narrow_window_is_uniform(lower, width):
    # Over a width w the density changes by the factor exp(-a w), which moves the standard deviation by order (a w)².
    upper = lower + width
    assert truncated_moments(lower, upper)[1] == pytest.approx((upper - lower) / math.sqrt(12), rel=1e-11)


def test_mirror():
    assert truncated_moments(-5, -3) == pytest.approx((-truncated_moments(3, 5)[0], truncated_moments(3, 5)[1]))


@pytest.mark.parametrize(("lower", "upper"), [(1, 1), (2, -2), (math.nan, 1), (0, math.nan)])
def test_bounds_out_of_order(lower, upper):
    with pytest.raises(ValueError, match=r"`lower` must be below `upper`.*lower first"):
        truncated_moments(lower, upper)


def test_mills_ratio_is_survival_over_density():
    x = np.array([0.0, 0.5, 2.0, 10.0, 30.0])
    assert mills_ratio(x) == pytest.approx(stats.norm.sf(x) / stats.norm.pdf(x), rel=1e-12)


@pytest.mark.parametrize(("lower", "upper"), [(0, 1), (2, 2.001), (5, 30)])
def test_log_survival_ratio(lower, upper):
    expected = stats.norm.logsf(upper) - stats.norm.logsf(lower)
    assert log_survival_ratio(lower, upper) == pytest.approx(expected, rel=1e-11)
    assert log_survival_ratio(lower, INF) == -INF


@pytest.mark.parametrize(("lower", "upper"), [*WINDOWS, (5.25, INF), (30, 30.05), (-INF, -40), (1000, INF), (0, INF)])
def test_the_quantile_inverts_the_distribution(lower, upper):
    u = np.linspace(0, 1, 203)[1:-1]
    x = truncated_quantile(u, lower, upper)
    assert lower <= x.min() <= x.max() <= upper
    if upper <= 0:  # a tail on the left is the mirror image of one on the right
        x, lower, upper = -x, -upper, -lower
    if lower >= 0:
        mass = -math.expm1(log_survival_ratio(lower, upper))
        beyond = np.array([log_survival_ratio(lower, value) for value in x])
        reached = -np.expm1(beyond) / mass
        hazard = np.exp(beyond) / mills_ratio(x) / mass
    else:
        mass = stats.norm.cdf(upper) - stats.norm.cdf(lower)
        reached = (stats.norm.cdf(x) - stats.norm.cdf(lower)) / mass
        hazard = stats.norm.pdf(x) / mass
    # What the last places of x and of the probabilities are worth; far out the logarithm loses log P · 2⁻⁵³ more.
    # About eight roundings meet.
    rounding = hazard * np.spacing(np.abs(x)) + 2.0**-52 * max(1.0, lower**2 / 2) / mass
    assert (np.abs(reached - u) <= 8 * rounding).all()


def test_the_grid_of_uniforms_meets_no_infinity():
    ends = normal_quantile(np.array([0.0, 2.0**-53, 0.5, 1 - 2.0**-53]))
    assert np.isfinite(ends).all()
    assert ends[0] == pytest.approx(stats.norm.ppf(2.0**-54), rel=1e-14)
    assert ends[2] == pytest.approx(0.0, abs=2e-16)


@pytest.mark.parametrize(
    ("lower", "upper"), [(-2.0, 2.0), (-1.0, 3.0), (0.5, 2.0), (-INF, 1.0), (0.0, INF), (3.0, INF), (-INF, INF)]
)
@pytest.mark.parametrize("share", [1e-3, 0.3, 0.9, 0.999])
def test_the_standard_deviation_before_the_cut(lower, upper, share):
    widest = (upper - lower) / math.sqrt(12) if math.isfinite(upper - lower) else 5.0
    wanted = share * widest
    sigma = stddev_before_cut(wanted, lower, upper)
    assert sigma * truncated_moments(lower / sigma, upper / sigma)[1] == pytest.approx(wanted, rel=1e-11)


def test_a_bound_far_out_wants_a_wide_law():
    # So far out the excess is exponential, of standard deviation σ²/bound.
    assert stddev_before_cut(1.0, 1e12, INF) == pytest.approx(1e6, rel=1e-5)


@pytest.mark.parametrize("stddev", [1 / math.sqrt(3), 0.6, 10.0])
def test_more_than_uniform_is_refused(stddev):
    with pytest.raises(ValueError, match=r"`stddev` must be below 0.57735, that of the uniform law.*Move the bounds"):
        stddev_before_cut(stddev, -1.0, 1.0)


def test_far_in_a_tail_to_all_digits():
    """Constants by 40-digit arithmetic (mpmath) for a cut from 5.25 to infinity."""
    mean, std = truncated_moments(5.25, INF)
    assert mean - 5.25 == pytest.approx(0.1786553883860982852, rel=1e-14)
    assert std == pytest.approx(0.17361296948556689167, rel=1e-14)
