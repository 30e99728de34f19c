"""The inversion itself, with chosen uniform numbers in place of random ones: exact where the statistics cannot see."""

import keras
import numpy as np
import pytest
from laws import numbers
from scipy import stats

from keras_initlab.initializers import sampling

INF = np.inf
# On other backends Keras rounds float64 to float32 in some operations.
TOLERANCES = [("float32", 5e-6), ("float64", 1e-10)][: 2 if keras.backend.backend() == "tensorflow" else 1]
WINDOWS = [
    (-2, 2),
    (-1, 3),
    (-0.5, INF),
    (0, INF),
    (0, 1),
    (0.5, 0.6),
    (2, INF),
    (4, 4.1),
    (30, INF),
    (-6, -5),
    (-INF, -8),
]


@pytest.fixture
def invert(monkeypatch):
    """Draw a cut normal law from given uniform numbers."""

    def draw(u, lower, upper, dtype, mean=0.0, stddev=1.0):
        given = keras.ops.convert_to_tensor(np.asarray(u, dtype))
        monkeypatch.setattr(sampling, "uniform", lambda shape, low, high, *_: low + (high - low) * given)
        z = sampling.truncated_normal(given.shape, mean, stddev, float(lower), float(upper), dtype, 0)
        assert keras.backend.standardize_dtype(z.dtype) == dtype
        return numbers(z)

    return draw


@pytest.mark.parametrize(("lower", "upper"), WINDOWS)
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_the_distribution_function_gives_the_uniform_number_back(invert, lower, upper, dtype, tolerance):
    u = np.linspace(0.0, 1.0, 10_001)[1:-1]
    z = invert(u, lower, upper, dtype)
    expected = 1.0 - u if upper <= 0 else u  # a tail on the left is the mirror image of one on the right
    # Rounding of z itself, times the density relative to the window's mass.
    law = stats.truncnorm(lower, upper)
    rounding = law.pdf(z) * np.spacing(np.abs(z).astype(dtype)).astype("float64")
    assert (np.abs(law.cdf(z) - expected) <= tolerance + 2 * rounding).all()


@pytest.mark.parametrize("dtype", [dtype for dtype, _ in TOLERANCES])
@pytest.mark.parametrize(("lower", "upper"), [(-INF, INF), (-1, INF), (-INF, 0.5), (0, INF), (-INF, 0), (-40, 40)])
def test_the_ends_of_the_uniform_range_are_finite(invert, lower, upper, dtype):
    ends = [0.0, np.finfo(dtype).epsneg, 1.0 - np.finfo(dtype).eps]
    assert np.isfinite(invert(ends, lower, upper, dtype)).all()


def test_rounding_does_not_cross_a_bound(invert):
    for mean, stddev, lower, upper in np.random.default_rng(1).uniform([-1, 0, -3, 0], [1, 2, 0, 3], (300, 4)):
        z = invert([0.0, 1.0], lower, upper, "float32", mean, stddev)
        assert np.float32(mean + stddev * lower) <= z.min()
        assert z.max() <= np.float32(mean + stddev * upper)
