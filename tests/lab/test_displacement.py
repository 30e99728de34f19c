"""How far weights are from where they began."""

import math

import pytest

from keras_initlab import lab


@pytest.mark.lab
def test_wide_networks_and_large_weights_stay_near_their_start():
    result = lab.run("weights-stay", width=64, verbose=0)
    assert [check.what for check in result.checks if not check.holds] == []
    for name, scale, width in (("0.5 × He", 0.5, 64), ("2 × He", 2, 64), ("1 × He, 4 × as wide", 1, 256)):
        _, length = result[name].column("l2", "displacement", "kernel")
        _, relative = result[name].column("relative", "displacement", "kernel")
        # 64 inputs and variance 2 scale²/64: a kernel begins with the length scale √(2 width), up to five errors.
        error = 5 / math.sqrt(2 * 64 * width)
        assert length[0] / relative[0] == pytest.approx(scale * math.sqrt(2 * width), rel=error)


@pytest.mark.lab
def test_networks_that_cannot_learn_are_told():
    result = lab.run("weights-stay", width=2, depth=1, steps=10, verbose=0)
    assert next(check for check in result.checks if check.what.startswith("loss")).holds is False
    assert result["2 × He"].step == 10
