"""The values follow their laws: bounds, then moments, then the whole distribution."""

import json
import math

import keras
import numpy as np
import pytest
from laws import (
    FIVE_SIGMA,
    FLOATS,
    assert_distribution,
    assert_law,
    assert_mean,
    assert_std,
    cut_normal,
    normal,
    numbers,
    uniform,
)
from scipy import optimize, stats

from keras_initlab import initializers
from keras_initlab.theory import truncated_moments

SHAPE = (512, 128)
FAN = {"fan_in": 512, "fan_out": 128, "fan_avg": 320}
CUT_STD = 0.8796256610342398

# class -> (variance times fan, mode, distribution), from the papers and not from the package
RECIPES = {
    "GlorotNormal": (1.0, "fan_avg", "truncated_normal"),
    "GlorotUniform": (1.0, "fan_avg", "uniform"),
    "HeNormal": (2.0, "fan_in", "truncated_normal"),
    "HeUniform": (2.0, "fan_in", "uniform"),
    "LecunNormal": (1.0, "fan_in", "truncated_normal"),
    "LecunUniform": (1.0, "fan_in", "uniform"),
}
BOUNDS = [
    (-2, 2),
    (-1, 3),
    (None, 0.5),
    (-0.5, None),
    (0, None),
    (1, 1.5),
    (4, None),
    (30, 30.05),
    (-6, -5),
    (None, -8),
]


def scaled(distribution, variance):
    """The law of this name with mean 0 and this variance."""
    std = math.sqrt(variance)
    if distribution == "uniform":
        return uniform(-math.sqrt(3) * std, math.sqrt(3) * std)
    if distribution == "untruncated_normal":
        return normal(0.0, std)
    return cut_normal(0.0, std / CUT_STD, -2, 2)


def draw(initializer, shape=SHAPE, dtype=None):
    """Values as float64."""
    return numbers(initializer(shape, dtype=dtype))


def laws():
    """Every law of the package: a label, what draws it given a seed, and what it should be."""
    for name, (scale, mode, distribution) in RECIPES.items():
        yield name, getattr(initializers, name), scaled(distribution, scale / FAN[mode])
    for mode, fan in FAN.items():
        for distribution in ("truncated_normal", "untruncated_normal", "uniform"):

            def make(seed, mode=mode, distribution=distribution):
                return initializers.VarianceScaling(3.0, mode, distribution, seed)

            yield f"VarianceScaling-{mode}-{distribution}", make, scaled(distribution, 3.0 / fan)
    yield "RandomNormal", lambda seed: initializers.RandomNormal(0.5, 0.25, seed), normal(0.5, 0.25)
    yield "RandomUniform", lambda seed: initializers.RandomUniform(-0.5, 1.5, seed), uniform(-0.5, 1.5)


LAWS = [pytest.param(make, law, id=label) for label, make, law in laws()]


@pytest.mark.parametrize(("make", "law"), LAWS)
def test_law(make, law):
    assert_law(draw(make(11)), law)


@pytest.mark.sweep
@pytest.mark.parametrize(("make", "law"), LAWS)
def test_law_under_a_hundred_seeds(make, law):
    for seed in range(100):
        # 100 seeds and three checks in each of the laws: altogether as likely to fail by chance as one check above.
        assert_law(draw(make(seed)), law, alpha=FIVE_SIGMA / (300 * len(LAWS)))


@pytest.mark.parametrize("dtype", [*FLOATS, "float8_e4m3fn", "float8_e5m2"])
@pytest.mark.parametrize("name", sorted(RECIPES))
def test_every_float_dtype(name, dtype):
    """Rounding adds no bias, and its variance is far below the band."""
    values = draw(getattr(initializers, name)(seed=3), dtype=dtype)
    scale, mode, distribution = RECIPES[name]
    law = scaled(distribution, scale / FAN[mode])
    assert_mean(values, law)
    if "float8" not in dtype:
        assert_std(values, law)
    bound = max(abs(edge) for edge in law.distribution.support())
    assert np.abs(values).max() <= numbers(keras.ops.cast(np.float32(bound), dtype))


