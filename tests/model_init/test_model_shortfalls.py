"""Where Keras falls short and only one who sees the whole model can mend it: what is right, and what Keras does."""

from typing import ClassVar

import keras
import numpy as np
import pytest

from keras_initlab.initializers import ChronoBias
from keras_initlab.model_init.reinitialize import reinitialize
from tests.initializers.laws import assert_std, cut_normal, numbers
from tests.initializers.shortfalls import shortfall
from tests.model_init.drawing import correlation, kernels, layers, sequential, weights, white

L, K = layers, keras.initializers
CUT_STD = 0.8796256610342398
# What Keras makes of one initializer with a seed; its own initializers are what such a model is made with.
SHARED = [
    pytest.param(lambda: K.HeNormal(seed=1), id="an integer"),
    pytest.param(lambda: K.HeNormal(seed=keras.random.SeedGenerator(1)), id="SeedGenerator"),
]


def he(fan_in):
    """The normal law cut at ±2 that He's variance belongs to."""
    return cut_normal(0.0, np.sqrt(2.0 / fan_in) / CUT_STD, -2, 2)


def assert_independent(*arrays):
    """Correlations of independent values have the standard error 1/√n."""
    for index, a in enumerate(arrays):
        for b in arrays[index + 1 :]:
            band = 5 / np.sqrt(min(a.size, b.size))
            assert abs(correlation(a, b)) <= band, f"correlation {correlation(a, b)}; band {band}"


def test_what_holds_a_fifth_of_another_is_not_independent():
    a, b = np.random.default_rng(1).standard_normal((2, 4096))
    assert_independent(a, b)
    with pytest.raises(AssertionError, match=r"correlation 0\.\d"):
        assert_independent(a, 0.2 * a + b)


def attention(layer):
    x = keras.Input((3, 32))
    return keras.Model(x, layer(x, x))


ATTENTIONS = {
    "MultiHeadAttention": lambda law: L.MultiHeadAttention(4, 8, kernel_initializer=law),
    "GroupQueryAttention": lambda law: L.GroupQueryAttention(8, 4, 4, kernel_initializer=law),
}


@pytest.mark.parametrize("law", SHARED)
@pytest.mark.parametrize("layer", ATTENTIONS.values(), ids=ATTENTIONS.keys())
class TestAttention:
    """Query, key and value of one initializer with a seed."""

    def test_they_differ(self, layer, law):
        model = attention(layer(law()))
        reinitialize(model)
        assert_independent(*kernels(model).values())

    def test_those_of_keras_are_one_kernel(self, layer, law):
        query, key, value, _ = kernels(attention(layer(law()))).values()
        with shortfall("query, key and value of a seeded initializer are identical"):
            assert np.array_equal(query, key)
            assert np.array_equal(query, value)


class TestOneInstance:
    """An initializer with a seed, given to several layers, to one layer twice, or to a layer that copies itself."""

    MODELS: ClassVar = {
        "two layers": lambda law: [L.Dense(32, kernel_initializer=law), L.Dense(32, kernel_initializer=law)],
        "of different shapes": lambda law: [L.Dense(16, kernel_initializer=law), L.Dense(32, kernel_initializer=law)],
        "both directions": lambda law: [
            L.Bidirectional(L.SimpleRNN(32, kernel_initializer=law, recurrent_initializer="zeros"))
        ],
        "stacked cells": lambda law: [
            L.RNN([L.SimpleRNNCell(32, kernel_initializer=law, recurrent_initializer="zeros") for _ in range(2)])
        ],
        "kernels of a separable convolution": lambda law: [
            L.SeparableConv1D(32, 3, depthwise_initializer=law, pointwise_initializer=law)
        ],
    }
    each = pytest.mark.parametrize("stack", MODELS.values(), ids=MODELS.keys())

    def drawn(self, stack):
        return sequential((5, 32), *stack(K.RandomNormal(seed=1)))

    def kernels(self, model):
        return [kernel for place, kernel in kernels(model).items() if "recurrent" not in place]

    @each
    def test_the_kernels_are_independent(self, stack):
        model = self.drawn(stack)
        reinitialize(model)
        assert_independent(*self.kernels(model))

    @each
    def test_those_of_keras_repeat_each_other(self, stack):
        first, second = self.kernels(self.drawn(stack))
        with shortfall("one initializer with a seed gives the same values wherever it is used"):
            assert correlation(first, second) == pytest.approx(1.0, abs=1e-6)


def depthwise(law):
    return L.DepthwiseConv2D(3, depthwise_initializer=law)


def transposed(law):
    return L.Conv2DTranspose(256, 4, strides=2, kernel_initializer=law)


