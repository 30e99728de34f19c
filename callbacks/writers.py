"""Where Profiles go: TensorBoard's event files and JSON lines, written by a thread of their own."""

from __future__ import annotations

import atexit
import os
import queue
import socket
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Protocol

import tensorflow as tf

from ..statistics.lines import to_line
from ..statistics.profile import Profile
from ..statistics.schema import FILE_NAME
from .tensorboard_events import event_of

FLUSH_SECONDS = 1.0


class Writer(Protocol):
    """Takes Profiles, one after the other; raises OSError or tf.errors.OpError when it cannot."""

    def write(self, profile: Profile) -> None:
        """Appends one Profile."""

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""

    def close(self) -> None:
        """Flushes and lets go of the file."""


class JsonLinesWriter:
    """One line of JSON a Profile; `Profile.read` reads it back."""

    def __init__(self, log_dir: Path) -> None:
        self._file = open(log_dir / FILE_NAME, "a+b")  # noqa: SIM115  held for the length of the training
        # A line that an earlier run was killed in the middle of must not swallow the first of this run.
        if self._file.seek(0, os.SEEK_END) > 0:
            self._file.seek(-1, os.SEEK_END)
            if self._file.read(1) != b"\n":
                self._file.write(b"\n")

    def write(self, profile: Profile) -> None:
        """Appends one Profile."""
        self._file.write(to_line(profile))

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and lets go of the file."""
        self._file.close()


class EventFileWriter:
    """An event file that TensorBoard's stock dashboards show."""

    _number = 0

    def __init__(self, log_dir: Path) -> None:
        # An event file is a file of records with this name, which TensorFlow writes with its checksums in C++.
        EventFileWriter._number += 1
        name = f"events.out.tfevents.{int(time.time())}.{socket.gethostname()}.{os.getpid()}.{self._number}"
        self._file = tf.io.TFRecordWriter(str(log_dir / name))
        header = tf.compat.v1.Event(wall_time=time.time(), file_version="brain.Event:2")
        self._file.write(header.SerializeToString())
        self._file.flush()

    def write(self, profile: Profile) -> None:
        """Appends one Profile."""
        self._file.write(event_of(profile).SerializeToString())

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """Flushes and lets go of the file."""
        self._file.close()


class BackgroundWriter:
    """Hands Profiles to several writers from a thread of its own, so that training does not wait for a disk.

    After the first failure nothing more is written; `failure` holds what went wrong.
    """

    def __init__(self, writers: Sequence[Writer]) -> None:
        self.failure: Exception | None = None
        self._writers = writers
        self._queue: queue.Queue[Profile | None] = queue.Queue(maxsize=32)
        self._thread = threading.Thread(target=self._run, name="keras_initlab-writer", daemon=True)
        self._thread.start()
        atexit.register(self.close)

    def write(self, profile: Profile) -> None:
        """Queues one Profile; waits only if many are queued already."""
        if self._thread.is_alive():
            self._queue.put(profile)

    def close(self) -> None:
        """Writes what is queued and closes the files."""
        if self._thread.is_alive():
            self._queue.put(None)
            self._thread.join()
        atexit.unregister(self.close)

    def _run(self) -> None:
        flushed, dirty, going = time.monotonic(), False, True
        while going:
            try:
                profile = self._queue.get(timeout=FLUSH_SECONDS)
                going = profile is not None
                if profile is not None:
                    self._each("write", profile)
                    dirty = True
            except queue.Empty:
                pass
            if dirty and time.monotonic() - flushed >= FLUSH_SECONDS:
                self._each("flush")
                flushed, dirty = time.monotonic(), False
        self._each("close")

    def _each(self, action: str, *arguments: Any) -> None:
        for writer in self._writers:
            if self.failure is not None and action != "close":
                return
            try:
                getattr(writer, action)(*arguments)
            except Exception as error:  # whatever it is, the thread must live to have it told
                self.failure = self.failure or error


def open_log_dir(log_dir: str | os.PathLike[str]) -> BackgroundWriter:
    """Makes the folder and opens the files in it.

    Raises:
        OSError: the folder cannot be made or written to.
    """
    folder = Path(log_dir)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return BackgroundWriter([JsonLinesWriter(folder), EventFileWriter(folder)])
    except (OSError, tf.errors.OpError) as error:
        raise OSError(
            f"log_dir={str(log_dir)!r} cannot be written to: {error}. Choose a folder that you may write to, or "
            "log_dir=None to keep the statistics in memory only."
        ) from error