@pytest.mark.parametrize(("lower", "upper"), BOUNDS)
def test_truncated_normal_at_any_bounds(lower, upper):
    """Bounds, moments of the theory, and quantiles through SciPy's tails.

    The values are compared in standard deviations from the nearer bound, so that no digit is lost far out.
    """
    low, high = (-np.inf if lower is None else lower), (np.inf if upper is None else upper)
    z = draw(initializers.TruncatedNormal(0.0, 1.0, lower, upper, seed=5))
    assert low <= z.min()
    assert z.max() <= high
    assert_distribution(z, cut_normal(0.0, 1.0, low, high))
    mean, std = truncated_moments(low, high)
    # Kurtosis of a cut normal law is at most 9, that of the exponential law in the far tail.
    assert abs(z.mean() - mean) <= 5 * std / math.sqrt(z.size)
    assert abs(z.std() / std - 1) <= 5 * math.sqrt((9 - 1) / (4 * z.size))


@pytest.mark.parametrize("dtype", [*FLOATS, "float8_e4m3fn", "float8_e5m2"])
def test_truncated_normal_keeps_its_bounds_in_every_dtype(dtype):
    values = draw(initializers.TruncatedNormal(0.3, 0.1, -1.0, 2.5, seed=5), dtype=dtype)
    low, high = (numbers(keras.ops.cast(np.float32(edge), dtype)) for edge in (0.2, 0.55))
    assert low <= values.min()
    assert values.max() <= high


def test_no_value_is_infinite_without_bounds():
    assert_law(draw(initializers.TruncatedNormal(0.0, 1.0, None, None, seed=1), (2000, 1000)), normal(0.0, 1.0))


# Torch's and NumPy's backends round float64 to float32 in some of Keras's operations, which tails need.
@pytest.mark.skipif("float64" not in FLOATS, reason="no float64")
@pytest.mark.parametrize("lower", [-1.0, 3.0][: 2 if keras.backend.backend() == "tensorflow" else 1])
def test_float64_has_more_digits_than_float32(lower):
    for initializer in (initializers.HeNormal(1), initializers.TruncatedNormal(lower=lower, upper=None, seed=1)):
        values = draw(initializer, dtype="float64")
        assert np.mean(values == values.astype("float32")) < 1e-3


# 1/√E f² and 1/√E f′² for x ~ N(0, 1), by quadrature to ten digits.
GAINS = {
    "relu": (1.4142135624, 1.4142135624),
    "tanh": (1.5925374197, 1.4674135916),
    "gelu": (1.5335304412, 1.4811144127),
    "silu": (1.6765324703, 1.6233202580),
    "selu": (1.0000000000, 0.9660257770),
}


@pytest.mark.parametrize("activation", sorted(GAINS))
def test_the_gain_of_an_activation(activation):
    forward, backward = GAINS[activation]
    expected = {
        "fan_in": forward / math.sqrt(512),
        "fan_out": backward / math.sqrt(128),
        "fan_avg": math.sqrt(forward * backward / 320),
        "fan_geo_avg": math.sqrt(forward * backward / 256),
    }
    for given in (activation, getattr(keras.activations, activation)):
        for mode, std in expected.items():
            initializer = initializers.VarianceScaling(mode=mode, activation=given, seed=1)
            assert initializer.get_config()["activation"] == activation
            assert initializer.target_stddev(SHAPE) == pytest.approx(std, rel=1e-9)
            assert_std(draw(initializer), scaled("truncated_normal", std**2))


@keras.saving.register_keras_serializable("tests")
def bent(x):
    return keras.ops.maximum(x, 0.3 * x)


@pytest.mark.parametrize("given", [bent, keras.layers.LeakyReLU(negative_slope=0.3)], ids=["function", "layer"])
def test_an_activation_of_ones_own_survives(given):
    original = initializers.VarianceScaling(activation=given, seed=1)
    assert original.target_stddev((100, 10)) == pytest.approx(0.1354570923, rel=1e-6)  # its values may be float32
    twin = keras.initializers.deserialize(json.loads(json.dumps(keras.initializers.serialize(original))))
    assert twin.target_stddev((100, 10)) == original.target_stddev((100, 10))
    assert np.array_equal(draw(twin), draw(original))


