import keras
import numpy as np
import pytest

from keras_initlab.model_init.moments import linear_rules, normalization_rules  # noqa: F401  (they enter the rules)
from keras_initlab.model_init.moments.rules import Moments, rule_for
from keras_initlab.model_init.moments.standardized import standardized

from .measured_rules import check, even, predicted_and_sampled, the_call, uneven

layers = keras.layers
UNEVEN_WEIGHTS = {
    "gamma_initializer": keras.initializers.RandomUniform(0.5, 2.0, seed=1),
    "beta_initializer": keras.initializers.RandomNormal(stddev=1.0, seed=2),
}


def with_uneven_scale(layer, shape):
    """RMSNormalization takes no initializer."""
    layer.build((None, *shape))
    layer.scale.assign(np.random.default_rng(3).uniform(0.5, 2.0, layer.scale.shape))
    return layer


@pytest.mark.parametrize(
    ("shape", "options"),
    [
        ((5,), {}),
        ((4, 3), {}),
        ((3, 4, 2), {"axis": 1}),
        ((4, 3), {"center": False, "epsilon": 0.5}),
        ((4, 3), {"scale": False}),
    ],
)
def test_batch_normalization(shape, options):
    found = check(layers.BatchNormalization(**UNEVEN_WEIGHTS, **options), [uneven(shape)], slack=1e-3)
    assert found.variance.std() > 0.02


def test_batch_normalization_that_is_not_trainable_uses_its_moving_statistics():
    layer = layers.BatchNormalization(trainable=False)
    layer.build((None, 3))
    layer.moving_mean.assign([1.0, 2.0, 3.0])
    layer.moving_variance.assign([4.0, 1.0, 0.25])
    check(layer, [uneven((3,))], count=40_000)


def test_batch_renormalization_is_left_to_measurement():
    layer = layers.BatchNormalization(renorm=True)
    call = the_call(*reversed([i := keras.Input((3,)), layer(i)]))
    assert rule_for(layer)(call, [even((3,))]) is NotImplemented


# Second-order terms of size 1/n are in; what is left is of size 1/n².
@pytest.mark.parametrize(
    ("shape", "layer"),
    [
        ((96,), lambda: layers.LayerNormalization(**UNEVEN_WEIGHTS)),
        ((96,), lambda: layers.LayerNormalization(center=False, scale=False, epsilon=0.5)),
        ((8, 12), lambda: layers.LayerNormalization(axis=(1, 2), **UNEVEN_WEIGHTS)),
        ((96, 2), lambda: layers.LayerNormalization(axis=1, **UNEVEN_WEIGHTS)),
        ((96,), lambda: with_uneven_scale(layers.RMSNormalization(), (96,))),
        ((8, 12), lambda: with_uneven_scale(layers.RMSNormalization(axis=(1, 2), epsilon=0.3), (8, 12))),
        ((96,), lambda: layers.UnitNormalization()),
        ((2, 96), lambda: layers.UnitNormalization(axis=-1)),
        ((6, 8, 4), lambda: layers.GroupNormalization(2, **UNEVEN_WEIGHTS)),
        ((4, 8, 12), lambda: layers.GroupNormalization(4, axis=1, epsilon=0.2, **UNEVEN_WEIGHTS)),
        ((8, 12, 3), lambda: layers.GroupNormalization(-1)),
    ],
)
def test_statistics_of_each_example(shape, layer):
    check(layer(), [uneven(shape)], slack=5e-3, count=30_000, block=10_000)


@pytest.mark.parametrize("layer", [layers.LayerNormalization, layers.RMSNormalization, layers.UnitNormalization])
@pytest.mark.parametrize("width", [4, 16])
def test_equal_moments_are_exact_at_any_width(layer, width):
    check(layer(), [even((width,), variance=2.0)], slack=1e-3)


def test_the_finite_width_correction_is_needed():
    """At width 96 it is worth more than the tolerance of these tests."""
    x = uneven((96,))
    found = standardized(x, (0,), 0.0)
    delta = x.mean - x.mean.mean()
    plain = x.variance / (delta**2 + x.variance).mean()
    assert np.abs(plain / found.variance - 1).max() > 0.02


def test_few_uneven_elements_are_left_to_measurement():
    assert standardized(uneven((6,)), (0,), 1e-3) is NotImplemented


def test_constant_elements_have_no_variance():
    found = standardized(even((8,), mean=3.0, variance=0.0), (0,), 1e-3)
    assert found.mean.tolist() == found.variance.tolist() == [0.0] * 8


def test_after_a_rectifier_the_wide_layer_still_holds():
    """Elements that are not normal change terms of size 1/n only."""
    half = even((256,), mean=0.3989422804, variance=0.3408450569)
    found, _, _ = predicted_and_sampled(layers.LayerNormalization(epsilon=0.1), [half], count=2)
    x = np.maximum(np.random.default_rng(0).normal(size=(40_000, 256)), 0)
    y = (x - x.mean(1, keepdims=True)) / np.sqrt(x.var(1, keepdims=True) + 0.1)
    assert found.variance.mean() == pytest.approx(y.var(0).mean(), rel=0.01)


@pytest.mark.parametrize("use_bias", [True, False])
@pytest.mark.parametrize("iterations", [1, 3])
def test_spectral_normalization(use_bias, iterations):
    inner = layers.Dense(4, use_bias=use_bias, bias_initializer=keras.initializers.RandomNormal(stddev=1.0, seed=1))
    layer = layers.SpectralNormalization(inner, power_iterations=iterations)
    x = uneven((6,))
    call = the_call(*reversed([i := keras.Input((6,)), layer(i)]))
    found = rule_for(layer)(call, [x])
    # One step of training writes the normalized kernel into the layer inside.
    layer(np.zeros((1, 6), "float32"), training=True)
    kernel = keras.ops.convert_to_numpy(inner.kernel).astype("float64")
    bias = keras.ops.convert_to_numpy(inner.bias) if use_bias else 0.0
    np.testing.assert_allclose(found.mean, x.mean @ kernel + bias, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.variance, x.variance @ kernel**2, rtol=1e-5)


def test_spectral_normalization_of_a_layer_with_an_activation_is_left_to_measurement():
    layer = layers.SpectralNormalization(layers.Dense(4, activation="relu"))
    call = the_call(*reversed([i := keras.Input((6,)), layer(i)]))
    assert rule_for(layer)(call, [even((6,))]) is NotImplemented


def test_the_check_refuses_a_forgotten_epsilon():
    x = even((96,))
    _, measured, (_, error) = predicted_and_sampled(layers.LayerNormalization(epsilon=0.02), [x], count=20_000)
    assert (np.abs(Moments(x.mean, np.ones(96)).variance - measured.variance) > 5.5 * error).sum() == 0
    assert abs(1.0 - measured.variance.mean()) > 5.5 * (error / 96**0.5).mean()
