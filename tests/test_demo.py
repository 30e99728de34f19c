"""The main job shows what it promises, in numbers, a table, a picture and event files."""

import runpy

import numpy as np
import pytest

import keras_initlab as kil

from .processes import ROOT

pytestmark = pytest.mark.xdist_group("demo")
SMALL, SMALL_BATCHNORM, HE, HE_BATCHNORM = range(4)


@pytest.fixture(scope="module")
def demo():
    return runpy.run_path(str(ROOT / "examples" / "demo.py"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("demo")


@pytest.fixture(scope="module")
def outcomes(demo, folder):
    return demo["main"](["--out", str(folder)])


def test_small_weights_learn_only_with_batchnorm_and_he_learns_either_way(outcomes):
    # Ten classes of 261 test images: chance is 10 %, five standard errors of it 9 %.
    assert outcomes[SMALL].accuracy < 0.19
    assert outcomes[SMALL].loss > 2.2
    for learns in (SMALL_BATCHNORM, HE, HE_BATCHNORM):
        assert outcomes[learns].accuracy > 0.85
        assert outcomes[learns].loss < 0.8


def test_small_weights_kill_the_signal_and_batchnorm_restores_it(demo, outcomes):
    std = [demo["activation_std"](outcome.before) for outcome in outcomes]
    assert all(len(values) == demo["DEPTH"] for values in std)
    # A layer passes on 0.01 √(128 / 2) = 0.08 of the root mean square.
    np.testing.assert_allclose(np.diff(np.log(std[SMALL])).mean(), np.log(0.08), rtol=0.05)
    for alive in (SMALL_BATCHNORM, HE, HE_BATCHNORM):
        assert std[alive].min() > 0.1
        assert std[alive].max() < 2


def test_gradients_vanish_with_the_signal(demo, outcomes):
    norms = [demo["gradient_norm"](outcome.before) for outcome in outcomes]
    assert all(len(values) == demo["DEPTH"] for values in norms)
    assert norms[SMALL].max() < 1e-10
    assert min(norms[alive].min() for alive in (SMALL_BATCHNORM, HE, HE_BATCHNORM)) > 0.05


def test_batchnorm_leaves_no_dead_units(demo, outcomes):
    dead = [demo["dead_units"](outcome.before) for outcome in outcomes]
    assert dead[SMALL_BATCHNORM] == dead[HE_BATCHNORM] == 0
    assert 0 < dead[HE] < 0.5


def test_the_files(demo, folder, outcomes):
    assert (folder / "demo.png").read_bytes().startswith(b"\x89PNG")
    assert (folder / "demo.png").stat().st_size > 30_000
    for outcome in outcomes:
        logs = folder / "logs" / outcome.setting.folder
        assert len(list(logs.glob("events.out.tfevents.*"))) == 1
        profiles = kil.Profile.read(logs)
        assert [profile.step for profile in profiles] == list(range(12, 289, 12))
        assert profiles[-1] == outcome.after


def test_the_table(demo, outcomes):
    table = demo["summary"](outcomes)
    assert table.row_count == 10
    assert [column.header for column in table.columns[1:]] == [
        "N(0, 0.01²)",
        "N(0, 0.01²)\n+ BatchNorm",
        "He",
        "He\n+ BatchNorm",
    ]


def test_the_readme_shows_this_table(demo, outcomes):
    text = (ROOT / "README.md").read_text(encoding="utf-8").split("<!-- demo -->\n")[1].split("<!-- /demo -->")[0]
    documented = [[cell.strip() for cell in line.split("|")[1:-1]] for line in text.splitlines()]
    columns = demo["summary"](outcomes).columns
    real = list(zip(*(column.cells for column in columns), strict=True))
    assert documented[0] == [column.header.replace("\n", " ") for column in columns]
    for (name, *shown), (label, *measured) in zip(documented[2:], real, strict=True):
        assert name == label
        if label.startswith(("activation std", "gradient norm")):
            # Before training only rounding differs from one machine to the next; two digits are shown.
            np.testing.assert_allclose([float(v) for v in shown], [float(v) for v in measured], rtol=0.1)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--epochs", "0"], "argument --epochs: must be at least 1. Received: 0"),
        (["--epochs", "many"], "argument --epochs: invalid int value: 'many'"),
        (["--out", __file__], "argument --out: "),
    ],
)
def test_wrong_arguments_are_usage_errors(demo, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        demo["main"](arguments)
    assert message in capsys.readouterr().err
