"""rows.jsonl: a line for each run that is done, safe against being killed at any moment."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import warnings
from collections import deque
from typing import Any

from keras_initlab.callbacks.writers.files import checked_folder
from keras_initlab.lab.running import check_writable
from keras_initlab.lab.sweeps.trial import Row

__all__ = ["FILE_NAME", "RowFile"]

FILE_NAME = "rows.jsonl"


class RowFile:
    """The rows of a folder, held by one sweep at a time, each written as soon as its run is done.

    A context manager. The lock ends with the process that holds it, however that ends.

    Args:
        out: the folder, made if it is not there.

    Attributes:
        rows: row by key, those of earlier sweeps among them.
        waiting: lines that could not be written yet.

    Raises:
        TypeError: not a path.
        OSError: the folder cannot be written to, or another sweep is writing to it.
        ValueError: the file holds something else.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.folder = checked_folder("out", out)
        check_writable(self.folder)
        self.rows: dict[str, Row] = {}
        self.waiting: deque[bytes] = deque()
        self._warned = False

    def __enter__(self) -> RowFile:
        with contextlib.ExitStack() as stack:
            self._lock = os.open(self.folder / ".lock", os.O_RDWR | os.O_CREAT, 0o666)
            stack.callback(os.close, self._lock)
            self._take()
            self._file = os.open(self.folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
            stack.callback(os.close, self._file)
            self._read()
            self._exit = stack.pop_all()
        return self

    def __exit__(self, *_: Any) -> None:
        self._exit.close()

    def append(self, row: Row) -> None:
        """Adds a run that is done. A disk that fails is told once; the row waits in memory for the next."""
        self.rows[row["key"]] = row
        self.waiting.append(json.dumps(row, allow_nan=False).encode() + b"\n")
        try:
            while self.waiting:
                self._write(self.waiting[0])
                self.waiting.popleft()
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{str(self.folder / FILE_NAME)!r} cannot be written: {error.strerror}. The sweep goes on; its "
                    "rows wait in memory until they can be.",
                    stacklevel=2,
                )

    def _write(self, line: bytes) -> None:
        end = os.fstat(self._file).st_size
        try:
            # One write, so that a reader of the growing file never meets half a line.
            if os.write(self._file, line) < len(line):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._file)
        except OSError:
            with contextlib.suppress(OSError):
                os.ftruncate(self._file, end)
            raise

    def _take(self) -> None:
        try:
            import fcntl
        except ImportError:  # not a POSIX system
            return
        try:
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.read(self._lock, 20).decode(errors="replace").strip()
            raise BlockingIOError(
                f"out={str(self.folder)!r} is in use by another sweep, process {holder or 'unknown'}. Wait for it, "
                "or choose another folder."
            ) from error
        os.ftruncate(self._lock, 0)
        os.pwrite(self._lock, f"{os.getpid()}\n".encode(), 0)

    def _read(self) -> None:
        path = self.folder / FILE_NAME
        content = path.read_bytes()
        whole = content.rfind(b"\n") + 1
        for number, line in enumerate(content[:whole].splitlines(), 1):
            try:
                row = json.loads(line)
                self.rows.setdefault(row["key"], row)
            except (ValueError, KeyError, TypeError) as error:
                raise ValueError(
                    f"Line {number} of {str(path)!r} is no row of a sweep. Remove the line, or choose another folder."
                ) from error
        # What stands behind the last end of a line was cut off when a sweep was killed; that run is done again.
        if whole < len(content):
            os.ftruncate(self._file, whole)
