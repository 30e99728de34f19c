"""Thousands of dense networks trained as one computation: their matrices lie in one tensor, their products are one.

The networks have one width, one activation and the same batches; depth, start and learning rate may differ. A network
takes part in as many of the products as it has layers, so that the work is that of the networks one by one, without a
compiled function for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
import numpy.typing as npt
import tensorflow as tf

from keras_initlab.lab.arrays import profile_of
from keras_initlab.lab.experiment import Run

__all__ = ["Stack", "Trained", "gaussian", "keep_deepest", "orthogonal", "projected"]

Array = npt.NDArray[Any]


@dataclass(frozen=True)
class Trained:
    """What came of a stack of networks, in the order in which they were given.

    Attributes:
        losses: (steps, networks), of each batch before its update.
        accuracy: (networks,) share of right answers on the test examples; nan where the task is no classification.
    """

    losses: Array
    accuracy: Array


def gaussian(generator: np.random.Generator, networks: int, width: int) -> Array:
    """(networks, width, width) of independent N(0, 1/width)."""
    return np.asarray(generator.standard_normal((networks, width, width), np.float32) / np.float32(np.sqrt(width)))


def orthogonal(generator: np.random.Generator, networks: int, width: int) -> Array:
    """(networks, width, width) of Haar's law: the factor Q of a normal matrix, signs by R's diagonal."""
    q, r = np.linalg.qr(generator.standard_normal((networks, width, width)))
    return np.asarray(q * np.sign(np.diagonal(r, axis1=-2, axis2=-1))[:, None, :], np.float32)


def projected(x: Array, width: int, seed: int) -> Array:
    """Examples at the width of a stack, by one orthonormal map, with mean square 1 over examples and units."""
    q, _ = np.linalg.qr(np.random.default_rng((seed, 4)).standard_normal((max(x.shape[1], width),) * 2))
    h = x @ q[: x.shape[1], :width]
    return np.asarray(h / np.sqrt(np.mean(h**2)), np.float32)


class Stack:
    """Dense networks of one width and activation side by side, each with `depths[i]` layers.

    Args:
        depths: layers of each network, at least 1.
        scales: σ_w of each network: a kernel is that times a draw of the law, whose entries have variance 1/width.
        width: units of every layer, and of the inputs.
        activation: of every layer, a name of `keras.activations`; None is linear.
        law: `gaussian` or `orthogonal`.
        bias_std: σ_b, standard deviation of the biases at the start.
        seed: of all draws.

    Example:
        >>> stack = Stack([2, 30], [1.0, 0.5], width=16, activation="tanh")
        >>> x = np.random.default_rng(0).standard_normal((8, 16)).astype("float32")
        >>> [h.shape[0] for h in stack.layers(x)][:3], bool(stack.outputs(x)[1].std() < 1e-6)
        ([2, 2, 1], True)
    """

    def __init__(
        self,
        depths: Any,
        scales: Any,
        *,
        width: int,
        activation: str | None = None,
        law: Any = gaussian,
        bias_std: float = 0.0,
        seed: int = 0,
    ) -> None:
        depths = np.asarray(depths, np.int64)
        # From the deepest to the shallowest: those that have a layer are then the first of the stack.
        self._order = np.argsort(-depths, kind="stable")
        self._place = np.argsort(self._order)
        scales = np.broadcast_to(np.asarray(scales, np.float32), depths.shape)[self._order]
        self._phi = keras.activations.get(activation)
        self._generator = np.random.default_rng((seed, 3))
        self._width = width
        self._alive = [int(np.sum(depths > layer)) for layer in range(int(depths.max()))]
        self._kernels = [law(self._generator, alive, width) * scales[:alive, None, None] for alive in self._alive]
        self._biases = [bias_std * self._generator.standard_normal((a, 1, width), np.float32) for a in self._alive]

    def __len__(self) -> int:
        return len(self._order)

    def weights(self, network: int) -> list[tuple[Array, Array]]:
        """Kernel (width, width) and bias (width,) of each layer of one network, before training."""
        place = self._place[network]
        pairs = zip(self._kernels, self._biases, strict=True)
        return [(kernel[place], bias[place, 0]) for kernel, bias in pairs if place < len(kernel)]

    def layers(self, x: Array) -> Iterator[Array]:
        """Outputs of one layer after the other, of the networks that have it, the deepest first.

        Args:
            x: (examples, width), the same for all networks.
        """
        h = np.broadcast_to(x, (len(self), *x.shape))
        for kernel, bias, alive in zip(self._kernels, self._biases, self._alive, strict=True):
            h = np.asarray(self._phi(tf.matmul(h[:alive], kernel) + bias))
            yield h

    def outputs(self, x: Array) -> Array:
        """Outputs of the last layer of each network, (networks, examples, width)."""
        return np.asarray(self._last(x, self._kernels, self._biases))[self._place]

    def train(
        self,
        x: Array,
        y: Array,
        *,
        steps: int,
        batch: int,
        rates: Any,
        momentum: float = 0.0,
        test: tuple[Array, Array] | None = None,
        track: Callable[[Iterable[Any], str], Iterator[Any]] | None = None,
    ) -> Trained:
        """Trains all networks on the same batches, by gradient descent. The stack itself stays as it is.

        Args:
            x: (examples, width).
            y: labels (examples,), which a further trained layer of start N(0, 1/width) tells; or targets (examples,
                width) of the last layer's outputs, under half the mean over examples of the squared distance.
            steps: how many.
            batch: examples in a step; all of them are taken in turn, in an order of the seed.
            rates: learning rate of each network, or one for all.
            momentum: of the descent.
            test: examples and labels that the accuracy is of.
            track: goes through the steps and shows how far they are, such as `Run.track`.
        """
        classes = int(y.max()) + 1 if y.ndim == 1 else None
        head = [self._head(classes)] if classes else []
        variables = [tf.Variable(value) for value in (*self._kernels, *self._biases, *head)]
        rates = np.broadcast_to(np.asarray(rates, np.float32), len(self))[self._order]
        steps_of = [tf.constant(rates[: v.shape[0], None, None]) for v in variables]
        speeds = [tf.Variable(tf.zeros_like(v)) for v in variables] if momentum else []

        @tf.function
        def step(x: Any, y: Any) -> Any:
            with tf.GradientTape() as tape:
                losses = _losses(self._said(x, variables), y)
            gradients = tape.gradient(losses, variables)
            for i, (variable, gradient, rate) in enumerate(zip(variables, gradients, steps_of, strict=True)):
                if momentum:
                    gradient = speeds[i].assign(momentum * speeds[i] + gradient)
                variable.assign_sub(rate * gradient)
            return losses

        losses, batches = [], _batches(len(x), batch, steps, self._generator)
        for rows in batches if track is None else track(batches, "training steps"):
            losses.append(step(tf.constant(x[rows]), tf.constant(y[rows])).numpy())
        accuracy = np.full(len(self), np.nan)
        if test is not None:
            said = self._said(tf.constant(test[0]), variables)
            # What is not a number is no answer.
            right = (np.argmax(said, -1) == test[1]) & np.isfinite(np.asarray(said)).all(-1)
            accuracy = right.mean(-1)[self._place]
        return Trained(np.array(losses)[:, self._place], accuracy)

    def _head(self, classes: int) -> Array:
        draw = self._generator.standard_normal((len(self), self._width, classes), np.float32)
        return np.asarray(draw / np.float32(np.sqrt(self._width)))

    def _said(self, x: Any, variables: list[Any]) -> Any:
        depth = len(self._alive)
        h = self._last(x, variables[:depth], variables[depth : 2 * depth])
        return tf.matmul(h, variables[-1]) if len(variables) > 2 * depth else h

    def _last(self, x: Any, kernels: list[Any], biases: list[Any]) -> Any:
        h, done = tf.broadcast_to(x, (len(self), *x.shape)), []
        for kernel, bias, alive in zip(kernels, biases, self._alive, strict=True):
            if alive < h.shape[0]:
                done.append(h[alive:])
                h = h[:alive]
            h = self._phi(tf.matmul(h, kernel) + bias)
        return tf.concat([h, *reversed(done)], 0)


def _losses(said: Any, y: Any) -> Any:
    """The loss of each network."""
    if y.shape.rank == 1:
        y = tf.broadcast_to(y, said.shape[:2])
        return tf.reduce_mean(tf.nn.sparse_softmax_cross_entropy_with_logits(y, said), 1)
    return tf.reduce_mean(tf.reduce_sum(tf.square(said - y), 2), 1) / 2


def _batches(examples: int, batch: int, steps: int, generator: np.random.Generator) -> list[Array]:
    order = np.concatenate([generator.permutation(examples) for _ in range(-(-steps * batch // examples))])
    return [order[i * batch : (i + 1) * batch] for i in range(steps)]


def keep_deepest(run: Run, stack: Stack, x: Any, networks: dict[str, int]) -> None:
    """Keeps Profiles before training of some of the deepest networks, by their place among these."""
    outputs: dict[str, dict[tuple[str, str], Any]] = {name: {} for name in networks}
    for i, h in enumerate(stack.layers(x), 1):
        for name, network in networks.items():
            outputs[name][f"layer_{i}", "activation"] = h[network]
    for name, tensors in outputs.items():
        run.keep(name, profile_of(tensors))
