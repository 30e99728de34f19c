"""Any executor of `concurrent.futures`, which runs the trials wherever it likes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future, as_completed
from typing import Any

from keras_initlab.lab.sweeps.grid import Configuration
from keras_initlab.lab.sweeps.local import in_local_processes
from keras_initlab.lab.sweeps.trial import Row, failed, trial

__all__ = ["checked_executor", "in_executor"]


def checked_executor(executor: Any) -> Executor | None:
    """The executor, or None for the default.

    Raises:
        TypeError: it is no executor.
    """
    if executor is None:
        return None
    if not isinstance(executor, Executor):
        mend = "Leave it out for processes on this machine."
        if hasattr(executor, "get_executor"):
            mend = "Give what its get_executor() returns."
        elif isinstance(executor, type) and issubclass(executor, Executor):
            mend = f"That is the class: give an object, {executor.__name__}(...)."
        raise TypeError(f"executor must be a concurrent.futures.Executor. Received: executor={executor!r}. {mend}")
    return executor


def in_executor(executor: Executor, configurations: list[Configuration]) -> Iterator[Row]:
    """Runs trials in an executor and gives the rows as they come.

    Where the executor itself cannot finish a run, such as Dask one whose worker has died too often, it may have been
    the fault of another that was on the same worker: those are tried again one by one, after all others.

    Raises:
        RuntimeError: it cannot run trials at all, or dies; then after the rows that it has finished.
    """
    try:
        executor.submit(_ready).result()
    except Exception as error:
        raise RuntimeError(
            f"executor={executor!r} cannot run a sweep: {_text(error)}. It must not be shut down, and its workers must "
            "be able to import keras_initlab."
        ) from error
    work = _apart if _forks(executor) else trial
    futures: dict[Future[Row], Configuration] = {}
    suspects: list[Configuration] = []
    try:
        died: BaseException | None = None
        try:
            for configuration in configurations:
                futures[executor.submit(work, configuration)] = configuration
        except RuntimeError as refusal:  # broken, or shut down
            died = refusal
        for future in as_completed(futures):
            ended = _error(future)
            if ended is None:
                yield future.result()
            elif isinstance(ended, (BrokenExecutor, CancelledError)):
                died = ended
            else:
                suspects.append(futures[future])
        while suspects and died is None:
            future = executor.submit(_again, work, suspects[0])
            futures[future] = suspects[0]
            ended = _error(future)
            if isinstance(ended, (BrokenExecutor, CancelledError)):
                died = ended
            else:
                yield future.result() if ended is None else failed(suspects[0], ended)
                del suspects[0]
    finally:
        for future in futures:
            future.cancel()
    if died is not None:
        raise RuntimeError(f"executor={executor!r} died: {_text(died)}.") from died


def _error(future: Future[Row]) -> BaseException | None:
    """What a run ended with outside of the trial, which tells of its own errors in the row."""
    try:
        return future.exception()
    except CancelledError as error:
        return error


def _forks(executor: Executor) -> bool:
    context = getattr(executor, "_mp_context", None)
    return context is not None and context.get_start_method() == "fork"


def _apart(configuration: Configuration) -> Row:
    """A trial in a process of its own: in one that was forked, TensorFlow waits forever for threads left behind."""
    (row,) = in_local_processes([configuration], 1)
    return row


def _again(work: Callable[[Configuration], Row], configuration: Configuration) -> Row:
    """A trial by another name: Dask holds what has the same name and arguments for the same task."""
    return work(configuration)


def _ready() -> None:
    """What a worker can run if it can import this module, and so can run a trial."""


def _text(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}".rstrip(".: ")
