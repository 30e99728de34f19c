"""ReLU networks under Glorot's and He's laws."""

import math

import pytest

import keras_initlab as kil
from keras_initlab import lab
from keras_initlab.lab.experiment import Run
from keras_initlab.lab.experiments.relu_scales import _relu

SIZES = {"width": 128, "depth": 8, "batch": 32}
LAWS = {
    "xavier-relu": (kil.GlorotNormal, "Glorot", math.sqrt(0.5)),
    "he-relu": (kil.HeNormal, "He", 1.0),
}


@pytest.mark.parametrize("name", LAWS)
def test_growth(name):
    result = lab.run(name, networks=3, seed=1, verbose=0, **SIZES)
    _, law, expected = LAWS[name]
    assert result.as_expected
    assert [line.name for line in result.figures[0].lines] == [law, law, "network 2", "network 3"]
    rms = result[law].column("rms")[1]
    # Seven steps of the logarithm, each of variance 5/n in the mean square.
    assert math.log(rms[-1] / rms[0]) / 7 == pytest.approx(math.log(expected), abs=2.5 * math.sqrt(5 / 128 / 7))


@pytest.mark.parametrize("name", LAWS)
def test_the_other_law_is_not_as_expected(name):
    law, what, _ = LAWS[name]
    run = Run(1)
    _relu(run, what, lambda seed: law(seed=seed), 2.0 if law is kil.GlorotNormal else 1.0, networks=2, **SIZES)
    assert not any(check.holds for check in run.checks)


@pytest.mark.parametrize("name", LAWS)
def test_the_smallest_network(name):
    for seed in range(3):
        assert lab.run(name, width=2, depth=2, batch=2, networks=1 + seed, seed=seed, verbose=0).checks