def test_a_geometric_mean_of_the_fans():
    assert_law(draw(initializers.VarianceScaling(1.0, "fan_geo_avg", "uniform", 1)), scaled("uniform", 1 / 256))


def test_a_batch_axis_counts_in_neither_fan():
    depthwise = draw(initializers.HeNormal(seed=1, batch_axes=[-2]), (3, 3, 4096, 2))
    assert_law(depthwise, scaled("truncated_normal", 2 / 9))


@pytest.mark.parametrize("units", ["stddev", "absolute"])
@pytest.mark.parametrize("stddev_of", ["normal", "values"])
def test_every_way_to_state_a_cut_normal_law(units, stddev_of):
    mean, stddev, lower, upper = 0.5, 0.3, -0.2, 0.9
    values = draw(initializers.TruncatedNormal(mean, stddev, lower, upper, 3, units, stddev_of))
    if units == "stddev":
        sigma = stddev / truncated_moments(lower, upper)[1] if stddev_of == "values" else stddev
        low, high = lower, upper
    else:
        # The standard deviation after an absolute cut is found by SciPy's own root finder, over SciPy's own moments.
        def spread(sigma):
            return stats.truncnorm((lower - mean) / sigma, (upper - mean) / sigma, scale=sigma).std()

        sigma = optimize.brentq(lambda s: spread(s) - stddev, 0.01, 100.0) if stddev_of == "values" else stddev
        low, high = (lower - mean) / sigma, (upper - mean) / sigma
    assert_law(values, cut_normal(mean, sigma, low, high))
    if stddev_of == "values":
        assert abs(values.std() / stddev - 1) <= 5 * math.sqrt((2.366 - 1) / (4 * values.size))


def test_a_point_within_absolute_bounds():
    assert (draw(initializers.TruncatedNormal(5.0, 0.0, -1.0, 1.0, units="absolute")) == 1.0).all()
    assert (draw(initializers.TruncatedNormal(0.5, 0.0, -1.0, 1.0, units="absolute")) == 0.5).all()


def test_degenerate_laws_are_constants():
    assert (draw(initializers.RandomNormal(0.5, 0, seed=1)) == 0.5).all()
    assert (draw(initializers.TruncatedNormal(0.5, 0, None, 1, seed=1)) == 0.5).all()
    assert (draw(initializers.RandomUniform(0.5, 0.5, seed=1)) == 0.5).all()


class TestTheChecksRefuseWrongLaws:
    """Each helper has a wrong law near the right one that it must tell."""

    def test_mean_refuses_a_bias(self):
        values = draw(initializers.RandomNormal(0.0, 1.0, seed=1))
        assert_mean(values, normal(0.0, 1.0))
        with pytest.raises(AssertionError, match="mean"):
            assert_mean(values + 10 / math.sqrt(values.size), normal(0.0, 1.0))

    def test_std_refuses_swapped_fans(self):
        with pytest.raises(AssertionError, match="std"):
            assert_std(draw(initializers.HeNormal(1)), scaled("truncated_normal", 2 / FAN["fan_out"]))

    def test_std_refuses_a_missing_truncation_correction(self):
        uncorrected = initializers.TruncatedNormal(0.0, math.sqrt(2 / 512), seed=1)
        with pytest.raises(AssertionError, match="std"):
            assert_std(draw(uncorrected), scaled("truncated_normal", 2 / 512))

    def test_std_refuses_fan_avg_for_fan_in(self):
        with pytest.raises(AssertionError, match="std"):
            assert_std(draw(initializers.LecunNormal(1), (512, 480)), scaled("truncated_normal", 1 / 496))

    def test_distribution_refuses_the_right_moments_of_another_law(self):
        values = draw(initializers.HeUniform(1))
        assert_std(values, scaled("uniform", 2 / 512))
        with pytest.raises(AssertionError, match="distance"):
            assert_distribution(values, scaled("truncated_normal", 2 / 512))

    def test_distribution_refuses_the_whole_normal_law_for_the_cut_one(self):
        with pytest.raises(AssertionError, match="distance"):
            assert_distribution(
                draw(initializers.VarianceScaling(2.0, "fan_in", "untruncated_normal", 1)),
                scaled("truncated_normal", 2 / 512),
            )
