"""Sparse weights: how many, where, and how large."""

import itertools
import math

import keras
import numpy as np
import pytest
from laws import FIVE_SIGMA, assert_law, normal
from scipy import stats

from keras_initlab.initializers import Sparse, sampling

INPUTS, CHOSEN, UNITS = 5, 2, 30_000
SETS = list(itertools.combinations(range(INPUTS), CHOSEN))


def weight(initializer, shape, dtype=None):
    """Flattened as Keras flattens a kernel; in the dtype or, if that is narrower, in float32, without loss."""
    values = initializer(shape, dtype=dtype)
    assert tuple(values.shape) == shape
    wide = values if dtype == "float64" else keras.ops.cast(values, "float32")
    return keras.ops.convert_to_numpy(wide).reshape(-1, shape[-1])


@pytest.mark.parametrize("nonzeros", [1, 2, 15, 23, 24])
@pytest.mark.parametrize("shape", [(24, 10), (24, 1), (8, 3, 7), (2, 3, 4, 9), (2, 2, 2, 3, 5)])
def test_exactly_so_many_into_each_unit(shape, nonzeros):
    found = (weight(Sparse(nonzeros, seed=1), shape) != 0).sum(axis=0)
    assert (found == nonzeros).all()


def test_exactly_so_many_where_all_numbers_are_equal(monkeypatch):
    monkeypatch.setattr(sampling, "uniform", lambda shape, *_: keras.ops.full(shape, 0.5))
    assert ((weight(Sparse(5, seed=1), (24, 10)) != 0).sum(axis=0) == 5).all()


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_exactly_so_many_in_every_dtype(dtype):
    assert ((weight(Sparse(seed=1), (100, 50), dtype) != 0).sum(axis=0) == 15).all()


def sets_of(kernel):
    """For each unit, the index in SETS of the inputs that it is connected to."""
    return np.array([SETS.index(tuple(np.flatnonzero(column))) for column in kernel.T])


def assert_uniform(counts):
    """Pearson's chi-square: a right law exceeds it as seldom as five standard deviations."""
    statistic = ((counts - counts.mean()) ** 2 / counts.mean()).sum()
    limit = stats.chi2.isf(FIVE_SIGMA, counts.size - 1)
    assert statistic <= limit, f"chi-square {statistic}, limit {limit}"


def assert_sets_uniform_and_independent(sets):
    assert_uniform(np.bincount(sets, minlength=len(SETS)))
    # Neighbours: each pair of sets as often as any other, 150 times on average.
    pairs = sets[0::2] * len(SETS) + sets[1::2]
    assert_uniform(np.bincount(pairs, minlength=len(SETS) ** 2))


@pytest.fixture(scope="module")
def kernel():
    """So many units that every set of inputs comes often."""
    return weight(Sparse(CHOSEN, stddev=0.5, seed=3), (INPUTS, UNITS))


def test_every_set_of_inputs_is_equally_likely(kernel):
    assert_sets_uniform_and_independent(sets_of(kernel))


class TestTheCheckRefuses:
    def test_windows_whose_single_positions_are_uniform(self):
        starts = np.random.default_rng(1).integers(INPUTS, size=UNITS)
        windows = [SETS.index(tuple(sorted((start, (start + 1) % INPUTS)))) for start in starts]
        with pytest.raises(AssertionError, match="chi-square"):
            assert_sets_uniform_and_independent(np.array(windows))

    def test_units_that_look_where_their_neighbours_do(self):
        sets = np.random.default_rng(1).integers(len(SETS), size=UNITS // 2)
        assert_sets_uniform_and_independent(np.random.default_rng(2).integers(len(SETS), size=UNITS))
        with pytest.raises(AssertionError, match="chi-square"):
            assert_sets_uniform_and_independent(np.repeat(sets, 2))


def test_many_inputs_are_each_chosen_as_often():
    """Binomial counts; normal in good approximation, and a band that holds for all of them at once."""
    inputs, units, nonzeros = 300, 4000, 30
    counts = (weight(Sparse(nonzeros, seed=4), (inputs, units)) != 0).sum(axis=1)
    share = nonzeros / inputs
    band = stats.norm.isf(FIVE_SIGMA / (2 * inputs)) * math.sqrt(units * share * (1 - share))
    assert np.abs(counts - units * share).max() <= band


def test_values_are_normal_wherever_they_stand(kernel):
    """At each input, and as the first and the second of a unit: the place says nothing about the value."""
    columns = kernel.T
    values = columns[columns != 0].reshape(UNITS, CHOSEN)
    parts = [values, *values.T, *(row[row != 0] for row in kernel)]
    for part in parts:
        assert_law(part, normal(0.0, 0.5), alpha=FIVE_SIGMA / (3 * len(parts)))
    # Independent values: their product has mean 0 and standard deviation 0.5².
    assert abs(values.prod(axis=1).mean()) <= 5 * 0.5**2 / math.sqrt(UNITS)


def test_the_check_refuses_values_that_depend_on_their_place(kernel):
    columns = np.sort(kernel, axis=0).T
    ordered = columns[columns != 0].reshape(UNITS, CHOSEN)
    with pytest.raises(AssertionError, match=r"mean|std"):
        assert_law(ordered[:, 0], normal(0.0, 0.5))


def test_places_and_values_have_seeds_of_their_own(monkeypatch):
    seeds = []
    for name in ("uniform", "normal"):
        drawn = getattr(sampling, name)

        def spy(*args, drawn=drawn):
            seeds.append(args[-1])
            return drawn(*args)

        monkeypatch.setattr(sampling, name, spy)
    Sparse(seed=1)((20, 4))
    assert len(set(seeds)) == 2


def test_the_variance_of_a_unit_does_not_depend_on_its_fan_in():
    """Inputs of ±1: the output is a sum of 15 values, N(0, 15 · 0.25²), independent from unit to unit."""
    for inputs in (15, 1000):
        x = np.random.default_rng(1).choice([-1.0, 1.0], size=inputs)
        assert_law(x @ weight(Sparse(stddev=0.25, seed=1), (inputs, 2000)), normal(0.0, 0.25 * math.sqrt(15)))


def test_no_deviation_gives_zeros():
    assert not weight(Sparse(stddev=0, seed=1), (24, 3)).any()


@pytest.mark.parametrize(("shape", "inputs"), [((14, 4), 14), ((3, 3, 1, 32), 9), ((1, 1), 1)])
def test_fewer_inputs_than_nonzeros_are_refused(shape, inputs):
    message = rf"at least 15 inputs.*Received: shape=\(.*which has {inputs}. Pass nonzeros={inputs} or fewer"
    with pytest.raises(ValueError, match=message):
        Sparse()(shape)


@pytest.mark.parametrize("shape", [(), (40,)])
def test_rank_below_two(shape):
    with pytest.raises(ValueError, match=r"Sparse needs a shape with two axes or more. Received: shape=\("):
        Sparse()(shape)


@pytest.mark.parametrize("shape", [(0, 4), (40, 0), (3, 0, 2)])
def test_empty(shape):
    assert tuple(Sparse()(shape).shape) == shape
