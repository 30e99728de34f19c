"""Rules of linear layers against the layer's own matrix, which its outputs for unit vectors make up."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.moments.linear_rules import linear, stages
from keras_initlab.model_init.moments.rules import Moments, Weights, rule_for, using
from keras_initlab.model_init.roles import own_weights

layers = keras.layers
normal = keras.initializers.RandomNormal
# The matrix is computed in float32.
CLOSE = {"rtol": 2e-5, "atol": 2e-5}
SEEDS = {"kernel_initializer": normal(stddev=0.3, seed=1), "bias_initializer": normal(mean=1.0, seed=2)}
DEPTHWISE = {"depthwise_initializer": normal(stddev=0.3, seed=1), "bias_initializer": normal(mean=1.0, seed=2)}
SEPARABLE = {**DEPTHWISE, "pointwise_initializer": normal(stddev=0.3, seed=3)}

LAYERS = {
    "dense": (lambda: layers.Dense(4, **SEEDS), (5,)),
    "dense over positions": (lambda: layers.Dense(4, **SEEDS), (3, 5)),
    "dense without bias": (lambda: layers.Dense(4, use_bias=False, kernel_initializer=normal(seed=1)), (5,)),
    "einsum": (lambda: layers.EinsumDense("abc,cde->abde", (None, 2, 3), bias_axes="de", **SEEDS), (4, 5)),
    "einsum, shared axis": (lambda: layers.EinsumDense("bnd,ndf->bnf", (3, 4), bias_axes="nf", **SEEDS), (3, 5)),
    "einsum, ellipsis": (lambda: layers.EinsumDense("...x,xy->...y", 4, bias_axes="y", **SEEDS), (2, 3, 5)),
    "conv1d causal": (lambda: layers.Conv1D(3, 2, padding="causal", dilation_rate=2, **SEEDS), (7, 2)),
    "conv2d valid": (lambda: layers.Conv2D(3, (2, 3), **SEEDS), (5, 6, 2)),
    "conv2d same, strides": (lambda: layers.Conv2D(3, 3, strides=2, padding="same", **SEEDS), (6, 5, 2)),
    "conv2d groups": (lambda: layers.Conv2D(4, 3, groups=2, padding="same", **SEEDS), (4, 4, 6)),
    "conv2d dilated": (lambda: layers.Conv2D(3, 3, dilation_rate=2, padding="same", **SEEDS), (6, 6, 2)),
    "conv3d": (lambda: layers.Conv3D(2, 2, strides=(1, 2, 1), padding="same", **SEEDS), (3, 4, 3, 2)),
    "conv1d transposed": (lambda: layers.Conv1DTranspose(3, 4, strides=3, **SEEDS), (4, 2)),
    "conv2d transposed": (lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same", **SEEDS), (3, 4, 2)),
    "conv2d transposed, output padding": (
        lambda: layers.Conv2DTranspose(3, 3, strides=2, padding="same", output_padding=1, **SEEDS),
        (3, 3, 2),
    ),
    "conv3d transposed": (lambda: layers.Conv3DTranspose(2, 2, strides=2, **SEEDS), (2, 2, 2, 2)),
    "depthwise 1d": (lambda: layers.DepthwiseConv1D(3, padding="same", depth_multiplier=2, **DEPTHWISE), (6, 3)),
    "depthwise 2d": (lambda: layers.DepthwiseConv2D((2, 3), strides=2, **DEPTHWISE), (6, 7, 3)),
}


def matrix(layer, shape):
    """The layer's outputs for unit vectors less that for 0, and that for 0."""
    size = int(np.prod(shape))
    inputs = np.concatenate([np.zeros((1, size)), np.eye(size)]).reshape(-1, *shape).astype("float32")
    out = keras.ops.convert_to_numpy(layer(inputs)).astype("float64")
    return (out[1:] - out[0]).reshape(size, -1), out[0]


def moments(shape, seed=0):
    rng = np.random.default_rng(seed)
    return Moments(rng.normal(size=shape), rng.uniform(0.2, 3.0, shape))


@pytest.mark.parametrize("name", LAYERS)
def test_moments_are_those_of_the_matrix(name):
    make, shape = LAYERS[name]
    layer, given = make(), moments(shape)
    w, bias = matrix(layer, shape)
    found = linear(layer, given)
    assert found.mean.shape == bias.shape
    np.testing.assert_allclose(found.mean.ravel(), given.mean.ravel() @ w + bias.ravel(), **CLOSE)
    np.testing.assert_allclose(found.variance.ravel(), given.variance.ravel() @ w**2, **CLOSE)


