"""BackgroundWriter: a thread that writes, so that training does not wait for a disk."""

from __future__ import annotations

import atexit
import contextlib
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any

from ...statistics.profile import Profile
from .base import Writer
from .budget import Budget
from .files import RecordFile

# What a killed process may lose is a second; half of it is left for the writing itself.
FLUSH_SECONDS = 0.5
# Training waits for the writers when this many Profiles are queued: memory stays bounded where a disk is too slow.
QUEUED = 32


class BackgroundWriter:
    """Hands Profiles to several writers from a thread of its own.

    What is written may be a Profile, or anything with an attribute `profile`, which is asked for in the thread: so it
    can be computed there. A writer that fails is closed and left out from then on; the others go on.

    Args:
        writers: the writers, opened.
        budget: what those of them that share it may write.

    Attributes:
        failures: the writers that failed, by name, each with its error.
    """

    def __init__(self, writers: Sequence[Writer], budget: Budget | None = None) -> None:
        self.failures: list[tuple[str, BaseException]] = []
        self._writers = list(writers)
        self._budget = Budget() if budget is None else budget
        self._messages: list[str] = []
        self._queue: queue.Queue[Any] = queue.Queue(maxsize=QUEUED)
        self._thread = threading.Thread(target=self._run, name="keras_initlab-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, item: Any) -> None:
        """Queues one Profile; waits only if many are queued already."""
        if self._thread.is_alive():
            self._queue.put(item)

    def close(self) -> None:
        """Writes what is queued and closes the writers."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        atexit.unregister(self.close)

    def messages(self) -> list[str]:
        """What the user has to be told and has not been told yet."""
        found = []
        for told in (self._messages, self._budget.messages):
            while told:
                found.append(told.pop(0))
        return found

    def _run(self) -> None:
        due: float | None = None
        while True:
            try:
                item = self._queue.get(timeout=None if due is None else max(due - time.monotonic(), 0))
            except queue.Empty:
                self._each("flush")
                due = None
                continue
            if item is None:
                break
            due = due or time.monotonic() + FLUSH_SECONDS
            self._take(item)
            if time.monotonic() >= due:
                self._each("flush")
                due = None
        self._each("close")

    def _take(self, item: Any) -> None:
        try:
            profile: Profile = getattr(item, "profile", item)
            within = self._budget.form(profile)
        except BaseException as error:  # the thread must live, or training would wait for it forever
            self._failed("its writers one of the steps", error)
            return
        for writer in tuple(self._writers):
            bounded = isinstance(writer, RecordFile) and writer.budget is self._budget
            chosen = within if bounded else profile
            if chosen is not None:
                self._try(writer, "write", chosen)

    def _each(self, action: str) -> None:
        for writer in tuple(self._writers):
            self._try(writer, action)

    def _try(self, writer: Writer, action: str, *arguments: Any) -> None:
        try:
            getattr(writer, action)(*arguments)
        except BaseException as error:
            self._writers.remove(writer)
            self._failed(repr(writer), error)
            with contextlib.suppress(BaseException):  # a file that cannot be written to may not close either
                writer.close()

    def _failed(self, name: str, error: BaseException) -> None:
        if name not in dict(self.failures):
            self.failures.append((name, error))
            self._messages.append(
                f"LayerStatistics stopped writing to {name}: {str(error) or type(error).__name__}. Training goes on, "
                "and the statistics are kept in callback.history."
            )
