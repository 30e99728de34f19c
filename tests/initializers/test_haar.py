"""Orthogonal weights: exact first, then uniform over all orthogonal matrices."""

import math

import keras
import numpy as np
import pytest
from laws import FLOATS, Law, assert_distribution, numbers, slow_product_of_reflections, uniform
from scipy import stats

from keras_initlab.initializers import Orthogonal, factors, sampling

# The other backends round float64 to float32 in some of Keras's operations.
TENSORFLOW = keras.backend.backend() == "tensorflow"
METHODS = ["qr", "svd"]


def matrix(initializer, shape, dtype=None):
    """Flattened as Keras flattens a kernel, in float64."""
    return numbers(initializer(shape, dtype=dtype)).reshape(-1, shape[-1])


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
    assert defect(numbers(q).reshape(-1, shape[-1])) <= 1e-6


@pytest.mark.parametrize("method", METHODS)
def test_large_and_square(method):
    assert defect(matrix(Orthogonal(seed=1, method=method), (1024, 1024))) <= 1e-6


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", FLOATS)
def test_every_dtype_to_its_own_rounding(dtype, method):
    eps = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}[dtype]
    # In float64 it is that of the last product, a sum of 96 terms.
    assert defect(matrix(Orthogonal(seed=1, method=method), (96, 64), dtype)) <= (4 if dtype != "float64" else 10) * eps


def drawn_from(a, dtype, monkeypatch):
    """What ``haar`` makes of given normals: it asks for a whole matrix, or for the lower blocks of one in a row."""

    def given(shape, *_):
        blocks = [a[start:, start : start + factors._BLOCK] for start in range(0, a.shape[-1], factors._BLOCK)]
        values = a if shape == a.shape else np.concatenate([block.ravel() for block in blocks])
        return keras.ops.convert_to_tensor(values.astype(dtype))

    monkeypatch.setattr(sampling, "normal", given)
    return numbers(factors.haar(a.shape, dtype, 0))


TOLERANCES = [("float32", 1e-6), ("float64", 1e-12)][: 2 if TENSORFLOW else 1]


@pytest.mark.parametrize("shape", [(600, 600), (400, 250), (257, 256), (128, 64), (200, 3), (1, 1)])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_blocks_are_the_product_of_all_reflections(shape, dtype, tolerance, monkeypatch):
    a = np.random.default_rng(1).normal(size=shape).astype("float32")
    expected = slow_product_of_reflections(a.astype("float64"))
    assert np.abs(drawn_from(a, dtype, monkeypatch) - expected).max() <= tolerance


@pytest.mark.parametrize("shape", [(1000, 3), (600, 300), (257, 128), (5, 600, 200)])
@pytest.mark.parametrize(("dtype", "tolerance"), TOLERANCES)
def test_a_tall_one_is_the_factor_of_qr(shape, dtype, tolerance, monkeypatch):
    """Against LAPACK: Q with a positive diagonal of R is unique."""
    a = np.random.default_rng(1).normal(size=shape).astype("float32")
    q, r = np.linalg.qr(a.astype("float64"))
    expected = q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[..., None, :]
    assert np.abs(drawn_from(a, dtype, monkeypatch) - expected).max() <= tolerance


def test_one_column_is_the_column_of_qr():
    """The reference is Householder's algorithm: its first column is that of LAPACK's Q with a positive diagonal."""
    a = np.random.default_rng(1).normal(size=(50, 20))
    q, r = np.linalg.qr(a[:, :1])
    np.testing.assert_allclose(slow_product_of_reflections(a)[:, :1], q * np.sign(r), atol=1e-14)


