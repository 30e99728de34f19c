"""A law drawn gate by gate: what Keras does to fused kernels today, and what each gate gets here."""

import copy
import math
import pickle

import keras
import numpy as np
import pytest
from laws import assert_distribution, assert_std, uniform

from keras_initlab.initializers import GlorotUniform, HeNormal, HeUniform, Orthogonal, PerGate, RandomNormal
from keras_initlab.initializers.seeds import PortableSeed, fold

UNITS, INPUTS = 64, 48
CELLS = [pytest.param(keras.layers.LSTM, 4, id="LSTM"), pytest.param(keras.layers.GRU, 3, id="GRU")]


def values(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32")).astype("float64")


def blocks(initializer, shape, gates, dtype=None):
    """One weight's gates, as the layer splits them."""
    return np.split(values(initializer(shape, dtype=dtype)), gates, axis=-1)


def singular_values(block):
    return np.linalg.svd(block.reshape(-1, block.shape[-1]), compute_uv=False)


def built(layer, gates, **arguments):
    layer = layer(UNITS, **arguments)
    layer.build((None, 3, INPUTS))
    return layer.cell


class TestRecurrentKernel:
    """Orthogonal: the whole wide matrix in Keras, each gate here."""

    @pytest.mark.parametrize(("layer", "gates"), CELLS)
    def test_keras_makes_the_wide_matrix_orthogonal(self, layer, gates):
        cell = built(layer, gates, recurrent_initializer=keras.initializers.Orthogonal(seed=1))
        kernel = values(cell.recurrent_kernel)
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(UNITS), atol=1e-5)
        # The rows have length 1 and G gates, so one gate's singular values have the mean square 1/G, exactly.
        assert math.sqrt((kernel**2).sum() / (gates * UNITS)) == pytest.approx(1 / math.sqrt(gates), rel=1e-5)
        # A block of a Haar matrix: the upper edge of the spectrum tends to 2√((1/G)(1 − 1/G)), 0.866 and 0.943.
        edge = 2 * math.sqrt((1 / gates) * (1 - 1 / gates))
        for block in np.split(kernel, gates, axis=-1):
            spectrum = singular_values(block)
            assert spectrum.max() == pytest.approx(edge, abs=0.05)
            assert spectrum.min() < 0.1

    @pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
    @pytest.mark.parametrize(("layer", "gates"), CELLS)
    def test_each_gate_is_orthogonal(self, layer, gates, dtype):
        cell = built(layer, gates, recurrent_initializer=PerGate(Orthogonal(seed=0), gates), dtype=dtype)
        assert keras.backend.standardize_dtype(cell.recurrent_kernel.dtype) == dtype
        # Rounding to bfloat16 moves each entry by 2⁻⁹ of itself at most, a matrix by 2⁻⁹ · √UNITS in norm.
        tolerance = {"float32": 2e-6, "bfloat16": 2**-9 * math.sqrt(UNITS)}[dtype]
        for block in np.split(values(cell.recurrent_kernel), gates, axis=-1):
            np.testing.assert_allclose(singular_values(block), 1.0, atol=tolerance)

    def test_the_orthogonal_law_of_keras_too(self):
        """In bfloat16 as well, where Keras alone cannot draw it."""
        for block in blocks(PerGate("orthogonal", 4), (8, 32), 4, "bfloat16"):
            np.testing.assert_allclose(singular_values(block), 1.0, atol=2**-9 * math.sqrt(8))

    def test_a_convolution_over_the_state(self):
        layer = keras.layers.ConvLSTM2D(5, 3, recurrent_initializer=PerGate(Orthogonal(seed=0), 4))
        layer.build((None, 2, 6, 6, 3))
        for block in np.split(values(layer.cell.recurrent_kernel), 4, axis=-1):
            assert block.shape == (3, 3, 5, 5)
            np.testing.assert_allclose(singular_values(block), 1.0, atol=2e-6)


