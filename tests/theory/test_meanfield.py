"""Mean-field maps against closed forms, the fixed points' own definitions, and a wide network."""

import functools
import math

import numpy as np
import pytest
from scipy import special

from keras_initlab.theory import MeanField, gaussian_mean, scalar

WRONG_NUMBERS = [(-1e-9, ValueError), (math.nan, ValueError), (math.inf, ValueError), (10**400, ValueError)]
WRONG_KINDS = [("1", TypeError), (None, TypeError), (True, TypeError), (1j, TypeError), ([1.0], TypeError)]


def relu_correlation(c):
    return (math.sqrt((1 - c) * (1 + c)) + (math.pi - math.acos(c)) * c) / math.pi


class Erf:
    """An erf network in closed form (Williams 1997)."""

    def __init__(self, sigma_w2, sigma_b2):
        self.sigma_w2, self.sigma_b2 = sigma_w2, sigma_b2

    def covariance(self, q, c):
        return self.sigma_w2 * 2 / math.pi * math.asin(2 * q * c / (1 + 2 * q)) + self.sigma_b2

    def slope(self, q, c):
        return self.sigma_w2 * 4 / math.pi / math.sqrt((1 + 2 * q) ** 2 - (2 * q * c) ** 2)

    def fixed_point(self):
        q = 1.0
        for _ in range(5000):
            q = self.covariance(q, 1.0)
        return q

    def fixed_correlation(self, q):
        c = 0.5
        for _ in range(5000):
            c = self.covariance(q, c) / q
        return c


class TestReferenceValues:
    @pytest.mark.parametrize(
        ("sigma_w2", "depth_scale", "unit"),
        [
            (1.0, 3.627, 1e-3),
            (1.3, 7.834, 1e-3),
            (1.5, 15.79, 1e-2),
            (1.7, 74.9, 0.1),
            (2.0, 25.2, 0.1),
            (3, 9.05, 1e-2),
        ],
    )
    def test_depth_scale_of_tanh(self, sigma_w2, depth_scale, unit):
        assert MeanField("tanh", sigma_w2, 0.05).depth_scale == pytest.approx(depth_scale, abs=unit / 2)

    def test_correlation_of_relu_under_he(self):
        correlations = MeanField("relu", 2.0).correlations(0.0, 100)
        assert correlations.shape == (101,)
        assert correlations[[0, 1, 10, 100]] == pytest.approx([0, 0.318310, 0.871536, 0.996423], abs=5e-7)
        slow = [0.0]
        for _ in range(100):
            slow.append(relu_correlation(slow[-1]))
        assert correlations == pytest.approx(slow, abs=1e-12)


