"""Under "auto" every layer with a kernel hands on the variance it gets.

An orthogonal kernel has a fixed sum of squares: for white inputs the expected mean square of the outputs, over the
units, is the same whatever kernel was drawn. So the samples alone are left to chance, and they are independent.
"""

import math

import keras
import numpy as np
import pytest
from scipy import stats

from keras_initlab.model_init.places import placed_weights
from keras_initlab.model_init.reinitialize import reinitialize
from tests.initializers.laws import FIVE_SIGMA, numbers
from tests.model_init.drawing import layers, sequential, white

SAMPLES = 2048


def assert_mean_square(y, expected=1.0):
    """Of N independent samples: five times the standard error of their own mean squares, std / √N."""
    squares = np.mean(np.square(numbers(y)).reshape(len(y), -1), axis=1)
    band = 5 * squares.std(ddof=1) / math.sqrt(len(squares))
    assert abs(squares.mean() - expected) <= band, f"mean square {squares.mean()}, expected {expected} ± {band}"


def output(model):
    """What the whole model makes of white noise."""
    yield model(white((SAMPLES, *model.input_shape[1:])))


def interior(model):
    """Of a transposed convolution what every tap reaches: k − s from each side."""
    (layer,) = model.layers
    cut = [slice(k - s, -(k - s) or None) for k, s in zip(layer.kernel_size, layer.strides, strict=True)]
    yield next(output(model))[(slice(None), *cut)]


def projections(model):
    """Of an attention's four: inputs of any shape that their kernels take."""
    for layer in model._flatten_layers():
        if isinstance(layer, layers.EinsumDense):
            operand, kernel = layer.equation.split("->")[0].split(",")
            sizes = dict(zip(kernel, layer.kernel.shape, strict=True))
            yield layer(white((SAMPLES, *(sizes.get(axis, 3) for axis in operand[1:]))))


def input_products(model):
    """What the input adds to each gate of each cell."""
    for weight in placed_weights(model):
        if weight.role.kind == "kernel":
            kernel, count = weight.variable, weight.role.gates
            x = white((SAMPLES, *([7] * (len(kernel.shape) - 2)), kernel.shape[-2]))
            if len(kernel.shape) == 2:
                y = keras.ops.matmul(x, kernel)
            else:
                y = keras.ops.conv(x, kernel, weight.role.strides, "valid")
            yield from keras.ops.split(y, count, axis=-1)


