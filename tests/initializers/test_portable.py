"""Portable streams: the same bits on every backend, machine and shard."""

import keras
import numpy as np
import pytest
from laws import numbers, slow_product_of_reflections
from scipy import stats

from keras_initlab import initializers
from keras_initlab.initializers import PortableSeed, portable
from keras_initlab.initializers.seeds import fold

SEED = PortableSeed(7)

# First values of each law, as float32 prints them. They may never change: models are built on them.
GOLDEN = {
    "RandomUniform": (
        lambda: initializers.RandomUniform(-1.0, 1.0, seed=SEED),
        [0.7441469, -0.40926924, -0.15980464, -0.18921551, -0.83431464, 0.39326578],
    ),
    "RandomNormal": (
        lambda: initializers.RandomNormal(0.0, 1.0, seed=SEED),
        [1.1362473, -0.53777736, -0.2016436, -0.23941411, -1.3862015, 0.5147407],
    ),
    "HeNormal": (
        lambda: initializers.HeNormal(seed=SEED),
        [0.98276895, -0.4743244, -0.17854723, -0.21193823, -1.179996, 0.4541857],
    ),
    "GlorotUniform": (
        lambda: initializers.GlorotUniform(seed=SEED),
        [0.8151721, -0.44833198, -0.17505722, -0.20727521, -0.91394585, 0.4308011],
    ),
    "tail": (
        lambda: initializers.TruncatedNormal(0.0, 1.0, 5.25, None, seed=SEED),
        [5.6167564, 5.3141193, 5.3494897, 5.3449554, 5.265907, 5.465571],
    ),
}


@pytest.mark.parametrize("name", sorted(GOLDEN))
def test_golden_values(name):
    make, expected = GOLDEN[name]
    drawn = keras.ops.convert_to_numpy(make()((3, 2)))
    assert drawn.dtype == np.float32
    assert drawn.ravel().tolist() == np.array(expected, "float32").tolist()


def reference(shape):
    """NumPy's own generator, which is the definition."""
    return np.random.Generator(np.random.Philox(key=7)).random(shape)


def test_uniform_is_what_numpy_draws():
    drawn = numbers(initializers.RandomUniform(0.0, 1.0, seed=SEED)((700, 600), dtype="float32"))
    assert np.array_equal(drawn, reference((700, 600)).astype("float32"))


def test_normal_is_the_inverse_of_numpys_uniform():
    drawn = numbers(initializers.RandomNormal(0.5, 0.25, seed=SEED)((400, 300)))
    # SciPy's quantile at the middle of each cell, rounded once; its last digit may differ from that of another release.
    expected = 0.5 + 0.25 * stats.norm.ppf(reference((400, 300)) + 2.0**-54)
    np.testing.assert_allclose(drawn, expected, rtol=2.0**-24, atol=1e-12)


@pytest.mark.parametrize(("lower", "upper"), [(-2, 2), (-1, 3), (None, 0.5), (5.25, None), (-6, -5), (30, 30.05)])
def test_cut_normal_is_the_inverse_of_its_distribution(lower, upper):
    low, high = (-np.inf if lower is None else lower), (np.inf if upper is None else upper)
    drawn = numbers(initializers.TruncatedNormal(0.0, 1.0, lower, upper, seed=SEED)((2000,), dtype="float32"))
    u = reference((2000,))
    expected = stats.truncnorm.ppf(u if high > 0 else 1 - u, low, high)
    np.testing.assert_allclose(drawn, np.clip(expected, low, high).astype("float32"), rtol=2.0**-23)


def test_blocks_and_threads_do_not_show():
    """More values than one task draws, against one that draws them in one go."""
    shape = (3, portable._BLOCK + 5)
    drawn = numbers(initializers.RandomUniform(0.0, 1.0, seed=SEED)(shape))
    assert np.array_equal(drawn, reference(shape).astype("float32"))


