"""Fifty ReLU layers: norms that vanish, hold and explode, on the way forward and back, and what learns of them."""

from __future__ import annotations

import math
from typing import Annotated, Any

import numpy as np
import numpy.typing as npt

from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.images import images
from keras_initlab.lab.options import Dataset, Steps
from keras_initlab.lab.relu_chains import chains, growth, log_growth, squares, typical
from keras_initlab.lab.stack import Stack, projected

__all__: list[str] = []

Array = npt.NDArray[Any]
# All matrices of a few networks are in memory at once; these bounds keep that under a gigabyte.
Narrow = Annotated[int, Count(2, 512), "units of each layer"]
Shallow = Annotated[int, Count(2, 200), "layers"]
Networks = Annotated[int, Count(1, 10_000), "networks of each variance"]
# For each variance: near the highest that keep the loss finite.
_RATES = ((1.0,), (0.006, 0.004, 0.0025), (1e-6,))


@experiment(
    "relu-50",
    "He et al. (2015), section 2.2, for the mean; derived for the rest: with k active units a ReLU layer multiplies a "
    "squared norm by σ²/n times a chi-square of k degrees of freedom.",
)
def relu_50(
    run: Run,
    width: Narrow = 100,
    depth: Shallow = 50,
    networks: Networks = 200,
    steps: Steps = 400,
    dataset: Dataset = "digits",
) -> None:
    """Fifty ReLU layers with variances 1/n, 2/n and 3/n: only one of the three learns.

    With weights N(0, σ²/n) a ReLU layer multiplies the squared norm of its input by σ²/2 on average, whatever the
    input. Over fifty layers of width 100, and a few hundred networks, the root mean square of the norm is therefore
    multiplied by 2⁻²⁵ = 0.00000003 for σ² = 1, by 1 for σ² = 2 (He) and by 1.5²⁵ = 25251 for σ² = 3. A gradient comes
    back from the last layer through the same matrices and the same active units, and grows by the same factors.

    A mean over networks is not a typical network. The logarithm of the squared norm is a sum of fifty independent
    terms, each with a mean a little below ln(σ²/2) and a variance near 5/n: under He a typical network halves the norm,
    and a few that blow it up make up for it.

    The three are then trained on images by gradient descent, each at learning rates of its own, of which the best
    counts. The first says the same whatever it is shown, and its gradients are too small to change that. The third
    begins with a loss in the thousands, and gradients as large, so that only rates near a millionth keep it finite;
    after four hundred steps it still does worse than guessing. He's learns.
    """
    lines: dict[str, list[Line]] = {"forward": [], "back": []}
    rows = []
    for i, c in enumerate(run.track((1, 2, 3), "variances")):
        name, generator = f"σ² = {c}/n", np.random.default_rng((run.seed, 5, i))
        some = zip(*chains(generator, networks, width, depth, c), strict=True)
        signals, gradients = (np.concatenate(parts) for parts in some)
        run.keep(name, _profile(signals, gradients))
        forward, back = squares(signals), squares(gradients[:, ::-1])
        run.expect(*_checks(name, forward, back, c, width))
        for way, norms, layers in (("forward", forward, range(depth + 1)), ("back", back, range(depth, -1, -1))):
            rms = np.sqrt(np.cumprod([1.0, *growth(norms, 0)]))
            theory = (c / 2) ** (np.arange(depth + 1) / 2)
            lines[way].append(Line.of(name, np.where(rms > 0, rms, np.nan), layers))
            lines[way].append(Line.of(name, theory, layers, predicted=True))
        rows.append((name, math.sqrt(float(np.prod(growth(forward, 0)))), *typical(forward)))
    columns = ("variance", "root mean square", "typical (geometric mean)", "one deviation: times or divided by")
    run.show(
        Lines("Norm of the signal", "layer", "root mean square over networks", tuple(lines["forward"]), log_y=True),
        Lines("Norm of the gradient", "layer", "root mean square over networks", tuple(lines["back"]), log_y=True),
        Table.of(f"Norm after {depth} layers, over that of the input", columns, rows),
    )
    _train(run, width, depth, steps, dataset)


def _checks(name: str, forward: Array, back: Array, c: float, width: int) -> list[Check]:
    networks, depth = len(forward), forward.shape[1] - 1
    # A factor has relative variance 5/n, E φ⁴/(E φ²)² − 1 of half a normal law, and all are independent.
    one = math.sqrt(5 / (width * networks * depth))
    # The gradient depends on which units are active, and so do the weights it meets: a change of order 1/n.
    back_one = one + 2 / (5 * width)
    rms = math.sqrt(float(np.prod(growth(forward, 0))))
    mean, variance = log_growth(width)
    expected, error = depth * (mean + math.log(c / width)) / 2, math.sqrt(depth * variance / networks) / 2
    after = f"{name}: norm after {depth} layers"
    return [
        Check.equal(f"{name}: growth of the squared norm in a layer", float(growth(forward)), c / 2, 5 * one * c / 2),
        Check.equal(f"{name}: growth of the squared gradient", float(growth(back)), c / 2, 5 * back_one * c / 2),
        Check.within_factor(f"{after}, rms", rms, (c / 2) ** (depth / 2), math.exp(5 / 2 * one * depth)),
        Check.within_factor(f"{after}, typical", typical(forward)[0], math.exp(expected), math.exp(5 * error)),
    ]


def _profile(signals: Array, gradients: Array) -> Any:
    arrays = {}
    for layer in range(1, signals.shape[1]):
        arrays[f"layer_{layer}", "activation"] = signals[:, layer]
        arrays[f"layer_{layer}", "activation_gradient"] = gradients[:, layer]
    return profile_of(arrays)


def _train(run: Run, width: int, depth: int, steps: int, dataset: str) -> None:
    """Loss curves of the three variances, each at its best learning rate."""
    data = images(dataset, run.seed)
    x = projected(data.x, width, run.seed)
    variances = np.repeat([1.0, 2.0, 3.0], [len(rates) for rates in _RATES])
    rates = np.concatenate(_RATES)
    stack = Stack([depth] * len(rates), np.sqrt(variances), width=width, activation="relu", seed=run.seed)
    losses = stack.train(x, data.y, steps=steps, batch=32, rates=rates).losses
    late = np.mean(losses[-20:], 0)
    late[~np.isfinite(late)] = np.inf
    best = [int(np.argmin(np.where(variances == c, late, np.inf))) for c in (1.0, 2.0, 3.0)]
    chance = math.log(int(data.y.max()) + 1)
    end = "loss of the last 20 steps"
    # Guessing costs that much where the classes are equally frequent, as they are up to a few percent.
    run.expect(
        Check.equal(f"σ² = 1/n: {end}", late[best[0]], chance, 0.05),
        Check.at_most(f"σ² = 2/n: {end}", late[best[1]], 0.8 * chance),
        Check.at_least(f"σ² = 3/n: {end}", late[best[2]], chance),
    )
    lines = [Line.of(f"σ² = {variances[i]:g}/n, rate {rates[i]:g}", losses[:, i]) for i in best]
    run.show(Lines("Loss at the best learning rate", "step", "loss", tuple(lines), log_y=True))
