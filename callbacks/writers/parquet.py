"""Parquet: a folder of part files that pandas, Arrow, DuckDB or Spark read as one table."""

from __future__ import annotations

import contextlib
import itertools
import os
import socket
import time
from typing import Any

import numpy as np

from ...statistics.profile import Profile
from ...statistics.schema import BIN_EDGES, COUNTS, STATISTICS
from .base import Writer
from .files import checked_folder

# A part is written anew by each flush until it has this many rows, about 1 MB: few files, and little written twice.
ROWS_IN_A_PART = 20_000
_numbers = itertools.count(1)


class Parquet(Writer):
    """Writes the rows of Profiles to a folder of Parquet files, which together are one table.

    Columns and rows are those of `Profile.rows`; what does not apply is null, and a histogram is a list of
    `{lower, upper, count}`. Notes and channels are not in the table. A file is replaced as a whole whenever it grows:
    a process killed at any moment leaves none that cannot be read. Each training writes parts of its own.

    Args:
        folder: the folder, made if it is not there.

    Raises:
        ImportError: pyarrow is not installed.

    Example:
        >>> import tempfile, numpy as np, keras, keras_initlab as kil, pyarrow.parquet as pq
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
        >>> folder = tempfile.mkdtemp()
        >>> parquet = kil.callbacks.Parquet(folder)
        >>> parquet.write(kil.observe(model, np.ones((4, 3), "float32")))
        >>> parquet.close()
        >>> table = pq.read_table(folder)  # or pandas.read_parquet(folder)
        >>> list(zip(table["quantity"].to_pylist(), table["count"].to_pylist()))
        [('activation', 8), ('weight', 6), ('weight', 2)]
    """

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        try:
            import pyarrow  # noqa: F401  that it is there
        except ImportError as error:
            raise ImportError("Parquet needs pyarrow: pip install pyarrow. Or use JsonLines.") from error
        self.folder = checked_folder("folder", folder)
        self._tables: list[Any] = []
        self._part = ""
        self._dirty = False

    def open(self) -> None:
        """Makes the folder, and a name for the first part."""
        self.folder.mkdir(parents=True, exist_ok=True)
        if not os.access(self.folder, os.W_OK):
            raise PermissionError(f"folder={str(self.folder)!r} cannot be written to.")
        self._begin()

    def write(self, profile: Profile) -> None:
        """Adds the rows of one Profile to the part."""
        if not self._part:
            self.open()
        self._tables.append(table_of(profile))
        self._dirty = True

    def flush(self) -> None:
        """Writes the part as it is now in place of what it was."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        if not self._dirty:
            return
        table = pa.concat_tables(self._tables)
        # Readers of a folder of parts leave out names that begin with an underscore.
        unfinished = self.folder / f"_{self._part}"
        try:
            pq.write_table(table, unfinished)
            os.replace(unfinished, self.folder / self._part)
        except BaseException:
            with contextlib.suppress(OSError):
                unfinished.unlink()
            raise
        self._tables, self._dirty = [table], False
        if len(table) >= ROWS_IN_A_PART:
            self._begin()

    def close(self) -> None:
        """Writes the last part."""
        try:
            self.flush()
        finally:
            self._tables, self._part, self._dirty = [], "", False

    def _begin(self) -> None:
        self._part = f"part-{time.time():010.0f}-{socket.gethostname()}-{os.getpid()}-{next(_numbers):05d}.parquet"
        self._tables = []

    def __repr__(self) -> str:
        return f"Parquet({str(self.folder)!r})"


def table_of(profile: Profile) -> Any:
    """The rows of a Profile as an Arrow table."""
    import pyarrow as pa

    depth, layer, quantity, variable = zip(*profile.keys, strict=True) if profile.keys else ((), (), (), ())
    columns = {
        "step": pa.array(np.full(len(profile), profile.step), pa.int64()),
        "depth": pa.array(depth, pa.int64()),
        "layer": pa.array(layer, pa.string()),
        "quantity": pa.array(quantity, pa.string()),
        "variable": pa.array(variable, pa.string()),
    }
    for name in STATISTICS:
        values = profile.statistics[name]
        columns[name] = pa.array(values.astype(np.int64)) if name in COUNTS else pa.array(values, from_pandas=True)
    columns["histogram"] = _histograms(profile)
    return pa.table(columns)


def _histograms(profile: Profile) -> Any:
    import pyarrow as pa

    bucket = pa.struct([("lower", pa.float64()), ("upper", pa.float64()), ("count", pa.int64())])
    if profile.histograms is None:
        return pa.nulls(len(profile), pa.list_(bucket))
    taken = profile.histograms
    runs = pa.array(taken.runs, mask=taken.runs < 0)
    low, high = BIN_EDGES[taken.bins].T
    buckets = pa.StructArray.from_arrays([low.copy(), high.copy(), taken.counts.astype(np.int64)], fields=list(bucket))
    return pa.ListArray.from_arrays(pa.array(taken.starts, pa.int32()), buckets).take(runs)
