"""Activations as functions of one number: formulas against Keras and against digits, callables against calculus."""

import functools
import math
import re

import keras
import numpy as np
import pytest

from keras_initlab.theory import gaussian_mean, scalar
from keras_initlab.theory.activations import Named, identify
from keras_initlab.theory.formulas import FORMULAS

activations, layers, partial = keras.activations, keras.layers, functools.partial

GRID = np.linspace(-9.0, 9.0, 721) + 1e-3
GIVEN = [
    *(name for name in FORMULAS if name != "threshold"),
    partial(activations.relu, negative_slope=0.3),
    partial(activations.relu, negative_slope=0.25, max_value=4.5, threshold=1.25),
    partial(activations.relu, max_value=4.5, threshold=-1.25),
    partial(activations.leaky_relu, negative_slope=0.3),
    partial(activations.elu, alpha=0.7),
    partial(activations.celu, alpha=2.5),
    partial(activations.gelu, approximate=True),
    partial(activations.squareplus, b=0.5),
    partial(activations.soft_shrink, threshold=1.5),
    partial(activations.hard_shrink, threshold=1.5),
    partial(activations.threshold, threshold=0.75, default_value=-2.0),
    layers.ReLU(max_value=6.0, negative_slope=0.1, threshold=0.5),
    layers.LeakyReLU(0.3),
    layers.ELU(0.6),
    layers.Activation("mish"),
]


