"""Gains against digits of an integration with 40, SciPy's integration, closed forms and torch's table."""

import functools
import itertools
import math
import re

import keras
import numpy as np
import pytest
from scipy import integrate, stats

from keras_initlab.theory import gain, gaussian_mean, scalar

activations, layers = keras.activations, keras.layers

# E f, E f² and E f′² under N(0, 1), integrated with 40 digits.
MEANS = {
    "linear": (0.0, 1.0, 1.0),
    "relu": (0.39894228040143268, 0.5, 0.5),
    "relu6": (0.3989422802450757, 0.49999999807527048, 0.49999999901341235),
    "leaky_relu": (0.31915382432114614, 0.52, 0.52),
    "elu": (0.16052057226655605, 0.64494541749292386, 0.66810200122317061),
    "selu": (0.0, 1.0, 1.0715749924557993),
    "celu": (0.16052057226655605, 0.64494541749292386, 0.66810200122317061),
    "gelu": (0.28209479177387814, 0.42522148257029867, 0.45585086564928712),
    "silu": (0.20662096414190704, 0.35577551981735216, 0.37948235163282931),
    "swish": (0.20662096414190704, 0.35577551981735216, 0.37948235163282931),
    "tanh": (0.0, 0.39429449039784117, 0.46440290244826824),
    "tanh_shrink": (0.0, 0.18288347119352352, 0.25299188324395059),
    "sigmoid": (0.5, 0.29337903585809296, 0.044836241350194372),
    "log_sigmoid": (-0.80605918334743978, 0.92124590885930028, 0.29337903585809296),
    "softplus": (0.80605918334743978, 0.92124590885930028, 0.29337903585809296),
    "squareplus": (1.1093055137900279, 1.5, 0.28931538535597276),
    "softsign": (0.0, 0.1830140212665475, 0.2276713404221825),
    "mish": (0.24040388837479144, 0.45234219237588277, 0.47908375837396977),
    "exponential": (1.6487212707001281, 7.3890560989306502, 7.3890560989306502),
    "hard_tanh": (0.0, 0.5160585509617133, 0.6826894921370859),
    "hard_sigmoid": (0.5, 0.2776390910565126, 0.027702783442687217),
    "sparse_sigmoid": (0.5, 0.37901463774042833, 0.17067237303427147),
    "hard_silu": (0.1662167006561233, 0.33156737513790769, 0.35853151717860524),
    "hard_swish": (0.1662167006561233, 0.33156737513790769, 0.35853151717860524),
    "sparse_plus": (0.46233010832811462, 0.5248435053873499, 0.37901463774042833),
    "soft_shrink": (0.0, 0.41927852005066776, 0.61707507745197379),
}
# The same for other mean squares q of the pre-activations.
MEANS_AT = [
    ("tanh", 1e-4, 0.0, 9.9980005664600921e-5, 0.99980006996868339),
    ("tanh", 12.25, 0.0, 0.77919661764064248, 0.15002356134564734),
    ("tanh", 1e4, 0.0, 0.99202148248051304, 0.0053191446440146221),
    ("gelu", 1e-4, 3.989223347833215e-5, 2.5004773852647996e-5, 0.25006364924733424),
    ("gelu", 12.25, 1.3425739471634621, 6.0765853441051103, 0.51118848302930605),
    ("gelu", 1e4, 39.89223347833215, 4999.9981245829413, 0.5005624679562025),
    ("softplus", 1e-4, 0.69315968040370052, 0.48049534284984462, 0.25000624968752213),
    ("softplus", 12.25, 1.5694426147276882, 6.3579042054086327, 0.39820729868215816),
    ("softplus", 1e4, 39.900789622233567, 5000.0095886226269, 0.49601123320316442),
    ("mish", 12.25, 1.2899917859448028, 6.0865432920250327, 0.51537994099006356),
    ("hard_silu", 12.25, 1.2426278759554147, 5.9490758863979336, 0.53157130229999609),
    ("hard_silu", 1e4, 39.888244713708815, 4999.9928204236793, 0.50199345495884268),
    ("sigmoid", 1e-4, 0.5, 0.25000624968752213, 0.062496875273406905),
    ("sigmoid", 1e4, 0.5, 0.49601123320316442, 0.00066486092372651973),
    ("selu", 1e-4, -0.0027783913386538441, 0.00020730490171481849, 2.0730868423332659),
    ("selu", 12.25, 0.77500734178675508, 7.822643215680479, 0.72474819024262239),
]


