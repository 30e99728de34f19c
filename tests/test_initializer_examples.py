"""The examples run, and print what they teach."""

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
