"""The examples run, and print what they teach."""

import math
import runpy
from pathlib import Path

import pytest

EXAMPLES = Path(__file__).parents[1] / "examples"


def run(name):
    return runpy.run_path(str(EXAMPLES / name))["main"]()


def test_dense_layer(capsys):
    measured = run("dense_layer.py")
    assert set(measured) == {"LecunNormal", "GlorotUniform", "HeNormal", "HeUniform"}
    for promised, drawn in measured.values():
        assert drawn == pytest.approx(promised, rel=5 * (1.366 / (4 * 512 * 256)) ** 0.5)
    assert "HeNormal" in capsys.readouterr().out


def test_lstm_forget_bias(capsys):
    zeros, ones = [0.0] * 4, [1.0] * 4
    assert run("lstm_forget_bias.py") == {"input": zeros, "forget": ones, "cell": zeros, "output": zeros}
    assert "set `unit_forget_bias=False`" in capsys.readouterr().out


def test_save_and_load():
    found, difference = run("save_and_load.py")
    assert found == "Orthogonal(gain=1.4142135623730951, seed=0)"
    assert difference == 0.0


def test_activation_gain(capsys):
    measured = run("activation_gain.py")
    # A layer of width n adds a relative variance of about (kurtosis of the activation − 1) / n, at most 5/512 here;
    # what comes in is passed on with the slope. Five standard deviations of the sum over thirty layers, in logarithms.
    for name, (_, own, slope) in measured.items():
        if slope < 0.9:
            assert abs(math.log(own)) <= 5 * math.sqrt(5 / 512 / (1 - slope**2)), name
    assert 0 < measured["tanh"][2] < 0.9 < measured["relu"][2] < 1.0001 < measured["gelu"][2] < measured["silu"][2]
    assert measured["tanh"][0] < 0.7
    assert measured["selu"][0] > 100
    assert measured["gelu"][0] < 1e-3
    assert "own gain" in capsys.readouterr().out


def test_same_bits_everywhere():
    assert run("same_bits_everywhere.py") == {
        "HeNormal": "568cdd5c2782a73c",
        "GlorotUniform": "4bba38ac5e23461e",
        "RandomNormal": "0dde0a0b745a5b94",
    }