L = layers
# What is looked at, the shape of an input, the layer. No layer has as many inputs as outputs.
KINDS = {
    "Dense, narrow": (output, (48,), lambda: L.Dense(16)),
    "Dense, wide": (output, (16,), lambda: L.Dense(48)),
    "Dense on a sequence": (output, (3, 48), lambda: L.Dense(16)),
    "EinsumDense abc,cd->abd": (output, (4, 48), lambda: L.EinsumDense("abc,cd->abd", (4, 16))),
    "EinsumDense bnd,ndf->bnf": (output, (4, 48), lambda: L.EinsumDense("bnd,ndf->bnf", (4, 16))),
    "EinsumDense bd,dhf->bhf": (output, (24,), lambda: L.EinsumDense("bd,dhf->bhf", (4, 16))),
    "EinsumDense bhf,hfd->bd": (output, (4, 16), lambda: L.EinsumDense("bhf,hfd->bd", 24)),
    "EinsumDense bhd,fhd->bhf": (output, (4, 48), lambda: L.EinsumDense("bhd,fhd->bhf", (4, 16))),
    "EinsumDense ...x,xy->...y": (output, (3, 48), lambda: L.EinsumDense("...x,xy->...y", 16)),
    "Conv1D": (output, (6, 8), lambda: L.Conv1D(6, 3)),
    "Conv1D, dilated": (output, (8, 8), lambda: L.Conv1D(6, 3, dilation_rate=3)),
    "Conv2D": (output, (5, 5, 6), lambda: L.Conv2D(16, 3)),
    "Conv2D, strides": (output, (7, 6, 6), lambda: L.Conv2D(16, (3, 2), strides=(2, 3))),
    "Conv2D, groups": (output, (5, 5, 8), lambda: L.Conv2D(24, 3, groups=4)),
    "Conv2D, groups, wide": (output, (2, 2, 8), lambda: L.Conv2D(64, 1, groups=4)),
    "Conv2D, dilated": (output, (6, 6, 6), lambda: L.Conv2D(16, 3, dilation_rate=2)),
    "Conv3D": (output, (3, 4, 4, 4), lambda: L.Conv3D(8, 2)),
    "Conv1DTranspose": (interior, (5, 12), lambda: L.Conv1DTranspose(6, 6, strides=3)),
    "Conv2DTranspose": (interior, (3, 3, 12), lambda: L.Conv2DTranspose(6, 4, strides=2)),
    "Conv2DTranspose, uneven": (interior, (3, 3, 4), lambda: L.Conv2DTranspose(16, (4, 3), strides=(2, 1))),
    "Conv3DTranspose": (interior, (2, 2, 2, 8), lambda: L.Conv3DTranspose(4, 2, strides=2)),
    "DepthwiseConv1D": (output, (6, 24), lambda: L.DepthwiseConv1D(3)),
    "DepthwiseConv2D": (output, (5, 5, 8), lambda: L.DepthwiseConv2D(3)),
    "DepthwiseConv2D, multiplier": (output, (5, 5, 8), lambda: L.DepthwiseConv2D(3, depth_multiplier=3, strides=2)),
    "SeparableConv1D": (output, (6, 24), lambda: L.SeparableConv1D(8, 3)),
    "SeparableConv2D": (output, (5, 5, 8), lambda: L.SeparableConv2D(24, 3, depth_multiplier=2)),
    "SimpleRNN": (input_products, (3, 48), lambda: L.SimpleRNN(16)),
    "LSTM": (input_products, (3, 48), lambda: L.LSTM(16)),
    "LSTM, wide": (input_products, (3, 16), lambda: L.LSTM(48)),
    "GRU": (input_products, (3, 48), lambda: L.GRU(32)),
    "GRU, reset before": (input_products, (3, 48), lambda: L.GRU(32, reset_after=False)),
    "stacked cells": (input_products, (3, 48), lambda: L.RNN([L.LSTMCell(16), L.GRUCell(32)])),
    "ConvLSTM1D": (input_products, (2, 9, 12), lambda: L.ConvLSTM1D(6, 3)),
    "ConvLSTM2D": (input_products, (2, 5, 5, 4), lambda: L.ConvLSTM2D(6, 3, strides=2)),
    "ConvLSTM3D": (input_products, (2, 4, 4, 4, 4), lambda: L.ConvLSTM3D(6, 2)),
    "Bidirectional": (input_products, (3, 48), lambda: L.Bidirectional(L.LSTM(16))),
    "TimeDistributed": (output, (2, 5, 5, 6), lambda: L.TimeDistributed(L.Conv2D(16, 3))),
    "SpectralNormalization": (input_products, (48,), lambda: L.SpectralNormalization(L.Dense(16))),
    "nested": (output, (48,), lambda: sequential((48,), L.Dense(24), sequential((24,), L.Dense(8)))),
}


def model_of(shape, layer):
    return sequential(shape, layer())


def attention(layer, width=24):
    x = keras.Input((5, width))
    return keras.Model(x, layer(x, x))


ATTENTIONS = {
    "MultiHeadAttention": lambda: attention(L.MultiHeadAttention(2, 32)),
    "MultiHeadAttention, value": lambda: attention(L.MultiHeadAttention(4, 2, value_dim=3, output_shape=32), 16),
    "GroupQueryAttention": lambda: attention(L.GroupQueryAttention(32, 4, 2), 16),
}
MODELS = {
    **{name: (look, lambda s=shape, layer=layer: model_of(s, layer)) for name, (look, shape, layer) in KINDS.items()},
    **{name: (projections, make) for name, make in ATTENTIONS.items()},
}
every_kind = pytest.mark.parametrize(("look", "make"), MODELS.values(), ids=MODELS.keys())


