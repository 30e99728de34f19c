"""Where Keras falls short and an initializer alone can mend it: what is right, and what Keras does.

Keras's half of each pair asserts what the release named in ``MEASURED`` does. A release that does better fails it, with
a message that says what to delete. Run as a script, this file draws on the backend that the environment names.
"""

import importlib.util
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest
from laws import FLOATS, assert_mean, assert_std, cut_normal, numbers
from scipy import stats
from shortfalls import MEASURED, shortfall
from test_haar import defect
from test_laws import scaled

import keras_initlab
from keras_initlab.initializers import (
    REGISTRY,
    Dirac,
    FromFile,
    GlorotNormal,
    Orthogonal,
    PortableSeed,
    RandomNormal,
    RandomUniform,
    TruncatedNormal,
    VarianceScaling,
)
from keras_initlab.theory import fans

BACKEND = keras.backend.backend()


class TestShortfall:
    """The helper tells every way in which an assertion about Keras can fail, and nothing else."""

    NEWS = rf"^Keras \d\S+ does not do what Keras {re.escape(MEASURED)} did: it does. If it has mended this, delete"

    def test_news_of_a_failed_assertion(self):
        with pytest.raises(AssertionError, match=self.NEWS), shortfall("it does"):
            assert math.sqrt(2) == 1.5

    def test_news_of_an_error_that_did_not_come(self):
        with pytest.raises(AssertionError, match=self.NEWS), shortfall("it does"), pytest.raises(ValueError, match="x"):
            pass

    def test_no_news(self):
        with shortfall("it does"), pytest.raises(ValueError, match="literal"):
            int("x")


def output(layer, image, count, stddev=1.0):
    """What the layer makes of standard normal inputs, multiplied by ``stddev``."""
    x = stddev * np.random.default_rng(1).standard_normal((count, *image))
    return numbers(layer(x.astype("float32")))


def assert_mean_square(y, expected, fan_in):
    """The mean square of N outputs of U units, each with weights of its own.

    For normal inputs and independent weights of kurtosis k its relative variance, over both, is at most that of units
    that see the same inputs, 2/(NU) + 2/(NF) + (k − 1)/(UF) + 2(k − 2)/(NUF) with F the fan-in.
    """
    count, units = len(y), y[0].size
    k = scaled("truncated_normal", 1.0).kurtosis
    per_pair = 2 + 2 * units / fan_in + (k - 1) * count / fan_in + 2 * (k - 2) / fan_in
    ratio, band = np.mean(y**2) / expected, 5 * math.sqrt(per_pair / (count * units))
    assert abs(ratio - 1) <= band, f"mean square {ratio} of the expected {expected}; band {band}"


def test_the_check_refuses_five_percent():
    """A fan-in of 256, as the transposed kernel below has it; the band is 2.4 %."""
    law, rng = scaled("truncated_normal", 1 / 256), np.random.default_rng(1)
    y = rng.standard_normal((512, 256)) @ law.distribution.rvs((256, 1024), random_state=rng)
    assert_mean_square(y, 1.0, fan_in=256)
    for wrong in (0.95, 1.05):
        with pytest.raises(AssertionError, match="mean square"):
            assert_mean_square(y, wrong, fan_in=256)


EPS = {"float16": 2**-10, "bfloat16": 2**-7, "float32": 2**-23, "float64": 2**-52}
KERAS_HAS_NO_QR = {"tensorflow": ["bfloat16"], "jax": ["bfloat16", "float16"], "torch": ["bfloat16", "float16"]}.get(
    BACKEND, []
)


class TestOrthogonalInNarrowDtypes:
    """The factorization is there for wide dtypes only: it has to be taken in one, and cast."""

    def lstm(self, law, dtype):
        layer = keras.layers.LSTM(8, dtype=dtype, kernel_initializer="zeros", recurrent_initializer=law)
        layer.build((None, 3, 4))
        return layer

    @pytest.mark.parametrize("dtype", FLOATS)
    def test_an_lstm_builds_in_every_dtype(self, dtype):
        layer = self.lstm(Orthogonal(seed=1), dtype)
        kernel = layer.cell.recurrent_kernel
        assert keras.backend.standardize_dtype(kernel.dtype) == dtype
        assert defect(numbers(kernel)) <= max(4 * EPS[dtype], 1e-6)

    @pytest.mark.parametrize("dtype", KERAS_HAS_NO_QR)
    def test_keras_cannot_build_that_lstm(self, dtype):
        missing = r"not in the list of allowed values|Unsupported dtype|not implemented for|Could not find"
        with shortfall(f"Orthogonal and the LSTM raise in {dtype}"):
            with pytest.raises(Exception, match=missing):
                keras.initializers.Orthogonal(seed=1)((8, 32), dtype=dtype)
            with pytest.raises(Exception, match=missing):
                self.lstm("orthogonal", dtype)


