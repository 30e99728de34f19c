"""Rules of activations, dropout, noise, merges and arrangement against draws and quadrature."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.moments import arrangement_rules, elementwise_rules  # noqa: F401  (they enter the rules)
from keras_initlab.model_init.moments.activation_moments import activation_moments, mean_square_slope, rectified
from keras_initlab.model_init.moments.activation_rules import ACTIVATIONS, function_of
from keras_initlab.model_init.moments.rules import Moments, rule_for
from keras_initlab.theory import gaussian_mean, scalar

from .measured_rules import check, even, predict, the_call, uneven

layers, ops = keras.layers, keras.ops

SMOOTH = ("tanh", "sigmoid", "softplus", "gelu", "silu", "mish", "log_sigmoid", "squareplus", "softsign")
BENT = ("relu", "leaky_relu", "elu", "selu", "celu", "relu6", "hard_tanh", "hard_sigmoid", "hard_silu", "soft_shrink")
TORN = ("hard_shrink",)


def slow(activation, mean, variance):
    """The same by adaptive quadrature, one element at a time."""
    phi = scalar(activation)
    breaks = [kink - mean for kink in phi.kinks]
    first = gaussian_mean(lambda x: phi.function(x + mean), breaks, variance**0.5)
    return first, gaussian_mean(lambda x: (phi.function(x + mean) - first) ** 2, breaks, variance**0.5)


@pytest.mark.parametrize("name", [*SMOOTH, *BENT, *TORN])
@pytest.mark.parametrize(("mean", "variance"), [(0.0, 1.0), (0.4, 0.01), (-2.0, 4.0), (3.0, 100.0)])
def test_activations(name, mean, variance):
    found = activation_moments(name, Moments(np.array([mean]), np.array([variance])))
    first, second = slow(name, mean, variance)
    assert found.mean[0] == pytest.approx(first, abs=1e-7 * variance**0.5)
    assert found.variance[0] == pytest.approx(second, rel=1e-6)


def test_exponential_is_log_normal():
    mean, variance = np.array([0.3, -1.0]), np.array([0.5, 1.5])
    found = activation_moments("exponential", Moments(mean, variance))
    np.testing.assert_allclose(found.mean, np.exp(mean + variance / 2), rtol=1e-7)
    np.testing.assert_allclose(found.variance, np.expm1(variance) * np.exp(2 * mean + variance), rtol=1e-6)


@pytest.mark.parametrize("name", ["tanh", "relu", "gelu"])
def test_constants(name):
    mean = np.array([-1.5, 0.0, 2.0])
    found = activation_moments(name, Moments(mean, np.zeros(3)))
    np.testing.assert_allclose(found.mean, scalar(name).function(mean), atol=1e-12)
    assert not found.variance.any()


def test_rectified_far_from_its_kink_keeps_its_digits():
    found = rectified(0.1, Moments(np.array([1e6, -1e6]), np.array([1e-4, 1e-4])))
    np.testing.assert_allclose(found.variance, [1e-4, 1e-6])
    np.testing.assert_allclose(found.mean, [1e6, -1e5])


def test_every_pair_by_itself_and_in_any_order():
    given = uneven((40, 50))
    found = activation_moments("tanh", given)
    for place in ((0, 0), (17, 33), (39, 49)):
        one = activation_moments("tanh", Moments(given.mean[place][None], given.variance[place][None]))
        assert found.mean[place] == pytest.approx(one.mean[0], abs=1e-12)
        assert found.variance[place] == pytest.approx(one.variance[0], rel=1e-9)


@pytest.mark.parametrize(("name", "expected"), [("relu", 0.5), ("tanh", 0.4644029024), ("gelu", 0.4558508656)])
def test_slopes(name, expected):
    assert mean_square_slope(name, even((3,))) == pytest.approx(expected, abs=1e-8)


def test_parameters_of_operations_count():
    """Each with parameters other than the defaults, against the operation itself."""
    x = keras.Input((50,))
    made = {
        "relu layer": layers.ReLU(negative_slope=0.2, max_value=1.5),
        "leaky layer": layers.LeakyReLU(0.4),
        "elu layer": layers.ELU(0.3),
        "leaky": lambda x: ops.leaky_relu(x, 0.4),
        "elu": lambda x: ops.elu(x, 0.3),
        "celu": lambda x: ops.celu(x, 0.3),
        "gelu": lambda x: ops.gelu(x, approximate=False),
        "shrink": lambda x: ops.soft_shrink(x, 0.3),
        "hard shrink": lambda x: ops.hard_shrink(x, 0.3),
        "threshold": lambda x: ops.threshold(x, 0.3, -1.0),
        "squareplus": lambda x: ops.squareplus(x, 2),
        "function": lambda x: keras.activations.relu(x, negative_slope=0.1, threshold=0.5),
        "absolute": ops.abs,
        "square": ops.square,
        "sin": ops.sin,
        "arctan": ops.arctan,
    }
    grid = np.linspace(-3, 3, 50)[None]
    for name, apply in made.items():
        call = the_call(apply(x), x)
        assert type(call.operation).__name__ in ACTIVATIONS, name
        function = function_of(call.operation)
        expected = ops.convert_to_numpy(call.operation(ops.convert_to_tensor(grid.astype("float32"))))
        phi = function if hasattr(function, "kinks") else scalar(function)
        np.testing.assert_allclose(phi.function(grid), expected, atol=1e-5, err_msg=name)


def test_prelu_has_slopes_of_its_own():
    check(layers.PReLU(keras.initializers.RandomUniform(-0.5, 2.0, seed=1)), [uneven((30,))])


TRAINING = {
    "dropout": layers.Dropout(0.3, seed=1),
    "spatial dropout": layers.SpatialDropout1D(0.4, seed=1),
    "gaussian dropout": layers.GaussianDropout(0.3, seed=1),
    "gaussian noise": layers.GaussianNoise(0.7, seed=1),
    "alpha dropout": layers.AlphaDropout(0.25, seed=1),
}


@pytest.mark.parametrize("name", TRAINING)
def test_what_training_adds(name):
    check(TRAINING[name], [uneven((6, 5))])


def test_dropout_without_its_mean_term_is_told_apart():
    """Negative control: v/(1 − p) is what a mean of 0 would give."""
    given = uneven((6, 5))
    call = the_call(layers.Dropout(0.3)(x := keras.Input((6, 5))), x)
    right = predict(call, [given]).variance
    np.testing.assert_allclose(right, (given.variance + 0.3 * given.mean**2) / 0.7)
    assert (np.abs(right / (given.variance / 0.7) - 1) > 0.02).mean() > 0.5


MERGES = {
    "add": layers.Add(),
    "subtract": layers.Subtract(),
    "average": layers.Average(),
    "multiply": layers.Multiply(),
    "maximum": layers.Maximum(),
    "minimum": layers.Minimum(),
    "concatenate": layers.Concatenate(axis=1),
}


@pytest.mark.parametrize("name", MERGES)
def test_merges_of_independent_inputs(name):
    check(lambda *x: MERGES[name](x), [uneven((4, 5)), uneven((4, 5), seed=1)])


@pytest.mark.parametrize("name", ["add", "average", "multiply"])
def test_merges_of_three(name):
    check(lambda *x: MERGES[name](x), [uneven((12,), seed) for seed in range(3)])


def test_merges_broadcast():
    check(lambda x, y: layers.Add()([x, y]), [uneven((4, 5)), uneven((1, 5), seed=1)])
    check(lambda x, y: x * y, [uneven((4, 5)), uneven((4, 1), seed=1)])


SAME = {
    "sum": (lambda x: x + x, lambda m, v: (2 * m, 4 * v)),
    "difference": (lambda x: x - x, lambda m, v: (0 * m, 0 * v)),
    "average": (lambda x: layers.Average()([x, x]), lambda m, v: (m, v)),
    "three": (lambda x: layers.Add()([x, x, x]), lambda m, v: (3 * m, 9 * v)),
    "product": (lambda x: x * x, lambda m, v: (m**2 + v, 2 * v**2 + 4 * m**2 * v)),
}


@pytest.mark.parametrize("name", SAME)
def test_the_same_value_twice(name):
    apply, expected = SAME[name]
    call, given = the_call(apply(x := keras.Input((20,))), x), uneven((20,))
    found = predict(call, [given] * len(call.inputs))
    np.testing.assert_allclose(found, expected(*given), atol=1e-12)


VECTOR = np.linspace(-1, 2, 5).astype("float32")
CONSTANTS = {
    "plus": lambda x: x + 1.5,
    "plus vector": lambda x: ops.add(VECTOR, x),
    "plus row": lambda x: x + VECTOR[None, None],
    "minus": lambda x: 2.0 - x,
    "times": lambda x: x * VECTOR,
    "over": lambda x: x / 4.0,
    "negative": lambda x: -x,
    "maximum": lambda x: ops.maximum(x, 0.3),
    "minimum": lambda x: ops.minimum(x, VECTOR),
    "rescaling": layers.Rescaling([0.5, 1.0, 2.0, 3.0, 4.0], offset=-1.0),
}


@pytest.mark.parametrize("name", CONSTANTS)
def test_constants_beside_a_value(name):
    # Means near the constants: of an extreme that hardly ever happens draws do not tell the variance's error.
    check(CONSTANTS[name], [uneven((4, 5), mean=0.3)])


def test_maximum_with_a_constant_is_a_shifted_relu():
    """In the tail, too, against quadrature: at −2.3 with a deviation of .7 only one in 6000 exceeds .3."""
    given = Moments(np.array([-2.3, 0.0, 4.0]), np.array([0.5, 1.0, 2.0]))
    call = the_call(ops.maximum(x := keras.Input((3,)), 0.3), x)
    found = predict(call, [given])
    for mean, variance, one, other in zip(*given, *found, strict=True):
        first, second = slow("relu", mean - 0.3, variance)
        assert one == pytest.approx(0.3 + first, rel=1e-9)
        assert other == pytest.approx(second, rel=1e-6)


ARRANGED = {
    "flatten": ((3, 4), layers.Flatten()),
    "reshape": ((3, 4), layers.Reshape((2, -1))),
    "permute": ((3, 4, 2), layers.Permute((3, 1, 2))),
    "repeat": ((5,), layers.RepeatVector(3)),
    "padding": ((3, 4, 2), layers.ZeroPadding2D(((1, 2), (0, 3)))),
    "cropping": ((5, 6, 2), layers.Cropping2D(((1, 2), (0, 3)))),
    "upsampling": ((3, 4, 2), layers.UpSampling2D((2, 3))),
    "upsampling 1d": ((3, 2), layers.UpSampling1D(2)),
    "transpose": ((3, 4), lambda x: ops.transpose(x, (0, 2, 1))),
    "slice": ((5, 6), lambda x: x[:, 1:4, ::2]),
    "expand": ((5, 6), lambda x: ops.expand_dims(x, -1)),
    "squeeze": ((5, 1, 6), lambda x: ops.squeeze(x, 2)),
    "pad, reflected": ((5, 6), lambda x: ops.pad(x, ((0, 0), (1, 2), (0, 0)), mode="reflect")),
    "roll": ((5, 6), lambda x: ops.roll(x, 2, axis=1)),
}


@pytest.mark.parametrize("name", ARRANGED)
def test_arrangement_moves_moments_as_it_moves_values(name):
    shape, apply = ARRANGED[name]
    call = the_call(apply(x := keras.Input(shape)), x)
    given = uneven(shape)
    found = predict(call, [given])
    model = keras.Model(x, apply(x))
    for one, other in zip(found, given, strict=True):
        np.testing.assert_allclose(one, ops.convert_to_numpy(model(other[None].astype("float32")))[0], rtol=1e-6)


def test_several_outputs():
    x = keras.Input((6, 2))
    call = trace(keras.Model(x, ops.split(x, 3, axis=1))).calls[-1]
    given = uneven((6, 2))
    found = predict(call, [given])
    for number, part in enumerate(found):
        np.testing.assert_array_equal(part.mean, given.mean[2 * number : 2 * number + 2])


NOT_COVERED = {
    "bilinear": ((3, 4, 2), layers.UpSampling2D(2, interpolation="bilinear")),
    "padding with ones": ((5,), lambda x: ops.pad(x, ((0, 0), (1, 2)), constant_values=1.0)),
    "folds examples": ((3, 4), lambda x: ops.reshape(x, (-1, 4))),
    "constant over value": ((5,), lambda x: 1.0 / x),
    "three times the same": ((5,), lambda x: layers.Multiply()([x, x, x])),
}


@pytest.mark.parametrize("name", NOT_COVERED)
def test_what_is_not_covered_is_said(name):
    shape, apply = NOT_COVERED[name]
    call = the_call(apply(x := keras.Input(shape)), x)
    assert rule_for(call.operation)(call, [uneven(shape)] * len(call.inputs)) is NotImplemented