class TestVariance:
    @pytest.mark.parametrize("q", [1e-9, 0.01, 0.5, 1.0, 20.0, 1e5])
    def test_map(self, q):
        assert MeanField("relu", 1.5, 0.2).variance_map(q) == pytest.approx(0.75 * q + 0.2, rel=1e-13)
        assert MeanField(None, 1.5, 0.2).variance_map(q) == pytest.approx(1.5 * q + 0.2, rel=1e-13)
        assert MeanField(special.erf, 1.5).variance_map(q) == pytest.approx(
            Erf(1.5, 0).covariance(q, 1), rel=1e-11, abs=0
        )
        if q < 1e3:
            assert MeanField(np.sin, 1.5).variance_map(q) == pytest.approx(-0.75 * math.expm1(-2 * q), rel=1e-11, abs=0)
            assert MeanField(np.cos, 1.5).variance_map(q) == pytest.approx(1.5 - 0.75 * -math.expm1(-2 * q), rel=1e-11)

    def test_a_signal_of_zero(self):
        assert MeanField("sigmoid", 2.0, 0.25).variance_map(0) == 0.75
        assert MeanField("tanh", 2.0).variance_map(0) == 0

    @pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(0.5, 0.1), (1.2, 0.05), (2.5, 0), (30.0, 3.0)])
    def test_fixed_point_of_erf(self, sigma_w2, sigma_b2):
        slow = Erf(sigma_w2, sigma_b2).fixed_point()
        assert MeanField(special.erf, sigma_w2, sigma_b2).fixed_point == pytest.approx(slow, rel=1e-10)

    @pytest.mark.parametrize("name", ["elu", "gelu", "sigmoid", "silu", "softplus", "softsign", "tanh"])
    def test_fixed_point_is_where_iteration_ends(self, name):
        network = MeanField(name, 1.3, 0.3)
        q = 1.0
        for _ in range(400):
            q = network.variance_map(q)
        assert network.fixed_point == pytest.approx(q, rel=1e-9)

    def test_fixed_point_of_a_linear_network(self):
        assert MeanField("linear", 0.75, 0.5).fixed_point == pytest.approx(2.0, rel=1e-13)
        assert MeanField("linear", 1 - 1e-6, 0.5).fixed_point == pytest.approx(5e5, rel=1e-9)

    def test_a_tiny_fixed_point(self):
        # E tanh² = q − 2q² + O(q³), so that q* = (1 − 1/σ_w²)/2 to first order.
        assert MeanField("tanh", 1 + 1e-6).fixed_point == pytest.approx(5e-7, rel=1e-5, abs=0)
        assert MeanField("relu", 1.0, 1e-20).fixed_point == pytest.approx(2e-20, rel=1e-9, abs=0)

    @pytest.mark.parametrize(
        "network", [("tanh", 1.0), ("tanh", 0.3), ("relu", 1.99), ("hard_tanh", 1.0), ("silu", 1.0)]
    )
    def test_a_signal_that_dies_out(self, network):
        assert MeanField(*network).fixed_point == 0

    def test_every_variance_is_fixed(self):
        assert MeanField("relu", 2.0).fixed_point == 1
        assert MeanField("linear", 1.0).fixed_point == 1

    @pytest.mark.parametrize("network", [("relu", 2.1), ("relu", 2.0, 0.1), ("linear", 1.5), ("exponential", 1.0)])
    def test_growth_without_bound(self, network):
        with pytest.raises(
            ValueError, match=r"no fixed point: from q = 1 it grows without bound.*Lower one of the two"
        ):
            _ = MeanField(*network).fixed_point

    def test_the_nearest_of_several_fixed_points(self):
        # V(q) = 4·E max(|h| − 1, 0)² is below q where q is small and above it where q is large.
        network = MeanField(lambda h: np.sign(h) * np.maximum(np.abs(h) - 1, 0), 4.0)
        assert network.variance_map(1.0) < 1
        assert network.fixed_point == 0
        # With the bias added, 0 becomes a small positive one.
        network = MeanField(lambda h: np.sign(h) * np.maximum(np.abs(h) - 1, 0), 4.0, 0.1)
        assert 0.1 <= network.fixed_point < 0.2

    @pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(0.5, 0.1), (2.5, 0.0), (30.0, 3.0)])
    def test_depth_scale(self, sigma_w2, sigma_b2):
        q = Erf(sigma_w2, sigma_b2).fixed_point()
        # d/dq asin(2q/(1 + 2q)) = 2 / ((1 + 2q) √(1 + 4q))
        slope = sigma_w2 * 4 / math.pi / ((1 + 2 * q) * math.sqrt(1 + 4 * q))
        assert MeanField(special.erf, sigma_w2, sigma_b2).variance_depth_scale == pytest.approx(-1 / math.log(slope))

    def test_depth_scale_where_nothing_fades(self):
        assert MeanField("relu", 2.0).variance_depth_scale == math.inf
        assert MeanField("tanh", 0.0, 0.3).variance_depth_scale == 0
        assert MeanField("tanh", 0.5).variance_depth_scale == pytest.approx(1 / math.log(2))
        assert MeanField("relu", 1.0).variance_depth_scale == pytest.approx(1 / math.log(2))