class TestNarrowDtypes:
    """Drawn in a narrow dtype, a law has as many values as that dtype has in [1, 2); drawn wide, all that it has."""

    STANDARD = cut_normal(0.0, 1.0, -2, 2)

    @pytest.mark.parametrize(("dtype", "least"), [("float16", 3000), ("bfloat16", 1000)])
    def test_takes_the_values_it_has(self, dtype, least):
        assert np.unique(numbers(TruncatedNormal(seed=1)((10_000,), dtype))).size > least
        assert np.unique(numbers(RandomUniform(seed=1)((10_000,), dtype))).size > least / 1.5

    @pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
    def test_keeps_its_mean_and_its_deviation(self, dtype):
        """A million values: the bands are .5 % of sigma for the mean and .3 % for sigma."""
        values = numbers(TruncatedNormal(0.0, 1.0, seed=1)((1_000_000,), dtype))
        assert_mean(values, self.STANDARD)
        assert_std(values, self.STANDARD)

    @pytest.mark.skipif(BACKEND not in ("tensorflow", "jax"), reason="elsewhere Keras has more values")
    @pytest.mark.parametrize(("dtype", "most"), [("float16", 1024), ("bfloat16", 128)])
    def test_keras_draws_a_uniform_from_few_values(self, dtype, most):
        with shortfall(f"a uniform law in {dtype} has {most} values"):
            assert np.unique(numbers(keras.initializers.RandomUniform(seed=1)((10_000,), dtype))).size <= most

    @pytest.mark.skipif(BACKEND != "jax", reason="elsewhere Keras has more values")
    @pytest.mark.parametrize(("dtype", "most"), [("float16", 1024), ("bfloat16", 128)])
    def test_keras_draws_a_normal_from_few_values(self, dtype, most):
        with shortfall(f"normal laws in {dtype} have {most} values"):
            for law in (keras.initializers.TruncatedNormal(seed=1), keras.initializers.RandomNormal(seed=1)):
                assert np.unique(numbers(law((10_000,), dtype))).size <= most

    @pytest.mark.skipif(BACKEND != "jax", reason="elsewhere Keras has more values")
    def test_keras_draws_a_normal_off_its_mean(self):
        """By 1.6 % of sigma, sixteen standard errors."""
        values = numbers(keras.initializers.TruncatedNormal(0.0, 1.0, seed=1)((1_000_000,), "bfloat16"))
        with shortfall("a normal law in bfloat16 lies 1.6 % of sigma below its mean"):
            assert values.mean() < -0.01 * self.STANDARD.std


CHANNELS = 512
DEPTHWISE = [
    pytest.param(lambda law: keras.layers.DepthwiseConv2D(3, depthwise_initializer=law), id="DepthwiseConv2D"),
    # The pointwise half hands on what it gets.
    pytest.param(
        lambda law: keras.layers.SeparableConv2D(CHANNELS, 3, depthwise_initializer=law, pointwise_initializer=Dirac()),
        id="SeparableConv2D",
    ),
]


class TestDepthwiseKernel:
    """(k, k, channels, multiplier): each channel is a convolution of its own, with fan-in k²."""

    @pytest.mark.parametrize("layer", DEPTHWISE)
    @pytest.mark.parametrize(("name", "variance"), [("LecunNormal", 1.0), ("HeNormal", 2.0)])
    def test_output_variance(self, layer, name, variance):
        y = output(layer(REGISTRY[name].cls(seed=1, batch_axes=[-2])), (3, 3, CHANNELS), 512)
        assert_mean_square(y, variance, fan_in=9)

    @pytest.mark.parametrize("layer", DEPTHWISE)
    @pytest.mark.parametrize(("name", "variance"), [("LecunNormal", 1.0), ("HeNormal", 2.0)])
    def test_keras_divides_it_by_the_number_of_channels(self, layer, name, variance):
        y = output(layer(getattr(keras.initializers, name)(seed=1)), (3, 3, CHANNELS), 512)
        with shortfall("the fan-in of a depthwise kernel counts all channels"):
            assert_mean_square(y, variance / CHANNELS, fan_in=9)


