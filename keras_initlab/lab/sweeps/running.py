"""sweep(): a grid of trainings, each done once, however often it is interrupted."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections.abc import Iterator, Mapping
from concurrent.futures import Executor
from typing import Any

from keras_initlab.initializers.arguments import Choice, Count
from keras_initlab.lab.result import key_of
from keras_initlab.lab.sweeps.executors import checked_executor, in_executor
from keras_initlab.lab.sweeps.grid import configurations
from keras_initlab.lab.sweeps.hparams import HParamsFiles
from keras_initlab.lab.sweeps.local import cores, in_local_processes, leave_unguarded_import
from keras_initlab.lab.sweeps.rows import RowFile
from keras_initlab.lab.sweeps.table import Sweep, check_parquet, write_parquet
from keras_initlab.lab.sweeps.trial import Row
from keras_initlab.model_init.progress import progress_bar
from keras_initlab.statistics.observe import require_tensorflow

__all__ = ["sweep"]

PARQUET = "rows.parquet"


def sweep(
    grid: Mapping[str, Any] | str | os.PathLike[str],
    executor: Executor | None = None,
    out: str | os.PathLike[str] = "runs/",
    *,
    workers: int | None = None,
    verbose: Any = "auto",
    rows: str = "jsonl",
) -> Sweep:
    """Trains a dense network for every combination in a grid, and gives a row for each.

    Each network is measured before it is trained (deviation of its activations, size of its gradients, dead units) and
    tested afterwards. A row holds the configuration, these numbers, the versions of the libraries, and the error where
    a run ended with one; `lab.sweeps.AXES` lists what a grid may name.

    Rows go to `rows.jsonl` in `out` as they come, under a key made from configuration and seed. A sweep that was
    stopped, killed or widened goes on when it is called again: runs whose key is in the file are not done again, those
    with an error among them (to run one again, delete its line). `tensorboard --logdir runs/tensorboard` shows the
    runs on its HParams page.

    A script must call this under `if __name__ == "__main__":`, as the processes of the default executor import it.

    Args:
        grid: a value or a list of values for each name in `lab.sweeps.AXES`, or the path of a TOML file of such
            lines. Names left out keep their default; all is checked before anything runs.
        executor: any `concurrent.futures.Executor` whose workers can import keras_initlab. Default `None`: processes
            on this machine, one TensorFlow each, which share out its cores. See below for clusters.
        out: folder for the rows. Two sweeps at once need two folders. Default `"runs/"`.
        workers: processes of the default executor, from 1. Default: one for each core, and no more than there are runs.
        verbose: "auto" shows a progress bar with the time left where there is a terminal or notebook, True anyway,
            False none.
        rows: "jsonl", or "parquet" to write `rows.parquet` too when the sweep ends or is interrupted; needs pyarrow.
            Lines come first in either case, since a Parquet file cannot grow by a row.

    Returns:
        The rows of this grid in its order, as a `Sweep`: a sequence of dictionaries, with `to_dataframe()`.

    Raises:
        ValueError: a name or value that a grid cannot have, a file of rows that holds something else, a backend other
            than TensorFlow.
        TypeError: an argument of the wrong kind.
        ImportError: rows="parquet" without pyarrow.
        OSError: `out` cannot be written to, or another sweep writes to it; before anything runs.
        RuntimeError: the executor died. What was done is stored.
        KeyboardInterrupt: likewise.

    Example:
        >>> import tempfile
        >>> from concurrent.futures import ThreadPoolExecutor
        >>> from keras_initlab import lab
        >>> grid = {"initializer": ["zeros", "keras_initlab>HeNormal"], "depth": 3, "width": 32, "steps": 60}
        >>> grid.update(optimizer="adam", learning_rate=0.01)
        >>> with ThreadPoolExecutor(1) as executor:
        ...     runs = lab.sweep(grid, executor, out=tempfile.mkdtemp(), verbose=False)
        >>> [(run["initializer"], run["accuracy"] > 0.3) for run in runs]
        [('Zeros', False), ('keras_initlab>HeNormal', True)]

    Note:
        Dask: `lab.sweep(grid, client.get_executor())`, with `client = dask.distributed.Client(address)`. Give its
        workers one thread each; a run whose worker dies is done by another.

        MPI: `with mpi4py.futures.MPIPoolExecutor() as executor: lab.sweep(grid, executor)` in a script that is started
        by `mpiexec -n 9 python -m mpi4py.futures script.py`: one process leads, eight work.

        Ray has no executor of this kind; its tasks make one:

            class RayExecutor(concurrent.futures.Executor):
                def submit(self, fn, /, *args, **kwargs):
                    return ray.remote(fn).remote(*args, **kwargs).future()
    """
    leave_unguarded_import()
    require_tensorflow("sweep")
    chosen = checked_executor(executor)
    Choice(("jsonl", "parquet")).check("rows", rows)
    if workers is not None:
        Count(1, 1024).check("workers", workers)
        if chosen is not None:
            raise ValueError("workers is for the default executor; one that is given has its own. Leave workers out.")
    wanted = {key_of(configuration): configuration for configuration in configurations(grid)}
    if rows == "parquet":
        check_parquet()
    with RowFile(out) as file:
        board = HParamsFiles(out)
        board.complete(file.rows.values())
        missing = [configuration for key, configuration in wanted.items() if key not in file.rows]
        number = min(workers or cores(), max(1, len(missing)))
        made = in_executor(chosen, missing) if chosen is not None else in_local_processes(missing, number)
        try:
            if missing:
                _collect(made, len(wanted), len(missing), file, board, verbose)
        except (KeyboardInterrupt, RuntimeError) as error:
            done = sum(key in file.rows for key in wanted)
            stored = f"{done} of {len(wanted)} runs are done and stored in {str(out)!r}; the same call does the others."
            kind = KeyboardInterrupt if isinstance(error, KeyboardInterrupt) else RuntimeError
            raise kind(f"{error} {stored}".strip()) from error
        finally:
            if rows == "parquet":
                _write_parquet(file)
        found = Sweep([file.rows[key] for key in wanted], out)
        unwritten = len(file.waiting)
    if unwritten:
        warnings.warn(
            f"{unwritten} rows could not be written to {str(out)!r} and are only in what sweep() returns. Save them: "
            "its to_dataframe().to_csv('elsewhere.csv').",
            stacklevel=2,
        )
    return found


def _collect(made: Iterator[Row], total: int, missing: int, file: RowFile, board: HParamsFiles, verbose: Any) -> None:
    """Stores the rows as they come, and shows how far it is."""
    with contextlib.closing(made), progress_bar(verbose) as progress:  # type: ignore[type-var]
        # Runs may take minutes each: the time left is told from all of them, not from the last half minute.
        progress.speed_estimate_period = float("inf")
        if not progress.disable:
            done = f", {total - missing} of them done already" if missing < total else ""
            progress.console.print(f"{total} runs{done}.")
        task = progress.add_task("sweep", total=missing)
        progress.advance(task, 0)
        for row in made:
            file.append(row)
            board.write(row)
            progress.advance(task)


def _write_parquet(file: RowFile) -> None:
    """A disk that fails costs the file, not the rows that are about to be returned."""
    try:
        write_parquet(file.folder / PARQUET, file.rows.values())
    except OSError as error:
        warnings.warn(f"{str(file.folder / PARQUET)!r} cannot be written: {error.strerror}.", stacklevel=3)
