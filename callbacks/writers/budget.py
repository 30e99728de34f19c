"""Budget: how much of a training is written, so that a disk never fills however long the run."""

from __future__ import annotations

import math

from ...statistics.profile import Profile

# Some two thousand watched steps of a network of 20 layers with everything on: more than a chart has pixels across, and
# nothing that anyone has to clear away.
MAX_BYTES = 2**30


class Budget:
    """Bytes that may be written, and what is left out so that they last.

    Beyond a half of them Profiles are written without histograms; beyond three quarters only every 2nd of the watched
    steps, then every 4th and so on, twice as sparse each time that an eighth of what was left is used. So a training
    that is watched for n steps more takes about log n stages, each smaller than the one before: the end of the budget
    is not reached by any n that a training could have.

    Args:
        limit: the bytes. Default: no limit.
        used: how many of them are used already.
        what: what the messages call the place.

    Attributes:
        messages: what the user has to be told, once for each of the two stages.
    """

    def __init__(self, limit: float = math.inf, used: int = 0, what: str = "") -> None:
        self.limit, self.used, self.what = limit, used, what
        self.messages: list[str] = []
        self._plain = False
        self._every, self._skipped, self._until = 1, 0, 0.75 * limit
        self._before, self._cost = used, 0

    def form(self, profile: Profile) -> Profile | None:
        """What is written of a Profile: all of it, its numbers without the histograms, or nothing."""
        if self.used > self._until:
            if self._every == 1:
                self._say("only every 2nd of the watched steps is written from here on, then every 4th and so on,")
            self._every *= 2
            self._until = self.used + (self.limit - self.used) / 8
        self._skipped += 1
        # What the last Profile took in all files: where one of them has no room left, none is given more.
        self._cost, self._before = self.used - self._before or self._cost, self.used
        if self._skipped < self._every or self.used + self._cost > self.limit:
            return None
        self._skipped = 0
        if profile.histograms is None or self.used <= self.limit / 2:
            return profile
        if not self._plain:
            self._plain = True
            self._say("histograms are left out from here on,")
        return Profile(profile.step, profile.keys, profile.statistics, None, profile.notes, profile.channels)

    def spend(self, size: int) -> bool:
        """Takes the bytes of one record, if there are as many."""
        if self.used + size > self.limit:
            return False
        self.used += size
        return True

    def _say(self, what: str) -> None:
        self.messages.append(
            f"LayerStatistics has written {self.used:,} of max_bytes={self.limit:,} to {self.what}: {what} so that the "
            "limit holds however long the training. Give a larger max_bytes or watch fewer steps to keep everything."
        )
