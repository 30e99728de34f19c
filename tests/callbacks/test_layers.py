"""Every kind of layer: its rows in real training against an eager pass of the same batch, layer by layer."""

from __future__ import annotations

import math
import re
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil

from ..statistics.reference import States, assert_row

K = keras.layers
BATCH = 8


class Split(K.Layer):
    """Two halves of the features, by name."""

    def call(self, x: Any) -> dict[str, Any]:
        first, second = keras.ops.split(x, 2, axis=-1)
        return {"first": first, "second": 2.0 * second}


def _elementwise(x: Any) -> list[Any]:
    parts = Split(name="split")(x)
    makers = [
        K.Activation("tanh", name="tanh"),
        K.ReLU(name="relu"),
        K.LeakyReLU(name="leaky"),
        K.PReLU(name="prelu"),
        K.ELU(name="elu"),
        K.Softmax(name="softmax"),
        K.Dropout(0.4, seed=1, name="dropout"),
    ]
    dense = K.Dense(6, name="dense", activation="sigmoid", kernel_initializer=_wide(0))(x)
    several = [layer(dense) for layer in makers]
    joined = [K.Add(name="add")(several[:2]), K.Concatenate(name="concatenate")(several[2:4])]
    einsum = K.EinsumDense("ab,bc->ac", 5, bias_axes="c", activation="hard_sigmoid", name="einsum")(dense)
    spectral = K.SpectralNormalization(K.Dense(4, name="inside"), name="spectral")(dense)
    return [*several, *joined, einsum, spectral, parts["first"], parts["second"]]


def _wide(seed: int) -> Any:
    """Weights large enough to saturate."""
    return keras.initializers.RandomNormal(stddev=2.0, seed=seed)


def _one_dimension(x: Any) -> list[Any]:
    makers = [
        K.Conv1D(4, 3, activation="relu", name="conv"),
        K.Conv1DTranspose(3, 2, activation="tanh", kernel_initializer=_wide(1), name="transposed"),
        K.DepthwiseConv1D(2, activation="sigmoid", depthwise_initializer=_wide(2), name="depthwise"),
        K.SeparableConv1D(4, 2, activation="elu", name="separable"),
        K.MaxPooling1D(2, name="max"),
        K.AveragePooling1D(2, name="average"),
    ]
    return _after_a_weight(makers, x)


def _two_dimensions(x: Any) -> list[Any]:
    makers = [
        K.Conv2D(4, 3, activation="relu", name="conv"),
        K.Conv2DTranspose(3, 2, activation="tanh", kernel_initializer=_wide(1), name="transposed"),
        K.DepthwiseConv2D(2, activation="sigmoid", depthwise_initializer=_wide(2), name="depthwise"),
        K.SeparableConv2D(4, 2, activation="gelu", name="separable"),
        K.MaxPooling2D(2, name="max"),
        K.AveragePooling2D(2, name="average"),
        K.GlobalMaxPooling2D(name="global_max"),
        K.GlobalAveragePooling2D(name="global_average"),
    ]
    return _after_a_weight(makers, x)


def _three_dimensions(x: Any) -> list[Any]:
    makers = [
        K.Conv3D(4, 2, activation="relu", name="conv"),
        K.Conv3DTranspose(2, 2, activation="tanh", kernel_initializer=_wide(1), name="transposed"),
        K.MaxPooling3D(2, name="max"),
        K.AveragePooling3D(2, name="average"),
        K.ConvLSTM2D(2, 2, name="conv_lstm"),
    ]
    return _after_a_weight(makers, x)


def _normalizations(x: Any) -> list[Any]:
    makers = [
        K.BatchNormalization(name="batch"),
        K.LayerNormalization(name="layer"),
        K.LayerNormalization(axis=[1, 2], name="layer_of_two"),
        K.GroupNormalization(2, name="group"),
        K.RMSNormalization(name="rms"),
        K.UnitNormalization(name="unit"),
    ]
    return _after_a_weight(makers, x)


def _recurrent(x: Any) -> list[Any]:
    makers = [
        K.LSTM(3, return_sequences=True, name="lstm"),
        K.GRU(3, name="gru"),
        K.Bidirectional(K.LSTM(2, name="way"), name="both"),
        K.RNN([K.GRUCell(3, name="one"), K.LSTMCell(2, name="two")], name="stack"),
        K.TimeDistributed(K.Dense(3, name="each"), name="distributed"),
    ]
    return _after_a_weight(makers, x)


def _attention(x: Any) -> list[Any]:
    embedded = K.Embedding(7, 4, name="embedding", embeddings_initializer=_wide(0))(x)
    return [K.MultiHeadAttention(2, 3, use_bias=False, name="attention")(embedded, embedded)]


def _after_a_weight(layers: list[Any], x: Any) -> list[Any]:
    """Behind a layer with a weight, so that a gradient flows back to each."""
    before = K.Dense(x.shape[-1], name="before", kernel_initializer=keras.initializers.Orthogonal(seed=9))(x)
    return [layer(before) for layer in layers]


