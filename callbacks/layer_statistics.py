"""LayerStatistics: what happens in each layer during real, compiled training."""

from __future__ import annotations

import contextlib
import os
import warnings
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from ..statistics.layers import LayerFilter, check_filter, measured_layers
from ..statistics.observe import require_tensorflow
from ..statistics.profile import Profile
from .schedule import Schedule, UpdateFreq
from .watched_step import WatchedStep
from .writers import BackgroundWriter, open_log_dir


class LayerStatistics(keras.callbacks.Callback):
    """Measures activations, gradients, weights and BatchNormalization of each layer while a model trains.

    The numbers are those of the real training step on the real batch: no probe data, no second pass through the
    network, and the training ends in the same bits as without the callback. Steps that are not watched are run by the
    function that Keras itself compiled.

    Args:
        log_dir: folder for a TensorBoard event file and `profiles.jsonl`, which `Profile.read` reads; written while the
            training runs, at most about two seconds behind. Default `None`: the history is kept in memory only.
        update_freq: which steps to watch, as in `keras.callbacks.TensorBoard`: an integer n watches steps n, 2n, 3n and
            so on, counted over all calls of `fit`; `"batch"` every step; `"epoch"` (the default, since it costs next to
            nothing) the last step of each epoch, or the first where the data do not say how many batches they have.
            Where Keras runs several steps at once, the last of those that include a step to watch.
        histograms: whether to take histograms. They cost little; leave them out to save disk.
        layers: which layers to watch: a regular expression searched for in the layer's path, or a callable that takes
            the layer. Default `None`: all.

    Attributes:
        history: the Profiles made so far, oldest first.

    Raises:
        ValueError: an argument out of its range, or a backend other than TensorFlow; when training starts: a second
            LayerStatistics, a filter that chooses no layer, a model under a distribution strategy.
        OSError: when training starts: a log_dir that cannot be written to. A disk that fails later stops the writing,
            with one warning, and not the training.

    Example:
        >>> import numpy as np, keras, keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> model.compile("sgd", "mse")
        >>> statistics = kil.callbacks.LayerStatistics(update_freq=2)
        >>> x, y = np.ones((40, 3), "float32"), np.ones((40, 2), "float32")
        >>> _ = model.fit(x, y, batch_size=8, verbose=0, callbacks=[statistics])
        >>> [profile.step for profile in statistics.history]
        [2, 4]
    """

    def __init__(
        self,
        log_dir: str | os.PathLike[str] | None = None,
        update_freq: UpdateFreq = "epoch",
        histograms: bool = True,
        layers: LayerFilter | None = None,
    ) -> None:
        super().__init__()
        require_tensorflow("LayerStatistics")
        check_filter(layers)
        if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
            raise ValueError(f"log_dir must be the path of a folder, or None. Received: log_dir={log_dir!r}.")
        self.log_dir, self.histograms, self.layers = log_dir, histograms, layers
        self.schedule = Schedule.of(update_freq)
        self.history: list[Profile] = []
        self._step = self._epoch_start = 0
        self._start: dict[int, tuple[Any, float]] = {}
        self._started: Any = None
        self._watched: WatchedStep | None = None
        self._writer: BackgroundWriter | None = None
        self._told = False

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the files and prepares the watched step."""
        model = self.model
        strategy = model.distribute_strategy
        if tf.distribute.has_strategy() or strategy is not tf.distribute.get_strategy():
            raise ValueError(
                "LayerStatistics watches models that are trained without a distribution strategy. Received: a model "
                f"made under {type(strategy).__name__}. Train it without the strategy, or without the callback."
            )
        # The dictionary is one for all callbacks of a call of fit.
        if self.params.setdefault("layer_statistics", self) is not self:
            raise ValueError(
                "callbacks has two LayerStatistics, and a step can be watched once only. Leave one, with the smaller "
                "update_freq and a filter that chooses all the layers you want."
            )
        if model.built:
            measured_layers(model, self.layers)
        if self.log_dir is not None and self._writer is None:
            self._writer, self._told = open_log_dir(self.log_dir), False
        if self._started is not model:
            self._started, self._start, self._watched, self._step = model, {}, None, 0
            self._remember_start()
        if self._watched is None or self._watched.plain is not model.train_function:
            self._watched = WatchedStep(model, self.layers, self._start, self.histograms)
        # Steps done in an earlier training count too, so that a resumed run goes on where it was.
        self._step = max(self._step, int(model.optimizer.iterations))

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the epoch starts."""
        self._epoch_start = self._step

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Chooses between the plain and the watched step."""
        first, last = self._at(batch), self._at(batch + self.model.steps_per_execution - 1)
        if self._watched is not None and self.schedule.due(self._epoch_start, first, last, self.params.get("steps")):
            self._watched.arm()
        if not self.model.built:
            self._build_first()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Takes the Profile of a watched step."""
        self._step = self._at(batch)
        profile = self._watched.take(self._step) if self._watched is not None else None
        if profile is not None:
            self.history.append(profile)
            if self._writer is not None:
                self._writer.write(profile)
        self._tell_failure()

    def on_train_end(self, logs: Any = None) -> None:
        """Writes what is left and closes the files."""
        if self._watched is not None:
            self._watched.disarm()
        if self._writer is not None:
            self._writer.close()
            self._tell_failure()
            self._writer = None

    def _at(self, batch: int) -> int:
        """Steps done after a batch of this epoch; Keras counts the last of several steps an execution past the end."""
        return self._epoch_start + min(batch + 1, self.params.get("steps") or batch + 1)

    def _remember_start(self) -> None:
        for variable in self.model.trainable_variables:
            if id(variable) not in self._start:
                value = tf.identity(tf.convert_to_tensor(variable))
                norm = float(np.linalg.norm(np.asarray(tf.cast(value, tf.float64)).ravel()))
                self._start[id(variable)] = value, norm

    def _build_first(self) -> None:
        """Has a model without weights yet built before its first step: what it starts from is gone after it."""
        chosen = self.model.train_function

        def build_and_run(iterator: Any) -> Any:
            self.model.train_function = chosen
            # A model that cannot be built from shapes alone is built by its step, and has no displacement.
            with contextlib.suppress(Exception):
                x, *_ = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
                self.model(keras.tree.map_structure(lambda spec: keras.KerasTensor(spec.shape, spec.dtype.name), x))
                self._remember_start()
            return chosen(iterator)

        self.model.train_function = build_and_run

    def _tell_failure(self) -> None:
        if self._writer is not None and self._writer.failure is not None and not self._told:
            self._told = True
            warnings.warn(
                f"LayerStatistics stopped writing to {str(self.log_dir)!r}: {self._writer.failure}. Training goes on, "
                "and the statistics are kept in callback.history.",
                RuntimeWarning,
                stacklevel=2,
            )
