"""Laws of equal variance and their largest draw."""

import math

import numpy as np
import pytest
from scipy import stats

from keras_initlab import lab
from keras_initlab.lab.experiments.laws import LAWS, _checks, largest_quantile, typical_largest


def test_ours_and_those_of_keras():
    result = lab.run("truncation", draws=50_000, seed=1, verbose=0)
    assert result.as_expected
    table = result.figures[-1]
    std = {row[:2]: row[2] for row in table.rows}
    for side in ("ours", "Keras"):
        # Of a normal law cut at ±2, by its integral: 1 − 4 φ(2)/(Φ(2) − Φ(−2)).
        left = math.sqrt(1 - 4 * math.exp(-2) / math.sqrt(2 * math.pi) / math.erf(math.sqrt(2)))
        assert std["cut, uncorrected", side] == pytest.approx(left, rel=5 * math.sqrt(1.366 / 4 / 50_000))
        assert std["cut at ±2σ", side] == pytest.approx(1, rel=5 * math.sqrt(1.366 / 4 / 50_000))
    ridges = result.figures[0]
    assert ridges.names == tuple(LAWS)
    assert [sum(bin[2] for bin in histogram) for histogram in ridges.histograms] == [50_000] * 4


def test_the_median_of_the_largest():
    largest = np.random.default_rng(0).standard_normal((2000, 500)).max(1)
    # The share below the median of 2000 has a standard error of 1.1 %.
    assert np.mean(largest < typical_largest(stats.norm(), 500)) == pytest.approx(0.5, abs=0.056)
    assert np.mean(largest < largest_quantile(stats.norm(), 0.9, 500)) == pytest.approx(0.9, abs=0.034)


@pytest.mark.parametrize(
    ("variance", "largest", "holds"),
    [
        (1.0, 2.2736, [True, True]),
        (0.7737, 2.2736, [False, True]),
        (1.0, 2.28, [True, False]),
        (1.0, 2.2, [True, False]),
    ],
    ids=["right", "correction left out", "beyond the bound", "cut further in"],
)
def test_another_law_is_not_as_expected(variance, largest, holds):
    law = stats.truncnorm(-2, 2, scale=1 / 0.8796256610342398)
    assert [check.holds for check in _checks("a", law, variance, largest, 1_000_000)] == holds


def test_few_draws():
    assert lab.run("truncation", draws=100, verbose=0).checks