class TestInputKernel:
    """Glorot: the fan-out of all gates in Keras, that of one gate here."""

    @pytest.mark.parametrize(("layer", "gates"), CELLS)
    def test_keras_counts_all_gates(self, layer, gates):
        kernel = values(built(layer, gates, kernel_initializer=keras.initializers.GlorotUniform(seed=1)).kernel)
        limit = math.sqrt(6 / (INPUTS + gates * UNITS))
        assert_std(kernel, uniform(-limit, limit))

    @pytest.mark.parametrize("law", [GlorotUniform, keras.initializers.GlorotUniform], ids=["ours", "Keras"])
    @pytest.mark.parametrize(("layer", "gates"), CELLS)
    def test_each_gate_counts_itself(self, layer, gates, law):
        kernel = values(built(layer, gates, kernel_initializer=PerGate(law(seed=1), gates)).kernel)
        limit = math.sqrt(6 / (INPUTS + UNITS))
        for block in np.split(kernel, gates, axis=-1):
            assert_distribution(block, uniform(-limit, limit))
            assert_std(block, uniform(-limit, limit))
        fused = math.sqrt(6 / (INPUTS + gates * UNITS))
        with pytest.raises(AssertionError, match="std"):
            assert_std(kernel, uniform(-fused, fused))


def assert_independent(gates):
    """No two gates are correlated: the correlation of n independent pairs has standard error 1/√n."""
    for one in range(len(gates)):
        for other in range(one):
            correlation = np.corrcoef(gates[one].ravel(), gates[other].ravel())[0, 1]
            assert abs(correlation) <= 5 / math.sqrt(gates[one].size), f"gates {other} and {one}: {correlation}"


class TestSeeds:
    """Each gate has a seed of its own."""

    @pytest.mark.parametrize(
        "make",
        [
            pytest.param(lambda: HeNormal(seed=1), id="integer"),
            pytest.param(lambda: HeNormal(seed=PortableSeed(1)), id="portable"),
            pytest.param(lambda: HeNormal(seed=keras.random.SeedGenerator(1)), id="generator"),
            pytest.param(HeNormal, id="none"),
            pytest.param(lambda: PerGate(HeNormal(seed=1), 2), id="wrapped twice"),
            pytest.param(lambda: keras.initializers.HeNormal(seed=1), id="Keras, integer"),
            pytest.param(lambda: keras.initializers.HeNormal(keras.random.SeedGenerator(1)), id="Keras, generator"),
            pytest.param(lambda: "he_normal", id="Keras, none"),
        ],
    )
    def test_gates_are_independent(self, make):
        assert_independent(blocks(PerGate(make(), 4), (64, 256), 4))

    def test_the_check_refuses_one_seed_for_all(self):
        same = keras.initializers.HeNormal(seed=1)
        with pytest.raises(AssertionError, match=r"gates 0 and 1: (1\.0|0\.99)"):
            assert_independent([values(same((64, 64))) for _ in range(4)])

    @pytest.mark.parametrize("seed", [3, PortableSeed(3)], ids=["integer", "portable"])
    def test_a_gate_is_what_the_law_draws_with_its_seed(self, seed):
        for gate, block in enumerate(blocks(PerGate(RandomNormal(0.5, 0.25, seed), 3), (7, 15), 3)):
            assert (block == values(RandomNormal(0.5, 0.25, fold(seed, gate))((7, 5)))).all()

    @pytest.mark.parametrize("law", [HeNormal, keras.initializers.HeNormal], ids=["ours", "Keras"])
    def test_an_integer_repeats_and_another_does_not(self, law):
        draws = [values(PerGate(law(seed=seed), 4)((6, 8))) for seed in (1, 1, 2)]
        assert (draws[0] == draws[1]).all()
        assert (draws[0] != draws[2]).any()
        twice = PerGate(law(seed=1), 4)
        assert (values(twice((6, 8))) == values(twice((6, 8)))).all()

    def test_no_seed_draws_anew(self):
        initializer = PerGate(HeNormal(), 4)
        assert (values(initializer((6, 8))) != values(initializer((6, 8)))).any()

    @pytest.mark.parametrize("law", [HeNormal, keras.initializers.HeNormal], ids=["ours", "Keras"])
    def test_the_very_generator_advances_from_gate_to_gate(self, law):
        generator, reference = keras.random.SeedGenerator(5), keras.random.SeedGenerator(5)
        initializer = PerGate(law(seed=generator), 4)
        assert initializer.seed is generator
        for _ in range(2):
            for block in blocks(initializer, (6, 8), 4):
                assert (block == values(law(seed=reference)((6, 2)))).all()
        assert (values(generator.state) == values(reference.state)).all()

    @pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
    def test_a_copy_goes_on_where_its_original_was(self, copied):
        original = PerGate(HeNormal(seed=keras.random.SeedGenerator(3)), 4)
        original((6, 8))
        twin = copied(original)
        assert twin.seed is not original.seed
        assert (values(original((6, 8))) == values(twin((6, 8)))).all()


