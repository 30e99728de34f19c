"""The fan-in of every kind of layer: what unit variance becomes under Keras's count and under the true one."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np
import numpy.typing as npt

from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Ridges, Table
from keras_initlab.lab.kinds import KINDS, Kind
from keras_initlab.lab.networks import Law, noise, seeded
from keras_initlab.model_init import reinitialize

__all__: list[str] = []

Array = npt.NDArray[Any]
Examples = Annotated[int, Count(2, 100_000), "examples of independent N(0, 1)"]
_GLOROT, _OWN, _AGAIN = "Glorot by Keras", "LeCun by Keras", "LeCun by reinitialize"
# Of a uniform law, and of a normal one cut at ±2.
_KURTOSIS = {_GLOROT: 1.8, _OWN: 2.366, _AGAIN: 2.366}
_SHORT = (
    "DepthwiseConv2D",
    "SeparableConv2D",
    "Conv1DTranspose",
    "Conv2DTranspose",
    "LSTM, state",
    "GRU, state",
    "Embedding",
)
"""Kinds whose fan-in Keras counts otherwise than it is."""


@experiment("fans", "Derived: a unit that sums F products of unit variance needs weights of variance 1/F.")
def fans(run: Run, examples: Examples = 256) -> None:
    """What a unit sums, only the layer knows: Keras reads it off the kernel's shape, and is wrong for some kinds.

    Inputs N(0, 1) go through a layer of each kind, with weights of variance 1/fan_in (LecunNormal): the outputs should
    have variance 1. Keras takes the last axis of a kernel but one for the inputs. Of a depthwise convolution these are
    all channels, of which a unit sees one: with 256 of them the variance becomes 1/256. A transposed convolution has
    its axes the other way round, and with a stride only some of its taps meet at one output. The recurrent kernel of
    an LSTM holds four matrices side by side; orthogonal as a whole, each gate gets a quarter of the variance. The fan
    of an embedding, whose vectors should have length 1, is taken for the size of the vocabulary.

    GlorotUniform, the default of most layers, needs the fan-out too, and there groups, gates and stacks of matrices are
    miscounted as well. `reinitialize` draws the same law with the fans that each weight has in its layer: variance 1
    for every kind. Zero padding is another matter: at the border of an 8×8 image taps meet nothing, which leaves 0.84
    of the variance; the scheme "auto" makes up for it.
    """
    outputs: dict[str, dict[tuple[str, str], Array]] = {way: {} for way in _KURTOSIS}
    rows: list[tuple[str | float, ...]] = []
    for i, (name, kind) in enumerate(run.track(KINDS.items(), "kinds of layers")):
        row: list[str | float] = [name]
        for way in _KURTOSIS:
            drawn = _outputs(kind, way, seeded(run.seed, i), examples)
            outputs[way][name, "activation"] = drawn
            row += [float(np.mean(np.square(drawn, dtype=np.float64))), expected_variance(kind, way)]
        rows.append(tuple(row))
    for j, way in enumerate(_KURTOSIS):
        run.keep(way, profile_of(outputs[way]))
        run.expect(_farthest(way, {str(row[0]): float(row[2 * j + 1]) for row in rows}, examples))
    run.expect(*(_one(str(cells[0]), float(cells[3]), examples) for cells in rows if cells[0] in _SHORT))
    columns = ("kind", *(column for way in _KURTOSIS for column in (way, "by count")))
    run.show(
        Table.of("Variance of what unit variance becomes", columns, rows),
        *(Ridges.of(f"Outputs, {way}", run.profiles[way], x_label="output") for way in (_OWN, _AGAIN)),
    )


def expected_variance(kind: Kind, way: str) -> float:
    """What unit variance becomes, by counting."""
    factors = {
        _OWN: [fans.true_in / fans.keras_in for fans in kind.fans],
        _GLOROT: [2 * fans.true_in / (fans.keras_in + fans.keras_out) for fans in kind.fans],
        _AGAIN: [1.0 for _ in kind.fans],
    }
    return kind.padded * math.prod(factors[way])


def relative_error(kind: Kind, way: str, examples: int) -> float:
    """Standard error of a measured variance, over it.

    A kernel of W weights has a mean square with relative variance (kurtosis − 1)/W; N examples of dimension F seen by U
    units add at most 2/N · (1/F + 1/U). Places of one example are taken to tell nothing new.
    """
    parts = [
        (_KURTOSIS[way] - 1) / (kernel.true_in * kind.units) + 2 / examples * (1 / kernel.true_in + 1 / kind.units)
        for kernel in kind.fans
    ]
    return math.sqrt(sum(parts))


def _outputs(kind: Kind, way: str, seed: int, examples: int) -> Array:
    """What a layer makes of white inputs, its weights drawn in one of the ways."""
    law = keras.initializers.GlorotUniform if way == _GLOROT else keras.initializers.LecunNormal
    layer = kind.layer(_places(law, seed))
    x = keras.Input(kind.shape)
    model = keras.Model(x, layer(x, x) if isinstance(layer, keras.layers.MultiHeadAttention) else layer(x))
    if way == _AGAIN:
        reinitialize(model, seed=seed)
    return np.asarray(keras.ops.convert_to_numpy(kind.read(layer, noise(seed, examples, *kind.shape))))


def _places(law: Any, seed: int) -> Law:
    return lambda place: law(seed=seeded(seed, place))


def _farthest(way: str, measured: dict[str, float], examples: int) -> Check:
    """The kind that is farthest from what was expected, for its error."""

    def distance(name: str) -> float:
        expected = expected_variance(KINDS[name], way)
        return abs(measured[name] / expected - 1) / relative_error(KINDS[name], way, examples)

    far = max(measured, key=distance)
    return Check.at_most(f"{way}: kind farthest from what was expected, in standard errors", distance(far), 5.0)


def _one(name: str, measured: float, examples: int) -> Check:
    expected = expected_variance(KINDS[name], _OWN)
    tolerance = 5 * expected * relative_error(KINDS[name], _OWN, examples)
    return Check.equal(f"{_OWN}: variance after {name}", measured, expected, tolerance)
