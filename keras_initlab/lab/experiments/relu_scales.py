"""ReLU networks under Glorot's law and under He's: one half of the signal in each layer, or all of it."""

from __future__ import annotations

import math
from typing import Annotated

import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Ridges
from keras_initlab.lab.networks import Law, layer_values, noise, seeded
from keras_initlab.lab.options import Batch, Depth, Width
from keras_initlab.lab.signals import measured_signal, sent

__all__: list[str] = []

Networks = Annotated[int, Count(1, 100), "networks, each with weights and inputs of its own"]

SOURCE = "He et al. (2015), Delving deep into rectifiers, section 2.2, equation 10."


@experiment("xavier-relu", SOURCE)
def xavier_relu(run: Run, width: Width = 512, depth: Depth = 10, batch: Batch = 512, networks: Networks = 5) -> None:
    """Under Glorot's law the signal of a ReLU network decays by half in each layer.

    Glorot's variance was derived for activations that are the identity near zero. ReLU sets one half of its inputs to
    zero, and with them one half of the mean square. Ten layers of 512 units leave 2⁻¹⁰ of the mean square: from
    layer to layer the standard deviation is multiplied by √½ = 0.71, and the histograms close in on zero. A hundred
    layers would leave about 10⁻¹⁵ of it.
    """
    _relu(run, "Glorot", lambda seed: kil.GlorotNormal(seed=seed), 1.0, width, depth, batch, networks)


@experiment("he-relu", SOURCE)
def he_relu(run: Run, width: Width = 512, depth: Depth = 10, batch: Batch = 512, networks: Networks = 5) -> None:
    """Under He's law the signal of a ReLU network holds.

    He's variance 2/n makes up for the half that ReLU takes away: the mean square of each layer is, on average over the
    weights, that of the inputs. The standard deviation of the activations is not 1 but √(1 − 1/π) = 0.83, since their
    mean is not zero. A single network strays around this, as the five of the picture do, the more the deeper and the
    narrower it is: the logarithm of the mean square takes a step of variance of at most 5/n in each layer.
    """
    _relu(run, "He", lambda seed: kil.HeNormal(seed=seed), 2.0, width, depth, batch, networks)


def _relu(run: Run, name: str, law: Law, sigma_w2: float, width: int, depth: int, batch: int, networks: int) -> None:
    sizes = {"width": width, "depth": depth, "batch": batch}
    profile, _, lines = measured_signal(run, name, law, sigma_w2, "relu", **sizes)
    profiles = [profile]
    for i in run.track(range(1, networks), "further networks"):
        x = noise(seeded(run.seed, i), batch, width)
        profiles.append(sent(x, law, "relu", depth=depth, seed=seeded(run.seed, i)))
        std = layer_values(profiles[-1], "std")
        lines.append(Line.of(f"network {i + 1}", np.where(std > 0, std, np.nan)))
    rms = np.array([layer_values(each, "rms") for each in profiles])
    left = rms[:, -1] > 0
    growth = np.exp(np.mean(np.log(rms[left, -1] / rms[left, 0]))) if left.any() else math.nan
    # A step of the mean square's logarithm has variance 5/n: E φ⁴/(E φ²)² − 1 of half a normal law.
    factor = math.exp(5 / 2 * math.sqrt(5 / (width * (depth - 1) * networks)))
    what = f"{name}: growth of the rms in a layer, typical of {networks} networks"
    run.expect(Check.within_factor(what, growth ** (1 / (depth - 1)), math.sqrt(sigma_w2 / 2), factor))
    run.show(
        Lines("Standard deviation of the activations", "layer", "standard deviation", tuple(lines), log_y=True),
        Ridges.of(f"Activations by layer, {name}", profile),
    )
