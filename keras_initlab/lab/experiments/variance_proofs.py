"""What Glorot's two conditions say, measured layer by layer."""

from __future__ import annotations

import math
from typing import Any

import keras
import numpy as np
import numpy.typing as npt

import keras_initlab as kil
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.networks import Law, dense_network, layer_values, noise, seeded
from keras_initlab.lab.options import Batch, Width

__all__: list[str] = []

Array = npt.NDArray[np.float64]
# The last width is neither of the first two: over all layers no law keeps signal and gradient by accident.
_SHAPE = (1, 0.5, 1.5, 0.75, 2, 1, 0.25)
# Small enough that tanh is the identity: its slope there is 1 − 10⁻⁴.
_NEAR_ZERO = 0.01


@experiment("xavier-proof", "Glorot & Bengio (2010), section 4.2.1, equations 5 to 12.")
def xavier_proof(run: Run, width: Width = 256, batch: Batch = 1024) -> None:
    """Activations grow by n_in·Var(W), gradients by n_out·Var(W); Glorot's law is the compromise.

    Six tanh layers of different widths get inputs so small that tanh is the identity. A unit sums n_in products, so
    that a layer multiplies the mean square of the signal by n_in·Var(W). On the way back an input sums over the n_out
    units that it feeds, so that the mean square of the gradient is multiplied by n_out·Var(W). Both are measured in
    each layer, and compared with the variance of the very weights that were drawn.

    With Var(W) = 1/n_in (LeCun) the signal keeps its size and the gradient does not; with 1/n_out it is the other way
    round. Where the widths differ no variance does both. Glorot's 2/(n_in + n_out) does neither, but the two factors of
    each layer have the mean 1. The targets are noise much larger than the outputs: a gradient that
    came from the network's own outputs would depend on its weights, and the argument would not hold.
    """
    widths = [max(1, int(width * part)) for part in _SHAPE]
    # Var(W) times the inputs, times the outputs, and times their mean is 1.
    laws = {"1/n_in": "fan_in", "1/n_out": "fan_out", "Glorot": "fan_avg"}
    x, y = _NEAR_ZERO * noise(run.seed, batch, widths[0]), noise(seeded(run.seed, 7), batch, widths[-1])
    forward_lines: list[Line] = []
    back_lines: list[Line] = []
    rows: list[tuple[Any, ...]] = []
    for i, (name, mode) in enumerate(run.track(laws.items(), "laws")):
        model = dense_network(widths[0], widths[1:], _law(mode), "tanh", seed=seeded(run.seed, i), bias=False)
        model.compile("sgd", keras.losses.MeanSquaredError())
        profile = run.keep(name, kil.observe(model, x, y))
        squares = layer_values(profile, "rms") ** 2
        forward = squares / [np.mean(np.square(x, dtype=np.float64)), *squares[:-1]]
        gradients = layer_values(profile, "rms", "activation_gradient") ** 2
        back = gradients[:-1] / gradients[1:]
        variance = layer_values(profile, "rms", "weight") ** 2
        n = np.array(widths)
        ins, outs = n[:-1] * variance, n[1:] * variance
        errors, back_errors = spreads(widths, batch)
        run.expect(
            _near(f"{name}: growth of the signal over n_in·Var(W)", forward / ins, errors),
            _near(f"{name}: growth of the gradient over n_out·Var(W)", back / outs[1:], back_errors[1:]),
            *_compromise(name, forward, back, errors, back_errors[1:]),
        )
        layers = range(2, len(widths))
        forward_lines += [Line.of(name, forward), Line.of(name, ins, predicted=True)]
        back_lines += [Line.of(name, back, layers), Line.of(name, outs[1:], layers, predicted=True)]
        grown = zip(range(1, len(widths)), n[:-1], n[1:], ins, forward, outs, [math.nan, *back], strict=True)
        rows += [(name, *(float(value) for value in row)) for row in grown]
    columns = ("Var(W)", "layer", "n_in", "n_out", "n_in·Var(W)", "signal", "n_out·Var(W)", "gradient")
    run.show(
        Lines("Growth of the signal's mean square", "layer", "factor", tuple(forward_lines), log_y=True),
        Lines("Growth of the gradient's mean square", "layer", "factor", tuple(back_lines), log_y=True),
        Table.of("Factors by layer", columns, rows),
    )


def _law(mode: str) -> Law:
    return lambda seed: kil.VarianceScaling(1.0, mode, "untruncated_normal", seed=seed)


def spreads(widths: list[int], batch: int) -> tuple[Array, Array]:
    """Relative standard error of each layer's factor, forward and back, over normal weights.

    ‖WX‖² of a normal W with m rows has relative variance 2 tr(C²)/(m tr(C)²) for the covariance C of X. That quotient
    is 1/dimensions for white inputs; a batch of B adds 1/B and each matrix that X went through one over its rows.
    """
    inverse = 1 / np.array(widths, np.float64)
    seen = 1 / batch + np.cumsum(inverse)
    back = 1 / batch + np.cumsum(inverse[::-1])[::-1]
    return np.sqrt(2 * inverse[1:] * seen[:-1]), np.sqrt(2 * inverse[:-1] * back[1:])


def _near(what: str, ratios: Array, errors: Array) -> Check:
    """The layer whose ratio is farthest from 1 for its error, against five errors."""
    layer = int(np.argmax(np.abs(np.nan_to_num(ratios, nan=np.inf) - 1) / errors))
    # What tanh bends away near zero comes on top.
    tolerance = 5 * float(errors[layer]) + 4 * _NEAR_ZERO**2
    return Check.equal(f"{what}, farthest layer", ratios[layer], 1.0, tolerance)


def _compromise(name: str, forward: Array, back: Array, errors: Array, back_errors: Array) -> list[Check]:
    """What each law is made to keep."""
    whole, back_whole = (5 * math.sqrt(float(np.sum(e**2))) for e in (errors, back_errors))
    if name == "1/n_in":
        return [Check.within_factor(f"{name}: signal after all layers", float(np.prod(forward)), 1.0, math.exp(whole))]
    if name == "1/n_out":
        what = f"{name}: gradient in the first layer over that in the last"
        return [Check.within_factor(what, float(np.prod(back)), 1.0, math.exp(back_whole))]
    both = float(np.mean(forward[1:] + back))
    # Each factor is less than 2, and a layer's two errors may go together.
    error = 2 * float(np.sqrt(np.sum((errors[1:] + back_errors) ** 2))) / len(back)
    return [Check.equal(f"{name}: growth of signal plus gradient, mean of layers", both, 2.0, 5 * error)]