def label(case):
    """A name that is the same in every process, which the address of a function is not."""
    return re.sub(r" at 0x[0-9a-f]+", "", str(case))


def slow_gain(function, breaks, q=1.0):
    """Forward and centred gain by SciPy's adaptive integration between the breaks."""
    scale = math.sqrt(q)
    ends = sorted({-14.0, 0.0, 14.0, *(place / scale for place in breaks if abs(place) < 14 * scale)})

    def mean(f):
        return math.fsum(
            integrate.quad(lambda z: float(f(scale * z)) * stats.norm.pdf(z), *pair, epsabs=0, epsrel=1e-12)[0]
            for pair in itertools.pairwise(ends)
        )

    square, first = mean(lambda x: function(x) ** 2), mean(function)
    return math.sqrt(q / square), math.sqrt(q / (square - first**2))


def expected_gains(mean, square, slope_square, q):
    """The four gains from three means."""
    forward, backward = math.sqrt(q / square), 1 / math.sqrt(slope_square)
    return {
        "forward": forward,
        "backward": backward,
        "centred": math.sqrt(q / (square - mean**2)),
        "geometric": math.sqrt(forward * backward),
    }


@pytest.mark.parametrize(
    ("name", "forward", "backward"),
    [
        ("linear", 1.0, 1.0),
        ("relu", 1.4142135624, 1.4142135624),
        (layers.LeakyReLU(0.3), 1.3545709230, 1.3545709230),
        ("tanh", 1.5925374197, 1.4674135916),
        ("sigmoid", 1.8462285453, 4.7226460859),
        ("softplus", 1.0418668355, 1.8462285453),
        ("softsign", 2.3375333631, 2.0957806089),
        ("elu", 1.2451983007, 1.2234285576),
        ("selu", 1.0, 0.9660257770),
        ("gelu", 1.5335304412, 1.4811144127),
        ("silu", 1.6765324703, 1.6233202580),
    ],
    ids=label,
)
def test_ten_digits(name, forward, backward):
    assert (gain(name), gain(name, "backward")) == pytest.approx((forward, backward), abs=5.1e-11)


@pytest.mark.parametrize("criterion", ["forward", "backward", "centred", "geometric"])
@pytest.mark.parametrize("name", MEANS)
def test_named_activations(name, criterion):
    expected = expected_gains(*MEANS[name], q=1.0)[criterion]
    assert gain(name, criterion) == pytest.approx(expected, rel=1e-12)
    assert gain(getattr(activations, name), criterion) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("name", "q", "mean", "square", "slope_square"), MEANS_AT)
def test_other_mean_squares(name, q, mean, square, slope_square):
    for criterion, expected in expected_gains(mean, square, slope_square, q).items():
        # The difference of two means in the expected value itself loses digits.
        lost = square / (square - mean**2) * 1e-15 if criterion == "centred" else 0.0
        assert gain(name, criterion, q) == pytest.approx(expected, rel=2e-12 + lost)


@pytest.mark.parametrize("name", ["tanh", "softplus", "selu", "hard_silu", "soft_shrink"])
def test_a_callable_has_the_gain_of_the_formula(name):
    formula = scalar(name).function
    for criterion, expected in expected_gains(*MEANS[name], q=1.0).items():
        assert gain(lambda x: formula(x), criterion) == pytest.approx(expected, rel=1e-11)


