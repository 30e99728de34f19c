"""Layer-wise pre-training."""

import pytest

from keras_initlab import lab


@pytest.mark.lab
def test_a_deep_sigmoid_network_learns_after_pretraining():
    result = lab.run("pretraining", depth=4, passes=1, tuning=4, width=32, verbose=0)
    assert [check.what for check in result.checks if not check.holds] == []
    _, arriving = result["small"].column("rms", "activation_gradient")
    # Nearly all slopes are a quarter: a layer passes on ¼ · 0.05 √32.
    assert (arriving[0] / arriving[3]) ** (1 / 3) == pytest.approx(0.05 * 32**0.5 / 4, rel=0.25)


@pytest.mark.lab
def test_a_short_training_is_told():
    result = lab.run("pretraining", depth=2, passes=1, tuning=1, width=32, verbose=0)
    failed = [check.what for check in result.checks if not check.holds]
    assert "small, pre-trained: the same" in failed
    assert not [what for what in failed if "gradient" in what]
