"""Layers of one activation in a row, and what `"auto"` makes of long rows."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.chains import Link, chains
from keras_initlab.model_init.following import after_weights
from keras_initlab.model_init.gains import working_point
from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.reinitialize import reinitialize

layers = keras.layers


def links(model):
    graph = trace(model)
    found = chains(graph, after_weights(graph))
    return {layer.name: found[id(layer)] for layer in model._flatten_layers() if id(layer) in found}


def dense(name, activation=None):
    return layers.Dense(4, activation, name=name)


class TestChains:
    def test_fused_and_separate_activations_make_one_chain(self):
        model = keras.Sequential(
            [
                keras.Input((4,)),
                dense("a", "gelu"),
                dense("b"),
                layers.Activation("gelu"),
                layers.Dropout(0.1),
                dense("c"),
            ]
        )
        gelu = keras.activations.gelu
        assert links(model) == {"a": Link(2, None), "b": Link(2, (gelu, 2)), "c": Link(1, (gelu, 2))}

    def test_another_activation_begins_another_chain(self):
        model = keras.Sequential([keras.Input((4,)), dense("a", "tanh"), dense("b", "tanh"), dense("c", "gelu")])
        assert [link.depth for link in links(model).values()] == [2, 2, 1]
        assert links(model)["c"].before == (keras.activations.tanh, 2)

    def test_a_normalization_ends_it(self):
        norm = layers.LayerNormalization()
        model = keras.Sequential([keras.Input((4,)), dense("a", "tanh"), norm, dense("b", "tanh")])
        assert links(model) == {"a": Link(1, None), "b": Link(1, None)}

    def test_a_sum_ends_it(self):
        x = keras.Input((4,))
        y = dense("a", "tanh")(x)
        model = keras.Model(x, dense("c", "tanh")(layers.Add()([y, dense("b", "tanh")(y)])))
        assert links(model)["c"] == Link(1, None)

    def test_the_longest_way_counts_where_ways_part(self):
        x = keras.Input((4,))
        stem = dense("stem", "tanh")(x)
        long = dense("long_2", "tanh")(dense("long_1", "tanh")(stem))
        model = keras.Model(x, [long, dense("short", "tanh")(stem)])
        assert {name: link.depth for name, link in links(model).items()} == {
            "stem": 3,
            "long_1": 3,
            "long_2": 3,
            "short": 2,
        }

    def test_nested_models_and_time_distributed_layers_are_links(self):
        inner = keras.Sequential([keras.Input((5, 4)), dense("a", "tanh"), layers.TimeDistributed(dense("b", "tanh"))])
        model = keras.Sequential([keras.Input((5, 4)), inner, dense("c", "tanh")])
        assert [links(model)[name].depth for name in "abc"] == [3, 3, 3]

    def test_attention_reads_a_chain_and_is_none_of_it(self):
        x = keras.Input((5, 4))
        y = dense("a", "tanh")(x)
        attention = layers.MultiHeadAttention(2, 2, name="attention")
        model = keras.Model(x, dense("b", "tanh")(attention(y, y)))
        found = links(model)
        assert found["query"].before == (keras.activations.tanh, 1)
        assert "attention_output" not in found
        assert found["b"] == Link(1, None)


@pytest.mark.parametrize("name", ["gelu", "sigmoid", "softplus", "tanh"])
@pytest.mark.parametrize("kind", ["dense", "conv"])
class TestLongRows:
    """Through forty layers each pre-activation keeps the working point's scale, and no mean."""

    def model(self, name, kind):
        if kind == "dense":
            hidden = [layers.Dense(128, name) for _ in range(40)]
            return keras.Sequential([keras.Input((128,)), *hidden, layers.Dense(8)])
        hidden = [layers.Conv2D(128, 1, activation=name) for _ in range(40)]
        return keras.Sequential([keras.Input((3, 3, 128)), *hidden, layers.Conv2D(8, 1)])

    def test_scale_and_mean(self, name, kind):
        model, point = self.model(name, kind), working_point(name, 40)
        assert point.is_quiet
        report = reinitialize(model, "auto", seed=3)
        assert "40 in a row" in report.rows[0]["law"]
        x = np.random.default_rng(0).standard_normal((256, *model.input_shape[1:])).astype("float32")
        outputs = keras.Model(model.inputs[0], [layer.output for layer in model.layers])(x)
        inverse = {
            "sigmoid": lambda y: np.log(y / (1 - y)),
            "softplus": lambda y: np.log(np.expm1(y)),
            "tanh": np.arctanh,
        }
        for output in outputs[4:-1:9]:
            y = keras.ops.convert_to_numpy(output).astype("float64")
            if name == "gelu":  # the activation's own moments in place of the pre-activation's
                assert abs(y.mean() - point.mean) < 0.3 * point.rms
                assert 0.7 < (y - point.mean).std() / point.rms < 1.4
            else:
                h = inverse[name](y)
                assert abs(h.mean()) < 0.3 * point.gain
                assert 0.7 < h.std() / point.gain < 1.4
        head = keras.ops.convert_to_numpy(outputs[-1])
        assert 0.6 < head.std() < 1.6


def test_a_layer_without_a_bias_keeps_the_mean_and_the_report_says_no_more_than_it_did():
    model = keras.Sequential([keras.Input((16,)), *(layers.Dense(16, "tanh", use_bias=False) for _ in range(30))])
    report = reinitialize(model, "auto")
    assert all(row["role"] == "kernel" for row in report)


def test_the_shift_follows_the_kernel_that_stays():
    model = keras.Sequential([keras.Input((32,)), *(layers.Dense(32, "sigmoid") for _ in range(30)), layers.Dense(4)])
    reinitialize(model, "auto", seed=1)
    kernel, bias = (keras.ops.convert_to_numpy(weight) for weight in model.layers[-1].weights)
    np.testing.assert_allclose(bias, -0.5 * kernel.sum(0), rtol=1e-5, atol=1e-6)
    model.layers[-1].bias.assign([0.0] * 4)
    reinitialize(model, "auto", seed=2, only="dense_30/bias")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model.layers[-1].kernel), kernel)
    np.testing.assert_allclose(keras.ops.convert_to_numpy(model.layers[-1].bias), bias, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    "reader",
    [
        layers.EinsumDense("abc,cd->abd", (5, 6), bias_axes="bd"),
        layers.SeparableConv1D(6, 1),
        layers.SimpleRNN(6),
        layers.GRU(6),
        layers.LSTM(6),
        layers.MultiHeadAttention(2, 3),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_every_kind_of_layer_can_read_a_long_row(reader):
    x = keras.Input((5, 16))
    y = x
    for _ in range(20):
        y = layers.Dense(16, "sigmoid")(y)
    model = keras.Model(x, reader(y, y) if isinstance(reader, layers.MultiHeadAttention) else reader(y))
    report = reinitialize(model, "auto", seed=1)
    biases = {row["weight"]: row for row in report if row["role"] == "bias" and not row["weight"].startswith("dense")}
    lowered = {name for name, row in biases.items() if "sum of weights" in row["law"]}
    # One value for each unit of one kernel, and no gate's.
    kind = type(reader).__name__
    assert bool(lowered) == (kind in ("SimpleRNN", "MultiHeadAttention"))
    assert all((row["std"] > 0) for name, row in biases.items() if name in lowered)
