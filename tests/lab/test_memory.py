"""Forget gates and the gradient through time."""

import math

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.memory import _decay, _symbols


@pytest.mark.lab
def test_open_gates_let_the_gradient_back():
    result = lab.run("forget-bias", units=16, steps=80, verbose=0)
    assert [check.what for check in result.checks if not check.holds] == []
    for bias in (0, 1, 2):
        late, early = (result[f"bias {bias}"].column("rms", "state_gradient", f"c/t{t:04d}")[1][0] for t in (49, 9))
        assert (early / late) ** (1 / 40) == pytest.approx(1 / (1 + math.exp(-bias)), abs=0.02)
    assert {row["quantity"] for row in result["chrono"]}.isdisjoint({"update", "displacement"})
    assert {profile.step for profile in result.values()} == {1}


@pytest.mark.lab
def test_over_a_short_time_a_closed_gate_learns_too_and_is_told():
    result = lab.run("forget-bias", units=16, delay=4, steps=80, verbose=0)
    failed = [check.what for check in result.checks if not check.holds]
    assert "bias 0: loss" in failed
    assert not [what for what in failed if "gradient" in what]


def test_the_decay_of_another_bias_is_refused():
    flow, other = 0.5 ** np.arange(49, -1.0, -1), 0.73 ** np.arange(49, -1.0, -1)
    assert _decay("bias 0", flow, flow, np.ones(32), 32, 50).holds
    assert not _decay("bias 0", other, other, np.ones(32), 32, 50).holds
    assert not _decay("chrono", other, flow, np.ones(32), 32, 50).holds


def test_the_symbol_comes_first_and_nothing_after_it():
    x, y = _symbols(3, 10, 5)
    assert x.shape == (10, 6, 8)
    np.testing.assert_array_equal(x[:, 0].argmax(1), y)
    assert x.sum() == 10
