"""Which weights a model gets: those of its seed and its architecture, whatever else the process has made."""

import sys

import keras
import numpy as np
import pytest

from keras_initlab.initializers import PortableSeed
from keras_initlab.model_init.reinitialize import reinitialize
from tests.model_init.drawing import correlation, kernels, layers, sequential, weights
from tests.processes import ROOT, python

L = layers


class Block(L.Layer):
    """A residual block whose layers are attributes."""

    def __init__(self, units, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(units, "relu"), L.Dense(units)

    def build(self, input_shape):
        self.first.build(input_shape)
        self.second.build(input_shape)

    def call(self, x):
        return x + self.second(self.first(x))


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.blocks = [Block(8), Block(8)]
        self.head = L.Dense(2)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.head(x)


def subclassed():
    model = Subclassed()
    model(np.zeros((1, 8), "float32"))
    return model


def functional():
    x = keras.Input((6, 8))
    shared, inner = L.Dense(8, name="shared"), sequential((6, 8), L.Dense(8, "tanh"), L.Dense(8))
    y = L.Add()([inner(shared(x)), inner(shared(shared(x)))])
    y = L.MultiHeadAttention(2, 4)(y, y)
    y = L.Bidirectional(L.LSTM(4, return_sequences=True))(y)
    y = L.RNN([L.GRUCell(4), L.LSTMCell(4)], return_sequences=True)(y)
    y = L.TimeDistributed(L.Dense(4))(y)
    y = L.SeparableConv1D(4, 3)(L.BatchNormalization()(y))
    return keras.Model(x, L.SpectralNormalization(L.Dense(1))(L.Flatten()(y)))


MODELS = {"functional": functional, "subclassed": subclassed}
each_model = pytest.mark.parametrize("make", MODELS.values(), ids=MODELS.keys())


def as_bytes(model):
    return {place: value.tobytes() for place, value in weights(model).items()}


def in_this_process(path):
    """As a script: other layers first, so that Keras's counters and global seed stand elsewhere."""
    keras.utils.set_random_seed(99)
    sequential((3,), *(L.Dense(3) for _ in range(7)), L.Dense(2, name="shared"))
    functional()
    drawn = {}
    for name, make in MODELS.items():
        for scheme in ("configured", "auto"):
            model = make()
            reinitialize(model, scheme, seed=5)
            drawn |= {f"{name} {scheme} {place}": value for place, value in weights(model).items()}
    np.savez(path, **drawn)


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory):
    path = tmp_path_factory.mktemp("process") / "drawn.npz"
    done = python("-m", "tests.model_init.test_reinitialize_places", path, cwd=ROOT)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(path) as arrays:
        return dict(arrays)


class TestProcesses:
    @each_model
    @pytest.mark.parametrize("scheme", ["configured", "auto"])
    def test_a_fresh_process_draws_the_same_bits(self, elsewhere, make, scheme):
        model = make()
        reinitialize(model, scheme, seed=5)
        prefix = f"{make.__name__} {scheme} "
        there = {key.removeprefix(prefix): value for key, value in elsewhere.items() if key.startswith(prefix)}
        assert as_bytes(model) == {place: value.tobytes() for place, value in there.items()}


class TestPlaces:
    @each_model
    def test_no_two_kernels_are_alike(self, make):
        """Correlations of what two of n numbers have in common: at most five times 1/√n."""
        model = make()
        reinitialize(model)
        drawn = list(kernels(model).items())
        assert len(drawn) > 4
        for index, (place, a) in enumerate(drawn):
            for other, b in drawn[:index]:
                assert abs(correlation(a, b)) < 5 / np.sqrt(min(a.size, b.size)), (place, other)

    def test_layers_that_are_used_twice_are_drawn_once(self):
        report = reinitialize(functional())
        places = [row["weight"] for row in report]
        assert len(places) == len(set(places))
        assert sum(place.startswith("shared/") for place in places) == 2

    def test_a_layer_of_another_class_leaves_automatic_names_their_weights(self):
        with_more = sequential((8,), L.LayerNormalization(), L.Dense(8), L.Dropout(0.1), L.Dense(8))
        plain = sequential((8,), L.Dense(8), L.Dense(8))
        for model in (with_more, plain):
            reinitialize(model)
        assert as_bytes(plain).items() <= as_bytes(with_more).items()

    def test_a_layer_of_the_same_class_leaves_given_names_their_weights(self):
        more = sequential((8,), L.Dense(8), L.Dense(8, name="a"), L.Dense(8), L.Dense(8, name="b"))
        plain = sequential((8,), L.Dense(8, name="a"), L.Dense(8, name="b"))
        for model in (more, plain):
            reinitialize(model)
        assert as_bytes(plain).items() <= as_bytes(more).items()

    def test_a_renamed_layer_has_other_weights(self):
        a, b = (sequential((8,), L.Dense(8, name=name)) for name in ("a", "b"))
        for model in (a, b):
            reinitialize(model)
        assert abs(correlation(weights(a)["a/kernel"], weights(b)["b/kernel"])) < 5 / 8


class TestSeeds:
    def drawn(self, seed):
        model = sequential((8,), L.Dense(8), L.Dense(8, kernel_initializer="random_normal"))
        reinitialize(model, seed=seed)
        return as_bytes(model)

    @pytest.mark.parametrize("seed", [3, np.int64(3), np.uint8(3)], ids=["int", "int64", "uint8"])
    def test_integers(self, seed):
        assert self.drawn(seed) == self.drawn(3) != self.drawn(4)

    def test_the_largest(self):
        assert self.drawn(2**32 - 1) == self.drawn(2**32 - 1)

    def test_portable(self):
        assert self.drawn(PortableSeed(3)) == self.drawn(PortableSeed(3)) != self.drawn(PortableSeed(4))
        assert self.drawn(PortableSeed(3)) != self.drawn(3)

    def test_a_generator_advances(self):
        one, another = keras.random.SeedGenerator(3), keras.random.SeedGenerator(3)
        first, second = self.drawn(one), self.drawn(one)
        assert first != second
        assert [first, second] == [self.drawn(another), self.drawn(another)]

    def test_none_draws_anew(self):
        assert self.drawn(None) != self.drawn(None)


if __name__ == "__main__":
    in_this_process(sys.argv[1])
