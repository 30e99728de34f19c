"""JsonLines: one line of JSON a Profile."""

from __future__ import annotations

import os
from typing import Any

from ...statistics.lines import to_line
from ...statistics.profile import Profile
from ...statistics.schema import FILE_NAME
from .files import RecordFile


class JsonLines(RecordFile):
    """Appends Profiles to `profiles.jsonl`, exact to the last bit; `Profile.read` reads them back.

    A `LayerStatistics` with a `log_dir` writes this file without being told.

    Args:
        log_dir: the folder, made if it is not there.

    Example:
        >>> import tempfile, numpy as np, keras, keras_initlab as kil
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> folder = tempfile.mkdtemp()
        >>> lines = kil.callbacks.JsonLines(folder)
        >>> lines.write(kil.observe(model, np.ones((4, 3), "float32")))
        >>> lines.close()
        >>> [profile.step for profile in kil.Profile.read(folder)]
        [0]
    """

    def encode(self, profile: Profile) -> bytes:
        """The line, with its end."""
        return to_line(profile)

    def used(self) -> int:
        """Bytes of the file, 0 before there is one."""
        path = self.folder / FILE_NAME
        return path.stat().st_size if path.exists() else 0

    def _opened(self) -> Any:
        file = open(self.folder / FILE_NAME, "a+b")  # noqa: SIM115  held for the length of the training
        # A line that an earlier run was killed in the middle of must not swallow the first of this run.
        if file.seek(0, os.SEEK_END) > 0:
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n" and self.budget.spend(1):
                file.write(b"\n")
        return file
