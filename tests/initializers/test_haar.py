"""Orthogonal weights: exact first, then uniform over all orthogonal matrices."""

import math

import keras
import numpy as np
import pytest
from laws import Law, assert_distribution, uniform
from scipy import stats

from keras_initlab.initializers import Orthogonal, factors, sampling

METHODS = ["qr", "svd"]
DTYPES = ["float16", "bfloat16", "float32", "float64"]


def matrix(initializer, shape, dtype=None):
    """Flattened as Keras flattens a kernel, in float64."""
    return np.asarray(keras.ops.cast(initializer(shape, dtype=dtype), "float64")).reshape(-1, shape[-1])


def defect(q):
    """Largest entry of QᵀQ − I, or of QQᵀ − I for a wide matrix."""
    gram = q.T @ q if q.shape[0] >= q.shape[1] else q @ q.T
    return np.abs(gram - np.eye(len(gram))).max()


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    "shape", [(64, 64), (200, 30), (30, 200), (3, 3, 8, 40), (5, 1), (1, 5), (1, 1), (2, 1, 1, 3, 4)]
)
def test_orthonormal_in_every_shape(shape, method):
    q = Orthogonal(seed=1, method=method)(shape)
    assert tuple(q.shape) == shape
    assert defect(np.asarray(q, "float64").reshape(-1, shape[-1])) <= 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_large_and_square(method):
    assert defect(matrix(Orthogonal(seed=1, method=method), (1024, 1024))) <= 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", DTYPES)
def test_every_dtype_to_its_own_rounding(dtype, method):
    """Or to that of the factorisation, which is carried out in float64."""
    eps = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}[dtype]
    assert defect(matrix(Orthogonal(seed=1, method=method), (96, 64), dtype)) <= max(4 * eps, 2e-14)


@pytest.mark.parametrize("shape", [(300, 300), (400, 150), (129, 128), (128, 64), (1000, 3)])
def test_blocks_give_the_factor_of_the_whole(shape):
    """Against LAPACK: Q with a positive diagonal of R is unique, so block by block must give the same one."""
    a = np.random.default_rng(1).normal(size=shape)
    q, r = np.linalg.qr(a)
    # An error of R near a small diagonal entry is magnified by the condition number, here up to about 1e4.
    np.testing.assert_allclose(factors.qr_factor(keras.ops.convert_to_tensor(a)), q * np.sign(np.diag(r)), atol=1e-10)


def test_keras_has_no_bfloat16():
    with pytest.raises(Exception, match=r"bfloat16|not supported|Could not find"):
        keras.initializers.Orthogonal(seed=1)((4, 4), dtype="bfloat16")


@pytest.mark.parametrize("method", METHODS)
def test_gain_is_every_singular_value(method):
    singular = np.linalg.svd(matrix(Orthogonal(math.sqrt(2), 1, method), (40, 30)), compute_uv=False)
    assert singular == pytest.approx(np.full(30, math.sqrt(2)), rel=1e-6)


@pytest.mark.parametrize("shape", [(0, 4), (4, 0), (3, 0, 2)])
def test_empty(shape):
    assert tuple(Orthogonal(seed=1)(shape).shape) == shape


@pytest.mark.parametrize("shape", [(), (4,)])
def test_rank_below_two(shape):
    with pytest.raises(ValueError, match=r"two axes or more. Received: shape=\(.*zeros or a normal law for a bias"):
        Orthogonal()(shape)


def test_a_zero_on_the_diagonal_of_r_erases_no_column(monkeypatch):
    monkeypatch.setattr(sampling, "normal", lambda shape, *_: keras.ops.zeros(shape))
    assert defect(matrix(Orthogonal(), (4, 3))) <= 1e-6


@pytest.fixture(scope="module", params=METHODS)
def square(request):
    """Many matrices of one size."""
    return _draws((3, 3), 1500, request.param)


def _draws(shape, count, method):
    generator = keras.random.SeedGenerator(17)
    initializer = Orthogonal(seed=generator, method=method)
    return np.stack([matrix(initializer, shape) for _ in range(count)])


def assert_haar(q):
    """What the uniform law on O(n) implies for a stack of matrices, each at five standard errors."""
    count, n, _ = q.shape
    # One coordinate t of a unit vector uniform on the sphere: (t + 1) / 2 is Beta((n − 1)/2, (n − 1)/2).
    coordinate = Law(stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2))
    for row, column in [(0, 0), (0, n - 1), (n - 1, 0), (n - 1, n - 1)]:
        assert_distribution(q[:, row, column], coordinate)
    # E t⁴ = 3/(n(n+2)); E t⁸ = 105/(n(n+2)(n+4)(n+6)) gives its error. Entries of one matrix depend on each other.
    fourth, eighth = 3 / (n * (n + 2)), 105 / (n * (n + 2) * (n + 4) * (n + 6))
    assert abs(np.mean(q[:, 0, 0] ** 4) - fourth) <= 5 * math.sqrt((eighth - fourth**2) / count), "fourth moment"
    # Both signs of the determinant are equally likely: binomial error ½/√count.
    assert abs(np.mean(np.linalg.det(q) > 0) - 0.5) <= 2.5 / math.sqrt(count), "determinant"
    # E tr Q = 0 and E (tr Q)² = 1, with E (tr Q)⁴ = 3 for n ≥ 2 (Diaconis & Shahshahani 1994).
    trace = np.trace(q, axis1=1, axis2=2)
    assert abs(trace.mean()) <= 5 / math.sqrt(count), "trace"
    assert abs(np.mean(trace**2) - 1) <= 5 * math.sqrt(2 / count), "trace squared"


def test_haar(square):
    assert_haar(square)


@pytest.mark.parametrize("method", METHODS)
def test_angle_of_a_plane_rotation_is_uniform(method):
    q = _draws((2, 2), 600, method)
    assert_distribution(np.arctan2(q[:, 1, 0], q[:, 0, 0]), uniform(-math.pi, math.pi))


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)])
def test_a_unit_vector_of_a_rectangle_is_uniform_on_the_sphere(shape):
    # In a wide matrix it is the rows that are orthonormal; either way an entry is a coordinate in five dimensions.
    assert_distribution(_draws(shape, 400, "qr")[:, 0, 0], Law(stats.beta(2, 2, loc=-1, scale=2)))


def test_the_check_refuses_qr_without_the_signs():
    raw = np.stack([np.linalg.qr(a)[0] for a in np.random.default_rng(1).normal(size=(1500, 3, 3))])
    with pytest.raises(AssertionError):
        assert_haar(raw)


def test_the_check_refuses_rotations_only(square):
    rotations = square * np.sign(np.linalg.det(square))[:, None, None]
    with pytest.raises(AssertionError, match="determinant"):
        assert_haar(rotations)


def test_the_check_accepts_an_independent_sampler():
    assert_haar(stats.ortho_group(3, seed=np.random.default_rng(2)).rvs(1500))
