"""Tanh networks by the scale of their weights: the signal dies, saturates, or lives."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Above
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Ridges
from keras_initlab.lab.networks import Law, layer_values
from keras_initlab.lab.options import Batch, Depth, Width
from keras_initlab.lab.signals import Signal, measured_signal

__all__: list[str] = []

VARIANCE_MAP = "Derived: the variance map of Poole et al. (2016), Exponential expressivity, section 2."
STD = ("layer", "standard deviation")


@experiment("tanh-scales", f"{VARIANCE_MAP} After Stanford's course CS231n (2016), lecture 5.")
def tanh_scales(
    run: Run,
    width: Width = 512,
    depth: Depth = 10,
    batch: Batch = 512,
    small: Annotated[float, Above(0.0, 10.0), "standard deviation of the small weights"] = 0.01,
    large: Annotated[float, Above(0.0, 10.0), "standard deviation of the large weights"] = 1.0,
) -> None:
    """Small weights let the activations of a tanh network die, large ones saturate them.

    Ten tanh layers of 512 units get inputs N(0, 1). With weights N(0, 0.01²) a layer multiplies the standard deviation
    by 0.01·√512 = 0.23: after ten of them the activations are below a millionth, and so are the gradients of the last
    weights, which are products with these activations.

    With weights N(0, 1) a pre-activation has a standard deviation of about 22, and nine in ten outputs lie within 0.01
    of ±1. There the slope of tanh is under 2 % of what it is at zero, and hardly any gradient comes back through such a
    unit. In both cases the signal is lost before training has begun.
    """
    lines: list[Line] = []
    shares: list[Line] = []
    ridges = []
    for name, std in {"small weights": small, "large weights": large}.items():
        sizes = {"width": width, "depth": depth, "batch": batch}
        profile, signal, both = measured_signal(run, name, _normal(std), std**2 * width, "tanh", **sizes)
        share, expected = layer_values(profile, "saturated"), saturated(signal)
        # Units of one example are independent, and so are layers given the one before; examples of a batch need not be.
        error = math.sqrt(float(np.mean(expected * (1 - expected))) / (width * depth))
        what = f"{name}: share of outputs with |tanh| ≥ 0.99"
        run.expect(Check.equal(what, share.mean(), round(float(expected.mean()), 6), 5 * error + 1e-6))
        lines += both
        shares += [Line.of(name, share), Line.of(name, expected, predicted=True)]
        ridges.append(Ridges.of(f"Activations by layer, {name}", profile))
    run.show(
        Lines("Standard deviation of the activations", *STD, tuple(lines), log_y=True),
        Lines("Saturated outputs", "layer", "share with |tanh| ≥ 0.99", tuple(shares)),
        *ridges,
    )


def _normal(std: float) -> Law:
    return lambda seed: kil.RandomNormal(stddev=std, seed=seed)


def saturated(signal: Signal) -> np.ndarray:
    """The share of outputs with |tanh h| ≥ 0.99 where h ~ N(0, q)."""
    with np.errstate(divide="ignore"):
        place = math.atanh(0.99) / np.sqrt(2 * signal.variance)
    return np.array([math.erfc(value) for value in place])


@experiment("xavier-tanh", f"Glorot & Bengio (2010), section 4.2.1. {VARIANCE_MAP}")
def xavier_tanh(run: Run, width: Width = 512, depth: Depth = 10, batch: Batch = 512) -> None:
    """Glorot's law keeps the activations of a tanh network alive.

    The same ten tanh layers with Glorot's variance 2/(n_in + n_out), which is 1/512 here. Near zero tanh is the
    identity, and a layer then keeps the variance of its input. Further out it bends, so that the standard deviation
    falls, but ever more slowly: by more than a third from the input to the first layer, by a few percent from the
    ninth to the tenth. The histograms are broad in every layer, and hardly any unit is saturated.
    """
    profile, _, lines = measured_signal(
        run, "Glorot", lambda seed: kil.GlorotNormal(seed=seed), 1.0, "tanh", width=width, depth=depth, batch=batch
    )
    # Of N(0, q) with q at most 1, a share erfc(2.65/√2) = 0.8 % lies where tanh is saturated.
    run.expect(
        Check.at_most("Glorot: share of outputs with |tanh| ≥ 0.99", layer_values(profile, "saturated").max(), 0.02)
    )
    run.show(
        Lines("Standard deviation of the activations", *STD, tuple(lines)),
        Ridges.of("Activations by layer, Glorot", profile),
    )


@experiment("vanishing-tanh", f"Glorot & Bengio (2010), section 2.3, equation 1, for the habit. {VARIANCE_MAP}")
def vanishing_tanh(run: Run, width: Width = 512, depth: Depth = 100, batch: Batch = 32) -> None:
    """A hundred tanh layers: uniform weights within ±1/√n vanish, Glorot's do not.

    Before 2010 it was common to draw weights uniformly from ±1/√n, n being the fan-in. Their variance is a third of
    1/n, so that each layer multiplies the standard deviation by √(1/3) = 0.577. That is harmless in three layers; after
    a hundred it leaves about 10⁻²⁴. Glorot's uniform law reaches out to ±√(6/(n_in + n_out)), √3 times as far: the
    hundredth layer still has a standard deviation of about 0.07, and what it lost it lost to the bend of tanh alone.
    """
    reach = 1 / math.sqrt(width)
    laws = {
        "uniform ±1/√n": (lambda seed: kil.RandomUniform(-reach, reach, seed=seed), 1 / 3),
        "Glorot uniform": (lambda seed: kil.GlorotUniform(seed=seed), 1.0),
    }
    lines: list[Line] = []
    for name, (law, sigma_w2) in run.track(laws.items(), "networks"):
        profile, signal, both = measured_signal(run, name, law, sigma_w2, "tanh", width=width, depth=depth, batch=batch)
        lines += both
        if sigma_w2 < 1:
            std, steps = layer_values(profile, "std"), depth - 1
            expected, error = (signal.std[-1] / signal.std[0]) ** (1 / steps), signal.errors[-1] / steps
            growth, factor = (std[-1] / std[0]) ** (1 / steps), math.exp(5 * error)
            run.expect(Check.within_factor(f"{name}: growth of the std in a layer", growth, expected, factor))
    run.show(Lines("Standard deviation of the activations", *STD, tuple(lines), log_y=True))
