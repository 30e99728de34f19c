"""The second compiled training step: Keras's own, traced once more with taps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import tensorflow as tf

from ..statistics.layers import LayerFilter, measured_layers
from ..statistics.measurement import Layout, pack, unpack
from ..statistics.observe import name_skipped
from ..statistics.profile import Profile
from ..statistics.taps import Taps


class WatchedStep:
    """Runs single training steps of a model with taps; all others are run by the function that Keras made.

    A condition on the step number inside one step would cost 70 % on every step; a second function costs nothing on the
    steps that it does not run.

    Args:
        model: a compiled model whose train function exists.
        layers: which layers to measure.
        start: value and norm of each weight at the start of training, by `id` of the variable.
        histograms: whether to take histograms.
    """

    def __init__(
        self, model: Any, layers: LayerFilter | None, start: Mapping[int, tuple[Any, float]], histograms: bool
    ) -> None:
        self.model, self.layers, self.start, self.histograms = model, layers, start, histograms
        self.plain = model.train_function
        self._layouts: list[Layout] = []
        self._result: dict[str, Any] | None = None
        self._train_step = model.train_step
        # Past Keras's attribute tracking: the model must not come to own this object.
        vars(model)["train_step"] = self._tapped_train_step
        try:
            model.make_train_function(force=True)
            self._function = model.train_function
        finally:
            del vars(model)["train_step"]
            model.train_function = self.plain

    def arm(self) -> None:
        """Makes the next execution of the model's train function a watched one."""
        self.model.train_function = self._run_once

    def disarm(self) -> None:
        """Leaves the model its own train function."""
        if self.model.train_function == self._run_once:
            self.model.train_function = self.plain

    def take(self, step: int) -> Profile | None:
        """The Profile of the execution that was watched, or None if there was none."""
        result, self._result = self._result, None
        if result is None:
            return None
        return unpack(result["packed"], self._layouts[int(result["layout"])], step)

    def _run_once(self, iterator: Any) -> Any:
        self.model.train_function = self.plain  # first, so that it holds whatever happens in the step
        result = self._function(iterator)
        self._result = result
        return result["logs"]

    def _tapped_train_step(self, data: Any) -> dict[str, Any]:
        xla = bool(self.model.jit_compile)
        taps = Taps(measured_layers(self.model, self.layers), self.start, xla)
        with taps.watch(self.model.optimizer):
            logs = self._train_step(data)
        packed, layout = pack(taps.in_order(), taps.read, self.histograms, shortcut=not xla)
        if layout not in self._layouts:
            name_skipped(taps.skipped)
            self._layouts.append(layout)
        return {"logs": logs, "packed": packed, "layout": tf.constant(self._layouts.index(layout))}