FAMILIES = {
    "elementwise": (_elementwise, (6,)),
    "one dimension": (_one_dimension, (5, 4)),
    "two dimensions": (_two_dimensions, (5, 4, 3)),
    "three dimensions": (_three_dimensions, (3, 4, 4, 2)),
    "normalizations": (_normalizations, (5, 4)),
    "recurrent": (_recurrent, (5, 4)),
    "attention": (_attention, (5,)),
}
# The output of a container is that of the last layer inside.
STANDS_FOR = {"spectral": "spectral/inside", "attention": "attention/attention_output"}


def family(name):
    make, shape = FAMILIES[name]
    keras.utils.set_random_seed(3)
    inputs = keras.Input(shape, name="inputs", dtype="int32" if name == "attention" else "float32")
    ends = [h if len(h.shape) == 2 else K.Flatten()(h) for h in make(inputs)]
    model = keras.Model(inputs, K.Dense(2, name="head")(K.Concatenate(name="all")(ends)))
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((2 * BATCH, *shape)), generator.standard_normal((2 * BATCH, 2))
    x = generator.integers(0, 7, x.shape) if name == "attention" else x.astype("float32")
    return model, x, y.astype("float32")


def second_step(model, x, y, **compile_arguments):
    """Profile of the second of two steps; the model is left as that step found it. And the change of each variable."""
    model.compile(keras.optimizers.SGD(0.01), "mse", **compile_arguments)
    states, watching = States(), kil.callbacks.LayerStatistics(update_freq=1, histograms=False, strict=True)
    model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[states, watching])
    states.restore(1)
    changes = {
        v.path: after.astype(np.float64) - value
        for v, value, after in zip(model.variables, *states.seen[1:], strict=True)
        if keras.backend.is_float_dtype(v.dtype)
    }
    return watching.history[-1], changes


def eager_pass(model, x, y):
    """Input and output of each layer, the gradients of the outputs and of the weights."""
    layers = [layer for layer in model.layers if not isinstance(layer, K.InputLayer)]
    everything = keras.Model(model.inputs[0], [[layer.input, layer.output] for layer in layers])
    with tf.GradientTape() as tape:
        found = everything(x, training=True)
        loss = tf.reduce_mean(tf.square(found[-1][1] - y))
    flat = tf.nest.flatten([output for _, output in found])
    gradients = tape.gradient(loss, [*flat, *(v.value for v in model.trainable_variables)])
    of_outputs = tf.nest.pack_sequence_as([output for _, output in found], gradients[: len(flat)])
    inputs, outputs = zip(*found, strict=True)
    return layers, inputs, outputs, of_outputs, gradients[len(flat) :]


def rows_of(profile, quantity):
    return {(row["layer"], row["variable"]): row for row in profile.rows if row["quantity"] == quantity}


def named(layer, outputs):
    leaves = tf.nest.flatten(outputs)
    path = STANDS_FOR.get(layer.name, layer.name)
    return {(path, None if len(leaves) == 1 else f"output_{i}"): leaf for i, leaf in enumerate(leaves)}


def assert_layers(profile, model, x, y):
    values = [v.numpy() for v in model.variables]
    layers, inputs, outputs, gradients, of_weights = eager_pass(model, x, y)
    for variable, value in zip(model.variables, values, strict=True):
        variable.assign(value)
    activations, flowing = rows_of(profile, "activation"), rows_of(profile, "activation_gradient")
    for layer, output, gradient in zip(layers, outputs, gradients, strict=True):
        for key, value in named(layer, output).items():
            assert_row(activations[key], value)
        for key, value in named(layer, gradient).items():
            assert (value is None) == (key not in flowing), key
            if value is not None:
                assert_row(flowing[key], value)
    weights, back = rows_of(profile, "weight"), rows_of(profile, "gradient")
    for variable, gradient in zip(model.trainable_variables, of_weights, strict=True):
        assert_row(weights[_row_of(variable)], variable.numpy())
        # A sum over the whole batch of terms of either sign, which every compiler adds in an order of its own.
        assert_row(back[_row_of(variable)], tf.convert_to_tensor(gradient), 1e-4)
    assert len(back) == len(of_weights)
    return layers, inputs


def _row_of(variable):
    """A cell's weights are listed with its layer; where there are several, with the name of the cell."""
    path = re.sub(r"/[a-z_]+_cell(?=/)", "", variable.path).replace("/stacked_rnn_cells/", "/")
    layer, name = path.split("/", 1) if path.startswith("stack") else path.rsplit("/", 1)
    return layer, name


SATURATED = {"tanh": math.atanh(0.99), "sigmoid": math.log(199.0), "hard_sigmoid": 3.0}