def refused(look, model):
    """How many of the outputs are out of their band, of how many."""
    found = 0
    outputs = list(look(model))
    for y in outputs:
        try:
            assert_mean_square(y)
        except AssertionError:
            found += 1
    return found, len(outputs)


@every_kind
def test_the_output_has_unit_variance(look, make):
    model = make()
    reinitialize(model, "auto", seed=1)
    for y in look(model):
        assert_mean_square(y)


@every_kind
def test_what_keras_draws_is_out_of_the_band(look, make):
    keras.utils.set_random_seed(2)  # one small kernel in some dozens has unit mean square by chance
    found, count = refused(look, make())
    assert found == count > 0


@pytest.mark.parametrize("name", [name for name in MODELS if name not in ("DepthwiseConv1D", "DepthwiseConv2D")])
def test_swapped_fans_are_out_of_the_band(name):
    """Those with one output for each input have no fans to swap."""
    look, make = MODELS[name]
    model = make()
    reinitialize(model, "auto", seed=1)
    for weight in placed_weights(model):
        if weight.role.kind == "kernel":
            fan_in, fan_out = weight.role.fans(tuple(weight.variable.shape))
            weight.variable.assign(weight.variable * math.sqrt(fan_in / fan_out))
    found, count = refused(look, model)
    assert found == count > 0


def embedding(seed=None):
    """The mean square norm of an embedding's rows, for rows of twelve numbers."""
    model = sequential((3,), L.Embedding(4096, 12))
    if seed is not None:
        reinitialize(model, "auto", seed=seed)
    return np.sum(np.square(numbers(model.layers[0].embeddings)), axis=1).mean()


class TestEmbedding:
    """Rows of unit mean square norm, whatever their number."""

    # Of n = 4096 · 12 numbers with kurtosis k = 2.366, of a normal law cut at ±2: √((k − 1) / n).
    BAND = 5 * math.sqrt(1.366 / (4096 * 12))

    def test_rows_have_unit_norm(self):
        assert embedding(seed=1) == pytest.approx(1.0, abs=self.BAND)

    def test_those_of_keras_have_not(self):
        """Uniform between ±.05: twelve times .05² / 3."""
        assert embedding() == pytest.approx(12 * 0.05**2 / 3, rel=0.05)


ACTIVATED = {
    "fused": lambda units: [L.Dense(units, "relu")],
    "a layer of its own": lambda units: [L.Dense(units), L.ReLU()],
    "behind dropout and a reshape": lambda units: [
        L.Dense(units),
        L.Dropout(0.3),
        L.Reshape((units // 2, 2)),
        L.Flatten(),
        L.Activation("relu"),
    ],
}


class TestRelu:
    """The kernel is orthogonal and its law symmetric: after each layer E f² = 1 exactly, over kernels."""

    SEEDS, DEPTH = 30, 5

    def mean_square(self, model):
        return np.mean(np.square(numbers(model(white((64, 32))))))

    def assert_unit(self, squares):
        """Of independent kernels: Student's quantile with as much in its tails as five sigma, times std / √n."""
        n = len(squares)
        band = stats.t.isf(FIVE_SIGMA / 2, n - 1) * np.std(squares, ddof=1) / math.sqrt(n)
        assert abs(np.mean(squares) - 1.0) <= band, f"mean square {np.mean(squares)} ± {band}"

    @pytest.mark.parametrize("part", ACTIVATED.values(), ids=ACTIVATED.keys())
    def test_a_chain_keeps_the_mean_square(self, part):
        model = sequential((32,), *(layer for units in [48, 32] * 2 + [64] for layer in part(units)))
        squares = []
        for seed in range(self.SEEDS):
            reinitialize(model, "auto", seed=seed)
            squares.append(self.mean_square(model))
        self.assert_unit(squares)

    def test_kernels_of_keras_do_not(self):
        def squares(seed):
            law = keras.initializers.GlorotUniform(seed=seed)
            return self.mean_square(sequential((32,), L.Dense(32, "relu", kernel_initializer=law)))

        with pytest.raises(AssertionError, match=r"mean square 0\.(49|5)"):
            self.assert_unit([squares(seed) for seed in range(self.SEEDS)])
