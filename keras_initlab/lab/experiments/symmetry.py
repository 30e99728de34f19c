"""Equal weights: units that begin alike stay alike."""

from __future__ import annotations

from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.images import Images, images
from keras_initlab.lab.networks import accuracy, compiled, dense_network, fit
from keras_initlab.lab.options import Batch, Dataset, Steps, Width

__all__: list[str] = []


@experiment(
    "symmetry",
    "Derived: units of equal weights get equal gradients. Goodfellow, Bengio & Courville (2016), Deep learning, "
    "section 8.4.",
)
def symmetry(
    run: Run,
    width: Width = 64,
    depth: Annotated[int, Count(1, 100), "hidden layers"] = 2,
    steps: Steps = 300,
    batch: Batch = 64,
    dataset: Dataset = "digits",
) -> None:
    """Units that begin with the same weights stay the same, and one random bit for each weight sets them apart.

    Tanh layers learn images three times. With all weights zero no signal comes forward and no gradient comes back: only
    the biases of the output move, and the loss stays what it is for a network that says the same of every image. With
    all weights 1/√fan_in every unit of a layer computes the same and gets the same gradient, so that its column of the
    kernel stays a copy of its neighbour's: the kernel has rank one, and the layer, however wide, is one unit. Last, the
    same weights once more, each with a random sign. One bit for each weight is all that is new; the ranks are full, and
    the network learns. What has to be random is not the size of the weights, but which unit does what.
    """
    data = images(dataset, run.seed)
    rows, lines = [], []
    for name in run.track(("zero", "constant", "random sign"), "training"):
        model = _alike(data, width, depth, name, run.seed)
        watch = kil.callbacks.LayerStatistics(update_freq=steps)
        losses = fit(model, data.x, data.y, steps=steps, batch=batch, seed=run.seed, callbacks=[watch])
        run.keep(name, watch.history[-1])
        kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in model.layers[:-1]]
        loss = float(losses[-max(1, steps // 10) :].mean())
        run.expect(*_expected(name, kernels, loss, steps, data))
        lines.append(Line.of(name, losses))
        told = accuracy(model, data.test_x, data.test_y)
        rows.append((name, _apart(kernels), ", ".join(map(str, _ranks(kernels))), loss, told))
    columns = ("weights", "largest difference of two units", "ranks of the hidden kernels", "loss", "accuracy")
    run.show(
        Lines("Loss", "step", "cross-entropy of the batch", tuple(lines)),
        Table.of(f"After {steps} steps", columns, rows),
    )


def _alike(data: Images, width: int, depth: int, name: str, seed: int) -> Any:
    """A network whose kernels have one value each: zero, or 1/√fan_in, or that with a sign of its own in each place."""
    classes, generator = int(data.y.max()) + 1, np.random.default_rng((seed, 5))
    model = dense_network(data.x.shape[1], [width] * depth, lambda _: "zeros", "tanh", classes=classes)
    for layer in model.layers if name != "zero" else ():
        value = np.full(layer.kernel.shape, layer.kernel.shape[0] ** -0.5, np.float32)
        layer.kernel.assign(value * generator.choice([-1, 1], value.shape) if name == "random sign" else value)
    return compiled(model, keras.optimizers.SGD(0.1))


def _ranks(kernels: list[Any]) -> list[int]:
    return [int(np.linalg.matrix_rank(kernel)) for kernel in kernels]


def _apart(kernels: list[Any]) -> float:
    """Largest difference of a weight of one unit from that of another in the same layer, for the same input."""
    return max(float(np.ptp(kernel, axis=1).max()) for kernel in kernels)


def _expected(name: str, kernels: list[Any], loss: float, steps: int, data: Images) -> list[Check]:
    share = np.bincount(data.y) / len(data.y)
    chance = float(-np.sum(share * np.log(share)))
    if name == "zero":
        return [
            Check.equal("zero: largest hidden weight", max(float(np.abs(kernel).max()) for kernel in kernels), 0.0),
            # The output's biases tremble by the noise of the batches, at a rate of 0.1: the loss is 0.0004 higher.
            Check.equal("zero: loss", loss, chance, 0.02),
        ]
    if name == "constant":
        # Matrix products may sum the columns at an edge in another order: one rounding a step.
        rounding = steps * float(np.finfo(np.float32).eps)
        return [
            Check.equal("constant: largest difference of two units", _apart(kernels), 0.0, rounding),
            Check.equal("constant: largest rank of a hidden kernel", max(_ranks(kernels)), 1),
            Check.at_least("constant: loss", loss, chance / 2),
        ]
    full = [min(kernel.shape) for kernel in kernels]
    lacking = max(f - r for f, r in zip(full, _ranks(kernels), strict=True))
    return [
        Check.equal("random sign: what the ranks of the hidden kernels lack", lacking, 0),
        Check.at_most("random sign: loss", loss, chance / 4),
    ]
