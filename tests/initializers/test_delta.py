"""Kernels that act at the centre tap: through real convolutions, against slow references."""

import math

import keras
import numpy as np
import pytest
from laws import Law, assert_distribution, uniform
from scipy import stats

from keras_initlab.initializers import DeltaOrthogonal, Dirac, Orthogonal

SPATIAL = [(1,), (3,), (4,), (3, 3), (2, 5), (4, 4), (3, 3, 3), (2, 3, 4)]
CHANNELS = [(4, 4, 1), (4, 8, 1), (6, 4, 1), (4, 4, 2), (4, 8, 2), (6, 4, 2), (3, 3, 3)]
BOTH = [Dirac, DeltaOrthogonal]


def weight(initializer, shape, dtype=None):
    """In the dtype or, if that is narrower, in float32, without loss."""
    values = initializer(shape, dtype=dtype)
    return keras.ops.convert_to_numpy(values if dtype == "float64" else keras.ops.cast(values, "float32"))


def convolve(initializer, x, filters, spatial, **options):
    """What a Keras layer of this rank makes of x."""
    cls = {1: keras.layers.Conv1D, 2: keras.layers.Conv2D, 3: keras.layers.Conv3D}[len(spatial)]
    options = {"padding": "same", "use_bias": False, **options}
    return keras.ops.convert_to_numpy(cls(filters, spatial, kernel_initializer=initializer, **options)(x))


def signal(spatial, channels, batch=2):
    """Odd and even numbers of positions, both more than a kernel has taps."""
    sizes = (6, 7, 5)[: len(spatial)]
    return np.random.default_rng(0).normal(size=(batch, *sizes, channels)).astype("float32")


def singular_values(initializer, inputs, filters, spatial, groups=1):
    """Of the linear map from a whole signal to a whole signal: one basis vector after the other goes through it."""
    sizes = (5, 4, 3)[: len(spatial)]
    basis = np.eye(math.prod(sizes) * inputs, dtype="float32").reshape(-1, *sizes, inputs)
    images = convolve(initializer, basis, filters, spatial, groups=groups)
    return np.linalg.svd(images.reshape(len(basis), -1).astype("float64"), compute_uv=False)


