"""Logistic regression from zero and from random weights."""

import numpy as np
import pytest
from scipy.optimize import minimize

from keras_initlab import lab
from keras_initlab.lab.experiments.convex import loss_and_gradient
from keras_initlab.lab.images import images

# One process makes what they share.
pytestmark = pytest.mark.xdist_group("convex")


@pytest.fixture(scope="module")
def result():
    return lab.run("logistic-zero", width=16, steps=300, seed=1, verbose=0)


def test_both_starts_end_at_the_same_weights(result):
    assert [check.what for check in result.checks if not check.holds] == []


def test_the_end_is_the_optimum_that_another_solver_finds(result):
    data = images("digits", 1)
    x, hot = np.hstack([data.x, np.ones((len(data.x), 1))]).astype(float), np.eye(10)[data.y]

    def loss(flat):
        p = np.exp(x @ flat.reshape(-1, 10))
        p /= p.sum(1, keepdims=True)
        return -np.log((p * hot).sum(1)).mean() + 0.01 * np.sum(flat**2), (
            x.T @ (p - hot) / len(x)
        ).ravel() + 0.02 * flat

    found = minimize(loss, np.zeros(x.shape[1] * 10), jac=True, method="L-BFGS-B", options={"gtol": 1e-8, "ftol": 0})
    (_, size), *_ = [result[f"logistic regression from {name}"].column("l2", "weight") for name in ("zero", "random")]
    assert size[0] == pytest.approx(np.linalg.norm(found.x), rel=1e-4)


def test_the_gradient_is_that_of_the_loss():
    generator = np.random.default_rng(0)
    w, x, hot = (
        generator.standard_normal((5, 3)),
        generator.standard_normal((20, 5)),
        np.eye(3)[generator.integers(0, 3, 20)],
    )
    _, gradient = loss_and_gradient(w, x, hot, 0.1)
    for place in ((0, 0), (4, 2), (2, 1)):
        step = np.zeros_like(w)
        step[place] = 1e-5
        above, below = (loss_and_gradient(w + s, x, hot, 0.1)[0] for s in (step, -step))
        assert gradient[place] == pytest.approx((above - below) / 2e-5, abs=1e-8)


def test_after_a_few_steps_the_ends_are_still_apart():
    result = lab.run("logistic-zero", width=2, steps=3, verbose=0)
    failed = [check.what for check in result.checks if not check.holds]
    assert "regression: distance of the ends over |w*|" in failed
    assert "regression: that distance over what the gradients allow" not in failed
    assert "network from zero: largest weight after training" not in failed