def label(case):
    """A name that is the same in every process, which the address of a function is not."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(case))


def of_keras(given):
    """What Keras computes for it."""
    return getattr(activations, given) if isinstance(given, str) else given


@pytest.mark.parametrize("given", GIVEN, ids=label)
def test_the_values_are_those_of_keras(given):
    theirs = keras.ops.convert_to_numpy(of_keras(given)(GRID.astype("float32")))
    # 8 roundings of a float32 result whose argument is off by half an ulp, and of the terms up to 9 that it sums.
    tolerance = 8 * np.finfo("float32").eps * (1 + np.abs(theirs) + np.abs(GRID))
    assert theirs.dtype == np.float32
    mine = scalar(given).function(GRID.astype("float32").astype("float64"))
    assert np.all(np.abs(mine - theirs) <= tolerance)


@pytest.mark.parametrize("given", GIVEN, ids=label)
def test_the_derivative_is_the_slope_of_the_function(given):
    f, h = scalar(given), 1e-3
    away = np.all(np.abs(GRID[:, None] - np.array((*f.kinks, 99.0))) > 3 * h, axis=1)
    x = GRID[away]
    near, far = (f.function(x + k * h) - f.function(x - k * h) for k in (1, 2))
    slope = (8 * near - far) / (12 * h)
    try:
        measured = f.derivative(x)
    except ValueError:
        assert any(abs(np.diff(f.function(np.array([k - 1e-9, k + 1e-9])))[0]) > 0.1 for k in f.kinks)
        return
    # h⁴/30 times a fifth derivative of up to 10³ (exp at 9: 10⁴, hence relative), and rounding of f over h.
    assert measured == pytest.approx(slope, rel=1e-10, abs=4e-11 + 4e-13 * np.abs(f.function(x)).max())
    # The slope of another point must not pass.
    if np.ptp(slope) > 1e-3:
        assert measured != pytest.approx(np.roll(slope, 1), rel=1e-10, abs=1e-9)


TAILS = [
    ("gelu", -20.0, -5.5072482372124674e-88, -1.1014360483133464e-86),
    (partial(activations.gelu, approximate=True), -8.0, -3.1077829375011112e-21, -4.7147845041068416e-20),
    ("silu", -40.0, -1.6993417021166356e-16, -1.6568581595637197e-16),
    ("mish", -50.0, -9.6437492398195889e-21, -9.4508742550231971e-21),
    ("softplus", -50.0, 1.9287498479639178e-22, 1.9287498479639178e-22),
    ("log_sigmoid", 50.0, -1.9287498479639178e-22, 1.9287498479639178e-22),
    ("squareplus", -1e6, 9.99999999999e-7, 9.99999999997e-13),
    ("tanh_shrink", 1e-4, 3.3333333200000001e-13, 9.9999999333333337e-9),
    ("tanh_shrink", 0.999, 0.23782613833943005, 0.57938564767526448),
    ("tanh", 20.0, 1.0, 1.6993417021166356e-17),
    ("sigmoid", -60.0, 8.7565107626965203e-27, 8.7565107626965203e-27),
    ("elu", -1e-9, -9.999999995e-10, 0.999999999),
    ("celu", -30.0, -0.99999999999990642, 9.3576229688401746e-14),
    ("softsign", -1e8, -0.9999999900000001, 9.999999800000003e-17),
]


@pytest.mark.parametrize(("given", "x", "value", "slope"), TAILS, ids=label)
def test_digits_are_kept_where_the_naive_form_loses_them(given, x, value, slope):
    # Digits of a computation with 40.
    f = scalar(given)
    measured = f.function(np.array([x]))[0], f.derivative(np.array([x]))[0]
    assert measured == pytest.approx((value, slope), rel=1e-13, abs=0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, Named("linear")),
        ("swish", Named("swish")),
        (activations.tanh, Named("tanh")),
        (activations.swish, Named("silu")),
        (partial(activations.leaky_relu, negative_slope=0.25), Named("leaky_relu", (("negative_slope", 0.25),))),
        (partial(activations.gelu, approximate=True), Named("gelu", (("approximate", True),))),
        (layers.Activation(activations.gelu), Named("gelu")),
        (layers.Activation(None), Named("linear")),
        (layers.ReLU(), Named("relu")),
        (layers.ReLU(max_value=6), Named("relu", (("max_value", 6.0),))),
        (layers.ReLU(max_value=0), Named("relu", (("max_value", 0.0),))),
        (layers.LeakyReLU(), Named("leaky_relu", (("negative_slope", 0.3),))),
        (layers.LeakyReLU(0.0), Named("leaky_relu", (("negative_slope", 0.0),))),
        (layers.ELU(0.5), Named("elu", (("alpha", 0.5),))),
        (np.tanh, np.tanh),
        (layers.Activation(np.tanh), np.tanh),
    ],
    ids=label,
)
def test_what_is_one_of_keras(given, expected):
    assert identify(given) == expected


class OwnLayer(layers.Layer):
    """A layer with a weight."""

    def call(self, inputs):
        return inputs


@pytest.mark.parametrize(
    ("given", "error", "message"),
    [
        ("reluu", ValueError, r"Received: activation='reluu'\. Did you mean \"relu\"\?"),
        ("Tanh", ValueError, r'Did you mean "tanh"\?'),
        ("zzzz", ValueError, "Pass the function itself if it is your own"),
        ("softmax", ValueError, "must be a function of one number. Received: softmax, whose outputs depend on several"),
        (activations.log_softmax, ValueError, "Received: log_softmax, whose outputs depend on several"),
        (partial(activations.glu, axis=0), ValueError, "Received: glu, whose outputs depend on several"),
        ("sparsemax", ValueError, "Received: sparsemax, whose outputs depend on several"),
        (layers.Softmax(), ValueError, "Received: softmax, whose outputs depend on several"),
        (layers.PReLU(), ValueError, "a layer PReLU, which has weights.*Pass a LeakyReLU with the slope"),
        (OwnLayer(), ValueError, "a layer OwnLayer, which has weights.*Pass the function that it applies"),
        ("threshold", ValueError, r"no default parameters\. Pass functools\.partial\(keras\.activations\.threshold"),
        (partial(activations.leaky_relu, 0.3), ValueError, "must set the parameters of a Keras activation by name"),
        (3, TypeError, r"must be a name, a function or an activation layer\. Received: activation=3"),
        (layers.ReLU, TypeError, "must be a name, a function or an activation layer"),
        (np.cumsum, ValueError, "cumsum must be a function of one number. Its value for a number changes with"),
        (np.mean, ValueError, "mean must be a function of one number"),
        (lambda x: np.exp(x) / np.exp(x).sum(), ValueError, "<lambda> must be a function of one number"),
        (lambda x: x + np.random.default_rng().normal(size=np.shape(x)), ValueError, "or from call to call"),
        (lambda x: x[:2], ValueError, "must map an array to one of its shape, or a float.*it raised TypeError"),
        (lambda x: None, ValueError, "must map an array to one of its shape.*it raised TypeError: .*not 'NoneType'"),
        (lambda x: x + 1j, ValueError, "Called with a float it raised TypeError: .*not 'complex'"),
        (lambda: 0, ValueError, "takes 0 positional arguments but 1 was given"),
        (lambda x: np.tanh(x.astype("float16")), ValueError, "<lambda> cannot be resolved. The function is too rough"),
    ],
    ids=label,
)
def test_what_is_refused(given, error, message):
    with pytest.raises(error, match=message):
        scalar(given)


SMOOTH = {
    "sin": (np.sin, np.cos),
    "cube": (lambda x: x**3, lambda x: 3 * x**2),
    "steep": (lambda x: np.tanh(200 * (x - 0.3)), lambda x: 200 / np.cosh(np.clip(200 * (x - 0.3), -300, 300)) ** 2),
    "of floats": (math.atan, lambda x: 1 / (1 + x * x)),
    "branches": (lambda x: x if x > 0 else math.expm1(x), lambda x: np.exp(np.minimum(x, 0.0))),
    "list": (lambda x: [2.5 * value for value in x], lambda x: np.full_like(x, 2.5)),
    "naive softplus": (lambda x: np.log(1 + np.exp(x)), lambda x: 1 / (1 + np.exp(-x))),
    "of Keras": (lambda x: keras.ops.exp(-keras.ops.square(x)), lambda x: -2 * x * np.exp(-(x**2))),
}


@pytest.mark.parametrize("name", SMOOTH)
def test_the_derivative_of_a_callable(name):
    function, slope = SMOOTH[name]
    x = np.linspace(-15.5, 15.5, 3001)
    in_float64 = name != "of Keras" or keras.ops.convert_to_numpy(function(x)).dtype == np.float64
    tolerance = (1e-10 if in_float64 else 1e-3) * np.abs(slope(x)).max()
    assert scalar(function).derivative(x) == pytest.approx(slope(x), abs=tolerance)


def test_an_infinite_number_has_no_derivative_and_ends_nothing():
    assert np.isnan(scalar(lambda x: np.tanh(x)).derivative(np.array([np.inf, 0.0]))).tolist() == [True, False]


def test_a_callable_is_followed_beyond_the_range_first_sampled():
    f = scalar(lambda x: np.maximum(x - 100.3, 0.0))
    x = np.array([-1e5, -20.0, 99.0, 100.2999, 100.3001, 101.0, 1e5])
    assert f.derivative(x) == pytest.approx([0, 0, 0, 0, 1, 1, 1], abs=1e-10)


@pytest.mark.parametrize(
    ("function", "kinks"),
    [
        (lambda x: np.abs(x - 0.3217), [0.3217]),
        (lambda x: np.maximum(x, 0.1 * x), [0.0]),
        (lambda x: np.clip(x, -2.0, math.pi), [-2.0, math.pi]),
        (lambda x: np.maximum(x - 1.0, 0) + np.maximum(x - 1.01, 0), [1.0, 1.01]),
        (np.sign, [0.0]),
        (lambda x: x > 1 / 3, [1 / 3]),
        (lambda x: np.where(np.abs(x) > 0.7, x, 0.0), [-0.7, 0.7]),
        (lambda x: np.floor(np.clip(x, 0.5, 3.5)), [1.0, 2.0, 3.0]),
        (np.tanh, []),
    ],
)
def test_kinks_and_jumps_are_found(function, kinks):
    assert scalar(function).kinks == pytest.approx(kinks, rel=1e-13)


@pytest.mark.parametrize("given", [np.sign, np.floor, lambda x: x > 0.3, "hard_shrink", layers.ReLU(threshold=1.0)])
def test_a_jump_has_no_derivative(given):
    with pytest.raises(ValueError, match=r'jumps at .*no mean square\. The criteria "forward" and "centred" need'):
        scalar(given).derivative(np.array([0.5]))


def test_a_callable_in_float32_is_smoothed_over_its_rounding():
    f = scalar(lambda x: np.tanh(np.asarray(x, "float32")))
    # The rounding of single values, 6e-8, averages out.
    assert gaussian_mean(lambda x: f.function(x) ** 2) == pytest.approx(0.39429449039784117, rel=1e-7)
    assert gaussian_mean(lambda x: f.derivative(x) ** 2) == pytest.approx(0.46440290244826824, rel=1e-6)
    kinked = scalar(lambda x: np.maximum(np.asarray(x - 0.3217, "float32"), 0))
    # P(z > .3217); the kink is found to about 1e-4 of its place.
    assert gaussian_mean(lambda x: kinked.derivative(x) ** 2) == pytest.approx(0.37384017, rel=1e-4)


def test_an_equal_activation_is_resolved_once():
    calls = []

    def counted(x):
        calls.append(np.size(x))
        return np.tanh(x)

    first, seen = scalar(counted), len(calls)
    assert scalar(counted) is first
    assert len(calls) == seen > 0
    assert scalar("relu") is scalar(activations.relu) is scalar(layers.ReLU())
    assert scalar(layers.ReLU(6)) is not scalar("relu")


def test_an_unhashable_callable_works_without_being_kept():
    class Unhashable:
        __hash__ = None

        def __call__(self, x):
            return np.sin(x)

    f = scalar(Unhashable())
    assert f.name == "Unhashable"
    assert f.derivative(np.array([1.0]))[0] == pytest.approx(math.cos(1.0), rel=1e-12)
