"""How layer outputs, what flows back to them, and weight gradients are reached without touching the model.

For the length of one trace (or of one eager step) two things are wrapped: `call` of each measured layer, to note its
output, and `tf.GradientTape.gradient`, to ask for the gradients of those outputs beside those of the weights. The
weights themselves are read before the step and after it, so that any optimizer will do, or several. Nothing is put
into the path from the inputs to the new weights: the tensors are only read.

Asking the tape serves better than an identity with a custom gradient in the forward pass: that hides from Keras which
outputs come from a softmax (the loss goes back to the logits behind it), and keeps the graph optimizer from fusing
a product with the activation after it.
"""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import tensorflow as tf

from keras_initlab.replacing import replaced
from keras_initlab.statistics.layers import MeasuredLayer
from keras_initlab.statistics.reading import unshared
from keras_initlab.statistics.tensor_stats import SATURATION_BOUNDS, measurable, widen


@dataclass(frozen=True)
class Tap:
    """One tensor to be measured.

    Attributes:
        depth: place of its layer in the order of execution.
        layer, quantity, variable: as in a Profile.
        tensor: what is measured.
        bounds: outside of which its values count as saturated, or None where saturation has no meaning.
        unit_axis: axis of the units.
        relative_to: the tensor, or the norm of the tensor, against whose norm the norm of this one is set.
    """

    depth: int
    layer: str
    quantity: str
    variable: str | None
    tensor: Any
    bounds: tuple[float, float] | None = None
    unit_axis: int = -1
    relative_to: Any = None


