import keras
import numpy as np
import pytest
from scipy import integrate, stats

from keras_initlab.model_init.moments import pooling_rules  # enters the rules
from keras_initlab.model_init.moments.activated import Activated
from keras_initlab.model_init.moments.rules import Moments, rule_for

from .measured_rules import check, even, predicted_and_sampled, the_call, uneven

layers = keras.layers

POOLED = {
    "valid": ((7, 2), lambda mode: getattr(layers, f"{mode}Pooling1D")(3, 2)),
    "same": ((7, 2), lambda mode: getattr(layers, f"{mode}Pooling1D")(3, 2, padding="same")),
    "overlapping": ((5, 6, 2), lambda mode: getattr(layers, f"{mode}Pooling2D")((3, 2), 1, padding="same")),
    "3-D": ((4, 4, 2, 2), lambda mode: getattr(layers, f"{mode}Pooling3D")(2, padding="same")),
    "wide step": ((9, 2), lambda mode: getattr(layers, f"{mode}Pooling1D")(2, 4)),
    "global": ((3, 4, 2), lambda mode: getattr(layers, f"Global{mode}Pooling2D")()),
    "global, axes kept": ((6, 2), lambda mode: getattr(layers, f"Global{mode}Pooling1D")(keepdims=True)),
    "adaptive": ((7, 5, 2), lambda mode: getattr(layers, f"Adaptive{mode}Pooling2D")((3, 2))),
}


@pytest.mark.parametrize("mode", ["Average", "Max"])
@pytest.mark.parametrize("name", POOLED)
def test_every_element_has_the_moments_of_the_layer(mode, name):
    shape, make = POOLED[name]
    check(make(mode), [uneven(shape)], count=40_000)


@pytest.mark.parametrize("mode", ["Average", "Max"])
def test_channels_first(mode):
    layer = getattr(layers, f"{mode}Pooling2D")((2, 1), data_format="channels_first")
    x = uneven((3, 4, 5))
    call = the_call(*reversed([i := keras.Input(x.mean.shape), layer(i)]))
    found = rule_for(layer)(call, [x])
    last = getattr(layers, f"{mode}Pooling2D")((2, 1), data_format="channels_last")
    other = Moments(*(np.moveaxis(a, 0, -1) for a in x))
    call = the_call(*reversed([i := keras.Input(other.mean.shape), last(i)]))
    expected = rule_for(last)(call, [other])
    np.testing.assert_allclose(found.mean, np.moveaxis(expected.mean, -1, 0))
    np.testing.assert_allclose(found.variance, np.moveaxis(expected.variance, -1, 0))


ACTIVATIONS = {
    "relu": lambda x: np.maximum(x, 0),
    "tanh": np.tanh,
    "leaky relu": lambda x: np.maximum(x, 0.2 * x),
    "softplus": lambda x: np.logaddexp(x, 0),
}


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_maximum_behind_an_activation_knows_the_law(name):
    """Taken for normal, the rectified inputs would give half the variance: .17 in place of .46 for four of N(0, 1)."""
    function, normal = ACTIVATIONS[name], uneven((4, 4, 2))
    given = Activated.of(even((4, 4, 2)), function, normal)
    layer = layers.MaxPooling2D(2)
    call = the_call(*reversed([i := keras.Input((4, 4, 2)), layer(i)]))
    found = pooling_rules.maximum(call, [given])
    x = function(np.random.default_rng(2).normal(normal.mean, np.sqrt(normal.variance), (100_000, 4, 4, 2)))
    largest = x.reshape(-1, 2, 2, 2, 2, 2).max((2, 4))
    error = 5.5 * largest.std(0) / 100_000**0.5
    assert (np.abs(found.mean - largest.mean(0)) <= error + 1e-4).all()
    kurtosis = ((largest - largest.mean(0)) ** 4).mean(0) / largest.var(0) ** 2
    error = 5.5 * np.sqrt((kurtosis - 1) / 100_000)
    assert (np.abs(found.variance / largest.var(0) - 1) <= error + 1e-3).all()


def test_maximum_behind_an_activation_that_falls_and_rises_is_left_to_measurement():
    silu = Activated.of(even((4, 1)), lambda x: x / (1 + np.exp(-x)), even((4, 1)))
    call = the_call(*reversed([i := keras.Input((4, 1)), layers.MaxPooling1D(2)(i)]))
    assert pooling_rules.maximum(call, [silu]) is NotImplemented


def test_maximum_where_some_elements_do_not_vary():
    """A dead unit is a step of the distribution function."""
    x = Moments(np.array([[0.0], [0.5], [-1.0], [0.2]]), np.array([[1.0], [0.0], [0.0], [1e-8]]))
    check(layers.MaxPooling1D(4), [x], slack=2e-3)
    constant = Moments(np.array([[0.0], [0.5], [-1.0], [0.2]]), np.zeros((4, 1)))
    call = the_call(*reversed([i := keras.Input((4, 1)), layers.MaxPooling1D(4)(i)]))
    found = pooling_rules.maximum(call, [constant])
    assert (found.mean.item(), found.variance.item()) == (0.5, 0.0)


@pytest.mark.parametrize("scale", [1.0, 1e-20, 1e20])
def test_the_largest_of_a_thousand(scale):
    call = the_call(*reversed([i := keras.Input((1000, 1)), layers.GlobalMaxPooling1D()(i)]))
    found = pooling_rules.maximum(call, [even((1000, 1), variance=scale**2)])

    def moment(k):
        law = stats.norm
        return integrate.quad(lambda x: x**k * 1000 * law.pdf(x) * law.cdf(x) ** 999, 0, 10, points=[3, 4])[0]

    mean, std = moment(1), (moment(2) - moment(1) ** 2) ** 0.5
    np.testing.assert_allclose(found.mean / scale, mean, atol=1e-4 * std)
    np.testing.assert_allclose(np.sqrt(found.variance) / scale, std, atol=1e-4 * std)


def test_a_masked_average_is_left_to_measurement():
    i = keras.Input((4, 1))
    mask = keras.Input((4,), dtype="bool")
    call = the_call(layers.GlobalAveragePooling1D()(i, mask=mask), [i, mask])
    assert pooling_rules.average(call, [even((4, 1))]) is NotImplemented


def test_the_check_refuses_padding_that_is_counted():
    _, measured, (error, _) = predicted_and_sampled(layers.AveragePooling1D(2, padding="same"), [even((3, 1), 1.0)])
    wrong = np.array([[1.0], [0.5]])
    assert (np.abs(wrong - measured.mean) > 5.5 * error).any()
