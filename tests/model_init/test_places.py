"""Where weights are: the same names in any process, each weight once."""

import json

import keras
import numpy as np
import pytest
from keras import layers

from keras_initlab.model_init.places import layer_places, placed_weights, snake_case
from tests.processes import python


class Tower(keras.Model):
    """Layers in a list, in a dictionary and alone, one of them shared."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = [layers.Dense(4), layers.Dense(4, name="named")]
        self.heads = {"b": layers.Dense(1), "a": layers.Dense(2)}
        self.norm = layers.BatchNormalization()
        self.again = self.hidden[0]

    def call(self, x):
        for layer in (*self.hidden, self.norm, self.again):
            x = layer(x)
        return {name: head(x) for name, head in self.heads.items()}


def tower():
    model = Tower()
    model(np.zeros((1, 4), "float32"))
    return model


def deferred():
    model = keras.Sequential([layers.Dense(3), layers.Dropout(0.5), layers.Dense(2)])
    model(np.zeros((1, 4), "float32"))
    return model


def sequence(*inner, shape=(5, 4)):
    return keras.Sequential([keras.Input(shape), *inner])


def shared():
    inner = sequence(layers.Dense(4), layers.Dense(4), shape=(4,))
    layer, x = layers.Dense(4), keras.Input((4,))
    return keras.Model(x, layer(inner(layer(inner(x)))))


def taken():
    return sequence(
        layers.Dense(4), layers.Dense(4, name="dense_1"), layers.Dense(4, name="dense_7"), layers.Dense(4, name="b_1"),
        layers.Dense(4, name="b"), layers.Dense(4), shape=(4,),
    )  # fmt: skip


MODELS = {
    "sequential": lambda: sequence(layers.Dense(3), layers.Dense(3), layers.Dense(2, name="head"), shape=(4,)),
    "deferred": deferred,
    "subclassed": tower,
    "shared": shared,
    "nested": lambda: sequence(sequence(layers.Dense(4)), sequence(layers.Dense(3)), layers.Dense(2)),
    "attention": lambda: sequence(layers.EinsumDense("abc,cd->abd", (None, 4)), Attention()),
    "bidirectional": lambda: sequence(layers.Bidirectional(layers.LSTM(2)), shape=(5, 4)),
    "both ways": lambda: sequence(layers.Bidirectional(layers.GRU(2, name="mine"), backward_layer=backward())),
    "stacked": lambda: sequence(layers.RNN([layers.LSTMCell(3), layers.GRUCell(2), layers.LSTMCell(3)])),
    "wrapped": lambda: sequence(layers.TimeDistributed(layers.SpectralNormalization(layers.Dense(3)))),
    "images": lambda: sequence(
        layers.SeparableConv2D(3, 2), layers.BatchNormalization(), layers.DepthwiseConv2D(2), shape=(5, 5, 2)
    ),
    "names of others": taken,
    "random": lambda: sequence(layers.Dense(3), layers.GaussianNoise(0.1), layers.Dropout(0.5), layers.Dense(2)),
}
each_model = pytest.mark.parametrize("name", list(MODELS))


class Attention(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.attention = layers.MultiHeadAttention(2, 3)

    def build(self, shape):
        self.attention.build(shape, shape)

    def call(self, x):
        return self.attention(x, x)


def backward():
    return layers.GRU(2, go_backwards=True, name="other")


def places(model):
    return [weight.place for weight in placed_weights(model)]


@each_model
def test_each_weight_once_in_the_models_order(name):
    model = MODELS[name]()
    found, expected = [id(weight.variable) for weight in placed_weights(model)], [id(each) for each in model.weights]
    if name == "wrapped":  # SpectralNormalization lists the kernel inside it before its own vector
        found, expected = sorted(found), sorted(expected)
    assert found == expected
    assert len(set(places(model))) == len(model.weights) > 0


@each_model
def test_the_same_places_however_many_layers_were_made_before(name):
    first = places(MODELS[name]())
    for layer in (layers.Dense, layers.LSTMCell, layers.BatchNormalization, layers.EinsumDense):
        layer(**({"equation": "ab,bc->ac", "output_shape": 3} if layer is layers.EinsumDense else {})
              if layer in (layers.BatchNormalization, layers.EinsumDense) else {"units": 2})  # fmt: skip
    assert places(MODELS[name]()) == first


def test_the_same_places_in_a_fresh_process():
    code = (
        "import json, sys; from tests.model_init import test_places as t\n"
        "print(json.dumps({name: t.places(t.MODELS[name]()) for name in reversed(t.MODELS)}))"
    )
    done = python("-c", code, cwd=python.__globals__["ROOT"], path=python.__globals__["ROOT"])
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == {name: places(make()) for name, make in MODELS.items()}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sequential", "dense dense_1 head"),
        ("nested", "sequential/dense sequential_1/dense dense"),
        ("shared", "dense sequential/dense sequential/dense_1"),
        ("bidirectional", "bidirectional/forward_lstm/lstm_cell bidirectional/backward_lstm/lstm_cell"),
        ("both ways", "bidirectional/forward_mine/gru_cell bidirectional/other/gru_cell"),
        ("stacked", "rnn/stacked_rnn_cells/lstm_cell rnn/stacked_rnn_cells/gru_cell rnn/stacked_rnn_cells/lstm_cell_1"),
        ("subclassed", "dense named dense_1 dense_2 batch_normalization"),
        ("random", "dense dense_1"),
    ],
)
def test_layers_with_weights(name, expected):
    found = {weight.layer_place for weight in placed_weights(MODELS[name]())}
    assert sorted(found) == sorted(expected.split())


def test_names_of_the_user_stay():
    found = places(MODELS["sequential"]())
    assert found[-2:] == ["head/kernel", "head/bias"]
    attention = {weight.layer_place for weight in placed_weights(MODELS["attention"]())}
    inside = "attention/multi_head_attention"
    assert attention == {
        "einsum_dense",
        *(f"{inside}/{part}" for part in ("query", "key", "value", "attention_output")),
    }


def test_a_layer_added_before_leaves_the_places_of_other_classes_and_names():
    before = set(places(sequence(layers.Conv1D(3, 1), layers.Dense(2, name="head"))))
    assert before <= set(places(sequence(layers.Conv1D(3, 1), layers.Dense(3), layers.Dense(2, name="head"))))


def test_a_weight_that_two_layers_hold_counts_where_it_is_met_first():
    class Tied(layers.Layer):
        def __init__(self, other, **kwargs):
            super().__init__(**kwargs)
            self.kernel, self.scale = other.kernel, self.add_weight(shape=(1,), name="scale")
            self.built = True

        def call(self, x):
            return x * self.scale

    first = layers.Dense(3)
    first.build((None, 3))
    assert places(sequence(first, Tied(first), shape=(3,))) == ["dense/kernel", "dense/bias", "tied/scale"]


def test_weights_of_one_name_in_one_layer():
    class Twice(layers.Layer):
        def build(self, shape):
            self.one = self.add_weight(shape=(2,), name="w")
            self.two = self.add_weight(shape=(2,), name="w")

    layer = Twice()
    layer.build((None, 2))
    assert places(layer) == ["w", "w_1"]


def test_layers_once_and_the_model_first():
    model = MODELS["shared"]()
    found = layer_places(model)
    assert found[0] == ("", model)
    assert len({id(layer) for _, layer in found}) == len(found) == 5
    assert len({place for place, _ in found}) == len(found)


@pytest.mark.parametrize(
    "cls",
    [layers.Dense, layers.Conv2DTranspose, layers.LSTMCell, layers.GRU, layers.PReLU, layers.RMSNormalization, Tower],
)
def test_snake_case_is_that_of_keras(cls):
    name = cls(**({"units": 2} if cls in (layers.Dense, layers.LSTMCell, layers.GRU) else
                  {"filters": 1, "kernel_size": 1} if cls is layers.Conv2DTranspose else {})).name  # fmt: skip
    assert name.rstrip("0123456789").rstrip("_") == snake_case(cls.__name__).rstrip("0123456789").rstrip("_")
