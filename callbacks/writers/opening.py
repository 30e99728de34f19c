"""The writers of one training, opened."""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from .background import BackgroundWriter
from .base import Writer
from .budget import MAX_BYTES, Budget
from .event_files import EventFiles
from .hyperparameters import HParams
from .json_lines import JsonLines


def open_writers(
    log_dir: str | os.PathLike[str] | None = None,
    writers: Sequence[Writer] = (),
    max_bytes: int = MAX_BYTES,
    hparams: HParams | None = None,
) -> BackgroundWriter | None:
    """Opens the files in `log_dir` and the further writers; None if there is nothing to write to.

    Raises:
        OSError: `log_dir` cannot be made or written to.
    """
    opened: list[Writer] = []
    budget = Budget()
    if log_dir is not None:
        files = (JsonLines(log_dir), EventFiles(log_dir, hparams))
        try:
            budget = Budget(max_bytes, sum(file.used() for file in files), repr(str(log_dir)))
            for file in files:
                file.budget = budget
                opened.append(file)
                file.open()
        except Exception as error:  # TensorFlow has errors of its own
            _close(opened)
            raise OSError(
                f"log_dir={str(log_dir)!r} cannot be written to: {error}. Choose a folder that you may write to, or "
                "log_dir=None to keep the statistics in memory only."
            ) from error
    try:
        for writer in writers:
            opened.append(writer)
            writer.open()
    except BaseException:
        _close(opened)
        raise
    return BackgroundWriter(opened, budget) if opened else None


def checked_max_bytes(max_bytes: Any) -> int:
    """The size of the budget.

    Raises:
        TypeError: not an integer.
        ValueError: not positive.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int):
        raise TypeError(f"max_bytes must be a number of bytes. Received: max_bytes={max_bytes!r}. Give an integer.")
    if max_bytes < 1:
        raise ValueError(
            f"max_bytes must be positive. Received: max_bytes={max_bytes}. To write no files, leave out log_dir."
        )
    return max_bytes


def _close(writers: Sequence[Writer]) -> None:
    for writer in writers:
        writer.close()
