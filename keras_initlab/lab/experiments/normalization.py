"""BatchNormalization: what it does to a start that is too small, and what becomes of its moving statistics."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Above, Count, Real
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines
from keras_initlab.lab.images import Images, images
from keras_initlab.lab.networks import compiled, dense_network, fit, layer_values
from keras_initlab.lab.options import Dataset, Width
from keras_initlab.lab.scales import Scales, scales
from keras_initlab.statistics.profile import Profile

__all__: list[str] = []

# A softmax of ten classes sends its gradients back along nine directions.
PROBED, BATCH, EVERY, EPSILON, SIDES = 256, 64, 10, 1e-3, 9


@experiment(
    "batchnorm",
    "Ioffe & Szegedy (2015), Batch normalization. Gradients: Yang et al. (2019), A mean field theory of batch "
    "normalization, section 3. Moving statistics: derived.",
)
def batchnorm(
    run: Run,
    width: Width = 100,
    depth: Annotated[int, Count(2, 100), "hidden layers"] = 6,
    std: Annotated[float, Above(0.0, 1.0), "standard deviation of the weights"] = 0.01,
    steps: Annotated[int, Count(20, 1_000_000), "training steps"] = 150,
    momentum: Annotated[float, Real(0.0, 0.9999), "of the moving statistics"] = 0.9,
    dataset: Dataset = "digits",
) -> None:
    """BatchNormalization makes up for weights that are too small, at the price of statistics that lag behind.

    Six layers with weights N(0, 0.01²) learn images, with ReLU and tanh. Without BatchNormalization each layer passes
    on a fourteenth (ReLU) or a tenth (tanh) of its signal, and of its gradient on the way back. The output says the
    same of every image, the first layers hear nothing of it, and the loss stays at ln 10. BatchNormalization between
    product and activation divides by the batch's own standard deviation, so that each layer begins afresh. It divides
    the gradient too, and somewhat more: ReLU layers make it grow by √(π/(π − 1)) = 1.21 each, whatever the weights,
    which is why a network with BatchNormalization can be too deep as well.

    What it divides by when the training is over are moving statistics. They begin at mean 0 and variance 1, and after
    k steps the share momentumᵏ of that is still in them; here the true variance is a hundred times smaller, so that a
    network used too early is not the network that was trained. When the start is forgotten there remains the noise of
    the batches: a batch of 64 has its mean an eighth of a standard deviation off.
    """
    data = images(dataset, run.seed)
    forward, backward, curves, moving = [], [], [], []
    for activation, normed in run.track([(a, n) for a in ("relu", "tanh") for n in (False, True)], "training"):
        name = f"{activation}, BatchNormalization" if normed else activation
        model = _network(run, data, activation, [width] * depth, std, momentum if normed else None)
        profile = run.keep(f"{name}, start", kil.observe(model, data.x[:PROBED], data.y[:PROBED]))
        signals, back = _theory(data, activation, std, width, depth, normed)
        part = "activation_" if normed else "layer_"
        values = layer_values(profile, "rms", part=part)
        gradients = layer_values(profile, "rms", "activation_gradient", part)
        # From the last layer down: each layer's factor times those of the layers above it.
        arriving = gradients[-1] * np.append(np.cumprod(back[:0:-1])[::-1], 1.0)
        forward += [Line.of(name, values), Line.of(name, signals, predicted=True)]
        backward += [Line.of(name, gradients), Line.of(name, arriving, predicted=True)]
        watch = [kil.callbacks.LayerStatistics(update_freq=EVERY)] if normed else []
        losses = fit(model, data.x, data.y, steps=steps, batch=BATCH, seed=run.seed, callbacks=watch)
        run.keep(f"{name}, trained", kil.observe(model, data.x[:PROBED], data.y[:PROBED]))
        curves.append(Line.of(name, losses))
        late = float(losses[-max(1, steps // 10) :].mean())
        if normed:
            # Wide layers are normal; these are off by some 1/√width, and normalized again in each layer.
            close = signals[-1] / math.sqrt(width)
            run.expect(Check.equal(f"{name}: signal of the last layer", values[-1], signals[-1], close))
        else:
            run.expect(_growth(f"{name}: signal through a layer", values, signals, width))
        run.expect(_growth(f"{name}: gradient through a layer", gradients[::-1], arriving[::-1], width * SIDES))
        if normed:
            run.expect(Check.at_most(f"{name}: loss", late, math.log(10) / 2), *_lag(name, watch[0].history, momentum))
            moving += _ratios(activation, watch[0].history)
        else:
            # The biases of the output learn how frequent the classes are, and tremble by the noise of the batches.
            run.expect(Check.equal(f"{name}: loss", late, math.log(10), 0.02))
    run.show(
        Lines("Signals before training", "layer", "root mean square of the outputs", tuple(forward), log_y=True),
        Lines("Gradients before training", "layer", "root mean square for the outputs", tuple(backward), log_y=True),
        Lines("Loss", "step", "cross-entropy of the batch", tuple(curves)),
        Lines(
            "How far the moving statistics are",
            "step",
            "variance of the batch / moving variance",
            tuple(moving),
            log_y=True,
        ),
    )


def _network(run: Run, data: Images, activation: str, widths: list[int], std: float, momentum: float | None) -> Any:
    model = dense_network(
        data.x.shape[1],
        widths,
        lambda seed: kil.RandomNormal(stddev=std, seed=seed),
        activation,
        seed=run.seed,
        classes=10,
        batchnorm=momentum is not None,
    )
    for layer in model.layers:
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.momentum, layer.epsilon = momentum, EPSILON
    return compiled(model, keras.optimizers.SGD(0.1))


def _theory(data: Images, activation: str, std: float, width: int, depth: int, normed: bool) -> Scales:
    x = data.x[:PROBED].astype(np.float64)
    inputs = x.var(0).sum() if normed else np.square(x).mean(0).sum()
    return scales(activation, float(inputs), std, width, depth, EPSILON if normed else None)


def _growth(what: str, values: Any, predicted: Any, independent: int) -> Check:
    """What a layer multiplies a length by; its square has a relative variance of at most 5 over the units."""
    gaps = len(values) - 1
    with np.errstate(divide="ignore", invalid="ignore"):
        measured, expected = ((v[-1] / v[0]) ** (1 / gaps) for v in (np.asarray(values), np.asarray(predicted)))
    return Check.within_factor(what, measured, expected, math.exp(5 / 2 * math.sqrt(5 / (independent * gaps))))


def _lag(name: str, history: list[Profile], momentum: float) -> list[Check]:
    """What is left of the start in the moving statistics, and how far they are from the batch at last."""
    first, late = history[0], history[-max(1, len(history) // 4) :]
    left = momentum ** (first.step - 1)
    variance, batch = (first.column("mean", "batchnorm", v)[1][0] for v in ("moving_variance", "batch_variance"))
    gaps = [np.abs(np.log(p.column("mean", "batchnorm", "variance_ratio")[1])).mean() for p in (first, *late)]
    drift = float(np.mean([p.column("rms", "batchnorm", "mean_drift")[1][0] for p in late]))
    noise = math.sqrt((1 + (1 - momentum) / (1 + momentum)) / BATCH)
    what = f"{name}: moving variance after {first.step - 1} updates"
    return [
        # The rest of it is of the batches so far, whose variances grow with the weights.
        Check(what, variance, left, left + (1 - left) * batch, left),
        Check.at_most(f"{name}: gap of the variances, end over start", float(np.mean(gaps[1:])) / gaps[0], 0.1),
        # That of weights that stand still; what they still learn comes on top.
        Check.within_factor(f"{name}: drift of the mean at the end, first layer", drift, noise, 2.0),
    ]


def _ratios(activation: str, history: list[Profile]) -> list[Line]:
    steps = [profile.step for profile in history]
    ratios = np.array([profile.column("mean", "batchnorm", "variance_ratio")[1] for profile in history])
    return [Line.of(f"{activation}, {which} layer", ratios[:, i], steps) for which, i in (("first", 0), ("last", -1))]
