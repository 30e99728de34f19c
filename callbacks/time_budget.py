"""TimeBudget: watches as often as a share of the training time allows."""

from __future__ import annotations

import math
import statistics
from collections import deque
from numbers import Real
from typing import Any

from .schedule import Schedule

# Plain executions before the first watched one: enough for their median to forget that Keras traces in the first.
_PLAIN_FIRST = 8
# How many of the last executions speak for the next: enough to even out noise, few enough to follow a drift.
_RECENT = 32
# Seconds below which clocks say zero.
_CLOCK = 1e-9


class TimeBudget(Schedule):
    """Watches every n steps, with n such that watching takes at most a share of the training time.

    With ``p`` the seconds of a plain step and ``a`` what watching one adds, every n steps costs the share
    ``a / (n p + a)`` of the training time, so ``n = a (1 - share) / (share p)``. ``p`` is the median of the last 32
    plain steps and ``a`` the mean of what the last 32 watched ones took longer, each with the step after it, which
    shares the processor with what is written in the background. n is rounded up, and kept while it is at most twice
    what it need be, so that it seldom changes.

    The first watched step is the ninth, and is traced then, which may take as long as thousands of steps. It is paid
    back too: until then half of the share goes into that and half into watching. So all that watching took is at most
    the share of a training that is longer than ``2 / share`` times the tracing (with 2 %: a hundred times), and more of
    a shorter one.

    Steps are counted from the last one watched, not from the start of training, and the times are those of this
    object: give each callback its own, and after a resumption it begins by measuring again.

    Args:
        share: of the training time with watching, between 0 and 1. Default .02: what nobody notices.

    Attributes:
        share: the same.
        chosen: pairs (step, n), oldest first: from this step on, every n steps.
        spent: seconds that watching has added so far.
        total: seconds of all executions so far.

    Raises:
        TypeError: share is no number.
        ValueError: share is not between 0 and 1.

    Example:
        >>> schedule = TimeBudget(share=0.1)
        >>> for step in range(1, 10_001):
        ...     watched = schedule.due(0, step, step, None)
        ...     schedule.seconds(step, watched, 3.0 if watched else 1.0)
        >>> schedule.chosen
        [(9, 23), (32, 46), (78, 22)]
        >>> round(schedule.spent / schedule.total, 3)
        0.083
    """

    def __init__(self, share: float = 0.02) -> None:
        given: Any = share
        if isinstance(given, bool) or not isinstance(given, Real):
            raise TypeError(f"share must be a number between 0 and 1. Received: share={share!r}.")
        if not 0 < share < 1:
            raise ValueError(
                f"share must be between 0 and 1, such as 0.02 for 2 % of the training time. Received: share={share!r}."
            )
        self.share = float(share)
        self.chosen: list[tuple[int, int]] = []
        self.spent = self.total = 0.0
        self._plain: deque[float] = deque(maxlen=_RECENT)
        self._added: deque[float] = deque(maxlen=_RECENT)
        self._watched_at = 0
        self._cost: float | None = None  # of a watched execution whose aftermath is not known yet
        self._steps = 1
        self._said = 0

    def due(self, epoch_start: int, first: int, last: int, steps: int | None) -> bool:
        """Whether n steps have gone by since the last one that was watched."""
        self._steps = last - first + 1
        if self._cost is not None:
            return False
        if not self.chosen:
            return len(self._plain) >= _PLAIN_FIRST
        return last >= self._watched_at + self.chosen[-1][1]

    def seconds(self, step: int, watched: bool, seconds: float) -> None:
        """Takes the time of an execution into account, and chooses n anew after a watched one."""
        self.total += seconds
        if not watched and self._cost is None:
            self._plain.append(seconds / self._steps)
            return
        plain = max(statistics.median(self._plain), _CLOCK)
        added = seconds - plain * self._steps
        self.spent += added
        if watched:
            self._cost, self._watched_at = added, step
            return
        # What is written in the background slows down the execution after the watched one.
        cost, self._cost = (self._cost or 0.0) + added, None
        # The first has the tracing in it, and says nothing of the next.
        if self.chosen:
            self._added.append(cost)
        self._choose(plain)

    def note(self) -> str | None:
        """Says how often steps are watched, once after each change."""
        if self._said == len(self.chosen):
            return None
        self._said = len(self.chosen)
        step, n = self.chosen[-1]
        return f"every {n:,} steps from step {step:,} on, for {100 * self.share:g} % of the training time"

    def _choose(self, plain: float) -> None:
        # Until that is known: as long as a step of its own.
        added = statistics.fmean(self._added) if self._added else plain * self._steps
        share = self.share if self.spent <= self.share * self.total else self.share / 2
        # A plain execution in between keeps `plain` up to date.
        least = max(added * (1 - share) / (share * plain), 2.0 * self._steps)
        if not self.chosen or not least <= self.chosen[-1][1] <= 2 * least:
            self.chosen.append((self._watched_at, _rounded_up(1.2 * least)))


def _rounded_up(number: float) -> int:
    """To two digits."""
    unit: int = 10 ** max(math.floor(math.log10(number)) - 1, 0)
    return math.ceil(number / unit) * unit
