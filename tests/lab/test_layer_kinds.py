"""Kinds of layers: inputs counted by ones, and variances that must be refused."""

import keras
import numpy as np
import pytest

from keras_initlab import lab
from keras_initlab.lab.experiments.layer_kinds import _GLOROT, _OWN, _farthest, expected_variance
from keras_initlab.lab.kinds import KINDS


def ones(_):
    law = keras.initializers.Ones()
    law.seed = 0
    return law


# What has no sum over inputs: rows of a table, and what is orthogonal whatever the law.
SUMS = [name for name in KINDS if not name.startswith("Embedding") and "state" not in name]


@pytest.mark.parametrize("name", SUMS)
def test_ones_count_the_inputs_of_a_unit(name):
    kind = KINDS[name]
    layer, x = kind.layer(ones), np.ones((1, *kind.shape), "float32")
    layer(x, x) if isinstance(layer, keras.layers.MultiHeadAttention) else layer(x)
    sums = np.asarray(kind.read(layer, x))
    assert sums.mean() == pytest.approx(np.prod([fans.true_in for fans in kind.fans]) * kind.padded)
    assert kind.padded < 1 or np.ptp(sums) == 0


def test_every_kind():
    result = lab.run("fans", examples=64, seed=1, verbose=0)
    assert result.as_expected
    table = next(figure for figure in result.figures if hasattr(figure, "rows"))
    rows = {name: cells for name, *cells in table.rows}
    # 256 channels, of which a unit sees one; 5 errors of the 9·256 weights and of 64 examples.
    _, _, by_keras, by_count, again, one = rows["DepthwiseConv2D"]
    assert 256 * by_keras == pytest.approx(1, abs=0.35)
    assert 256 * by_count == one == 1
    assert again == pytest.approx(1, abs=0.35)
    # What a zero-padded image of 8×8 keeps of a 3×3 kernel's taps.
    assert rows["Conv2D, 8×8 padded"][3] == pytest.approx(0.8403, abs=5e-5)


@pytest.mark.parametrize("way", [_GLOROT, _OWN])
def test_variance_1_is_not_what_keras_gives(way):
    right = {name: expected_variance(kind, way) for name, kind in KINDS.items()}
    assert _farthest(way, right, 256).measured == 0
    wrong = {**right, "Conv2DTranspose": 1.0}
    assert not _farthest(way, wrong, 256).holds


def test_few_examples():
    assert lab.run("fans", examples=2, verbose=0).checks
