"""Every experiment as it is told, with its defaults."""

import pytest

from keras_initlab import lab

NAMES = (
    "linear-100",
    "tanh-scales",
    "xavier-tanh",
    "xavier-relu",
    "he-relu",
    "vanishing-tanh",
    "batchnorm",
    "symmetry",
    "logistic-zero",
    "nine-layers",
    "relu-50",
    "weights-stay",
    "xavier-proof",
    "forget-bias",
    "orthogonal-depth",
    "edge-of-chaos",
    "pretraining",
    "optimizers",
    "truncation",
    "depth-width",
    "fans",
)


def test_these_are_all():
    assert sorted(lab.EXPERIMENTS) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_every_experiment_says_what_it_is(name):
    experiment = lab.EXPERIMENTS[name]
    assert experiment.name == name
    assert experiment.title
    assert experiment.source
    assert len(experiment.lesson) > 200
    assert all(option.help for option in experiment.options)


@pytest.mark.lab
@pytest.mark.parametrize("name", NAMES)
def test_what_is_measured_is_what_is_expected(name, tmp_path):
    result = lab.run(name, out=tmp_path, verbose=0)
    assert result.as_expected, str(result)
    assert result.checks
    assert result.figures
    assert result.profiles
    (folder,) = tmp_path.iterdir()
    assert lab.Result.load(folder).profiles == dict(result)