class TestCorrelation:
    @pytest.mark.parametrize("c", [-1.0, -0.7, 0.0, 0.5, 0.999, 1.0])
    @pytest.mark.parametrize("q", [0.01, 1.0, 50.0])
    def test_map_of_erf(self, c, q):
        erf = Erf(1.5, 0.2)
        expected = erf.covariance(q, c) / erf.covariance(q, 1)
        assert MeanField(special.erf, 1.5, 0.2).correlation_map(c, q) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("c", [-1.0, -0.7, 0.0, 0.5, 0.999, 1.0])
    def test_map_of_relu(self, c):
        assert MeanField("relu", 2.0).correlation_map(c) == pytest.approx(relu_correlation(c), abs=1e-12)
        assert MeanField("relu", 3.0).correlation_map(c, q=7.0) == pytest.approx(relu_correlation(c), abs=1e-12)
        expected = (1.5 * 7 / 2 * relu_correlation(c) + 0.25) / (1.5 * 7 / 2 + 0.25)
        assert MeanField("relu", 1.5, 0.25).correlation_map(c, q=7.0) == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("c", [-0.9, 0.1, 0.8])
    def test_map_of_tanh_against_a_grid(self, c):
        """Hermite's rule in two dimensions; tanh is analytic, so 120 nodes a side give nine digits at this q."""
        network = MeanField("tanh", 1.5, 0.05)
        x, w = np.polynomial.hermite_e.hermegauss(120)
        q = 0.4
        u, v = math.sqrt(q) * x[:, None], math.sqrt(q) * (c * x[:, None] + math.sqrt(1 - c * c) * x)
        covariance = 1.5 * (w[:, None] * w * np.tanh(u) * np.tanh(v)).sum() / (2 * math.pi) + 0.05
        variance = 1.5 * (w * np.tanh(u[:, 0]) ** 2).sum() / math.sqrt(2 * math.pi) + 0.05
        assert network.correlation_map(c, q) == pytest.approx(covariance / variance, abs=1e-9)

    def test_limit_of_a_vanishing_signal(self):
        assert MeanField("tanh", 0.5).correlation_map(0.3) == pytest.approx(0.3, abs=1e-14)
        for name in ("relu", "relu6"):
            assert MeanField(name, 1.0).correlation_map(0.3) == pytest.approx(relu_correlation(0.3), abs=1e-12)
        assert MeanField("sigmoid", 1.0).correlation_map(0.3, q=0) == 1
        for q in (1e-3, 1e-5, 1e-7):
            limit = MeanField("elu", 1.0).correlation_map(0.3, q=0)
            assert MeanField("elu", 1.0).correlation_map(0.3, q) == pytest.approx(limit, abs=math.sqrt(q))

    @pytest.mark.parametrize("network", [("tanh", 0.0), ("soft_shrink", 1.0)])
    def test_no_signal_has_no_correlation(self, network):
        with pytest.raises(ValueError, match=r"variance 0 have no correlation.*Raise one of the two"):
            MeanField(*network).correlation_map(0.5)

    @pytest.mark.parametrize(("sigma_w2", "sigma_b2"), [(1.5, 0.05), (2.0, 0.05), (8.0, 0.3), (3.0, 0.0)])
    def test_fixed_point_and_depth_scale_of_erf(self, sigma_w2, sigma_b2):
        network, erf = MeanField(special.erf, sigma_w2, sigma_b2), Erf(sigma_w2, sigma_b2)
        q = erf.fixed_point()
        c = erf.fixed_correlation(q)
        assert network.phase == "chaotic"
        assert network.chi == pytest.approx(erf.slope(q, 1.0), rel=1e-9)
        assert network.fixed_correlation == pytest.approx(c, abs=1e-9)
        assert network.depth_scale == pytest.approx(-1 / math.log(erf.slope(q, c)), rel=1e-7)

    @pytest.mark.parametrize(
        "network",
        [("tanh", 1.3, 0.05), ("tanh", 2.0, 0.05), ("relu", 1.5, 0.1), ("hard_tanh", 2.0, 0.1), ("gelu", 1.7, 0.4)],
    )
    def test_depth_scale_is_the_rate_at_which_correlations_settle(self, network):
        network = MeanField(*network)
        last = network.fixed_correlation
        # Close to c*, yet far enough for its 1e-12 not to matter. At c* = 1 ReLU's rate is off by order √1e-8.
        c = last - 1e-8
        rate = (network.correlation_map(c) - last) / (c - last)
        assert rate == pytest.approx(math.exp(-1 / network.depth_scale), rel=5e-4)

    def test_close_to_the_edge(self):
        for sigma_w2, phase in ((1.7608, "ordered"), (1.7611, "chaotic")):
            network = MeanField("tanh", sigma_w2, 0.05)
            assert network.phase == phase
            assert network.depth_scale > 1e3
            assert network.correlation_map(network.fixed_correlation) == pytest.approx(
                network.fixed_correlation, abs=1e-12
            )
            assert (network.fixed_correlation < 1) == (phase == "chaotic")

    def test_chi_is_the_slope_at_one(self):
        for network in (MeanField("tanh", 1.3, 0.05), MeanField("elu", 1.3, 0.2), MeanField("gelu", 1.7, 0.4)):
            gap = 1e-9
            assert (1 - network.correlation_map(1 - gap)) / gap == pytest.approx(network.chi, rel=1e-5)

    def test_edge(self):
        network = MeanField("relu", 2.0)
        assert (network.phase, network.fixed_correlation, network.depth_scale) == ("edge", 1.0, math.inf)

    def test_a_network_without_weights(self):
        network = MeanField("tanh", 0.0, 0.3)
        assert (network.phase, network.chi, network.depth_scale) == ("ordered", 0.0, 0.0)
        assert network.fixed_point == pytest.approx(0.3, rel=1e-14)
        assert network.correlation_map(-1.0) == 1.0

    def test_an_odd_activation_without_biases_forgets_everything(self):
        assert MeanField("tanh", 2.0).fixed_correlation == 0