class TestAnyInitializer:
    """What may be wrapped, and what comes of it."""

    @pytest.mark.parametrize(
        "given",
        ["identity", keras.initializers.Identity, keras.initializers.Identity(), {"class_name": "Identity"}],
        ids=["name", "class", "instance", "config"],
    )
    def test_without_a_seed(self, given):
        given = {**given, "config": {}} if isinstance(given, dict) else given
        assert (values(PerGate(given, 4)((3, 12))) == np.tile(np.eye(3), 4)).all()

    def test_a_function(self):
        initializer = PerGate(lambda shape, dtype=None: keras.ops.full(shape, 0.5, dtype=dtype), 2)
        assert (values(initializer((3, 4))) == 0.5).all()

    def test_is_kept_as_it_was_given(self):
        law = HeNormal(seed=1)
        assert PerGate(law, 4).initializer is law

    @pytest.mark.parametrize("law", [HeNormal, keras.initializers.HeNormal], ids=["ours", "Keras"])
    def test_config_is_that_of_keras(self, law):
        law = law(seed=1)
        config = PerGate(law, 4).get_config()
        assert config == {"initializer": keras.initializers.serialize(law), "gates": 4}
        twin = PerGate.from_config(config)
        assert type(twin.initializer) is type(law)
        assert vars(twin.initializer) == vars(law)

    def test_declared_axes_are_handed_on(self):
        """A kernel whose first axis is its output: fan-in 10 in each gate."""
        law = HeUniform(seed=1, input_axes=[1], output_axes=[0])
        assert_std(values(PerGate(law, 2)((4000, 20))), uniform(-math.sqrt(0.6), math.sqrt(0.6)))

    @pytest.mark.parametrize("shape", [(), (6,), (3, 5), (4, 2)])
    def test_a_last_axis_that_gates_does_not_divide(self, shape):
        with pytest.raises(ValueError, match=r"PerGate\(gates=4\).*last axis is a multiple of 4. Received: shape=\("):
            PerGate("zeros", 4)(shape)

    @pytest.mark.parametrize("shape", [(3, 0), (0, 8), (0,)])
    def test_empty(self, shape):
        assert tuple(PerGate("zeros", 4)(shape).shape) == shape

    def test_the_law_of_one_gate_refuses_its_own_shape(self):
        with pytest.raises(ValueError, match=r"two axes or more. Received: shape=\(2,\)"):
            PerGate(Orthogonal(), 4)((8,))

    @pytest.mark.parametrize("given", ["orthogonl", {"class_name": "Nothing", "config": {}}, None, 3])
    def test_what_is_no_initializer(self, given):
        with pytest.raises((TypeError, ValueError), match=r"`initializer` must be an initializer.*Pass an instance"):
            PerGate(given, 4)

    def test_a_bare_name_is_refused(self):
        with pytest.raises(TypeError, match=r"PerGate needs arguments `initializer`, .* and `gates`, .*Pass PerGate\("):
            keras.initializers.get("keras_initlab>PerGate")


@pytest.mark.parametrize("law", [Orthogonal, keras.initializers.Orthogonal], ids=["ours", "Keras"])
def test_survives_a_saved_model(law, tmp_path):
    law = law(seed=1)
    layer = keras.layers.Bidirectional(keras.layers.GRU(5, recurrent_initializer=PerGate(law, 3)))
    model = keras.Sequential([keras.Input((3, 4)), layer])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(model.weights, loaded.weights, strict=True):
        assert (values(before) == values(after)).all()
    restored = loaded.layers[0].forward_layer.recurrent_initializer
    assert restored.get_config() == PerGate(law, 3).get_config()
    assert (values(restored((5, 15))) == values(model.layers[0].forward_layer.cell.recurrent_kernel)).all()
