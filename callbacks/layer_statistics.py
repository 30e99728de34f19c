"""LayerStatistics: what happens in each layer during real, compiled training."""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from ..statistics.layers import LayerFilter, check_filter, measured_layers
from ..statistics.memory import Memory
from ..statistics.observe import require_tensorflow
from ..statistics.probes.extras import check_replicas, checked_extras
from ..statistics.profile import Profile
from ..statistics.unpacking import all_finite
from .faults import report_of
from .live_table import LiveTable
from .schedule import Schedule, UpdateFreq
from .strategies import check_strategy, writes
from .watched_step import Pending, WatchedStep
from .writers import (
    MAX_BYTES,
    BackgroundWriter,
    Writer,
    checked_hparams,
    checked_max_bytes,
    checked_writers,
    initializer_hparams,
    open_writers,
)

# Of a network of 60 layers a Profile takes 70 kB: a long training must not fill the memory with them.
HISTORY = 1000


class LayerStatistics(keras.callbacks.Callback):
    """Measures activations, gradients, weights and normalization of each layer while a model trains.

    The numbers are those of the real training step on the real batch: no probe data, and the training ends in the same
    bits as without the callback. Steps that are not watched are run by the function that Keras itself compiled. Under
    MirroredStrategy and MultiWorkerMirroredStrategy they are those of the global batch and the reduced gradient.

    Args:
        log_dir: folder for a TensorBoard event file and `profiles.jsonl`, which `Profile.read` reads; written while the
            training runs, at most about one second behind. Default `None`: the history is kept in memory only.
        update_freq: which steps to watch, as in `keras.callbacks.TensorBoard`: an integer n watches steps n, 2n, 3n and
            so on, counted over all calls of `fit`; `"batch"` every step; `"epoch"` (the default, since it costs next to
            nothing) the last step of each epoch, or the first where the data do not say how many batches they have. A
            `Schedule` says more, such as `TimeBudget(0.02)`. Where Keras runs several steps at once, the last of those
            that include a step to watch.
        histograms: whether to take histograms. They cost little; leave them out to save disk.
        layers: which layers to watch: a regular expression searched for in the layer's path, or a callable that takes
            the layer. Default `None`: all.
        extras: what to measure besides, of

            - `"channels"`: mean, deviation and share of zeros of each channel of each output, in `Profile.channels`.
            - `"inference_gap"`: output in training less output in inference mode, on the same batch and with the
              weights before the step. One more forward pass.
            - `"noise_scale"`: the gradient noise scale, from the gradients of the two halves of the batch, which random
              layers and BatchNormalization treat each by itself. Of the loss that the model was compiled with; one more
              forward and backward pass. The row of the model itself is that of all gradients together.
            - `"time"`: states of recurrent layers and the gradients for them by time step, which is counted as the
              layer goes; of more than 64 steps 64. The recurrent layers once more, forward and backward.

            Default: none of them. The last two are for training on one device.
        writers: where Profiles go besides: `Writer` objects such as `Parquet("folder")`, or callables that take a
            Profile. They are called in a thread of their own.
        max_bytes: what the files in log_dir may take together. Beyond half of it histograms are left out, and then
            steps, so that it is enough for a training of any length.
        dead_window: over how many of the last watched steps a unit has to be zero to count in `dead_window`. Default
            10: a unit that is zero for one batch may live for the next.
        hparams: what TensorBoard's HParams page shows of this run, names and values. Default `None`: the initializers
            and their seeds.
        verbose: 1 shows the three layers that stand out most in the terminal; 0, the default, nothing.
        strict: whether an error of this callback's own stops the training. Default `False`: it is told once, and
            watching stops.

    Attributes:
        history: the latest 1000 of the Profiles made so far, oldest first.

    Raises:
        ValueError: an argument out of its range, or a backend other than TensorFlow; when training starts: a second
            LayerStatistics, a filter that chooses no layer, a model under another distribution strategy.
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
        *,
        extras: Sequence[str] = (),
        writers: Sequence[Writer | Callable[[Profile], Any]] = (),
        max_bytes: int = MAX_BYTES,
        dead_window: int = 10,
        hparams: Mapping[str, Any] | None = None,
        verbose: int = 0,
        strict: bool = False,
    ) -> None:
        super().__init__()
        require_tensorflow("LayerStatistics")
        check_filter(layers)
        if log_dir is not None and not isinstance(log_dir, (str, os.PathLike)):
            raise ValueError(f"log_dir must be the path of a folder, or None. Received: log_dir={log_dir!r}.")
        if isinstance(dead_window, bool) or not isinstance(dead_window, int) or dead_window < 1:
            raise ValueError(f"dead_window must be a positive number of steps. Received: dead_window={dead_window!r}.")
        self.log_dir, self.histograms, self.layers = log_dir, histograms, layers
        self.writers, self.max_bytes = checked_writers(writers), checked_max_bytes(max_bytes)
        self.hparams = checked_hparams(hparams)
        self.extras, self.strict = checked_extras(extras), strict
        self.schedule = Schedule.of(update_freq)
        self._table = LiveTable() if verbose else None
        self._taken: deque[Pending] = deque(maxlen=HISTORY)
        self._dead: deque[Any] = deque(maxlen=dead_window)
        self._step = self._epoch_start = 0
        self._began = 0.0
        self._stopped = self._alarmed = False
        self._started: Any = None
        self._memory = Memory()
        self._watched: WatchedStep | None = None
        self._writer: BackgroundWriter | None = None
        self._last: tuple[Any, Any] | None = None

    @property
    def history(self) -> list[Profile]:
        """The latest Profiles, oldest first."""
        return [pending.profile for pending in self._taken]

    # -- what Keras calls ---------------------------------------------------------------------------------------------

    def on_train_begin(self, logs: Any = None) -> None:
        """Opens the files and prepares the watched step."""
        model = self.model
        check_strategy(model, self.schedule)
        check_replicas(self.extras, model.distribute_strategy.num_replicas_in_sync)
        # The dictionary is one for all callbacks of a call of fit.
        if (self.params or {}).setdefault("layer_statistics", self) is not self:
            raise ValueError(
                "callbacks has two LayerStatistics, and a step can be watched once only. Leave one, with the smaller "
                "update_freq and a filter that chooses all the layers you want."
            )
        if model.built:
            measured_layers(model, self.layers)
        if self._started is not model:
            self._started, self._memory, self._watched, self._last, self._step = model, Memory(), None, None, 0
            self._dead.clear()
            self._alarmed = False
        if self._writer is None and writes(model.distribute_strategy):
            hparams = initializer_hparams(model) if self.hparams is None else self.hparams
            self._writer = open_writers(self.log_dir, self.writers, self.max_bytes, hparams)

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Notes where the epoch starts; only now every other callback has restored what it restores."""
        # Steps done in an earlier training count too, so that a resumed run goes on where it was.
        self._step = self._epoch_start = max(self._step, _steps_done(self.model.optimizer))
        with self._guarded():
            self._prepare()

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Chooses between the plain and the watched step."""
        with self._guarded():
            self._prepare()  # a loop over train_on_batch has no epochs
            first, last = self._at(batch), self._at(batch + self.model.steps_per_execution - 1)
            steps = (self.params or {}).get("steps")
            if self._watched is not None and self.schedule.due(self._epoch_start, first, last, steps):
                self._watched.arm()
            if not self.model.built:
                self._build_first()
        self._began = time.perf_counter()

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Takes the arrays of a watched step."""
        self._step = self._at(batch)
        with self._guarded():
            watched = self._take()
            self.schedule.seconds(self._step, watched, time.perf_counter() - self._began)
        self._tell()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Makes room for what Keras prints at the end of an epoch."""
        if self._table is not None:
            with self._guarded():
                self._table.end_epoch()

    def on_train_end(self, logs: Any = None) -> None:
        """Writes what is left and closes the files."""
        if self._watched is not None:
            self._watched.disarm()
        if self._table is not None:
            with self._guarded():
                self._table.close()
        if self._writer is not None:
            self._writer.close()
            self._tell()
            self._writer = None

    # -- one step -----------------------------------------------------------------------------------------------------

    def _prepare(self) -> None:
        """The watched step, of the train function that there is now."""
        model = self.model
        if self._stopped or (self._watched is not None and self._watched.belongs_to(model)):
            return
        with model.distribute_strategy.scope():
            self._memory.remember(model.trainable_variables)
        model.make_train_function()
        self._watched = WatchedStep(model, self.layers, self._memory, self.histograms, self.strict, self.extras)

    def _take(self) -> bool:
        """Whether the execution was a watched one."""
        if self._watched is None:
            return False
        taken = self._watched.take()
        for message in self._watched.messages():
            warnings.warn(message, stacklevel=4)
        if self._watched.failure is not None:
            raise self._watched.failure
        if taken is None:
            return False
        packed, layout = taken.packed, taken.layout
        before = self._last[0] if self._last is not None and self._last[1] == layout else None
        self._last = packed, layout
        pending = Pending(taken, self._step, before, self._dead_for_long(packed["units"].sum(axis=0) == 0))
        note = self.schedule.note()
        if note:
            pending.notes["LayerStatistics"] = note
        self._taken.append(pending)
        if not self._alarmed and not all_finite(packed):
            self._alarm(pending.profile)
        if self._writer is not None:
            self._writer.write(pending)
        if self._table is not None:
            self._table.show(pending.profile)
        return True

    def _alarm(self, profile: Profile) -> None:
        """Says once where infinities, or what is not a number, came up first."""
        layer, quantity, variable = profile.first_nonfinite or ("", "", None)
        if "gradient" in quantity and hasattr(self.model.optimizer, "inner_optimizer"):
            return  # A loss scale that is too large for float16 is found so, and the step is left out.
        self._alarmed = True
        what = f"{quantity.replace('_', ' ')} {variable or ''}".rstrip()
        warnings.warn(
            f"Step {self._step}: infinite values or values that are not a number; the first is in the {what} of layer "
            f"{layer!r}. The Profiles count them in `nonfinite`, layer by layer.",
            RuntimeWarning,
            stacklevel=5,
        )

    def _dead_for_long(self, zero: Any) -> Any:
        if self._dead and len(self._dead[0]) != len(zero):
            self._dead.clear()
        self._dead.append(zero)
        return np.logical_and.reduce(list(self._dead))

    def _at(self, batch: int) -> int:
        """Steps done after a batch of this epoch; Keras counts the last of several steps an execution past the end."""
        return self._epoch_start + min(batch + 1, (self.params or {}).get("steps") or batch + 1)

    def _build_first(self) -> None:
        """Has a model without weights yet built before its first step: what it starts from is gone after it."""
        chosen = self.model.train_function

        def build_and_run(iterator: Any) -> Any:
            self.model.train_function = chosen
            # A model that cannot be built from shapes alone is built by its step, and has no displacement.
            with contextlib.suppress(Exception):
                x, *_ = keras.utils.unpack_x_y_sample_weight(iterator.element_spec)
                self.model(keras.tree.map_structure(lambda spec: keras.KerasTensor(spec.shape, spec.dtype.name), x))
                self._memory.remember(self.model.trainable_variables)
            return chosen(iterator)

        self.model.train_function = build_and_run

    # -- what went wrong ----------------------------------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """An error of ours costs the statistics, and not the training."""
        if self._stopped:
            yield
            return
        try:
            yield
        except Exception as error:
            if self.strict:
                raise
            self._stopped = True
            if self._watched is not None:
                self._watched.disarm()
                self._watched = None
            warnings.warn(report_of(error, self.model), RuntimeWarning, stacklevel=3)

    def _tell(self) -> None:
        if self._writer is not None:
            for message in self._writer.messages():
                warnings.warn(message, RuntimeWarning, stacklevel=3)


def _steps_done(optimizer: Any) -> int:
    """Steps of the train function that an optimizer has seen."""
    if optimizer is None:
        return 0
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    # `iterations` are updates: of accumulated gradients, several steps each.
    return int(inner._iterations.value.numpy())
