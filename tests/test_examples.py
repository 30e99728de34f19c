"""Every example runs as a reader would run it, and shows what it says."""

import runpy

import numpy as np
import pytest

from keras_initlab import Profile

from .processes import ROOT, python

# Run by tests of their own.
ELSEWHERE = {
    "activation_gain",
    "same_bits_everywhere",
    "weights_from_another_model",
    "dense_layer",
    "lstm_forget_bias",
    "save_and_load",
    "demo",
    "pretraining_deep_sigmoid",
}
EXAMPLES = {path.stem: path for path in sorted((ROOT / "examples").glob("*.py"))}


def main(name, *arguments):
    return runpy.run_path(str(EXAMPLES[name]))["main"](*arguments)


@pytest.mark.parametrize("name", sorted(EXAMPLES.keys() - ELSEWHERE))
def test_an_example_runs_in_a_process_of_its_own(name, tmp_path):
    done = python("-W", "error", EXAMPLES[name], cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) > 5
    assert not list(tmp_path.iterdir())


def test_with_and_without_batchnorm(capsys):
    measured = main("with_and_without_batchnorm")
    without, with_ = measured["without"], measured["with"]
    # Each layer passes on 0.01 √(128 / 2) = 0.08 of the root mean square, and does so nine times.
    np.testing.assert_allclose((without[-1] / without[0]) ** (1 / 9), 0.08, rtol=0.1)
    assert (with_ > 0.4).all()
    assert (with_ < 0.7).all()
    assert "0.08 of what it gets" in capsys.readouterr().out


def test_tensorboard_statistics(tmp_path, capsys):
    profiles = main("tensorboard_statistics", [str(tmp_path)])
    assert [profile.step for profile in profiles] == [20, 40, 60]
    assert Profile.read(tmp_path) == profiles
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 1
    assert f"tensorboard --logdir {tmp_path}" in capsys.readouterr().out


def test_pretraining_deep_sigmoid(capsys):
    accuracy = main("pretraining_deep_sigmoid")
    assert accuracy["without"] < 0.2
    assert accuracy["with"] > 0.8
    assert "pre-train" in capsys.readouterr().out
