"""Optimizers: down a bowl, where their rates are known, and from good and bad starts on images."""

from __future__ import annotations

import math
from typing import Annotated

import keras

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count, Real
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.experiments.bowl import bowl
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.images import images
from keras_initlab.lab.networks import accuracy, compiled, dense_network, fit
from keras_initlab.lab.options import Dataset, Width

__all__: list[str] = []

DEPTH, BATCH, PROBED = 4, 64, 256


@experiment(
    "optimizers",
    "Derived for the bowl; rates of Polyak (1964), and Nesterov (2004), Introductory lectures on convex optimization, "
    "section 2.2. Kingma & Ba (2015), Adam, sections 2.1 and 3.",
)
def optimizers(
    run: Run,
    curvature: Annotated[float, Real(2.0, 1000.0), "κ, of the steep direction; that of the flat one is 1"] = 10.0,
    steps: Annotated[int, Count(10, 200), "steps down the bowl"] = 60,
    width: Width = 64,
    training: Annotated[int, Count(1, 1_000_000), "training steps on images"] = 250,
    dataset: Dataset = "digits",
) -> None:
    """An optimizer has a speed limit, set by the steepest direction, and few of them can mend a bad start.

    First the bowl ½ (x² + κ y²). A step of gradient descent with step size a multiplies x by 1 − a and y by 1 − a κ:
    beyond a = 2/κ it diverges, and the best that it can do is (κ − 1)/(κ + 1), which is slow where the bowl is narrow.
    Newton's method divides by the curvature and is there after one step. Momentum makes √κ of κ: a heavy ball comes
    closer by (√κ − 1)/(√κ + 1) at each step, Nesterov's method by 1 − 1/√κ. With a momentum of 0.9 the one bears steps
    up to 3.8/κ, the other only up to 1.36/κ. A running mean of gradients begins at zero; debiased, its first step is
    just that of gradient descent. Adam's first step is the step size itself in each coordinate, however large the
    gradient. With the noisy gradients of minibatches descent never arrives: it stays in a cloud around the minimum, of
    variance a² s² / (1 − (1 − a l)²) for noise s and curvature l, which shrinks with the step size.

    Then images: four ReLU layers that begin with weights N(0, 0.01²), Glorot's or He's, under four optimizers, each
    with one step size for all starts. Small weights make small gradients in every layer, so that descent, with momentum
    or without, does not leave them. Adam measures each gradient by its own size, and does.
    """
    bowl(run, curvature, steps)
    _starts(run, width, training, dataset)


def _starts(run: Run, width: int, training: int, dataset: str) -> None:
    data = images(dataset, run.seed)
    laws = {"N(0, 0.01²)": kil.RandomNormal(stddev=0.01), "Glorot": kil.GlorotNormal(), "He": kil.HeNormal()}
    ways = {
        "gradient descent": keras.optimizers.SGD(0.05),
        "momentum": keras.optimizers.SGD(0.05, momentum=0.9),
        "Nesterov": keras.optimizers.SGD(0.05, momentum=0.9, nesterov=True),
        "Adam": keras.optimizers.Adam(0.001),
    }
    late: dict[tuple[str, str], float] = {}
    told: dict[tuple[str, str], float] = {}
    curves = []
    model = dense_network(data.x.shape[1], [width] * DEPTH, lambda _: "zeros", "relu", classes=int(data.y.max()) + 1)
    for way, law in run.track([(way, law) for way in ways for law in laws], "optimizers and starts"):
        if law == next(iter(laws)):
            compiled(model, ways[way])
        # The same weights for each optimizer, whose own memory is emptied too.
        kil.reinitialize(model, laws[law], seed=run.seed)
        if law not in run.profiles:
            run.keep(law, kil.observe(model, data.x[:PROBED], data.y[:PROBED]))
        losses = fit(model, data.x, data.y, steps=training, batch=BATCH, seed=run.seed)
        late[way, law] = float(losses[-max(1, training // 10) :].mean())
        told[way, law] = accuracy(model, data.test_x, data.test_y)
        if way in ("momentum", "Adam"):
            curves.append(Line.of(f"{way}, {law}", losses))
    small, *_, he = laws
    chance = math.log(10)
    run.expect(
        # The biases of the output learn how frequent the classes are, and tremble with the batches: with momentum their
        # variance is about 0.004, and the loss half of that higher.
        *(Check.equal(f"{way} from {small}: loss", late[way, small], chance, 0.02) for way in list(ways)[:-1]),
        Check.at_most(f"Adam from {small}: loss", late["Adam", small], chance * 3 / 4),
        Check.at_most("from He: loss under the worst optimizer", max(late[way, he] for way in ways), chance / 4),
        Check.at_most(f"Adam: loss from He over that from {small}", late["Adam", he] / late["Adam", small], 0.5),
    )
    rows = [(way, *(f"{late[way, law]:.3f} ({told[way, law]:.0%})" for law in laws)) for way in ways]
    run.show(
        Table.of(f"Loss after {training} steps (accuracy on test images)", ("optimizer", *laws), rows),
        Lines("Loss on images", "step", "cross-entropy of the batch", tuple(curves)),
    )
