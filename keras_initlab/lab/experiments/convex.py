"""Logistic regression: where the loss is a bowl, the start does not matter."""

from __future__ import annotations

import math
from typing import Annotated, Any

import keras
import numpy as np
import numpy.typing as npt

import keras_initlab as kil
from keras_initlab.initializers.arguments import Real
from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.checks import Check
from keras_initlab.lab.descents import nesterov
from keras_initlab.lab.experiment import Run, experiment
from keras_initlab.lab.figures import Line, Lines
from keras_initlab.lab.images import Images, images
from keras_initlab.lab.networks import accuracy, compiled, dense_network, fit
from keras_initlab.lab.options import Dataset, Steps, Width

__all__: list[str] = []

Array = npt.NDArray[Any]


@experiment(
    "logistic-zero",
    "Derived: the loss is strongly convex, so that |w − w*| ≤ |∇f(w)| / λ. Boyd & Vandenberghe (2004), Convex "
    "optimization, section 9.1.2.",
)
def logistic_zero(
    run: Run,
    decay: Annotated[float, Real(1e-3, 10.0), "λ, of the penalty λ/2 · |w|²"] = 0.02,
    steps: Steps = 500,
    width: Width = 32,
    dataset: Dataset = "digits",
) -> None:
    """Logistic regression may begin at zero: it ends where it ends from anywhere.

    A softmax of one dense layer, with a penalty of λ/2 times the square of its weights, learns images from zero and
    from random weights, on all images at once. The loss is a bowl: strongly convex, with one minimum w*, from which no
    weights are further away than the length of their gradient over λ. Both runs come down to the same weights. No two
    units need be told apart by their start, since each answers for a class of its own.

    Next to it the same task with a hidden layer of tanh units. There zero is no place on the side of a bowl but a
    saddle: the hidden units say nothing, so that the weights behind them have no gradient, and those have nothing to
    send back. The biases of the output learn how frequent each class is, and that is all that such a network ever
    knows. From random weights it learns.
    """
    data = images(dataset, run.seed)
    run.show(_regression(run, data, decay, steps), _networks(run, data, width, steps))


def _regression(run: Run, data: Images, decay: float, steps: int) -> Lines:
    x, hot = _with_bias(data.x), np.eye(int(data.y.max()) + 1)[data.y]
    # The cross-entropy of a softmax bends at most half as much as the second moments of its inputs.
    steepest = float(np.linalg.eigvalsh(x.T @ x / len(x))[-1]) / 2 + decay
    root = math.sqrt(steepest / decay)
    shape = (x.shape[1], hot.shape[1])
    starts = {"zero": np.zeros(shape), "random": np.random.default_rng((run.seed, 6)).standard_normal(shape)}
    ends, bound, lines = {}, 0.0, []
    for name, start in run.track(starts.items(), "logistic regression"):
        losses: list[float] = []

        def slope(w: Array, losses: list[float] = losses) -> Array:
            loss, gradient = loss_and_gradient(w, x, hot, decay)
            losses.append(loss)
            return gradient

        ends[name] = nesterov(slope, start, steps, 1 / steepest, (root - 1) / (root + 1))[-1]
        gradient = slope(ends[name])
        bound += float(np.linalg.norm(gradient)) / decay
        profile = profile_of({("logits", "weight"): ends[name], ("logits", "gradient"): gradient}, steps)
        run.keep(f"logistic regression from {name}", profile)
        lines.append(Line.of(f"from {name}", losses, range(len(losses))))
    size, apart = (float(np.linalg.norm(w)) for w in (ends["zero"], ends["zero"] - ends["random"]))
    told = np.mean(np.argmax(_with_bias(data.test_x) @ ends["zero"], -1) == data.test_y)
    run.expect(
        Check.at_least("regression: distance of the starts over |w*|", np.linalg.norm(starts["random"]) / size, 1),
        Check.at_most("regression: distance of the ends over |w*|", apart / size, 1e-3),
        # Each end is within |∇f|/λ of w*; where both are w* to the last digits, rounding is left.
        Check.at_most("regression: that distance over what the gradients allow", apart / (bound + 1e-10 * size), 1),
        Check.at_least("regression from zero: accuracy", float(told), 0.8),
    )
    return Lines("Logistic regression", "step", "cross-entropy and penalty", tuple(lines))


def _networks(run: Run, data: Images, width: int, steps: int) -> Lines:
    laws: dict[str, Any] = {"zero": lambda _: "zeros", "random": lambda seed: kil.GlorotUniform(seed=seed)}
    told, lines, classes = {}, [], int(data.y.max()) + 1
    for name, law in run.track(laws.items(), "networks"):
        model = dense_network(data.x.shape[1], [width], law, "tanh", seed=run.seed, classes=classes)
        compiled(model, keras.optimizers.SGD(0.1))
        lines.append(Line.of(f"from {name}", fit(model, data.x, data.y, steps=steps, batch=64, seed=run.seed)))
        run.keep(f"network from {name}", kil.observe(model, data.x[:256], data.y[:256]))
        told[name] = accuracy(model, data.test_x, data.test_y)
        if name == "zero":
            kernels = [keras.ops.convert_to_numpy(layer.kernel) for layer in model.layers]
            largest = max(float(np.abs(kernel).max()) for kernel in kernels)
            run.expect(Check.equal("network from zero: largest weight after training", largest, 0.0))
    # One answer for all images is right for one class of them.
    one = float(np.bincount(data.test_y).max() / len(data.test_y))
    run.expect(
        Check.at_most("network from zero: accuracy", told["zero"], one),
        Check.at_least("network from random weights: accuracy", told["random"], 0.8),
    )
    return Lines("A network with a hidden layer", "step", "cross-entropy of the batch", tuple(lines))


def _with_bias(x: Array) -> Array:
    return np.hstack([x, np.ones((len(x), 1))]).astype(np.float64)


def loss_and_gradient(w: Array, x: Array, hot: Array, decay: float) -> tuple[float, Array]:
    """Mean cross-entropy of a softmax with the penalty `decay/2 · |w|²`, and its gradient.

    Args:
        w: weights (features, classes).
        x: examples (examples, features).
        hot: (examples, classes), 1 for the class of each and 0 elsewhere.
        decay: of the penalty.

    Example:
        >>> loss, gradient = loss_and_gradient(np.zeros((1, 2)), np.ones((4, 1)), np.eye(2)[[0, 0, 0, 1]], 0.0)
        >>> round(loss, 6), gradient.tolist()
        (0.693147, [[-0.25, 0.25]])
    """
    logits = x @ w
    logits -= logits.max(1, keepdims=True)
    said = logits - np.log(np.exp(logits).sum(1, keepdims=True))
    loss = -np.sum(hot * said) / len(x) + decay / 2 * np.sum(w**2)
    return float(loss), x.T @ (np.exp(said) - hot) / len(x) + decay * w
