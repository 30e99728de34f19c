"""Statistical checks of drawn values, each with a stated chance of refusing a right law.

A check takes ``alpha``, that chance. The default is that of five standard deviations of a normal law; a sweep divides
it by the number of its checks (union bound).
"""

import math
from dataclasses import dataclass

import keras
import numpy as np
from scipy import stats

# JAX alone has float64 only where it is switched on.
FLOATS = ["float16", "bfloat16", "float32", *(["float64"] if keras.backend.backend() != "jax" else [])]

FIVE_SIGMA = 2 * stats.norm.sf(5.0)


def numbers(tensor):
    """Any tensor of any backend as float64 of NumPy, to the last bit."""
    narrow = keras.backend.standardize_dtype(tensor.dtype) != "float64"
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32") if narrow else tensor).astype("float64")


@dataclass(frozen=True)
class Law:
    """What values should follow: a frozen SciPy distribution."""

    distribution: object

    @property
    def mean(self):
        return float(self.distribution.mean())

    @property
    def std(self):
        return float(self.distribution.std())

    @property
    def kurtosis(self):
        """Fourth central moment over the squared variance: 3 normal, 1.8 uniform, 2.366 normal cut at ±2."""
        return float(self.distribution.stats(moments="k")) + 3.0


def normal(mean, std):
    return Law(stats.norm(mean, std))


def uniform(low, high):
    return Law(stats.uniform(low, high - low))


def cut_normal(mean, std, lower, upper):
    """Normal law with this standard deviation before the cut, cut at bounds in standard deviations."""
    return Law(stats.truncnorm(lower, upper, mean, std))


def deviations(alpha):
    """How many standard errors a right law exceeds with probability alpha."""
    return stats.norm.isf(alpha / 2)


def assert_mean(values, law, alpha=FIVE_SIGMA):
    """The mean, whose standard error is std / √n."""
    values = np.asarray(values, "float64").ravel()
    band = deviations(alpha) * law.std / math.sqrt(values.size)
    assert abs(values.mean() - law.mean) <= band, f"mean {values.mean()}, expected {law.mean} ± {band}"


def assert_std(values, law, alpha=FIVE_SIGMA):
    """The standard deviation, whose relative standard error is √((kurtosis − 1) / (4n))."""
    values = np.asarray(values, "float64").ravel()
    band = deviations(alpha) * math.sqrt((law.kurtosis - 1) / (4 * values.size))
    ratio = values.std() / law.std
    assert abs(ratio - 1) <= band, f"std {values.std()}, {ratio} of the expected {law.std}; band {band}"


def assert_distribution(values, law, alpha=FIVE_SIGMA):
    """Kolmogorov and Smirnov's distance D, for which P(D > x) ≤ 2 exp(−2nx²) (Massart 1990)."""
    values = np.sort(np.asarray(values, "float64").ravel())
    cdf = law.distribution.cdf(values)
    steps = np.arange(values.size + 1) / values.size
    distance = max((steps[1:] - cdf).max(), (cdf - steps[:-1]).max())
    band = math.sqrt(math.log(2 / alpha) / (2 * values.size))
    assert distance <= band, f"distance {distance} from the law; band {band}"


def assert_law(values, law, alpha=FIVE_SIGMA):
    """All three; together they refuse a right law with probability 3 alpha at most."""
    assert_mean(values, law, alpha)
    assert_std(values, law, alpha)
    assert_distribution(values, law, alpha)


def slow_product_of_reflections(a):
    """H_1 … H_n as whole matrices, one by one, times the signs that make R's diagonal positive.

    H_j turns column j of A, from row j down, into a multiple of the unit vector.
    """
    rows, columns = a.shape
    q, signs = np.eye(rows), np.ones(columns)
    for j in range(columns):
        v = np.zeros(rows)
        v[j:] = a[j:, j]
        signs[j] = -np.sign(v[j])
        v[j] += np.sign(v[j]) * np.linalg.norm(v)
        q = q - 2 * np.outer(q @ v, v) / (v @ v)
    return q[:, :columns] * signs
