"""Event files for TensorBoard's HParams page: a session for each run, written by the process that collects the rows."""

from __future__ import annotations

import io
import os
import time
import warnings
from collections.abc import Iterable
from pathlib import Path

from keras_initlab.lab.result import write_whole
from keras_initlab.lab.sweeps.grid import AXES
from keras_initlab.lab.sweeps.trial import MEASURED, Row

__all__ = ["FOLDER", "HParamsFiles", "session"]

FOLDER = "tensorboard"
_FILE_NAME = "events.out.tfevents.sweep"


class HParamsFiles:
    """A folder with one event file for each run, which `tensorboard --logdir` is pointed at.

    Args:
        out: the folder of the sweep.
    """

    def __init__(self, out: str | os.PathLike[str]) -> None:
        self.folder = Path(out) / FOLDER
        self._warned = False

    def complete(self, rows: Iterable[Row]) -> None:
        """Writes those that a killed sweep did not get to."""
        for row in rows:
            if not self._path(row).exists():
                self.write(row)

    def write(self, row: Row) -> None:
        """Writes one run. A disk that fails is told once; the next sweep into this folder makes up for it."""
        try:
            self._path(row).parent.mkdir(parents=True, exist_ok=True)
            write_whole(self._path(row), session(row))
        except OSError as error:
            if not self._warned:
                self._warned = True
                warnings.warn(
                    f"{str(self.folder)!r} cannot be written: {error.strerror}. The sweep goes on; run it again into "
                    "the same folder to make up for what TensorBoard lacks.",
                    stacklevel=2,
                )

    def _path(self, row: Row) -> Path:
        return self.folder / str(row["key"]) / _FILE_NAME


def session(row: Row) -> bytes:
    """The event file of one run: its configuration, its numbers as scalars, and how it ended."""
    from tensorboard.compat.proto import event_pb2
    from tensorboard.plugins.hparams import summary_v2
    from tensorboard.plugins.scalar.summary_v2 import scalar_pb
    from tensorboard.summary.writer.record_writer import RecordWriter

    from keras_initlab.callbacks.writers.hyperparameters import session_end_event

    now = time.time()
    start = now - (row["seconds"] or 0.0)
    configuration = {axis.name: row[axis.name] for axis in AXES}
    # The page groups what has one group name, and each run is to be a row of its own.
    begun = summary_v2.hparams_pb(configuration, trial_id=row["key"], start_time_secs=start)
    events = [
        event_pb2.Event(wall_time=start, file_version="brain.Event:2"),
        event_pb2.Event(wall_time=start, summary=begun),
    ]
    for name in (*MEASURED, "seconds"):
        if row[name] is not None:
            step = 0 if name.endswith(("_first", "_before")) else row["steps"]
            events.append(event_pb2.Event(wall_time=now, step=step, summary=scalar_pb(name, row[name])))
    content = io.BytesIO()
    writer = RecordWriter(content)
    for event in events:
        writer.write(event.SerializeToString())
    writer.write(session_end_event(succeeded=row["error"] is None))
    return content.getvalue()
