"""How far training moves the weights: in wide networks hardly."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np

import keras_initlab as kil
from keras_initlab.initializers.arguments import Count
from keras_initlab.lab.checks import Check
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines, Table
from keras_initlab.lab.images import Images, images
from keras_initlab.lab.networks import compiled, dense_network, fit, layer_values
from keras_initlab.lab.options import Dataset
from keras_initlab.statistics.profile import Profile

__all__: list[str] = []

RATE, BATCH, EVERY, LEARNED, WIDER = 0.02, 64, 10, 0.3, 4


@experiment(
    "weights-stay",
    "Chizat, Oyallon & Bach (2019), On lazy training in differentiable programming, section 1; Lee et al. (2019), Wide "
    "neural networks of any depth evolve as linear models under gradient descent, theorem 2.1.",
)
def weights_stay(
    run: Run,
    width: Annotated[int, Count(2, 2048), "units of each layer; of one of the networks four times as many"] = 256,
    depth: Annotated[int, Count(1, 20), "hidden layers"] = 2,
    steps: Annotated[int, Count(EVERY, 1_000_000), "training steps at most"] = 600,
    dataset: Dataset = "digits",
) -> None:
    """Weights end near where they began: the larger they start, and the more of them there are, the nearer.

    ReLU networks learn images by gradient descent until their loss is below 0.3. They start at a half of He's weights,
    at He's and at twice those, and at He's with four times the width. How far a layer has come is the length of what
    training added to its kernel over the length of the kernel: a fresh draw of the same law would be √2 away. From He's
    weights no layer comes half as far, and the hidden layers move by some hundredths: what training finds lies next to
    where it began, so that the start is most of every trained weight.

    A network of L layers whose weights are multiplied by α has outputs α^L times as large, and a change of a weight by
    some share of itself moves them as much more. So a large start needs small changes ("lazy training"), down to what
    it takes to undo its own first answers; a small one has to grow. In a wide network many weights act together, and
    each has to do less: in the hidden layers the share falls faster than 1/√width.
    """
    data = images(dataset, run.seed)
    starts = {f"{scale:g} × He": (scale, width) for scale in (0.5, 1.0, 2.0)}
    starts[f"1 × He, {WIDER} × as wide"] = (1.0, WIDER * width)
    moved, losses, over_depth, over_time, rows = {}, [], [], [], []
    for name, (scale, units) in run.track(starts.items(), "training"):
        history, loss = _learn(data, scale, [units] * depth, steps, run.seed)
        last = run.keep(name, history[-1])
        moved[name] = layer_values(last, "relative", "displacement", "/kernel")
        angles = layer_values(last, "angle", "displacement", "/kernel")
        losses.append(loss)
        over_depth.append(Line.of(name, moved[name]))
        farthest = [layer_values(p, "relative", "displacement", "/kernel").max() for p in history]
        over_time.append(Line.of(name, farthest, [p.step for p in history]))
        rows.append((name, last.step, loss, float(moved[name][:-1].max()), float(moved[name][-1]), float(angles.max())))
    small, he, large, wide = moved.values()
    run.expect(
        Check.at_most("loss of the network that learned least", max(losses), LEARNED),
        Check.at_most("He: largest displacement of a layer, a fresh draw being √2 away", he.max(), math.sqrt(2) / 2),
        # If the scale did not matter the ratios were 1.
        Check.at_most("displacement at 1 × He over that at 0.5, largest of a layer", (he / small).max(), 0.8),
        Check.at_most("displacement at 2 × He over that at 1, largest of a layer", (large / he).max(), 0.8),
        Check.at_most(
            f"displacement at {WIDER} × the width over that at 1, largest of a hidden layer",
            (wide / he)[:-1].max(),
            WIDER**-0.5,
        ),
    )
    columns = ("start", "steps", "loss", "displacement of a hidden layer", "of the output layer", "largest angle (°)")
    run.show(
        Lines("How far each layer has moved", "layer", "|change| / |start|", tuple(over_depth), log_y=True),
        Lines(
            "How far the layer that moves most has moved", "step", "|change| / |start|", tuple(over_time), log_y=True
        ),
        Table.of(f"When the loss is below {LEARNED}", columns, rows),
    )


def _learn(data: Images, scale: float, widths: list[int], steps: int, seed: int) -> tuple[list[Profile], float]:
    """The Profiles of a training that stops when the network has learned, and its last loss."""
    model = dense_network(
        data.x.shape[1],
        widths,
        lambda place: kil.VarianceScaling(2 * scale**2, "fan_in", "untruncated_normal", seed=place),
        "relu",
        seed=seed,
        classes=int(data.y.max()) + 1,
    )
    compiled(model, keras.optimizers.SGD(RATE))
    watch, stop = kil.callbacks.LayerStatistics(update_freq=EVERY, histograms=False), _Learned()
    losses = fit(model, data.x, data.y, steps=steps, batch=BATCH, seed=seed, callbacks=[watch, stop])
    return watch.history, float(np.mean(losses[-EVERY:]))


class _Learned(keras.callbacks.Callback):
    """Stops at a step that is watched, once the mean loss since the one before is low enough."""

    def __init__(self) -> None:
        super().__init__()
        self.before = 0.0

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        step = batch + 1
        if step % EVERY == 0:
            # Keras tells the mean since the training began.
            total = float(logs["loss"]) * step
            self.model.stop_training = (total - self.before) / EVERY < LEARNED
            self.before = total