def test_channels_first():
    last = layers.Conv2D(3, 3, padding="same", strides=2, data_format="channels_last", **SEEDS)
    first = layers.Conv2D(3, 3, padding="same", strides=2, data_format="channels_first", **SEEDS)
    last.build((None, 5, 6, 2))
    first.build((None, 2, 5, 6))
    given = moments((5, 6, 2))
    a, b = linear(last, given), linear(first, Moments(*(np.moveaxis(part, -1, 0) for part in given)))
    for one, other in zip(a, b, strict=True):
        np.testing.assert_allclose(np.moveaxis(other, 0, -1), one, rtol=1e-6)


@pytest.mark.parametrize(("layer", "shape"), [(layers.SeparableConv1D, (6, 2)), (layers.SeparableConv2D, (5, 4, 2))])
def test_separable_is_one_after_the_other(layer, shape):
    layer = layer(3, 3, strides=2, padding="same", depth_multiplier=2, **SEPARABLE)
    given = moments(shape)
    w, bias = matrix(layer, shape)
    found = linear(layer, given)
    np.testing.assert_allclose(found.mean.ravel(), given.mean.ravel() @ w + bias.ravel(), **CLOSE)
    kind = layers.DepthwiseConv1D if len(shape) == 2 else layers.DepthwiseConv2D
    first = kind(3, strides=2, padding="same", depth_multiplier=2, use_bias=False)
    first.build((None, *shape))
    first.kernel.assign(layer.depthwise_kernel)
    between = given.variance.ravel() @ matrix(first, shape)[0] ** 2
    point = keras.ops.convert_to_numpy(layer.pointwise_kernel).reshape(4, 3).astype("float64")
    np.testing.assert_allclose(found.variance, between.reshape(*found.mean.shape[:-1], 4) @ point**2, **CLOSE)


@pytest.mark.parametrize("size", [(8, 0.8402777777), (32, 0.9588)])
def test_same_padding_costs_its_share(size):
    size, share = size
    layer = layers.Conv2D(1, 3, padding="same", use_bias=False, kernel_initializer="ones")
    layer.build((None, size, size, 1))
    found = linear(layer, Moments(np.zeros((size, size, 1)), np.ones((size, size, 1))))
    assert found.variance.mean() / 9 == pytest.approx(share, abs=5e-5)


def test_values_beyond_float32():
    layer = layers.Conv2D(2, 2, **SEEDS)
    layer.build((None, 3, 3, 1))
    small = linear(layer, Moments(np.zeros((3, 3, 1)), np.ones((3, 3, 1))))
    large = linear(layer, Moments(np.zeros((3, 3, 1)), np.full((3, 3, 1), 1e200)))
    np.testing.assert_allclose(large.variance, 1e200 * small.variance, rtol=1e-6)


def test_a_wrong_kernel_is_told_apart():
    """Negative control: without the squares the same comparison fails."""
    layer, given = layers.Dense(4, **SEEDS), moments((5,))
    w, _ = matrix(layer, (5,))
    with pytest.raises(AssertionError, match="Mismatched elements"):
        np.testing.assert_allclose(linear(layer, given).variance, given.variance @ np.abs(w), **CLOSE)


def test_fused_activation():
    inputs = keras.Input((5,))
    call = trace(keras.Model(inputs, layers.Dense(4, activation="relu", **SEEDS)(inputs))).calls[0]
    given = moments((5,))
    before, after = linear(call.operation, given), rule_for(call.operation)(call, [given])
    draws = np.random.default_rng(0).normal(before.mean, np.sqrt(before.variance), (400_000, 4)).clip(0)
    # Five standard errors of a mean, and of a mean square whose kurtosis is at most 6.
    error = 5 * np.sqrt(before.square / 400_000)
    assert (np.abs(after.mean - draws.mean(0)) < error).all()
    assert (np.abs(after.square - (draws**2).mean(0)) < 5 * before.square * np.sqrt(5 / 400_000)).all()


def test_weights_may_be_put_in_their_place():
    class Doubled(Weights):
        def kernel(self, variable, mean_square):
            return 2 * self.value(variable)

    layer, given = layers.Dense(4, use_bias=False, kernel_initializer=normal(seed=1)), moments((5,))
    layer.build((None, 5))
    plain = linear(layer, given)
    with using(Doubled()):
        doubled = linear(layer, given)
    np.testing.assert_allclose(doubled.mean, 2 * plain.mean)
    np.testing.assert_allclose(doubled.variance, 4 * plain.variance)
    np.testing.assert_allclose(linear(layer, given, Doubled()).mean, 2 * plain.mean)


def test_adapted_layers_have_no_rule():
    layer = layers.Dense(4)
    layer.build((None, 5))
    layer.enable_lora(2)
    assert stages(layer) is None
    assert linear(layer, moments((5,))) is None
    assert own_weights(layer)[0].role.kind == "adapted"