# Mode, layer, shape of an input, fan, and what Keras takes for the fan.
FANS = {
    "depthwise": ("fan_in", depthwise, (5, 5, 512), 9, 9 * 512),
    "separable": ("fan_in", lambda law: L.SeparableConv2D(4, 3, depthwise_initializer=law), (5, 5, 512), 9, 9 * 512),
    "transposed": ("fan_in", transposed, (3, 3, 64), 64 * 16 // 4, 256 * 16),
    "transposed, fan-out": ("fan_out", transposed, (3, 3, 64), 256 * 16, 64 * 16),
    "grouped": ("fan_out", lambda law: L.Conv2D(64, 3, groups=4, kernel_initializer=law), (5, 5, 32), 9 * 16, 9 * 64),
    "stack of matrices": (
        "fan_out",
        lambda law: L.EinsumDense("bnd,ndf->bnf", (16, 32), kernel_initializer=law),
        (16, 64),
        32,
        16 * 32,
    ),
    "gates of an LSTM": ("fan_out", lambda law: L.LSTM(64, kernel_initializer=law), (3, 32), 64, 4 * 64),
    "gates of a GRU": ("fan_out", lambda law: L.GRU(64, kernel_initializer=law), (3, 32), 64, 3 * 64),
}


@pytest.mark.parametrize(("mode", "layer", "shape", "right", "theirs"), FANS.values(), ids=FANS.keys())
class TestFans:
    """The variance is two over the fan."""

    def model(self, layer, shape, mode):
        return sequential(shape, layer(K.VarianceScaling(2.0, mode, seed=1)))

    def kernel(self, model):
        return next(iter(kernels(model).values()))

    def test_it_counts_connections(self, mode, layer, shape, right, theirs):
        model = self.model(layer, shape, mode)
        row = reinitialize(model).rows[0]
        assert row[mode] == right != theirs
        assert row["target"] == pytest.approx(np.sqrt(2.0 / right), rel=1e-12)
        assert_std(self.kernel(model), he(right))

    def test_keras_counts_something_else(self, mode, layer, shape, right, theirs):
        with shortfall(f"the fan is {theirs} and not {right}"):
            assert_std(self.kernel(self.model(layer, shape, mode)), he(theirs))


class TestSignal:
    """What a depthwise and a transposed convolution under He make of inputs as ReLU leaves them, mean square ½."""

    DEPTHWISE = (3, 3, 512), lambda y: y
    TRANSPOSED = (2, 2, 64), lambda y: y[:, 2:-2, 2:-2]  # what all taps reach
    # For the law cut at ±2, N images, U outputs a position and F inputs each: the samples alone give 2/N at most, the
    # kernel (k − 1)/(UF) with k = 2.366.
    SAMPLES = 256

    def mean_square(self, model, inner):
        x = np.sqrt(0.5) * white((self.SAMPLES, *model.input_shape[1:]))
        return np.mean(np.square(numbers(inner(model(x)))))

    def band(self, outputs, inputs):
        return 5 * np.sqrt(2 / self.SAMPLES / min(outputs, inputs) + 1.366 / (outputs * inputs))

    @pytest.mark.parametrize(
        ("layer", "shape", "inner", "outputs", "inputs", "theirs"),
        [(depthwise, *DEPTHWISE, 512, 9, 1 / 512), (transposed, *TRANSPOSED, 256, 256, 1 / 16)],
        ids=["depthwise", "transposed"],
    )
    def test_variance(self, layer, shape, inner, outputs, inputs, theirs):
        model, band = sequential(shape, layer(K.HeNormal(seed=1))), self.band(outputs, inputs)
        with shortfall(f"the signal's variance is multiplied by {theirs}"):
            assert self.mean_square(model, inner) == pytest.approx(theirs, rel=band)
        reinitialize(model, "he")
        assert self.mean_square(model, inner) == pytest.approx(1.0, rel=band)


def singular(matrix):
    return np.linalg.svd(matrix, compute_uv=False)


class TestOrthogonal:
    """A kernel is a matrix from its inputs to its outputs; gates are matrices of their own."""

    def query(self, model):
        return singular(kernels(model)["multi_head_attention/query/kernel"].reshape(64, 64))

    def test_a_query_kernel(self):
        x = keras.Input((3, 64))
        model = keras.Model(x, L.MultiHeadAttention(8, 8, kernel_initializer=K.Orthogonal(seed=1))(x, x))
        with shortfall("Orthogonal takes the heads of a query kernel for inputs"):
            assert self.query(model).min() < 0.02
            assert self.query(model).max() < 0.8
        reinitialize(model)
        np.testing.assert_allclose(self.query(model), 1.0, atol=1e-6)

    @pytest.mark.parametrize(("layer", "gates", "gain"), [(L.LSTM, 4, 0.5), (L.GRU, 3, 0.577)])
    def test_gates(self, layer, gates, gain):
        model = sequential((3, 8), layer(64, recurrent_initializer=K.Orthogonal(seed=1)))
        (place,) = (place for place in kernels(model) if "recurrent" in place)
        spectra = [singular(block) for block in np.split(kernels(model)[place], gates, axis=-1)]
        with shortfall("the matrices of the gates are blocks of an orthogonal one"):
            assert np.sqrt(np.mean(np.square(spectra))) == pytest.approx(gain, abs=1e-3)
            assert min(spectrum.min() for spectrum in spectra) < 0.1
        reinitialize(model)
        for block in np.split(kernels(model)[place], gates, axis=-1):
            np.testing.assert_allclose(singular(block), 1.0, atol=1e-6)


class TestGateBias:
    """Keras asks for the biases of one gate, and of two, by themselves."""

    UNITS = 16

    def gates(self, model):
        return np.split(weights(model)["lstm/lstm_cell/bias"], 4)

    def test_a_seeded_law(self):
        model = sequential((3, 8), L.LSTM(self.UNITS, bias_initializer=K.RandomNormal(seed=1)))
        i, f, c, o = self.gates(model)
        with shortfall("the input gate's biases come again in the candidate"):
            assert np.array_equal(i, c)
        reinitialize(model)
        i, f, c, o = self.gates(model)
        assert (f == 1.0).all()
        assert len(np.unique([i, c, o])) == 3 * self.UNITS

    def test_a_law_that_lays_out_gates(self):
        law = ChronoBias(self.UNITS, max_timescale=50)
        with shortfall("an LSTM with unit_forget_bias hides its gates"), pytest.raises(ValueError, match="unit_forget"):
            sequential((3, 8), L.LSTM(self.UNITS, bias_initializer=law))
        model = sequential((3, 8), L.LSTM(self.UNITS))
        reinitialize(model, "auto")
        i, f, c, o = self.gates(model)
        assert (f == 1.0).all()
        assert not np.any([i, c, o])


class TestAnotherLayer:
    """One layer more at the start of a model, under one seed."""

    STACKS = (
        lambda: [L.Dense(8, name="one"), L.Dense(8, name="two")],
        lambda: [L.LayerNormalization(), L.Dense(8, name="new"), L.Dense(8, name="one"), L.Dense(8, name="two")],
    )

    def test_others_keep_their_weights(self):
        models = [sequential((8,), *stack()) for stack in self.STACKS]
        for model in models:
            reinitialize(model, seed=3)
        short, long = map(weights, models)
        for place in short:
            assert short[place].tobytes() == long[place].tobytes()
        assert len(long) > len(short)

    def test_keras_changes_them(self):
        drawn = []
        for stack in self.STACKS:
            keras.utils.set_random_seed(3)
            drawn.append(weights(sequential((8,), *stack())))
        with shortfall("a layer more changes the weights of all later ones"):
            assert not np.array_equal(drawn[0]["one/kernel"], drawn[1]["one/kernel"])


class TestAgain:
    """A built model's weights drawn once more."""

    def model(self):
        model = sequential((8,), L.Dense(16), L.BatchNormalization(), L.Dense(1))
        model.compile("adam", "mse")
        model.fit(white((32, 8)), white((32, 1)), verbose=0)
        return model

    def test_in_place(self):
        model = self.model()
        variables, before = list(model.weights), weights(model)
        reinitialize(model)
        after = weights(model)
        assert all(a is b for a, b in zip(model.weights, variables, strict=True))
        assert not any(np.array_equal(before[place], after[place]) for place in kernels(model))
        assert (after["batch_normalization/moving_variance"] == 1.0).all()
        assert not any(numbers(variable).any() for variable in model.optimizer.variables[2:])

    def test_keras_builds_once_and_clones(self):
        model = self.model()
        before = weights(model)
        model.build((None, 8))
        clone = keras.models.clone_model(model)
        with shortfall("weights are drawn when a layer is built, and a model with new ones is another model"):
            assert all(np.array_equal(before[place], value) for place, value in weights(model).items())
            assert not {id(v) for v in clone.weights} & {id(v) for v in model.weights}


class TestEmbedding:
    """A row is looked up, and not summed: its fan is its dimension."""

    WORDS, DIMENSION = 5000, 16

    def test_fan(self):
        model = sequential((3,), L.Embedding(self.WORDS, self.DIMENSION, embeddings_initializer=K.HeNormal(seed=1)))
        with shortfall("variance scaling takes the vocabulary for an embedding's fan-in"):
            assert_std(weights(model)["embedding/embeddings"], he(self.WORDS))
        row = reinitialize(model)["embedding/embeddings"]
        assert row["fan_in"] == row["fan_out"] == self.DIMENSION
        assert_std(weights(model)["embedding/embeddings"], he(self.DIMENSION))