class TestTransposedKernel:
    """(k, k, out, in): 64 channels to 256, kernel 4, stride 2. A stride lets one in s² of the taps reach an output."""

    STRIDE, FAN_IN = 2, 64 * 4**2 // 2**2

    def inner(self, law):
        """The outputs that all taps reach, for inputs such as ReLU leaves, of mean square ½."""
        layer = keras.layers.Conv2DTranspose(256, 4, strides=self.STRIDE, kernel_initializer=law)
        return output(layer, (2, 2, 64), 512, math.sqrt(0.5))[:, 2:-2, 2:-2]

    def test_fan_in_is_the_number_of_taps_that_reach_an_output(self):
        ones = keras.layers.Conv2DTranspose(256, 4, strides=self.STRIDE, kernel_initializer="ones")
        reached = numbers(ones(np.ones((1, 2, 2, 64), "float32")))[:, 2:-2, 2:-2]
        fan_in, fan_out = fans(ones.kernel.shape, (-1,), (-2,), strides=self.STRIDE, transposed=True)
        assert (reached == fan_in).all()
        assert (fan_in, fan_out) == (self.FAN_IN, 256 * 4**2)

    def test_output_variance(self):
        """An initializer knows no strides: their square goes into the scale."""
        law = VarianceScaling(2.0 * self.STRIDE**2, seed=1, input_axes=[-1], output_axes=[-2])
        assert_mean_square(self.inner(law), 1.0, self.FAN_IN)

    def test_keras_swaps_the_fans_and_leaves_the_strides_out(self):
        """64/256 for the one and 1/4 for the other: a sixteenth, and less where the border adds zeros."""
        with shortfall("the fans of a transposed kernel are swapped, and strides do not count"):
            assert_mean_square(self.inner(keras.initializers.HeNormal(seed=1)), 1 / 16, self.FAN_IN)


