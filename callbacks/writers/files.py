"""What event files and JSON lines have in common: records, appended to a file under a budget."""

from __future__ import annotations

import abc
import os
from pathlib import Path
from typing import Any

from ...statistics.profile import Profile
from .base import Writer
from .budget import Budget


class RecordFile(Writer):
    """Appends records to a file in `log_dir`, within `budget`; opened by the first Profile if not by `open`."""

    def __init__(self, log_dir: str | os.PathLike[str]) -> None:
        self.folder = checked_folder("log_dir", log_dir)
        self.budget = Budget()
        self._file: Any = None

    @abc.abstractmethod
    def encode(self, profile: Profile) -> bytes:
        """The record of one Profile."""

    @abc.abstractmethod
    def _opened(self) -> Any:
        """The file, opened to append to, with `write`, `flush` and `close`."""

    @abc.abstractmethod
    def used(self) -> int:
        """Bytes of the files of this kind that lie in the folder."""

    def open(self) -> None:
        """Makes the folder and opens the file."""
        if self._file is None:
            self.folder.mkdir(parents=True, exist_ok=True)
            self._file = self._opened()

    def write(self, profile: Profile) -> None:
        """Appends one Profile, if the budget has room for it."""
        self.open()
        self._append(self.encode(profile))

    def flush(self) -> None:
        """Hands everything written so far to the operating system."""
        if self._file is not None:
            self._file.flush()

    def close(self) -> None:
        """Flushes and lets go of the file."""
        file, self._file = self._file, None
        if file is not None:
            file.close()

    def _append(self, record: bytes, around: int = 0) -> None:
        if self.budget.spend(len(record) + around):
            self._file.write(record)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self.folder)!r})"


def checked_folder(argument: str, folder: Any) -> Path:
    """The folder's path.

    Raises:
        TypeError: not a path.
    """
    if not isinstance(folder, (str, os.PathLike)):
        raise TypeError(f"{argument} must be the path of a folder. Received: {argument}={folder!r}.")
    return Path(folder)
