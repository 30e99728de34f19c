"""The experiments on stacks of networks, at sizes of a test."""

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.isometry import _of_tanh
from keras_initlab.lab.figures import Heatmap


def measured(result, what):
    (check,) = [check for check in result.checks if what in check.what]
    return check


@pytest.mark.lab
def test_the_edge_of_chaos_is_where_deep_networks_learn():
    result = lab.run("edge-of-chaos", width=48, deepest=50, steps=120, verbose=0)
    assert result.as_expected, str(result)
    heatmap = result.figures[0]
    assert isinstance(heatmap, Heatmap)
    accuracy = np.array(heatmap.values)
    # In the ordered phase deep networks learn nothing; at its edge the same depth does.
    assert (accuracy[:, 3] - accuracy[:, 0]).max() > 0.3
    six = next(line for line in heatmap.lines if line.predicted)
    # Depth scale of σ_w² = 1, σ_b² = .05: 3.627.
    assert six.y[0] == pytest.approx(6 * 3.627, rel=1e-3)


def test_too_few_steps_are_not_as_expected():
    assert not lab.run("edge-of-chaos", width=16, deepest=12, steps=2, verbose=0).as_expected


@pytest.mark.lab
def test_orthogonal_networks_learn_at_one_speed():
    result = lab.run("orthogonal-depth", width=48, deepest=20, steps=100, verbose=0)
    assert measured(result, "orthogonal, linear: spread").measured == pytest.approx(0, abs=1e-10)
    assert measured(result, "Gaussian, linear: spread").holds
    assert measured(result, "orthogonal, linear: steps").holds
    assert measured(result, "linear: steps of the deepest, Gaussian").measured > 1.5


def test_slopes_of_tanh_by_sampling():
    z = np.random.default_rng(0).standard_normal(4_000_000) * 0.5
    slopes = 1 / np.cosh(z) ** 2
    ratio = np.mean(slopes**4) / np.mean(slopes**2) ** 2 - 1
    added, q = _of_tanh(0.25)
    assert added == pytest.approx(ratio, rel=5e-3)
    assert q == pytest.approx(np.mean(np.tanh(z) ** 2), rel=5e-3)


@pytest.mark.lab
def test_depth_is_paid_for_with_width():
    result = lab.run("depth-width", steps=100, seeds=2, verbose=0)
    assert measured(result, "spread").holds
    accuracy = np.array(result.figures[0].values)
    assert accuracy[0, -1] > 0.9
    assert accuracy[-1, 0] < 0.3
    spread = np.array(result.figures[1].values)
    # Five standard errors of the deviation of 100 networks, 35 %, are less than a factor of 2 in depth/width is worth.
    assert (spread[3:, -1] / spread[:-3, -1] == pytest.approx(np.sqrt(8), rel=0.5)) is True
    assert spread[0, -1] == pytest.approx(np.sqrt(5 / 128), rel=0.4)


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("edge-of-chaos", {"width": 2, "deepest": 4, "steps": 1}),
        ("orthogonal-depth", {"width": 2, "deepest": 4, "steps": 1}),
        pytest.param("depth-width", {"steps": 1, "seeds": 2, "batch": 2}, marks=pytest.mark.lab),
        ("linear-100", {"width": 2, "depth": 2}),
        ("nine-layers", {"depth": 2, "gain": 10.0}),
    ],
)
def test_the_smallest_sizes_run(name, options):
    result = lab.run(name, verbose=0, **options)
    assert result.checks
    assert result.figures
    assert result.profiles