class TestGroupedKernel:
    """(k, k, in / groups, out): an input reaches the outputs of its own group only."""

    GROUPS = 4

    def kernel(self, law):
        layer = keras.layers.Conv2D(64, 3, groups=self.GROUPS, kernel_initializer=law)
        layer.build((None, 5, 5, 32))
        return numbers(layer.kernel)

    def test_fan_out_is_the_number_of_outputs_that_an_input_reaches(self):
        ones = keras.layers.Conv2D(64, 3, groups=self.GROUPS, padding="same", kernel_initializer="ones")
        image = np.zeros((1, 5, 5, 32), "float32")
        image[0, 2, 2, 7] = 1.0
        reached = np.count_nonzero(numbers(ones(image)))
        assert fans(ones.kernel.shape, groups=self.GROUPS) == (9 * 32 // 4, reached) == (72, 144)

    def test_variance(self):
        """An initializer knows no groups: their number goes into the scale."""
        assert_std(self.kernel(VarianceScaling(self.GROUPS, "fan_out", seed=1)), scaled("truncated_normal", 1 / 144))

    def test_keras_counts_the_outputs_of_all_groups(self):
        theirs = self.kernel(keras.initializers.VarianceScaling(1.0, "fan_out", seed=1))
        with shortfall("the fan-out of a grouped kernel counts all groups"):
            assert_std(theirs, scaled("truncated_normal", 1 / 576))


class TestStackOfMatrices:
    """EinsumDense "bnd,ndf->bnf", sixteen matrices from 64 to 32: n is an axis of both operands and of the result."""

    def layer(self, law):
        return keras.layers.EinsumDense("bnd,ndf->bnf", (16, 32), kernel_initializer=law)

    def test_output_variance(self):
        law = GlorotNormal(seed=1, batch_axes=[0], input_axes=[1], output_axes=[2])
        assert_mean_square(output(self.layer(law), (16, 64), 512), 64 * 2 / (64 + 32), fan_in=64)

    def test_keras_counts_the_shared_axis_as_output(self):
        y = output(self.layer(keras.initializers.GlorotNormal(seed=1)), (16, 64), 512)
        with shortfall("EinsumDense takes an axis of both operands and the result for an output"):
            assert_mean_square(y, 64 * 2 / (64 + 16 * 32), fan_in=64)

    def test_keras_replaces_the_one_list_that_was_declared(self):
        """Whatever the initializer, so that all axes have to be declared here."""
        layer = self.layer(keras.initializers.GlorotNormal(seed=1, output_axes=[2]))
        layer.build((None, 16, 64))
        with shortfall("EinsumDense replaces a single list of axes without a word"):
            assert_std(numbers(layer.kernel), scaled("truncated_normal", 2 / (64 + 16 * 32)))

    def test_a_batch_axis_that_the_layer_takes_for_an_output_is_told(self):
        """The layer puts its own axes where one of the two lists is missing: a contradiction, and no silent choice."""
        with pytest.raises(ValueError, match=r"must not share an axis. Received: .*batch_axes=\(0,\), which share"):
            self.layer(GlorotNormal(batch_axes=[0])).build((None, 16, 64))


class TestDeclaredAxes:
    """Called by themselves, outside of any layer, for a kernel of 16 taps, 64 inputs and 32 outputs."""

    SHAPE = (16, 64, 32)

    def test_one_list_alone_counts(self):
        """Without output axes, the outputs are what is left."""
        ours = VarianceScaling(seed=1, input_axes=[2])(self.SHAPE)
        assert_std(numbers(ours), scaled("truncated_normal", 1 / 32))

    def test_keras_ignores_one_list_alone(self):
        theirs = keras.initializers.VarianceScaling(seed=1, input_axes=[2])(self.SHAPE)
        with shortfall("one of input_axes and output_axes alone is ignored"):
            assert_std(numbers(theirs), scaled("truncated_normal", 1 / (16 * 64)))

    def test_axes_that_are_neither_are_the_receptive_field(self):
        ours = VarianceScaling(seed=1, input_axes=[1], output_axes=[2])(self.SHAPE)
        assert_std(numbers(ours), scaled("truncated_normal", 1 / (16 * 64)))

    def test_keras_drops_axes_that_are_neither(self):
        theirs = keras.initializers.VarianceScaling(seed=1, input_axes=[1], output_axes=[2])(self.SHAPE)
        with shortfall("axes in neither list count in no fan"):
            assert_std(numbers(theirs), scaled("truncated_normal", 1 / 64))


class TestQueryProjection:
    """(features, heads, size): a matrix from the features to all heads."""

    def singular(self, law):
        return np.linalg.svd(numbers(law((64, 8, 8))).reshape(64, 64), compute_uv=False)

    def test_every_singular_value_is_one(self):
        ours = self.singular(Orthogonal(seed=1, output_axes=[1, 2]))
        assert ours == pytest.approx(np.ones(64), abs=1e-6)

    def test_keras_flattens_it_the_wrong_way(self):
        theirs = self.singular(keras.initializers.Orthogonal(seed=1))
        with shortfall("Orthogonal takes the heads of a query kernel for inputs"):
            assert theirs.min() < 0.02
            assert theirs.max() < 0.8


class TestASavedModel:
    """Values of the user's own, and a class of the user's own."""

    KERNEL = np.arange(12.0, dtype="float32").reshape(3, 4)

    def saved(self, law, folder):
        model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(4, kernel_initializer=law)])
        model.save(folder / "model.keras")
        return model, folder / "model.keras"

    def test_values_from_a_file(self, tmp_path):
        np.savez(tmp_path / "values.npz", kernel=self.KERNEL)
        law = FromFile(tmp_path / "values.npz", "kernel")
        model, path = self.saved(law, tmp_path)
        loaded = keras.saving.load_model(path)
        assert np.array_equal(numbers(model.layers[0].kernel), self.KERNEL)
        assert np.array_equal(numbers(loaded.layers[0].kernel), self.KERNEL)
        assert loaded.layers[0].kernel_initializer.get_config() == law.get_config()

    def assert_not_loaded(self, path):
        with pytest.raises(TypeError, match="Could not interpret initializer identifier"):
            keras.saving.load_model(path)

    def test_keras_saves_an_array_and_does_not_load_it(self, tmp_path):
        _, path = self.saved(self.KERNEL, tmp_path)
        with shortfall("a model with an array as initializer is saved and not loaded"):
            self.assert_not_loaded(path)

    def test_keras_saves_a_lambda_and_does_not_load_it(self, tmp_path):
        with shortfall("a model with a lambda as initializer is saved and not loaded"):
            with pytest.warns(UserWarning, match="lambda"):
                _, path = self.saved(lambda shape, dtype=None: keras.ops.ones(shape, dtype), tmp_path)
            self.assert_not_loaded(path)

    def test_every_class_of_this_package_is_found(self):
        for name, entry in REGISTRY.items():
            assert keras.saving.get_registered_object(f"keras_initlab>{name}") is entry.cls

    def test_keras_saves_a_class_that_is_not_registered_and_does_not_load_it(self, tmp_path):
        """One made in a script, a notebook or a function; one that can be imported as the file says is loaded."""

        class OfTheUser(keras.initializers.Initializer):
            def __call__(self, shape, dtype=None):
                return keras.ops.ones(shape, dtype)

        _, path = self.saved(OfTheUser(), tmp_path)
        with shortfall("a model with an initializer that is not registered is saved and not loaded"):
            self.assert_not_loaded(path)