def assert_before_the_activation(profile, layers, inputs):
    """Where a layer fuses an activation, what a copy of it without one puts out."""
    found = rows_of(profile, "preactivation")
    fused = [
        (layer, x)
        for layer, x in zip(layers, inputs, strict=True)
        if not isinstance(layer, (K.RNN, K.Activation)) and layer.get_config().get("activation", "linear") != "linear"
    ]
    assert found.keys() == {(layer.name, None) for layer, _ in fused}
    for layer, x in fused:
        twin = type(layer).from_config({**layer.get_config(), "activation": None})
        twin.build(x.shape)
        twin.set_weights(layer.get_weights())
        row, value, bound = found[layer.name, None], twin(x), SATURATED.get(layer.get_config()["activation"])
        assert_row(row, value)
        share = None if bound is None else np.mean(np.abs(value) >= bound)
        assert row["saturated"] == share
        assert share is None or layer.name == "einsum" or 0 < share < 1


def assert_normalizations(profile, inputs, moving):
    """By what each example is divided, and each batch, against NumPy."""
    x = {name: np.asarray(value, np.float64) for name, value in inputs.items()}
    groups = np.reshape(x["group"], (BATCH, 5, 2, 2))
    expected = {
        ("layer", "mean"): x["layer"].mean(-1),
        ("layer", "variance"): x["layer"].var(-1),
        ("layer_of_two", "mean"): x["layer_of_two"].mean((1, 2)),
        ("layer_of_two", "variance"): x["layer_of_two"].var((1, 2)),
        ("group", "mean"): groups.mean((1, 3)),
        ("group", "variance"): groups.var((1, 3)),
        ("rms", "mean_square"): (x["rms"] ** 2).mean(-1),
    }
    found = rows_of(profile, "normalization")
    assert found.keys() == expected.keys()
    for key, values in expected.items():
        assert_row(found[key], values)
    mean, variance = x["batch"].mean((0, 1)), x["batch"].var((0, 1))
    batch = {"input": x["batch"], "batch_mean": mean, "batch_variance": variance, **moving}
    batch["mean_drift"] = (mean - moving["moving_mean"]) / np.sqrt(moving["moving_variance"] + 1e-3)
    batch["variance_ratio"] = (variance + 1e-3) / (moving["moving_variance"] + 1e-3)
    found = rows_of(profile, "batchnorm")
    assert [name for _, name in found] == list(batch)
    for name, values in batch.items():
        assert_row(found["batch", name], values)


def assert_scores(profile, model, x):
    """Projections and scores of an attention, in NumPy."""
    (table,) = model.get_layer("embedding").get_weights()
    kernels = model.get_layer("attention").get_weights()[:3]
    projected = [np.einsum("btd,dnh->btnh", table[x], kernel.astype(np.float64)) for kernel in kernels]
    logits = np.einsum("btnh,bsnh->bnts", *projected[:2]) / np.sqrt(3)
    scores = np.exp(logits - logits.max(-1, keepdims=True))
    scores /= scores.sum(-1, keepdims=True)
    rows = rows_of(profile, "activation")
    for name, values in zip(("query", "key", "value", "softmax"), (*projected, scores), strict=True):
        assert_row(rows[f"attention/{name}", None], values)
    inside = [layer for layer, _ in rows if layer.startswith("attention/")]
    assert inside == [f"attention/{name}" for name in ("query", "key", "value", "softmax", "attention_output")]


# XLA draws dropout from a stream of its own, which no eager pass can follow.
JIT = pytest.mark.parametrize("jit_compile", [False, pytest.param(True, marks=pytest.mark.sweep)])


@JIT
@pytest.mark.parametrize("name", FAMILIES)
def test_family(name, jit_compile):
    keras.utils.clear_session(free_memory=False)
    model, x, y = family(name)
    if jit_compile and name == "elementwise":
        model.get_layer("dropout").rate = 0.0
    profile, changes = second_step(model, x, y, jit_compile=jit_compile)
    moving = {w.name: w.numpy() for w in model.weights if w.name.startswith("moving")}
    layers, inputs = assert_layers(profile, model, x[BATCH:], y[BATCH:])
    assert_before_the_activation(profile, layers, inputs)
    updates = rows_of(profile, "update")
    for variable in model.trainable_variables:
        norm = np.linalg.norm(changes[variable.path])
        assert updates[_row_of(variable)]["l2"] == pytest.approx(norm, rel=1e-4, abs=1e-12)
    if name == "normalizations":
        assert_normalizations(profile, dict(zip((layer.name for layer in layers), inputs, strict=True)), moving)
    if name == "attention":
        assert_scores(profile, model, x[BATCH:])
    if name == "recurrent":
        ways = {
            way: rows_of(profile, "activation")[way, None] for way in ("both", "both/forward_way", "both/backward_way")
        }
        whole, *halves = (row["l2"] for row in ways.values())
        assert whole == pytest.approx(np.hypot(*halves), rel=1e-5)


def test_weights_of_layers_that_never_run_by_themselves_stand_with_their_container():
    """TimeDistributed runs only the `call` of the layer in it, and SpectralNormalization has no output of its own."""
    model, x, _ = family("recurrent")
    depths = {row["layer"]: row["depth"] for row in kil.observe(model, x[:2]).rows}
    assert depths["distributed/each"] == depths["distributed"]
    model, x, _ = family("elementwise")
    depths = {row["layer"]: row["depth"] for row in kil.observe(model, x[:2]).rows}
    assert depths["spectral"] == depths["spectral/inside"]