class TestAxes:
    """Rows are the inputs, columns the outputs, wherever they lie."""

    def test_attention_output_projection(self):
        w = numbers(Orthogonal(seed=1, input_axes=[0, 1])((8, 4, 24)))
        assert defect(w.reshape(32, 24)) <= 1e-6

    def test_attention_query_projection(self):
        w = numbers(Orthogonal(seed=1, output_axes=[1, 2])((24, 8, 4)))
        assert defect(w.reshape(24, 32)) <= 1e-6

    def test_each_head_on_its_own(self):
        w = numbers(Orthogonal(seed=1, batch_axes=[1])((24, 8, 4)))
        heads = np.moveaxis(w, 1, 0)
        assert max(map(defect, heads)) <= 1e-6
        # Independent: an entry of AᵀB of two such heads has variance 1/24.
        assert np.abs(heads[0].T @ heads[1]).max() <= 5 / math.sqrt(24)
        assert defect(w.reshape(24, 32)) > 0.1

    def test_transposed_kernel(self):
        w = numbers(Orthogonal(seed=1, input_axes=[-1], output_axes=[-2])((2, 2, 6, 5)))
        assert defect(np.moveaxis(w, -1, -2).reshape(20, 6)) <= 1e-6

    def test_receptive_field_belongs_to_the_rows(self):
        w = numbers(Orthogonal(seed=1)((3, 3, 2, 7)))
        assert defect(w.reshape(18, 7)) <= 1e-6


@pytest.mark.parametrize(("rows", "columns", "factor"), [(30, 120, 2.0), (30, 30, 1.0), (120, 30, 1.0)])
def test_variance_preserving(rows, columns, factor):
    w = matrix(Orthogonal(gain=1.5, seed=1, variance_preserving=True), (rows, columns))
    assert np.linalg.svd(w, compute_uv=False) == pytest.approx(np.full(30, 1.5 * factor), rel=1e-6)


@pytest.mark.parametrize("shape", [(400, 100), (100, 400)])
def test_gaussian_is_orthogonal_in_the_mean(shape):
    w = matrix(Orthogonal(seed=1, method="gaussian"), shape)
    tall = w if shape[0] > shape[1] else w.T
    gram = tall.T @ tall - np.eye(100)
    # Entries of the Gram matrix: variance 2/n on the diagonal and 1/n off it, nearly normal; five standard errors.
    off = gram[np.triu_indices(100, 1)]
    assert abs(np.diag(gram).std() / math.sqrt(2 / 400) - 1) <= 5 / math.sqrt(2 * 100)
    assert abs(off.std() / math.sqrt(1 / 400) - 1) <= 5 / math.sqrt(2 * off.size)
    assert defect(tall) > 0.05


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
    return _draws((3, 3), 20_000, request.param)


def _draws(shape, count, method):
    return numbers(Orthogonal(seed=17, method=method, batch_axes=[0])((count, *shape)))


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
    q = _draws((2, 2), 20_000, method)
    assert_distribution(np.arctan2(q[:, 1, 0], q[:, 0, 0]), uniform(-math.pi, math.pi))


@pytest.mark.parametrize("shape", [(5, 2), (2, 5)])
def test_a_unit_vector_of_a_rectangle_is_uniform_on_the_sphere(shape):
    # In a wide matrix it is the rows that are orthonormal; either way an entry is a coordinate in five dimensions.
    assert_distribution(_draws(shape, 20_000, "qr")[:, 0, 0], Law(stats.beta(2, 2, loc=-1, scale=2)))


def test_the_check_refuses_qr_without_the_signs():
    raw = np.stack([np.linalg.qr(a)[0] for a in np.random.default_rng(1).normal(size=(20_000, 3, 3))])
    with pytest.raises(AssertionError, match=r"distance|fourth moment|determinant|trace"):
        assert_haar(raw)


def test_the_check_refuses_rotations_only(square):
    rotations = square * np.sign(np.linalg.det(square))[:, None, None]
    with pytest.raises(AssertionError, match="determinant"):
        assert_haar(rotations)


def test_the_check_refuses_normals():
    with pytest.raises(AssertionError, match=r"distance|fourth moment|determinant|trace"):
        assert_haar(_draws((3, 3), 20_000, "gaussian"))


def test_the_check_accepts_an_independent_sampler():
    assert_haar(stats.ortho_group(3, seed=np.random.default_rng(2)).rvs(20_000))