@pytest.mark.skipif(BACKEND != "torch", reason="of torch alone")
class TestCutNormalOfTorch:
    """Four million values, cut at ±2. Keras takes the first valid of four candidates, or else an invalid one."""

    COUNT = 4_000_000

    def outside(self, law):
        return np.count_nonzero(np.abs(numbers(law((self.COUNT,)))) > 2.0)

    def test_none_outside(self):
        assert self.outside(TruncatedNormal(0.0, 1.0, seed=1)) == 0

    def test_keras_leaves_some_outside(self):
        """A binomial number with mean 17: none at all has probability 4e-8."""
        mean = self.COUNT * (2 * stats.norm.sf(2.0)) ** 4
        theirs = self.outside(keras.initializers.TruncatedNormal(0.0, 1.0, seed=1))
        with shortfall("of a million values of a normal law cut at ±2 about four lie outside"):
            assert 0 < theirs <= mean + 5 * math.sqrt(mean)


class TestArguments:
    """Values that are as good as those that Keras takes."""

    def test_a_seed_of_numpy(self):
        ours = [numbers(RandomNormal(seed=seed)((200, 100))) for seed in (np.int64(3), 3)]
        assert np.array_equal(*ours)

    def test_keras_refuses_a_seed_of_numpy(self):
        with shortfall("an integer of NumPy is no seed"), pytest.raises(ValueError, match="seed"):
            keras.initializers.RandomNormal(seed=np.int64(3))

    @pytest.mark.parametrize("distribution", ["truncated_normal", "untruncated_normal", "uniform"])
    def test_scale_zero_gives_zeros(self, distribution):
        assert not numbers(VarianceScaling(0, distribution=distribution, seed=1)((200, 100))).any()

    def test_keras_refuses_scale_zero(self):
        with shortfall("scale=0 raises"), pytest.raises(ValueError, match="`scale` must be positive"):
            keras.initializers.VarianceScaling(0)


# In the three runs of the suite each backend meets both others.
OTHER = {"tensorflow": "jax", "jax": "torch"}.get(BACKEND, "tensorflow")
SAME_NAMES = ["RandomUniform", "RandomNormal", "HeNormal"]


def drawn_here():
    """What seed 7 gives on this backend, by who draws it and the law's name."""
    laws = {f"ours {name}": REGISTRY[name].cls(seed=PortableSeed(7)) for name in SAME_NAMES}
    laws |= {f"Keras {name}": getattr(keras.initializers, name)(seed=7) for name in SAME_NAMES}
    return {key: keras.ops.convert_to_numpy(law((200, 100))) for key, law in laws.items()}


@pytest.fixture(scope="module")
def drawn_there(tmp_path_factory):
    path, root = tmp_path_factory.mktemp(OTHER) / "drawn.npz", Path(keras_initlab.__file__).parents[1]
    search = os.pathsep.join([str(root), os.environ.get("PYTHONPATH", "")])
    environment = {**os.environ, "KERAS_BACKEND": OTHER, "PYTHONPATH": search}
    command = [sys.executable, __file__, str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, env=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as arrays:
        assert arrays["backend"] == OTHER
        return dict(arrays)


@pytest.mark.skipif(importlib.util.find_spec(OTHER) is None, reason=f"needs {OTHER}")
@pytest.mark.xdist_group("another backend")
class TestAnotherBackend:
    """The same seed in a process with another backend."""

    @pytest.mark.parametrize("name", SAME_NAMES)
    def test_a_portable_seed_gives_the_same_bits(self, drawn_there, name):
        here, there = drawn_here()[f"ours {name}"], drawn_there[f"ours {name}"]
        assert here.dtype == there.dtype == np.float32
        assert here.tobytes() == there.tobytes()

    @pytest.mark.parametrize("name", SAME_NAMES)
    def test_a_seed_of_keras_gives_other_values(self, drawn_there, name):
        here, there = drawn_here()[f"Keras {name}"], drawn_there[f"Keras {name}"]
        with shortfall(f"one seed gives independent values on {BACKEND} and {OTHER}"):
            assert abs(np.corrcoef(here.ravel(), there.ravel())[0, 1]) <= 5 / math.sqrt(here.size)


if __name__ == "__main__":
    np.savez(sys.argv[1], backend=BACKEND, **drawn_here())