@pytest.mark.parametrize("start", [0, 1, 2, 3, 4, 1003])
def test_the_stream_starts_anywhere(start):
    assert np.array_equal(SEED.uniform(start, 9), reference((2000,))[start : start + 9])


@pytest.mark.parametrize(
    "index",
    [
        np.s_[:, :, :],
        np.s_[2:5, :, :],
        np.s_[:, 3:4, :],
        np.s_[:, :, 1:6],
        np.s_[4:6, 1:3, 2:7],
        np.s_[0:0, :, :],
    ],
)
def test_a_part_is_that_of_the_whole(index):
    part = portable._part(SEED, (6, 5, 7), index, lambda u: u)
    assert np.array_equal(part, reference((6, 5, 7))[index])


def test_a_scalar_and_an_empty_weight():
    assert numbers(initializers.RandomUniform(0.0, 1.0, seed=SEED)(())) == np.float32(reference(())).astype("float64")
    assert tuple(initializers.HeNormal(seed=SEED)((3, 0)).shape) == (3, 0)


def test_narrow_dtypes_round_the_same_values():
    wide = initializers.HeNormal(seed=SEED)((50, 40))
    narrow = initializers.HeNormal(seed=SEED)((50, 40), dtype="bfloat16")
    assert np.array_equal(numbers(narrow), numbers(keras.ops.cast(wide, "bfloat16")))


@pytest.mark.parametrize("method", ["qr", "svd", "gaussian"])
def test_orthogonal_is_the_same_to_a_millionth(method):
    """The same normals go in; NumPy in float64 says what should come out."""
    drawn = numbers(initializers.Orthogonal(seed=SEED, method=method)((60, 40)))
    a = stats.norm.ppf(reference((60, 40)) + 2.0**-54).astype("float32").astype("float64")
    if method == "gaussian":
        expected = a / np.sqrt(60)
    elif method == "svd":
        u, _, v = np.linalg.svd(a, full_matrices=False)
        expected = u @ v
    else:
        expected = slow_product_of_reflections(a)
    assert np.abs(drawn - expected).max() <= 1e-6


def test_seeds_and_parts_are_streams_of_their_own():
    streams = [
        PortableSeed(7),
        PortableSeed(8),
        SEED.fold(0),
        SEED.fold(1),
        SEED.fold(0).fold(0),
        PortableSeed(2**64 - 1),
    ]
    drawn = np.array([one.uniform(0, 4000) for one in streams])
    correlation = np.corrcoef(drawn) - np.eye(len(streams))
    assert np.abs(correlation).max() <= 5 / np.sqrt(4000)
    assert np.corrcoef(drawn[0], SEED.uniform(0, 4000))[0, 1] > 0.999


def test_fold_keeps_the_kind_of_seed():
    generator = keras.random.SeedGenerator(3)
    assert fold(generator, 1) is generator
    assert fold(SEED, 1) == SEED.fold(1) != SEED
    assert isinstance(fold(5, 1), int)
    assert len({fold(5, index) for index in range(100)} | {5}) == 101
    assert 0 <= min(fold(seed, 0) for seed in range(200)) < 2**32


@pytest.mark.parametrize("value", [-1, 2**64])
def test_seeds_out_of_range(value):
    with pytest.raises(
        ValueError, match=rf"`seed` must be a whole number from 0 to 18446744073709551615.*seed={value}"
    ):
        PortableSeed(value)
    with pytest.raises(TypeError, match="`seed` must be a whole number"):
        PortableSeed("7")


def test_numpy_integers_and_equality():
    assert PortableSeed(np.int64(7)) == SEED
    assert hash(PortableSeed(7)) == hash(SEED)
    assert PortableSeed(8) != SEED
    assert SEED != 7
    assert repr(SEED) == "PortableSeed(7)"


def test_the_config_brings_it_back():
    original = initializers.HeNormal(seed=SEED)
    twin = keras.initializers.deserialize(keras.initializers.serialize(original))
    assert twin.seed == SEED
    assert np.array_equal(numbers(twin((3, 4))), numbers(original((3, 4))))