class WideNetwork:
    """Two inputs in a network of width 2000 with its weights drawn once.

    Given a layer's input x, its units are independent and normal, with the covariance ``σ_w² x·x / n + σ_b²``. ``laws``
    has these 2×2 matrices, layer after layer; ``parts[l][i, j]`` the n numbers whose mean makes up entry i, j of law l.
    """

    def __init__(self, name, sigma_w2, sigma_b2, width=2000, depth=4):
        phi, rng = scalar(name).function, np.random.default_rng(5)
        x = rng.standard_normal((2, width))
        x[1] = 0.6 * x[0] + 0.8 * x[1]
        self.laws, self.parts = [], []
        for _ in range(depth):
            self.parts.append(sigma_w2 * x[:, None] * x + sigma_b2)
            self.laws.append(self.parts[-1].mean(axis=-1))
            weights = rng.standard_normal((width, width), dtype="float32") * np.float32(math.sqrt(sigma_w2 / width))
            x = phi(x @ weights + math.sqrt(sigma_b2) * rng.standard_normal(width))

    def standard_errors_off(self, network, layer):
        """By how many standard errors the maps miss the next layer's law, the mean of n independent parts.

        The error of a mean of n is their deviation by √n. The maps are for inputs of equal length; that the two lengths
        differ by order 1/√n matters by order 1/n only, because the covariance is symmetric in them.
        """
        law, after, parts = self.laws[layer], self.laws[layer + 1], self.parts[layer + 1]
        error = parts.std(axis=-1) / math.sqrt(parts.shape[-1])
        q = np.diag(law).mean()
        covariance = network.correlation_map(law[0, 1] / q, q) * network.variance_map(q)
        yield (after[0, 0] - network.variance_map(law[0, 0])) / error[0, 0]
        yield (after[0, 1] - covariance) / error[0, 1]


observed = functools.cache(WideNetwork)
NETWORKS = [("tanh", 2.0, 0.05), ("relu", 2.0, 0.1), ("sigmoid", 4.0, 0.0), ("hard_tanh", 1.2, 0.3)]


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_maps_predict_a_wide_network(network):
    for layer in range(3):
        for off in observed(*network).standard_errors_off(MeanField(*network), layer):
            assert abs(off) < 5


@pytest.mark.parametrize("network", NETWORKS, ids=str)
def test_the_wide_network_tells_a_wrong_variance(network):
    name, sigma_w2, sigma_b2 = network
    for wrong in (MeanField(name, 1.3 * sigma_w2, sigma_b2), MeanField(name, sigma_w2, sigma_b2 + 0.5)):
        assert any(abs(off) > 5 for off in observed(*network).standard_errors_off(wrong, 0))


class TestArguments:
    @pytest.mark.parametrize(("wrong", "error"), WRONG_NUMBERS + WRONG_KINDS)
    @pytest.mark.parametrize("name", ["sigma_w2", "sigma_b2"])
    def test_variances(self, name, wrong, error):
        with pytest.raises(error, match=rf"Argument `{name}` must be a number from 0 to 1e\+06\. Received: {name}="):
            MeanField("tanh", **{"sigma_w2": 1.0, name: wrong})

    @pytest.mark.parametrize(("wrong", "error"), WRONG_NUMBERS + WRONG_KINDS)
    def test_variance_of_the_layer_before(self, wrong, error):
        with pytest.raises(error, match=r"`q` must be a number from 0 to 1e\+12"):
            MeanField("tanh", 1.0).variance_map(wrong)
        if wrong is not None:
            with pytest.raises(error, match=r"`q` must be a number from 0 to 1e\+12"):
                MeanField("tanh", 1.0).correlation_map(0.5, wrong)

    @pytest.mark.parametrize(("wrong", "error"), [(1.0000001, ValueError), (-1.1, ValueError), ("1", TypeError)])
    def test_correlation(self, wrong, error):
        with pytest.raises(error, match="`c` must be a number from -1 to 1"):
            MeanField("tanh", 1.0).correlation_map(wrong)
        with pytest.raises(error, match="`c` must be a number from -1 to 1"):
            MeanField("tanh", 1.0).correlations(wrong, 3)

    @pytest.mark.parametrize(
        ("wrong", "error"), [(0, ValueError), (1.0, TypeError), (True, TypeError), ("3", TypeError)]
    )
    def test_depth(self, wrong, error):
        with pytest.raises(error, match="`depth` must be a whole number that is at least 1"):
            MeanField("tanh", 1.0).correlations(0.5, wrong)

    def test_activation(self):
        with pytest.raises(ValueError, match="activation"):
            MeanField("tanhh", 1.0)

    def test_numpy_numbers_are_taken(self):
        assert MeanField("tanh", np.float32(1.5)) == MeanField("tanh", 1.5, np.int64(0))

    def test_a_jump_has_no_chi(self):
        network = MeanField(np.sign, 1.0)
        assert network.fixed_point == pytest.approx(1.0)
        with pytest.raises(ValueError, match="jump"):
            _ = network.chi


def test_chi_uses_the_mean_of_the_squared_slope():
    network = MeanField("gelu", 1.7, 0.4)
    gelu = scalar("gelu")
    mean = gaussian_mean(lambda h: gelu.derivative(h) ** 2, scale=math.sqrt(network.fixed_point))
    assert network.chi == pytest.approx(1.7 * mean, rel=1e-12)
