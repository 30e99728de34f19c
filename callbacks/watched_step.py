"""The second compiled training step: Keras's own, traced once more with taps."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import tensorflow as tf

from ..replacing import replaced
from ..statistics.layers import LayerFilter, measured_layers
from ..statistics.layout import Layout
from ..statistics.measurement import pack
from ..statistics.memory import Memory
from ..statistics.observe import skipped_message
from ..statistics.probes.extras import Extras, ExtrasLayout, extras_on_host, with_extras
from ..statistics.profile import Profile
from ..statistics.replicas import gathered
from ..statistics.unpacking import Packed, on_host, unpack


class Taken(NamedTuple):
    """What a watched step brought: its arrays, those of the extras, and what is where in them."""

    packed: Packed
    layout: Layout
    extras: Packed
    extras_layout: ExtrasLayout


class Pending:
    """A step that was watched and whose Profile has not been asked for yet.

    Attributes:
        step: its number.
        notes: what its Profile has to say besides.
    """

    def __init__(self, taken: Taken, step: int, before: Packed | None, window: Any) -> None:
        self.step = step
        self.notes: dict[str, str] = {}
        self._make: Callable[[], Profile] | None = functools.partial(_profile, taken, step, before, window)
        self._profile: Profile | None = None
        self._lock = threading.Lock()

    @property
    def profile(self) -> Profile:
        """The Profile; made by whoever asks first, which is the writer's thread, and not the training's."""
        with self._lock:
            if self._make is not None:
                self._profile = self._make()
                self._profile.notes.update(self.notes)
                self._make = None  # with the arrays of the step before
            assert self._profile is not None
            return self._profile


class WatchedStep:
    """Runs single training steps of a model with taps; all others are run by the function that Keras made.

    A condition on the step number inside one step would cost 70 % on every step; a second function costs nothing on the
    steps that it does not run.

    Under XLA a tensor that is read is compiled otherwise, and changes the last bits of what follows. There the watched
    step runs the training step twice: once to be observed, after which every variable is what it was, and once more as
    Keras compiles it.

    Args:
        model: a compiled model whose train function exists.
        layers: which layers to measure.
        memory: of the start of each weight.
        histograms: whether to take histograms.
        strict: whether an error in the measuring is raised.
        extras: what to measure besides.
    """

    def __init__(
        self,
        model: Any,
        layers: LayerFilter | None,
        memory: Memory,
        histograms: bool,
        strict: bool,
        extras: Sequence[str] = (),
    ) -> None:
        self.model, self.layers, self.memory, self.histograms, self.strict = model, layers, memory, histograms, strict
        self.extras = extras
        self.plain = model.train_function
        self.failure: Exception | None = None
        self._layouts: list[tuple[Layout, ExtrasLayout]] = []
        self._result: dict[str, Any] | None = None
        self._messages: list[str] = []
        self._train_step = model.train_step
        self._jit = bool(model.jit_compile) and not model.run_eagerly
        step = self._observed_step if self._jit else self._tapped_step
        # Past Keras's attribute tracking: the model must not come to own this object.
        with (
            replaced(model, "train_step", step),
            replaced(model, "_jit_compile", False if self._jit else model.jit_compile),
        ):
            try:
                model.make_train_function(force=True)
                self._function = model.train_function
            finally:
                model.train_function = self.plain

    def belongs_to(self, model: Any) -> bool:
        """Whether this is the watched twin of the train function that a model has now."""
        return model is self.model and model.train_function in (self.plain, self._run_once)

    def arm(self) -> None:
        """Makes the next execution of the model's train function a watched one."""
        self.model.train_function = self._run_once

    def disarm(self) -> None:
        """Leaves the model its own train function."""
        if self.model.train_function == self._run_once:
            self.model.train_function = self.plain

    def take(self) -> Taken | None:
        """The arrays of the execution that was watched, or None if there was none."""
        result, self._result = self._result, None
        if result is None or not result["packed"]:
            return None
        packed = on_host(result["packed"])
        layout, extras_layout = self._layouts[int(packed.pop("layout").flat[0])]
        return Taken(packed, layout, extras_on_host(result["extras"]), extras_layout)

    def messages(self) -> list[str]:
        """What has not been told yet of layers that are not measured."""
        told, self._messages = self._messages, []
        return told

    def _run_once(self, iterator: Any) -> Any:
        self.model.train_function = self.plain  # first, so that it holds whatever happens in the step
        result = self._function(iterator)
        self._result = result
        return result["logs"]

    def _tapped_step(self, data: Any, step: Callable[[Any], Any] | None = None) -> dict[str, Any]:
        extras = Extras(self.extras, self.model, measured_layers(self.model, self.layers), shortcut=not self._jit)
        taps = extras.taps(self.strict)
        if self._jit or self.model.run_eagerly:
            taps.read = lambda tensor: tensor
        with taps.guarded():
            extras.before_step(data)
        with taps.watch(self.model.optimizer):
            logs = (step or self._train_step)(data)
        packed: dict[str, Any] = {}
        besides: dict[str, Any] = {}
        with taps.guarded():
            packed, layout = pack(taps, self.memory, shortcut=not self._jit, histograms=self.histograms)
            besides, extras_layout = extras.after_step(taps)
            both = layout, extras_layout
            if both not in self._layouts:
                self._messages += [*skipped_message(taps.skipped), *extras.messages]
                self._layouts.append(both)
            packed["layout"] = tf.constant([float(self._layouts.index(both))], tf.float64)
            packed = gathered(packed)
        if taps.failure is not None:
            self.failure, packed, besides = taps.failure, {}, {}
        return {"logs": logs, "packed": packed, "extras": besides}

    def _observed_step(self, data: Any) -> dict[str, Any]:
        compiled = functools.partial(tf.function, jit_compile=True, autograph=False)  # as Keras does
        plain = compiled(self._train_step, reduce_retracing=True)
        # Whatever the step reads or writes: weights, slots, metrics, seeds, and what a train_step of one's own has.
        variables = plain.get_concrete_function(data).graph.variables

        def observe(data: Any) -> dict[str, Any]:
            before = [variable.read_value() for variable in variables]
            found = self._tapped_step(data)
            for variable, value in zip(variables, before, strict=True):
                variable.assign(value)
            return {name: found[name] for name in ("packed", "extras")}

        found = compiled(observe)(data)
        with tf.control_dependencies(tf.nest.flatten(found)):
            return {"logs": plain(data), **found}


def _profile(taken: Taken, step: int, before: Packed | None, window: Any) -> Profile:
    profile = unpack(taken.packed, taken.layout, step, before, window)
    return with_extras(profile, taken.extras, taken.extras_layout) if taken.extras else profile
