"""Which training steps are watched."""

from __future__ import annotations

import abc
import operator
from dataclasses import dataclass
from typing import Any, Literal


class Schedule(abc.ABC):
    """Decides which steps are watched: what `update_freq` takes where an integer says too little.

    A schedule of your own is a subclass with the one method `due`. It should look at the numbers it is given and not
    count calls, so that a resumed training goes on where it was.

    Example:
        >>> import keras_initlab as kil
        >>> class Squares(kil.callbacks.Schedule):
        ...     def due(self, epoch_start, first, last, steps):
        ...         return any(round(step**0.5) ** 2 == step for step in range(first, last + 1))
        >>> statistics = kil.callbacks.LayerStatistics(update_freq=Squares())
    """

    @abc.abstractmethod
    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether to watch an execution of the train function, whose last step is then the one measured.

        Args:
            epoch_start: steps done before this epoch.
            first: the first step that the execution makes, counted from 1 over the whole training.
            last: the last one; the same, unless `steps_per_execution` is more than 1.
            steps: steps in an epoch; `None` where nobody knows yet.
        """

    def seconds(self, step: int, watched: bool, seconds: float) -> None:  # noqa: B027  most have no use for it
        """Is told after each execution how long it took; only a schedule that keeps to a budget listens.

        Args:
            step: the last step of the execution.
            watched: whether it was watched.
            seconds: how long it took, with all that watching did.
        """

    def note(self) -> str | None:
        """What is to be said beside the next Profile, once; `None` for nothing."""
        return None

    @staticmethod
    def of(update_freq: UpdateFreq) -> Schedule:
        """The schedule of an `update_freq`.

        Raises:
            ValueError: neither "epoch", "batch", a positive integer nor a Schedule.
        """
        if isinstance(update_freq, Schedule):
            return update_freq
        if update_freq == "epoch":
            return EveryEpoch()
        if update_freq == "batch":
            return Every(1)
        allowed = '"epoch", "batch", a positive number of batches or a Schedule'
        return Every(_positive("update_freq", update_freq, allowed))


@dataclass(frozen=True)
class Every(Schedule):
    """Watches the steps that n divides: n, 2n, 3n and so on.

    `update_freq=n` is short for it, and `update_freq="batch"` for n = 1. As in `keras.callbacks.TensorBoard`, steps are
    counted from 1 over all calls of `fit`.

    Args:
        n: a positive integer.

    Raises:
        ValueError: n is not one.

    Example:
        >>> schedule = Every(100)
        >>> [step for step in range(1, 301) if schedule.due(0, step, step, None)]
        [100, 200, 300]
    """

    n: int

    def __post_init__(self) -> None:
        object.__setattr__(self, "n", _positive("n", self.n))

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether n divides one of the steps."""
        return last // self.n * self.n >= first


@dataclass(frozen=True)
class EveryEpoch(Schedule):
    """Watches the last step of each epoch, or the first where the data do not say how many batches they have.

    `update_freq="epoch"`, the default, is short for it.

    Example:
        >>> schedule = EveryEpoch()
        >>> [step for step in range(1, 6) if schedule.due(0, step, step, 5)]
        [5]
    """

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether one of the steps is the last of the epoch; of unknown data, the only one that is sure to come."""
        return first <= epoch_start + (1 if steps is None else steps) <= last


@dataclass(frozen=True)
class PowersOfTwo(Schedule):
    """Watches steps 1, 2, 4, 8 and so on: often where most changes, 21 times in a million steps.

    Example:
        >>> schedule = PowersOfTwo()
        >>> [step for step in range(1, 100) if schedule.due(0, step, step, None)]
        [1, 2, 4, 8, 16, 32, 64]
    """

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether one of the steps is a power of two."""
        return 1 << (last.bit_length() - 1) >= first


@dataclass(frozen=True)
class FirstThenEvery(Schedule):
    """Watches each of the first steps, and from then on the steps that `every` divides.

    Args:
        first: how many steps to watch from the start of training; a positive integer.
        every: a positive integer.

    Raises:
        ValueError: one of them is not.

    Example:
        >>> schedule = FirstThenEvery(3, every=50)
        >>> [step for step in range(1, 101) if schedule.due(0, step, step, None)]
        [1, 2, 3, 50, 100]
    """

    first: int
    every: int

    def __post_init__(self) -> None:
        for name in ("first", "every"):
            object.__setattr__(self, name, _positive(name, getattr(self, name)))

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether one of the steps is among the first, or divided by `every`."""
        return first <= self.first or last // self.every * self.every >= first


UpdateFreq = int | Literal["batch", "epoch"] | Schedule


def _positive(argument: str, value: Any, allowed: str = "a positive integer") -> int:
    try:
        number = -1 if isinstance(value, bool) else operator.index(value)
    except TypeError:
        number = -1
    if number < 1:
        raise ValueError(f"{argument} must be {allowed}. Received: {argument}={value!r}.")
    return number
