"""Which training steps are watched."""

from __future__ import annotations

import operator
from dataclasses import dataclass
from typing import Literal

UpdateFreq = int | Literal["batch", "epoch"]


@dataclass(frozen=True)
class Schedule:
    """The steps that an `update_freq` names, as in Keras's TensorBoard callback.

    Attributes:
        every: watch the steps that this divides, counted from 1; `None` for one step an epoch.
    """

    every: int | None

    @classmethod
    def of(cls, update_freq: UpdateFreq) -> Schedule:
        """The schedule of an `update_freq`.

        Raises:
            ValueError: neither "epoch", "batch" nor a positive integer.
        """
        if update_freq == "epoch":
            return cls(None)
        if update_freq == "batch":
            return cls(1)
        try:
            every = -1 if isinstance(update_freq, bool) else operator.index(update_freq)
        except TypeError:
            every = -1
        if every < 1:
            raise ValueError(
                'update_freq must be "epoch", "batch" or a positive number of batches. '
                f"Received: update_freq={update_freq!r}."
            )
        return cls(every)

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether to watch an execution of the train function.

        Args:
            epoch_start: steps done before this epoch.
            first: the first step that the execution makes, counted from 1 over the whole training.
            last: the last one.
            steps: steps in an epoch; `None` where nobody knows yet.
        """
        if self.every is not None:
            return last // self.every * self.every >= first
        # The last step of the epoch; of data of unknown length, the only step that is sure to come.
        target = epoch_start + (1 if steps is None else steps)
        return first <= target <= last