class TestDirac:
    @pytest.mark.parametrize("spatial", SPATIAL)
    @pytest.mark.parametrize("groups", [1, 2, 4])
    def test_the_convolution_returns_its_input(self, spatial, groups):
        x = signal(spatial, 4)
        assert np.array_equal(convolve(Dirac(groups=groups), x, 4, spatial, groups=groups), x)

    def test_of_two_middle_taps_the_other_one_would_shift(self):
        x = signal((4, 3), 4)

        def other(shape, dtype=None):
            return np.flip(weight(Dirac(), shape), axis=0).astype("float32")

        assert np.array_equal(convolve(other, x, 4, (4, 3))[:, :-1], x[:, 1:])

    @pytest.mark.parametrize("size", [1, 2, 3, 4])
    def test_a_causal_convolution_comes_late(self, size):
        x, late = signal((size,), 4), size // 2
        y = convolve(Dirac(), x, 4, (size,), padding="causal")
        assert not y[:, :late].any()
        assert np.array_equal(y[:, late:], x[:, : x.shape[1] - late])

    @pytest.mark.parametrize(("inputs", "filters", "groups"), CHANNELS)
    @pytest.mark.parametrize("spatial", [(4,), (3, 2)])
    def test_every_entry(self, inputs, filters, groups, spatial):
        expected = np.zeros((*spatial, inputs // groups, filters))
        centre = tuple((size - 1) // 2 for size in spatial)
        for group in range(groups):
            for channel in range(min(inputs, filters) // groups):
                expected[(*centre, channel, group * (filters // groups) + channel)] = -0.5
        assert np.array_equal(weight(Dirac(-0.5, groups), expected.shape), expected)

    def test_further_filters_are_zero_and_further_channels_lost(self):
        x = signal((3, 3), 4)
        wide, narrow = convolve(Dirac(), x, 6, (3, 3)), convolve(Dirac(), x, 3, (3, 3))
        assert np.array_equal(wide[..., :4], x)
        assert not wide[..., 4:].any()
        assert np.array_equal(narrow, x[..., :3])


class TestDeltaOrthogonal:
    @pytest.mark.parametrize(("inputs", "filters", "groups"), CHANNELS)
    @pytest.mark.parametrize("spatial", [(3,), (4, 3), (3, 2, 3)])
    def test_every_singular_value_of_the_convolution(self, inputs, filters, groups, spatial):
        """The gain, as often as there are directions that can be kept at each position; the others are lost."""
        initializer = DeltaOrthogonal(gain=1.5, groups=groups, seed=1)
        found = singular_values(initializer, inputs, filters, spatial, groups)
        positions = math.prod((5, 4, 3)[: len(spatial)])
        expected = np.zeros(len(found))
        expected[: positions * min(inputs, filters)] = 1.5
        np.testing.assert_allclose(found, expected, atol=5e-6)

    @pytest.mark.parametrize(("filters", "groups"), [(4, 1), (4, 2), (9, 1), (8, 4)])
    def test_the_norm_of_every_input_is_kept_where_there_are_filters_enough(self, filters, groups):
        x = signal((3, 4), 4, batch=20)
        y = convolve(DeltaOrthogonal(groups=groups, seed=1), x, filters, (3, 4), groups=groups)
        norms = [np.linalg.norm(values.reshape(20, -1), axis=1) for values in (x, y)]
        np.testing.assert_allclose(norms[1], norms[0], rtol=2e-6)

    def test_an_orthogonal_flattened_kernel_does_not_keep_it(self):
        found = singular_values(Orthogonal(seed=1), 4, 4, (3, 3))
        assert found.max() / found.min() > 10

    @pytest.mark.parametrize("spatial", SPATIAL)
    def test_zero_but_at_the_centre(self, spatial):
        kernel = weight(DeltaOrthogonal(seed=1), (*spatial, 4, 6))
        centre = tuple((size - 1) // 2 for size in spatial)
        matrix = kernel[centre].copy()
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(4), atol=5e-6)
        kernel[centre] = 0.0
        assert not kernel.any()

    @pytest.mark.parametrize(("dtype", "eps"), [("float16", 2**-10), ("bfloat16", 2**-7), ("float64", 2**-52)])
    def test_every_dtype_to_its_own_rounding(self, dtype, eps):
        """Entries are off by eps/2 of themselves, so a product of two unit vectors by eps at most."""
        if dtype == "float64" and keras.backend.backend() != "tensorflow":
            pytest.skip("Only on TensorFlow do all of Keras's operations keep float64.")
        matrix = weight(DeltaOrthogonal(seed=1), (3, 20, 30), dtype)[1]
        assert np.abs(matrix @ matrix.T - np.eye(20)).max() <= max(2 * eps, 1e-14)

    def test_groups_are_haar_and_independent_of_each_other(self):
        groups = np.moveaxis(weight(DeltaOrthogonal(groups=1500, seed=3), (1, 3, 4500))[0].reshape(3, 1500, 3), 1, 0)
        assert_independent_and_haar(groups)

    def test_the_check_refuses_groups_that_repeat(self):
        one = weight(DeltaOrthogonal(seed=3), (1, 3, 3))[0]
        with pytest.raises(AssertionError, match=r"distance|neighbours"):
            assert_independent_and_haar(np.stack([one] * 1500))
        pairs = stats.ortho_group(3, seed=np.random.default_rng(2)).rvs(750)
        with pytest.raises(AssertionError, match="neighbours"):
            assert_independent_and_haar(np.repeat(pairs, 2, axis=0))

    def test_the_check_refuses_qr_without_the_signs(self):
        raw = np.stack([np.linalg.qr(a)[0] for a in np.random.default_rng(1).normal(size=(1500, 3, 3))])
        with pytest.raises(AssertionError, match="distance"):
            assert_independent_and_haar(raw)

    def test_the_angle_of_a_plane_rotation_is_uniform(self):
        kernel = weight(DeltaOrthogonal(groups=1000, seed=3), (3, 2, 2000))[1].reshape(2, 1000, 2)
        assert_distribution(np.arctan2(kernel[1, :, 0], kernel[0, :, 0]), uniform(-math.pi, math.pi))


def assert_independent_and_haar(q):
    """What independent uniform matrices of size n imply for a stack of them."""
    count, n, _ = q.shape
    # One coordinate t of a unit vector uniform on the sphere: (t + 1) / 2 is Beta((n − 1)/2, (n − 1)/2).
    for row, column in [(0, 0), (0, n - 1), (n - 1, 0), (n - 1, n - 1)]:
        assert_distribution(q[:, row, column], Law(stats.beta((n - 1) / 2, (n - 1) / 2, loc=-1, scale=2)))
    # PᵀQ of independent P and Q is uniform too, and so are the traces of separate pairs: mean 0, variance 1.
    trace = np.einsum("gij,gij->g", q[0::2], q[1::2])
    assert abs(trace.mean()) <= 5 / math.sqrt(count / 2), "neighbours"


@pytest.mark.parametrize("cls", BOTH)
class TestShapes:
    @pytest.mark.parametrize("shape", [(), (4,), (4, 4), (2, 2, 2, 2, 3, 3)])
    def test_other_ranks_are_refused(self, cls, shape):
        message = rf"{cls.__name__} needs the shape of a convolution kernel.*Received: shape=\(.*Use Orthogonal or"
        with pytest.raises(ValueError, match=message):
            cls()(shape)

    def test_groups_that_do_not_divide_the_filters(self, cls):
        message = rf"{cls.__name__}\(groups=3\) needs a number of filters, .* that 3 divides. Received: shape=\(3, 2, 4"
        with pytest.raises(ValueError, match=message):
            cls(groups=3)((3, 2, 4))

    @pytest.mark.parametrize("shape", [(0, 3, 4), (3, 0, 4), (3, 4, 0), (2, 0, 3, 4)])
    def test_empty(self, cls, shape):
        assert tuple(cls(groups=2)(shape).shape) == shape