class Taps:
    """Collects the taps of one step.

    Args:
        entries: the layers to measure.
        start: value and norm of each weight at the start of training by `id` of the variable, for the displacement.
        xla: whether the step is compiled by XLA.
    """

    def __init__(
        self, entries: list[MeasuredLayer], start: Mapping[int, tuple[Any, float]] | None = None, xla: bool = False
    ) -> None:
        self.entries = entries
        self.start = start or {}
        # XLA does its own fusing, after TensorFlow's graph optimizer has been left out.
        self.read = (lambda tensor: tensor) if xla else unshared
        self.taps: list[Tap] = []
        self.skipped: dict[str, str] = {}
        self._depths: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._outputs: list[Tap] = []
        self._gradients: dict[int, Any] = {}
        self._scale: Any = None

    @contextlib.contextmanager
    def watch(self, optimizer: Any = None) -> Iterator[None]:
        """Notes what passes through the layers while the context lasts, and what it makes of their weights.

        Args:
            optimizer: of a training step that is to be watched; `None` for a pass that leaves the weights alone.
        """
        variables = [variable for entry in self.entries for variable in entry.variables.values()]
        before = {id(variable): tf.convert_to_tensor(variable) for variable in variables}
        if optimizer is not None:
            # 1, or the factor that mixed precision multiplies the loss by, and all gradients with it.
            one = tf.constant(1.0)
            scaled = optimizer.scale_loss(one)
            self._scale = None if scaled is one else tf.cast(scaled, tf.float32)
        with contextlib.ExitStack() as stack:
            for entry in self.entries:
                stack.enter_context(replaced(entry.layer, "call", self._tapped_call(entry)))
            stack.enter_context(self._tapped_tape())
            yield
        self._note_weights(before, after=optimizer is not None)

    def in_order(self) -> list[Tap]:
        """All taps by depth; weights of layers that were not called come last."""
        return sorted(self.taps, key=lambda tap: tap.depth)

    # -- layers -----------------------------------------------------------------------------------------------------

    def _tapped_call(self, entry: MeasuredLayer) -> Any:
        call = entry.layer.call
        graph = _graph()

        @functools.wraps(call)
        def tapped(*args: Any, **kwargs: Any) -> Any:
            batchnorm = isinstance(entry.layer, keras.layers.BatchNormalization)
            moving = _moving_statistics(entry.layer) if batchnorm else {}
            outputs = call(*args, **kwargs)
            if _graph() is not graph:
                self.skipped.setdefault(entry.path, "it runs inside a loop or a function of its own")
                return outputs
            path = self._note_outputs(entry, outputs)
            if batchnorm and path is not None:
                inputs = args[0] if args else kwargs["inputs"]
                self._note_batchnorm(entry.layer, path, inputs, kwargs.get("mask"), moving)
            return outputs

        return tapped

    def _note_outputs(self, entry: MeasuredLayer, outputs: Any) -> str | None:
        leaves = tf.nest.flatten(outputs)
        if entry.composite and all(any(t is tap.tensor for tap in self._outputs) for t in leaves):
            return None  # a container: its output is that of the last layer inside it
        number = self._calls[entry.path] = self._calls.get(entry.path, 0) + 1
        path = entry.path if number == 1 else f"{entry.path}#{number}"
        depth = len(self._depths)
        self._depths[path] = depth
        for index, tensor in enumerate(leaves):
            if not measurable(tensor):
                self.skipped.setdefault(path, f"its output is no float tensor but {_describe(tensor)}")
                continue
            variable = None if len(leaves) == 1 else f"output_{index}"
            tap = Tap(
                depth, path, "activation", variable, tensor, _saturation(entry.layer), _unit_axis(entry.layer, tensor)
            )
            self.taps.append(tap)
            self._outputs.append(tap)
        return path

    def _note_batchnorm(self, layer: Any, path: str, inputs: Any, mask: Any, moving: dict[str, Any]) -> None:
        depth = self._depths[path]
        axes = [axis for axis in range(len(inputs.shape)) if axis != layer.axis % len(inputs.shape)]
        # In the layer's own precision: what overflows there is what normalizes the batch.
        wide = widen(inputs)
        if mask is None:
            mean, variance = tf.nn.moments(wide, axes)
        else:
            weights = tf.broadcast_to(tf.cast(mask, wide.dtype)[..., tf.newaxis], tf.shape(wide))
            mean, variance = tf.nn.weighted_moments(wide, axes, weights)
        old_mean, old_variance = (tf.cast(moving[name], wide.dtype) for name in ("moving_mean", "moving_variance"))
        values = {
            "batch_mean": mean,
            "batch_variance": variance,
            **moving,
            "mean_drift": (mean - old_mean) / tf.sqrt(old_variance + layer.epsilon),
            "variance_ratio": (variance + layer.epsilon) / (old_variance + layer.epsilon),
        }
        self.taps.append(Tap(depth, path, "batchnorm", "input", inputs, unit_axis=layer.axis))
        self.taps.extend(
            Tap(depth, path, "batchnorm", name, tf.cast(value, wide.dtype)) for name, value in values.items()
        )

    # -- gradients and weights ----------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _tapped_tape(self) -> Iterator[None]:
        original, thread, graph = tf.GradientTape.gradient, threading.get_ident(), _graph()

        def gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
            if threading.get_ident() != thread or _graph() is not graph:
                return original(tape, target, sources, *args, **kwargs)
            flat, outputs = tf.nest.flatten(sources), list(self._outputs)
            found = original(tape, target, [*flat, *(tap.tensor for tap in outputs)], *args, **kwargs)
            for source, value in zip(flat, found, strict=False):
                if value is not None:
                    self._gradients.setdefault(_identity(source), value)
            for tap, value in zip(outputs, found[len(flat) :], strict=True):
                # Of several losses the first counts.
                if measurable(value) and id(tap) not in self._gradients:
                    self._gradients[id(tap)] = value
                    self._note_gradient(tap.depth, tap.layer, "activation_gradient", tap.variable, value, tap.unit_axis)
            return tf.nest.pack_sequence_as(sources, found[: len(flat)])

        tf.GradientTape.gradient = gradient
        try:
            yield
        finally:
            tf.GradientTape.gradient = original

    def _note_gradient(
        self, depth: int, layer: str, quantity: str, variable: str | None, value: Any, unit_axis: int = -1
    ) -> None:
        if isinstance(value, tf.IndexedSlices):
            value = tf.convert_to_tensor(value)
        if self._scale is not None:
            value = self.read(value) / tf.cast(self._scale, value.dtype)
        self.taps.append(Tap(depth, layer, quantity, variable, value, unit_axis=unit_axis))

    def _note_weights(self, before: Mapping[int, Any], after: bool) -> None:
        """Notes each weight as the step found it, its gradient, its update, and how far from the start it is left."""
        for entry in self.entries:
            depth, layer = self._depths.get(entry.path, len(self._depths)), entry.path
            for name, variable in entry.variables.items():
                old = before[id(variable)]
                self.taps.append(Tap(depth, layer, "weight", name, old))
                gradient = self._gradients.get(_identity(variable))
                if gradient is not None:
                    self._note_gradient(depth, layer, "gradient", name, gradient)
                if not after:
                    continue
                new = tf.convert_to_tensor(variable)
                if variable.trainable:
                    self.taps.append(Tap(depth, layer, "update", name, new - old, relative_to=old))
                if id(variable) in self.start:
                    origin, norm = self.start[id(variable)]
                    self.taps.append(Tap(depth, layer, "displacement", name, new - origin, relative_to=norm))


# -- small things ------------------------------------------------------------------------------------------------------


def _identity(variable: Any) -> int:
    """The same for a Keras variable and the TensorFlow variable in it: either may be what the tape is asked for."""
    return id(variable.value if isinstance(variable, keras.Variable) else variable)


def _graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _moving_statistics(layer: Any) -> dict[str, Any]:
    return {name: tf.convert_to_tensor(getattr(layer, name)) for name in ("moving_mean", "moving_variance")}


def _saturation(layer: Any) -> tuple[float, float] | None:
    """Bounds of the activation that makes the layer's output; the gates inside LSTM and GRU are not its output."""
    if isinstance(layer, keras.layers.RNN) and not isinstance(layer, keras.layers.SimpleRNN):
        return None
    return SATURATION_BOUNDS.get(getattr(getattr(layer, "activation", None), "__name__", ""))


def _unit_axis(layer: Any, tensor: Any) -> int:
    channels_first = getattr(layer, "data_format", None) == "channels_first" and len(tensor.shape) > 2
    return 1 if channels_first else -1


def _describe(value: Any) -> str:
    return f"{value.dtype.name}" if isinstance(value, tf.Tensor) else type(value).__name__