@pytest.mark.parametrize("q", [1e-12, 1e-6, 1.0, 1e6, 1e12])
def test_what_is_proportional_on_either_side_of_0_has_one_gain(q):
    for criterion in ("forward", "backward", "geometric"):
        assert gain(lambda x: np.maximum(x, 0.1 * x), criterion, q) == pytest.approx(math.sqrt(2 / 1.01), rel=1e-11)
        assert gain("relu", criterion, q) == pytest.approx(math.sqrt(2), rel=1e-12)


@pytest.mark.parametrize("q", [1e-12, 1e-6, 1e-2])
def test_few_pre_activations_see_the_slope_at_0_alone(q):
    # The next term of tanh, −x³/3, moves the mean square by 2q of itself.
    assert gain("tanh", q=q) == pytest.approx(1.0, rel=1.1 * q + 1e-12)
    assert gain("sigmoid", "centred", q) == pytest.approx(4.0, rel=q + 1e-9)


@pytest.mark.parametrize("q", [1e6, 1e12])
def test_saturation_at_large_mean_squares(q):
    # |tanh| is 1 but for |x| of order 1, whose probability is of order 1/√q.
    assert gain("tanh", q=q) == pytest.approx(math.sqrt(q), rel=1 / math.sqrt(q))
    # ∫ sech⁴ = 4/3 under a density that is flat there.
    assert gain("tanh", "backward", q) == pytest.approx((4 / 3 / math.sqrt(2 * math.pi * q)) ** -0.5, rel=1 / q + 1e-11)


CALLABLES = {
    "leaky": (lambda x: np.maximum(x, 0.1 * x), ()),
    "sine": (np.sin, ()),
    "shifted": (lambda x: np.abs(x - 0.3217), (0.3217,)),
    "step": (lambda x: (x > 0.3) * 1.0, (0.3,)),
    "stairs": (lambda x: np.floor(2 * np.clip(x, -2, 2)) / 2, np.arange(-2, 2.5, 0.5)),
    "floats": (math.atan, ()),
    "branches": (lambda x: x if x > -1.2 else -1.2 + 0.05 * math.sin(x), (-1.2,)),
}


@pytest.mark.parametrize("q", [0.04, 1.0, 7.0])
@pytest.mark.parametrize("name", CALLABLES)
def test_callables_against_an_independent_integration(name, q):
    function, breaks = CALLABLES[name]
    forward, centred = slow_gain(function, breaks, q)
    assert gain(function, "forward", q) == pytest.approx(forward, rel=1e-9)
    assert gain(function, "centred", q) == pytest.approx(centred, rel=1e-9)


def test_the_independent_integration_tells_a_small_change():
    function, breaks = CALLABLES["shifted"]
    assert slow_gain(lambda x: function(x + 1e-7), breaks)[0] != pytest.approx(slow_gain(function, breaks)[0], rel=1e-9)


def test_backward_gains_of_callables():
    assert gain(np.sin, "backward") == pytest.approx(((1 + math.exp(-2)) / 2) ** -0.5, rel=1e-11)
    assert gain(CALLABLES["shifted"][0], "backward") == pytest.approx(1.0, rel=1e-11)
    # 1 above −.5 and .1 below.
    inside = stats.norm.cdf(0.5)
    bent = (inside + 0.01 * (1 - inside)) ** -0.5
    assert gain(lambda x: max(x + 0.5, 0.1 * x + 0.05), "backward") == pytest.approx(bent, rel=1e-11)


def test_a_callable_of_keras_operations():
    def activation(x):
        return x * keras.ops.sigmoid(1.702 * x)

    digits = keras.ops.convert_to_numpy(activation(np.ones(1))).dtype
    formula = scalar(lambda x: x / (1 + np.exp(-1.702 * x)))
    expected = gain(formula.function), gain(formula.function, "backward")
    tolerance = 1e-7 if digits == np.float64 else 1e-4  # some backends take 1.702 to float32
    assert (gain(activation), gain(activation, "backward")) == pytest.approx(expected, rel=tolerance)


