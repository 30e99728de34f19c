"""Units of equal weights."""

import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.symmetry import _expected
from keras_initlab.lab.images import images

# One process makes what they share.
pytestmark = pytest.mark.xdist_group("symmetry")


@pytest.fixture(scope="module")
def result():
    return lab.run("symmetry", width=16, steps=150, seed=2, verbose=0)


def test_equal_units_stay_equal(result):
    assert [check.what for check in result.checks if not check.holds] == []
    assert list(result) == ["zero", "constant", "random sign"]


def test_zero_weights_leave_the_loss_of_the_frequencies(result):
    share = np.bincount(images("digits", 2).y) / 1347
    loss = next(check for check in result.checks if check.what == "zero: loss")
    assert loss.measured == pytest.approx(-np.sum(share * np.log(share)), abs=0.01)
    np.testing.assert_array_equal(result["zero"].column("l2", "gradient", "kernel")[1], 0)


def test_the_weights_differ_in_their_signs_alone(result):
    constant, signs = (result[name].column("l2", "weight", "kernel")[1] for name in ("constant", "random sign"))
    displaced = [result[name].column("relative", "displacement", "kernel")[1] for name in ("constant", "random sign")]
    # Both had the length √(fan_out) at the start.
    for lengths, moved in ((constant, displaced[0]), (signs, displaced[1])):
        assert np.all(np.abs(lengths / np.sqrt([16, 16, 10]) - 1) <= moved + 0.05)


def test_units_that_differ_are_not_told_to_be_equal():
    data = images("digits")
    kernels = [np.random.default_rng(0).standard_normal((16, 16)).astype("float32")]
    assert not any(check.holds for check in _expected("constant", kernels, 0.1, 100, data))
    assert not any(check.holds for check in _expected("zero", kernels, 0.1, 100, data))
    equal = [np.repeat(kernels[0][:, :1], 16, axis=1)]
    assert not any(check.holds for check in _expected("random sign", equal, 2.3, 100, data))
