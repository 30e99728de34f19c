"""Greedy layer-wise pre-training: what made deep sigmoid networks learn before there were good laws for weights."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Ridges, Table
from keras_initlab.lab.images import images
from keras_initlab.lab.networks import accuracy, compiled, dense_network, fit, layer_values
from keras_initlab.lab.options import Dataset, Width
from keras_initlab.theory import MeanField

__all__: list[str] = []

BATCH, PROBED, SMALL = 32, 256, 0.05
PRETRAINED = "small, pre-trained"


@experiment(
    "pretraining",
    "Hinton & Salakhutdinov (2006), Reducing the dimensionality of data with neural networks; Bengio et al. (2007), "
    "Greedy layer-wise training of deep networks. Gradients: Schoenholz et al. (2017), Deep information propagation.",
)
def pretraining(
    run: Run,
    width: Width = 48,
    depth: Annotated[int, Count(2, 100), "hidden layers"] = 5,
    passes: Annotated[int, Count(1, 1000), "over the images for each layer, without labels"] = 3,
    tuning: Annotated[int, Count(1, 1000), "passes over the images with labels, after that"] = 5,
    dataset: Dataset = "digits",
) -> None:
    """A deep sigmoid network that learns nothing from small weights learns after pre-training.

    Five sigmoid layers begin with weights N(0, 0.05²). The slope of a sigmoid is at most ¼, and each layer passes on a
    twelfth of its gradient: the first one gets a twenty-thousandth of what the last one gets, and nothing is learned.
    Pre-training takes one layer after the other, without the labels, and has each learn a code from which its own input
    can be told again. Then the labels come in, and a few passes are enough.

    He's law is made for rectifiers, of which half the slopes are 1. Under sigmoids it leaves a third of the gradient in
    each layer, which is more than small weights do and less than five layers need: after as many passes with labels as
    the pre-trained network had, it has learned nothing either. All three networks see each image equally often in all.
    """
    data = images(dataset, run.seed)
    classes, pass_ = int(data.y.max()) + 1, max(1, len(data.x) // BATCH)
    # A law for the kernels, and the variance of a hidden weight times its fan-in where theory can say what follows.
    starts: dict[str, tuple[Any, float | None]] = {
        "small": (_small, SMALL**2 * width),
        PRETRAINED: (_small, None),
        "He": (lambda seed: kil.HeNormal(seed=seed), 2.0),
    }
    curves, gradients, rows, told, early = [], [], [], {}, {}
    for name, (law, variance) in run.track(starts.items(), "networks"):
        model = dense_network(data.x.shape[1], [width] * depth, law, "sigmoid", seed=run.seed, classes=classes)
        compiled(model, keras.optimizers.SGD(0.1, momentum=0.9))
        before = 0
        if name == PRETRAINED:
            kil.pretrain(model, data.x, epochs=passes, batch_size=BATCH, seed=run.seed, verbose=0)
            before = depth * passes * pass_
        profile = run.keep(name, kil.observe(model, data.x[:PROBED], data.y[:PROBED]))
        arriving = layer_values(profile, "rms", "activation_gradient")
        share = float(arriving[0] / arriving[-1])
        gradients.append(Line.of(name, arriving))
        if variance is not None:
            factor = math.sqrt(MeanField("sigmoid", variance).chi)
            theory = arriving[-1] * factor ** np.arange(depth - 1.0, -1.0, -1.0)
            gradients.append(Line.of(name, theory, predicted=True))
            # The square of a gradient's length has a relative variance of about 2 over the units of a layer: slopes of
            # a sigmoid are nearly equal here.
            error = math.exp(5 / 2 * math.sqrt(2 / (width * (depth - 1))))
            measured = share ** (1 / (depth - 1))
            run.expect(Check.within_factor(f"{name}: gradient through a layer", measured, factor, error))
        steps = (depth * passes + tuning) * pass_ - before
        losses = fit(model, data.x, data.y, steps=steps, batch=BATCH, seed=run.seed)
        told[name] = accuracy(model, data.test_x, data.test_y)
        early[name] = float(losses[(tuning - 1) * pass_ : tuning * pass_].mean())
        curves.append(Line.of(name, losses, range(before + 1, before + steps + 1)))
        rows.append((name, share, float(losses[-pass_:].mean()), told[name]))
    run.expect(
        # Chance is 0.1; a network that tells no image from another is right for one class of ten at best.
        Check.at_most("small: accuracy", told["small"], 0.2),
        Check.at_least("small, pre-trained: accuracy", told[PRETRAINED], 0.8),
        Check.at_least("He: loss when it has seen the labels as often", early["He"], math.log(10) / 2),
        Check.at_most("small, pre-trained: the same", early[PRETRAINED], math.log(10) / 4),
        Check.at_most("He: accuracy in the end less that after pre-training", told["He"] - told[PRETRAINED], 0.0),
    )
    run.show(
        Lines(
            "Gradients before the labels come in",
            "layer",
            "root mean square for the outputs",
            tuple(gradients),
            log_y=True,
        ),
        Lines("Loss; the pre-trained network begins later", "step", "cross-entropy of the batch", tuple(curves)),
        Table.of("At the end", ("start", "gradient of the first layer / the last's", "loss", "accuracy"), rows),
        *(Ridges.of(f"Outputs before the labels come in: {name}", profile) for name, profile in run.profiles.items()),
    )


def _small(seed: int) -> Any:
    return kil.RandomNormal(stddev=SMALL, seed=seed)
