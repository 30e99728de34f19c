"""The edge of chaos against reference values, a closed form and its own definition."""

import math

import numpy as np
import pytest
from scipy import optimize, special

from keras_initlab.theory import MeanField, edge_of_chaos, scalar
from keras_initlab.theory.moments import mean_slope, mean_square_growth


@pytest.mark.parametrize(
    ("sigma_b2", "sigma_w2", "q"), [(0.0, 1.0, 0.0), (0.01, 1.424205, 0.273301), (0.05, 1.760955, 0.570048)]
)
def test_tanh(sigma_b2, sigma_w2, q):
    assert edge_of_chaos("tanh", sigma_b2) == pytest.approx((sigma_w2, q), abs=5e-7)


def test_the_half_stable_point_of_silu():
    """The variance's slope is 1 there too: Roberts, Yaida & Hanin (2022), The principles of deep learning theory."""
    sigma_w2, sigma_b2, q = 1.98800468, 0.55514317, 14.32017362
    silu = scalar("silu")
    assert MeanField("silu", sigma_w2, sigma_b2).variance_map(q) == pytest.approx(q, rel=1e-8)
    assert sigma_w2 * mean_slope(silu, q) == pytest.approx(1, rel=1e-8)
    assert sigma_w2 * mean_square_growth(silu, q) == pytest.approx(1, rel=1e-8)
    # Below it the points where chi is 1 repel the variance.
    assert edge_of_chaos("silu", sigma_b2 + 1e-3) == pytest.approx((sigma_w2, q), rel=1e-2)
    with pytest.raises(ValueError, match="no edge of chaos"):
        edge_of_chaos("silu", sigma_b2 - 1e-3)


@pytest.mark.parametrize("sigma_b2", [1e-6, 0.01, 0.3, 5.0])
def test_erf(sigma_b2):
    def excess(q):
        return q - 2 / math.pi * math.asin(2 * q / (1 + 2 * q)) * math.pi / 4 * math.sqrt(1 + 4 * q) - sigma_b2

    q = optimize.brentq(excess, 1e-9, 1e3, xtol=1e-14)
    assert edge_of_chaos(special.erf, sigma_b2) == pytest.approx((math.pi / 4 * math.sqrt(1 + 4 * q), q), rel=1e-7)


@pytest.mark.parametrize("activation", ["tanh", "softsign", "elu", "selu", "sigmoid", "hard_tanh"])
def test_the_edge_is_where_the_phase_is(activation):
    sigma_w2, q = edge_of_chaos(activation, 0.2)
    network = MeanField(activation, sigma_w2, 0.2)
    assert network.phase == "edge"
    assert network.fixed_point == pytest.approx(q, rel=1e-6)
    assert MeanField(activation, 1.01 * sigma_w2, 0.2).phase == "chaotic"
    assert MeanField(activation, 0.99 * sigma_w2, 0.2).phase == "ordered"


@pytest.mark.parametrize(
    ("activation", "sigma_w2"), [("relu", 2.0), ("linear", 1.0), (None, 1.0), ("leaky_relu", 2 / (1 + 0.2**2))]
)
def test_the_single_point_of_piecewise_linear_activations(activation, sigma_w2):
    assert edge_of_chaos(activation) == pytest.approx((sigma_w2, 1.0), rel=1e-12)
    with pytest.raises(ValueError, match=r"no edge of chaos at this variance of the biases. Received: sigma_b2=0.1"):
        edge_of_chaos(activation, 0.1)


@pytest.mark.parametrize("activation", ["relu6", "hard_tanh", "elu", "softsign"])
def test_a_signal_that_dies_out_slowly(activation):
    assert edge_of_chaos(activation) == pytest.approx((2.0 if activation == "relu6" else 1.0, 0.0), abs=1e-12)


def test_a_curve():
    sigma_b2 = np.array([[0.0, 0.01], [0.05, 0.3]])
    sigma_w2, q = edge_of_chaos("tanh", sigma_b2)
    assert sigma_w2.shape == q.shape == (2, 2)
    for index in np.ndindex(2, 2):
        assert (sigma_w2[index], q[index]) == edge_of_chaos("tanh", sigma_b2[index])
    assert [values.shape for values in edge_of_chaos("tanh", [])] == [(0,), (0,)]


@pytest.mark.parametrize(
    ("wrong", "error"),
    [(-0.1, ValueError), (math.nan, ValueError), ("0", TypeError), (None, TypeError), ([-1.0], ValueError)],
)
def test_wrong_biases(wrong, error):
    with pytest.raises(error, match=r"`sigma_b2` must be a number from 0 to 1e\+06"):
        edge_of_chaos("tanh", wrong)


def test_a_jump_has_no_edge():
    with pytest.raises(ValueError, match="jump"):
        edge_of_chaos(np.sign, 0.1)
