"""The default executor: processes on this machine, one TensorFlow each, the cores shared out among them."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Generator, Iterator
from concurrent.futures import ALL_COMPLETED, FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.connection import Connection

from keras_initlab.lab.sweeps.grid import Configuration
from keras_initlab.lab.sweeps.trial import Row, failed, trial

__all__ = ["cores", "in_local_processes", "leave_unguarded_import"]

# TensorFlow keeps about 4 MB of each network of ten layers that it has trained, for as long as the process lives.
_RUNS_IN_A_PROCESS = 100
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
# TensorFlow's own words would stand between the lines of the progress bar; on a GPU the first process would take all
# of the memory.
_SETTINGS = {"TF_CPP_MIN_LOG_LEVEL": "2", "TF_FORCE_GPU_ALLOW_GROWTH": "true"}


class WorkerDied(RuntimeError):
    """The process that a run went on in ended without a word."""


def cores() -> int:
    """Cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def in_local_processes(configurations: list[Configuration], workers: int) -> Iterator[Row]:
    """Runs trials in processes of their own and gives the rows as they come.

    Where a process dies, nobody knows for certain whose fault it was: the runs that were going on are tried again one
    by one, and the one that kills its process again becomes a row with that error.

    Raises:
        RuntimeError: no process gets as far as its first run.
    """
    waiting = deque(configurations)
    while waiting:
        suspects = deque((yield from _pool(waiting, min(workers, len(waiting)))))
        while suspects:
            for guilty in (yield from _pool(suspects, 1)):
                yield failed(guilty, WorkerDied("twice, the second time alone: out of memory, or a crash"))


def _pool(waiting: deque[Configuration], workers: int) -> Generator[Row, None, list[Configuration]]:
    """One pool, until it has done its share or one of its processes dies; returns what was going on then."""
    context = multiprocessing.get_context("spawn")
    # The processes end when the other end of this is closed: by us, or by the system when we are killed.
    stop, held = context.Pipe(duplex=False)
    threads = max(1, cores() // workers)
    pool = ProcessPoolExecutor(workers, context, _begin, (stop, threads))
    going: dict[Future[Row], Configuration] = {}
    broken, left = False, workers * _RUNS_IN_A_PROCESS
    try:
        _start(pool, workers, threads)
        while not broken and (going or (waiting and left)):
            try:
                # No more than are worked on, so that what is going on when a process dies is known.
                while waiting and left and len(going) < workers:
                    going[pool.submit(trial, waiting[0])] = waiting[0]
                    waiting.popleft()
                    left -= 1
            except BrokenProcessPool:
                broken = True
            done, _ = wait(going, return_when=ALL_COMPLETED if broken else FIRST_COMPLETED)
            for future in done:
                error = future.exception()
                if isinstance(error, BrokenProcessPool):
                    broken = True
                    continue
                configuration = going.pop(future)
                yield future.result() if error is None else failed(configuration, error)
        if not broken:
            pool.shutdown()
    finally:
        held.close()
        pool.shutdown(wait=True, cancel_futures=True)
        stop.close()
    return list(going.values())


def _start(pool: ProcessPoolExecutor, workers: int, threads: int) -> None:
    """Starts all processes at once; left to itself, the pool starts the next one when the first is busy."""
    shared = {**dict.fromkeys(_THREADS, str(threads)), **{k: os.environ.get(k, v) for k, v in _SETTINGS.items()}}
    try:
        # Read when the libraries are loaded, which is before a process runs anything of ours.
        with _environment(shared):
            ready = [pool.submit(_ready) for _ in range(workers)]
        for future in ready:
            future.result()
    except BrokenProcessPool as error:
        raise RuntimeError(
            "The worker processes of the sweep ended before their first run. A script that calls sweep() is imported "
            "by each of them, so it must do its work under `if __name__ == '__main__':`, and it must be a file, not "
            "standard input. If it does and is, what the processes printed above says why they ended."
        ) from error


@contextlib.contextmanager
def _environment(changes: dict[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in changes}
    os.environ.update(changes)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


def _begin(stop: Connection, threads: int) -> None:
    """What a process does first."""
    import tensorflow as tf

    # Ctrl-C reaches every process of the terminal; the sweep's own decides what becomes of the runs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(stop,), daemon=True).start()
    with contextlib.suppress(RuntimeError):  # the caller's script has used TensorFlow as it was imported
        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)


def _end_with(stop: Connection) -> None:
    with contextlib.suppress(EOFError, OSError):
        stop.recv()
    os._exit(1)


def _ready() -> None:
    """What a process answers when it has begun."""


def leave_unguarded_import() -> None:
    """Ends a worker process that came to sweep() while it imported the caller's script; its parent says why."""
    if getattr(multiprocessing.current_process(), "_inheriting", False):
        sys.exit(1)