@pytest.mark.parametrize("criterion", ["backward", "geometric"])
@pytest.mark.parametrize("given", [np.sign, "hard_shrink", CALLABLES["stairs"][0]])
def test_a_jump_has_forward_gains_alone(given, criterion):
    assert gain(given) > 0
    assert gain(given, "centred") > 0
    with pytest.raises(ValueError, match=r'has no backward gain at q=1\. .*jumps at.*criteria "forward" and "centred"'):
        gain(given, criterion)


def test_the_gain_keeps_the_mean_square_of_a_layer():
    g, q = gain("gelu", q=2.5), 2.5
    f = scalar("gelu").function
    assert g**2 * gaussian_mean(lambda x: f(x) ** 2, scale=math.sqrt(q)) == pytest.approx(q, rel=1e-12)


def relu_that_is_not_of_keras(x):
    return np.maximum(x, 0.0)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (None, 1.0),
        ("linear", 1.0),
        ("sigmoid", 1.0),
        ("tanh", 1.6666666666666667),
        ("relu", 1.4142135623730951),
        (layers.ReLU(), 1.4142135623730951),
        ("selu", 0.75),
        (activations.selu, 0.75),
        ("leaky_relu", 1.4141428569978354),  # slope .01
        (activations.leaky_relu, 1.4141428569978354),
        (functools.partial(activations.leaky_relu, negative_slope=0.2), 1.3867504905630728),
        (layers.LeakyReLU(0.2), 1.3867504905630728),
        (layers.LeakyReLU(0.0), 1.4142135623730951),
    ],
    ids=label,
)
def test_torch(given, expected):
    # What torch.nn.init.calculate_gain returns.
    assert gain(given, convention="torch") == expected


def test_where_torch_departs_and_what_it_does_to_a_deep_network():
    def deep_mean_square(name, weights):
        f, q = scalar(name), 1.0
        for _ in range(100):
            q = weights**2 * gaussian_mean(lambda x: f.function(x) ** 2, f.kinks, math.sqrt(q))
        return q / weights**2

    assert math.sqrt(deep_mean_square("tanh", 5 / 3)) == pytest.approx(0.651, abs=5e-4)
    assert math.sqrt(deep_mean_square("tanh", gain("tanh"))) == pytest.approx(0.628, abs=5e-4)
    assert deep_mean_square("tanh", 5 / 3) * (5 / 3) ** 2 == pytest.approx(1.178, abs=5e-4)
    assert math.sqrt(deep_mean_square("selu", 0.75)) == pytest.approx(0.202, abs=5e-4)
    assert math.sqrt(deep_mean_square("selu", gain("selu"))) == pytest.approx(1.0, abs=1e-9)
    assert deep_mean_square("sigmoid", 1.0) == pytest.approx(0.265, abs=5e-4)


