"""Networks without activations: products of matrices, and what their powers do to signals and gradients."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Above
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines
from keras_initlab.lab.networks import dense_network, layer_values, noise
from keras_initlab.lab.options import Depth, Width

__all__: list[str] = []


@experiment("linear-100", "Derived: after i products a value has standard deviation (σ √width)^i.")
def linear_100(run: Run, width: Width = 512, depth: Depth = 100) -> None:
    """A hundred matrix products overflow, or vanish, or neither.

    A vector is multiplied by a hundred random matrices in float32. Each product multiplies its standard deviation by σ
    times the square root of the width. With weights N(0, 1) the values leave the range of float32 after 28 products of
    width 512, and the next one is no number any more. With weights a hundred times smaller they shrink to zero. Only
    with σ = 1/√width does the hundredth product still look like the first, which is why the fan-in is in every law of
    initialization.

    The statistics are taken in float64: a mean square in float32 would overflow at half the depth, and tell of an
    explosion that has not happened yet.
    """
    factors = {"N(0, 1)": math.sqrt(width), "N(0, 0.01²)": 0.01 * math.sqrt(width), "N(0, 1/width)": 1.0}
    # The logarithm of a vector's length has variance 1/(2 width) after one product, and walks at random from there.
    wander = 5 * math.sqrt(depth / (2 * width))
    lines = []
    for name, factor in run.track(factors.items(), "multiplying"):
        profile = run.keep(name, _products(run.seed, width, depth, factor / math.sqrt(width)))
        std, zeros, nonfinite = (profile.column(statistic)[1] for statistic in ("std", "zeros", "nonfinite"))
        shown = np.where((std > 0) & (nonfinite == 0), std, np.nan)
        predicted = np.where(np.isnan(shown), np.nan, factor ** np.arange(1.0, depth + 1))
        lines += [Line.of(name, shown), Line.of(name, predicted, predicted=True)]
        # Below 2^-126 the values lose digits one by one, and their standard deviation with them.
        last = int(np.flatnonzero(shown > 2.0**-126)[-1]) + 1
        tolerance = math.exp(5 * math.sqrt((last + 1) / (2 * width)) / last)
        run.expect(
            Check.within_factor(f"{name}: growth at a product", shown[last - 1] ** (1 / last), factor, tolerance)
        )
        if factor > 1:
            # Half of the values of a normal law are within 0.6745 deviations, and float32 ends at 2^128.
            low, expected, high = (_place(128, -math.log(0.6745) + d, factor) for d in (-wander, 0.0, wander))
            what, gone = "first product that is not a number", _first(nonfinite > width / 2)
        elif factor < 1:
            # The largest of the values is some deviations out, and so falls below 2^-149 a little later.
            low, expected, high = (_place(-149, d, factor) for d in (wander, 0.0, -2.0 - wander))
            what, gone = "first product that is zero", _first(zeros == 1)
        if factor != 1 and high <= depth:
            run.expect(Check(f"{name}: {what}", gone, low, high, expected))
    run.show(Lines("Standard deviation after each product", "product", "standard deviation", tuple(lines), log_y=True))


def _place(exponent: int, log: float, factor: float) -> float:
    """The first product whose standard deviation is beyond a power of two times e^log."""
    return 1.0 + math.floor((exponent * math.log(2) + log) / math.log(factor))


def _products(seed: int, width: int, depth: int, std: float) -> kil.Profile:
    """A vector multiplied by one matrix after the other, in float32."""
    generator = np.random.default_rng(seed)
    h = generator.standard_normal((1, width), np.float32)
    outputs = {}
    with np.errstate(over="ignore", invalid="ignore"):
        for i in range(depth):
            h = h @ (generator.standard_normal((width, width), np.float32) * np.float32(std))
            outputs[f"product_{i + 1}", "activation"] = h
    return profile_of(outputs)


def _first(places: Any) -> float:
    """Number of the first product that is meant, counted from 1; not a number where there is none."""
    return float(np.argmax(places) + 1) if np.any(places) else math.nan


@experiment(
    "nine-layers",
    "Derived: the Jacobian of k layers a·I is a^k·I. After the course notes deeplearning.ai/ai-notes/initialization.",
)
def nine_layers(
    run: Run, depth: Depth = 9, gain: Annotated[float, Above(1.0, 10.0), "diagonal of the weights"] = 1.5
) -> None:
    """Weights slightly above and below the identity explode and vanish.

    Nine linear layers of two units, each a multiple of the identity. With 1.5 on the diagonal the output is 1.5⁹ times
    the input, and the gradient that comes back to layer l has been multiplied by 1.5 once for each layer above it; with
    1/1.5 both shrink at the same rate. A factor that is harmless in one layer is a power of the depth in the network:
    nothing in a deep network may change the scale of a signal on average, in either direction.
    """
    lines, gradients = [], []
    x, y = noise(run.seed, 64, 2), np.zeros((64, 2), "float32")
    for name, a in {"above": gain, "identity": 1.0, "below": 1 / gain}.items():
        model = dense_network(2, [2] * depth, lambda seed, a=a: kil.Identity(a), bias=False)  # type: ignore[misc]
        model.compile("sgd", keras.losses.MeanSquaredError())
        profile = run.keep(name, kil.observe(model, x, y))
        forward = layer_values(profile, "rms")
        # Of the gradients themselves; that of a kernel is a product of one that grows and one that shrinks.
        backward = layer_values(profile, "rms", "activation_gradient")
        lines.append(Line.of(name, forward))
        gradients.append(Line.of(name, backward))
        exact = {"tolerance": 1e-5 * a}
        run.expect(
            Check.equal(
                f"{name}: growth of the signal in a layer", (forward[-1] / forward[0]) ** (1 / (depth - 1)), a, **exact
            ),
            Check.equal(
                f"{name}: growth of the gradient on its way back",
                (backward[0] / backward[-1]) ** (1 / (depth - 1)),
                a,
                **exact,
            ),
        )
    run.show(
        Lines("Signals on the way forward", "layer", "root mean square", tuple(lines), log_y=True),
        Lines("Gradients of the layers' outputs", "layer", "root mean square", tuple(gradients), log_y=True),
    )
