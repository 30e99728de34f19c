"""How layer outputs, what flows back to them, and weight gradients are reached without touching the model.

For the length of one trace (or of one eager step) two things are wrapped: `Layer.__call__`, to note what a layer puts
out, and `tf.GradientTape.gradient`, to ask for the gradients of those outputs beside those of the weights. The weights
themselves are read before the step and after it, so that any optimizer will do, or several. Nothing is put into the
path from the inputs to the new weights: the tensors are only read.

Asking the tape serves better than an identity with a custom gradient in the forward pass: that hides from Keras which
outputs come from a softmax (the loss goes back to the logits behind it), and keeps the graph optimizer from fusing
a product with the activation after it.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from keras_initlab.replacing import replaced
from keras_initlab.statistics.layer_parts import (
    NORMALIZATIONS,
    bounds_of,
    inner_methods,
    moving_statistics,
    normalization_statistics,
    recording,
    unit_axis_of,
)
from keras_initlab.statistics.layers import MeasuredLayer
from keras_initlab.statistics.reading import Reading
from keras_initlab.statistics.replicas import summed_over_replicas
from keras_initlab.statistics.tapping import tapping
from keras_initlab.statistics.tensor_stats import INPUT_BOUNDS, OUTPUT_BOUNDS, measurable, widen


@dataclass(frozen=True, eq=False)
class Tap:
    """One tensor to be measured.

    Attributes:
        depth: place of its layer in the order of execution.
        layer, quantity, variable: as in a Profile.
        tensor: what is measured.
        bounds: outside of which its values count as saturated, or None where saturation has no meaning.
        unit_axis: axis of the units.
    """

    depth: int
    layer: str
    quantity: str
    variable: str | None
    tensor: Any
    bounds: tuple[float, float] | None = None
    unit_axis: int = -1


@dataclass(eq=False)
class WeightTap:
    """One weight: as the step found it and left it, and its gradient; None for what there is not."""

    depth: int
    layer: str
    name: str
    variable: Any
    old: Any
    new: Any = None
    gradient: Any = None


@dataclass(eq=False)
class MomentsTap:
    """What a BatchNormalization normalized a batch by, and what it will normalize by in inference.

    Attributes:
        depth, layer: as in a Profile.
        epsilon: the layer's.
        vectors: mean and variance of the batch, and the moving ones before the step.
        count: of how many values, in all channels, the batch's are.
    """

    depth: int
    layer: str
    epsilon: float
    vectors: dict[str, Any]
    count: Any


@dataclass
class Taps:
    """Collects what is to be measured in one step.

    Attributes:
        entries: the layers to measure.
        read: gives the tensor to read in place of one of the model's.
        strict: whether an error in here is raised, and not kept in `failure`.
        tensors, weights, moments: what was tapped.
        skipped: why some layers' outputs were not.
        failure: the first error in here.
    """

    entries: list[MeasuredLayer]
    read: Callable[[Any], Any] = field(default_factory=Reading)
    strict: bool = False
    tensors: list[Tap] = field(default_factory=list)
    weights: list[WeightTap] = field(default_factory=list)
    moments: list[MomentsTap] = field(default_factory=list)
    skipped: dict[str, str] = field(default_factory=dict)
    failure: Exception | None = None

    def __post_init__(self) -> None:
        self._by_layer = {id(entry.layer): entry for entry in self.entries}
        self._graph = _graph()
        self._depths: dict[str, int] = {}
        self._calls: dict[str, int] = {}
        self._outputs: list[Tap] = []
        self._gradients: dict[int, Any] = {}
        self._normalizations: list[tuple[Any, str, Any]] = []
        self._scale: Any = None
        self._running: Any = None

    @contextlib.contextmanager
    def watch(self, optimizer: Any = None) -> Iterator[None]:
        """Notes what passes through the layers while the context lasts, and what it makes of their weights.

        Args:
            optimizer: of a training step that is to be watched; `None` for a pass that leaves the weights alone.
        """
        variables = {id(v): v for entry in self.entries for v in entry.variables.values()}
        before = {key: tf.convert_to_tensor(v) for key, v in variables.items()}
        if optimizer is not None:
            # 1, or the factor that mixed precision multiplies the loss by, and all gradients with it.
            one = tf.constant(1.0)
            scaled = optimizer.scale_loss(one)
            self._scale = None if scaled is one else tf.cast(scaled, tf.float32)
        with tapping(self):
            yield
        with self.guarded():
            for entry in self.entries:
                depth = self._depth(entry.path)
                for name, variable in entry.variables.items():
                    tap = WeightTap(depth, entry.path, name, variable, before[id(variable)])
                    tap.new = tf.convert_to_tensor(variable) if optimizer is not None else None
                    gradient = self._gradients.get(_identity(variable))
                    tap.gradient = None if gradient is None else self._unscaled(gradient)
                    self.weights.append(tap)
            reached = [tap for tap in self.weights if tap.gradient is not None]
            sums = summed_over_replicas([tap.gradient for tap in reached], self.read)
            for tap, gradient in zip(reached, sums, strict=True):
                tap.gradient = gradient
            for layer, path, inputs in self._normalizations:
                for name, value in normalization_statistics(layer, widen(self.read(inputs))).items():
                    self.tensors.append(Tap(self._depths[path], path, "normalization", name, value))

    @contextlib.contextmanager
    def guarded(self) -> Iterator[None]:
        """Keeps an error of ours from the training step."""
        try:
            yield
        except Exception as error:
            if self.strict:
                raise
            self.failure = self.failure or error

    def _depth(self, path: str) -> int:
        """Place of a layer; where it has none of its own, that of a layer around it, or of the first inside it."""
        around = (path.rsplit("/", n)[0] for n in range(path.count("/") + 1))
        inside = (name for name in self._depths if name.startswith(f"{path}/"))
        names = itertools.chain(around, inside)
        return next((self._depths[name] for name in names if name in self._depths), len(self._depths))

    # -- layers -----------------------------------------------------------------------------------------------------

    def call(self, layer: Any, call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Calls a layer, and notes what it puts out."""
        entry = self._by_layer.get(id(layer))
        if entry is None:
            return call(layer, *args, **kwargs)
        if _graph() is not self._graph:
            self.skipped.setdefault(entry.path, "it runs inside a loop or a function of its own")
            return call(layer, *args, **kwargs)
        inside: dict[str, Any] = {}
        with contextlib.ExitStack() as stack:
            with self.guarded():
                moving = moving_statistics(layer)
                for name, method in inner_methods(layer):
                    stack.enter_context(replaced(layer, name, recording(method, name, inside)))
                scores = self._by_layer.get(id(getattr(layer, "_softmax", None)))
                if scores is not None:
                    stack.enter_context(replaced(tf.nn, "softmax", self._noting_scores(layer, scores)))
                stack.enter_context(replaced(self, "_running", layer))
            outputs = call(layer, *args, **kwargs)
        with self.guarded():
            path = self._note_outputs(entry, outputs, inside.get("activation"))
            if path is not None and isinstance(layer, keras.layers.BatchNormalization):
                self._note_batchnorm(
                    layer, path, args[0] if args else kwargs["inputs"], kwargs.get("mask"), inside, moving
                )
            elif path is not None and isinstance(layer, NORMALIZATIONS):
                self._normalizations.append((layer, path, args[0] if args else kwargs["inputs"]))
        return outputs

    def _note_outputs(self, entry: MeasuredLayer, outputs: Any, before_activation: Any) -> str | None:
        leaves = tf.nest.flatten(outputs)
        if entry.composite and all(any(t is tap.tensor for tap in self._outputs) for t in leaves):
            return None  # a container: its output is that of the last layer inside it
        number = self._calls[entry.path] = self._calls.get(entry.path, 0) + 1
        path = entry.path if number == 1 else f"{entry.path}#{number}"
        depth = self._depths[path] = len(self._depths)
        axis = unit_axis_of(entry.layer)
        if measurable(before_activation):
            bounds = bounds_of(entry.layer, INPUT_BOUNDS)
            self.tensors.append(Tap(depth, path, "preactivation", None, before_activation, bounds, axis))
        for index, tensor in enumerate(leaves):
            if not measurable(tensor):
                self.skipped.setdefault(path, f"its output is no float tensor but {_describe(tensor)}")
                continue
            variable = None if len(leaves) == 1 else f"output_{index}"
            bounds = bounds_of(entry.layer, OUTPUT_BOUNDS)
            tap = Tap(depth, path, "activation", variable, tensor, bounds, axis if len(tensor.shape) > 2 else -1)
            self.tensors.append(tap)
            self._outputs.append(tap)
        return path

    def _noting_scores(self, attention: Any, entry: MeasuredLayer) -> Callable[..., Any]:
        """A softmax for an attention without dropout, which takes it itself, not by the layer that it has for it."""
        softmax = tf.nn.softmax

        def noted(*args: Any, **kwargs: Any) -> Any:
            scores = softmax(*args, **kwargs)
            if self._running is attention:
                with self.guarded():
                    self._note_outputs(entry, scores, None)
            return scores

        return noted

    def _note_batchnorm(
        self, layer: Any, path: str, inputs: Any, mask: Any, inside: dict[str, Any], moving: dict[str, Any]
    ) -> None:
        # Those that the layer took itself; where it is frozen, those that it would have taken.
        mean, variance = inside["_moments"] if "_moments" in inside else layer._moments(widen(inputs), mask)
        depth = self._depths[path]
        self.tensors.append(Tap(depth, path, "batchnorm", "input", inputs, unit_axis=layer.axis))
        vectors = {"batch_mean": mean, "batch_variance": variance, **moving}
        counted = tf.size(inputs) if mask is None else tf.math.count_nonzero(mask)
        self.moments.append(MomentsTap(depth, path, layer.epsilon, vectors, tf.cast(counted, tf.float32)))

    # -- gradients ----------------------------------------------------------------------------------------------------

    def gradient(
        self, original: Callable[..., Any], tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any
    ) -> Any:
        """Asks a tape for its gradients, and for those of the noted outputs."""
        if _graph() is not self._graph:
            return original(tape, target, sources, *args, **kwargs)
        flat, outputs = tf.nest.flatten(sources), list(self._outputs)
        found = original(tape, target, [*flat, *(tap.tensor for tap in outputs)], *args, **kwargs)
        with self.guarded():
            for source, value in zip(flat, found, strict=False):
                if value is not None:
                    self._gradients.setdefault(_identity(source), value)
            for tap, value in zip(outputs, found[len(flat) :], strict=True):
                # Of several losses the first counts.
                if measurable(value) and id(tap) not in self._gradients:
                    value = self._gradients[id(tap)] = self._unscaled(value)
                    self.tensors.append(
                        Tap(tap.depth, tap.layer, "activation_gradient", tap.variable, value, unit_axis=tap.unit_axis)
                    )
        return tf.nest.pack_sequence_as(sources, found[: len(flat)])

    def _unscaled(self, value: Any) -> Any:
        if isinstance(value, tf.IndexedSlices):
            value = tf.convert_to_tensor(value)
        if self._scale is not None:
            wide = widen(self.read(value))
            value = wide / tf.cast(self._scale, wide.dtype)
        return value


def _identity(variable: Any) -> int:
    """The same for a Keras variable and the TensorFlow variable in it: either may be what the tape is asked for."""
    return id(variable.value if isinstance(variable, keras.Variable) else variable)


def _graph() -> Any:
    return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()


def _describe(value: Any) -> str:
    return f"{value.dtype.name}" if isinstance(value, tf.Tensor) else type(value).__name__