@pytest.mark.parametrize(
    ("given", "arguments", "message"),
    [
        ("gelu", {}, r"has linear, sigmoid, tanh, relu, selu and leaky_relu\. Received: activation=gelu\. Use conv"),
        (layers.ReLU(6), {}, r"Received: activation=relu\(max_value=6\.0\)"),
        (relu_that_is_not_of_keras, {}, "Received: activation=relu_that_is_not_of_keras"),
        ("tanh", {"criterion": "backward"}, r"Received: criterion='backward', q=1\. Leave both out, or use"),
        ("tanh", {"q": 2.0}, r"Received: criterion='forward', q=2\. Leave both out"),
    ],
)
def test_what_torch_has_not(given, arguments, message):
    with pytest.raises(ValueError, match=message):
        gain(given, convention="torch", **arguments)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ({"criterion": "forwards"}, ValueError, r"`criterion` must be \"forward\" or .*Did you mean \"forward\"\?"),
        ({"criterion": "centered"}, ValueError, r'Did you mean "centred"\?'),
        ({"criterion": None}, TypeError, "`criterion` must be .*Received: criterion=None"),
        ({"convention": "pytorch"}, ValueError, r'`convention` must be "exact" or "torch".*Did you mean "torch"\?'),
        ({"convention": 1}, TypeError, "Received: convention=1"),
        ({"q": 0.0}, ValueError, r"`q` must be a number from 1e-12 to 1e\+12\. Received: q=0\.0"),
        ({"q": -1}, ValueError, "Received: q=-1"),
        ({"q": math.nan}, ValueError, "Received: q=nan"),
        ({"q": math.inf}, ValueError, "Received: q=inf"),
        ({"q": "1"}, TypeError, "`q` must be a number.*Received: q='1'"),
        ({"q": True}, TypeError, "`q` must be a number.*Received: q=True"),
        ({"activation": "rleu"}, ValueError, 'Did you mean "relu"'),
        ({"activation": "softmax"}, ValueError, "whose outputs depend on several"),
        ({"activation": 1.5}, TypeError, "`activation` must be a name, a function or an activation layer"),
        ({"activation": lambda x: 0.0 * x}, ValueError, "<lambda> has no forward gain at q=1: it is zero wherever"),
        ({"activation": lambda x: 3.0, "criterion": "backward"}, ValueError, "it has a zero slope wherever"),
        ({"activation": lambda x: 3.0, "criterion": "centred"}, ValueError, "it is constant wherever"),
        (
            {"activation": "soft_shrink", "q": 1e-4},
            ValueError,
            r"soft_shrink has no forward gain at q=0\.0001: it is z",
        ),
        ({"activation": "exponential", "q": 1e4}, ValueError, "exponential has no forward gain at q=10000. .*not fin"),
        ({"activation": np.log}, ValueError, "log has no forward gain at q=1. The function is not finite"),
        ({"activation": np.exp2, "q": 1e6}, ValueError, "exp2 has no forward gain at q=1e.06. The function is not fin"),
        ({"activation": lambda x: np.exp(x * x / 4)}, ValueError, "no forward gain .*outgrows the density in the"),
        (
            {"activation": lambda x: np.sign(x) * np.sqrt(np.abs(x)), "criterion": "backward"},
            ValueError,
            "<lambda> has no backward gain at q=1. The function is not finite",
        ),
    ],
)
def test_wrong_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        gain(**{"activation": "relu"} | arguments)


def counting(function):
    """A function that notes its calls."""

    def counted(x):
        counted.calls += 1
        return function(x)

    counted.calls = 0
    return counted


def test_a_second_call_does_not_evaluate_the_callable():
    tanh = counting(np.tanh)
    first, seen = gain(tanh), tanh.calls
    assert gain(tanh) == first
    assert tanh.calls == seen > 0
    assert gain(tanh, q=2.0) < first * math.sqrt(2)
    assert tanh.calls > seen


def test_equal_code_in_two_objects_is_evaluated_twice():
    tanh, sine = counting(np.tanh), counting(np.sin)
    assert gain(tanh) != gain(sine)
    assert tanh.calls > 0
    assert sine.calls > 0


def test_criteria_and_mean_squares_are_kept_apart():
    assert len({gain("tanh", criterion, q) for criterion in ("forward", "backward") for q in (1.0, 2.0)}) == 4
    assert gain("tanh", q=np.float32(1.0)) == gain("tanh", q=1) == gain("tanh")


def test_an_unhashable_callable_has_a_gain():
    class Unhashable:
        __hash__ = None

        def __call__(self, x):
            return np.tanh(x)

    assert gain(Unhashable()) == pytest.approx(gain("tanh"), rel=1e-12)
