"""Writer: what takes Profiles, one after the other."""

from __future__ import annotations

import abc
import inspect
from collections.abc import Callable, Iterable
from typing import Any

from ...statistics.profile import Profile


class Writer(abc.ABC):
    """Takes Profiles, one after the other. A subclass gives `write`; the rest does nothing by itself.

    `LayerStatistics(writers=(...))` calls `open` when a training starts, in the thread that trains, and everything else
    in a thread of its own. Whatever a method raises there ends this writer alone, and is told once. A writer that was
    closed is opened again by the next training.

    Example:
        >>> import numpy as np, keras, keras_initlab as kil
        >>> class Loudest(kil.callbacks.Writer):
        ...     def write(self, profile):
        ...         layers, stds = profile.column("std")
        ...         print(profile.step, layers[np.argmax(stds)])
        >>> model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, name="head")], name="net")
        >>> Loudest().write(kil.observe(model, np.ones((4, 3), "float32")))
        0 net/head
    """

    def open(self) -> None:  # noqa: B027  nothing has to be opened
        """Gets ready; raises an error if it is clear already that nothing can be written."""

    @abc.abstractmethod
    def write(self, profile: Profile) -> None:
        """Takes one Profile."""

    def flush(self) -> None:  # noqa: B027  nothing has to be kept back
        """Hands everything written so far to where a killed process does not lose it."""

    def close(self) -> None:  # noqa: B027
        """Flushes and lets go of what `open` took."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"


class FunctionWriter(Writer):
    """A writer that calls a function with each Profile."""

    def __init__(self, function: Callable[[Profile], Any]) -> None:
        self.function = function

    def write(self, profile: Profile) -> None:
        """Calls the function."""
        self.function(profile)

    def __repr__(self) -> str:
        return str(getattr(self.function, "__qualname__", repr(self.function)))


def checked_writers(writers: Any) -> tuple[Writer, ...]:
    """The writers as a tuple, functions wrapped.

    Raises:
        TypeError: something that is neither a Writer nor a callable that takes one Profile.
    """
    if isinstance(writers, (Writer, str, bytes)) or not isinstance(writers, Iterable):
        raise TypeError(
            f"writers must be a tuple or list of writers. Received: writers={writers!r}. Put a single writer into a "
            "tuple: writers=(writer,)."
        )
    return tuple(_checked(number, writer) for number, writer in enumerate(writers))


def _checked(number: int, writer: Any) -> Writer:
    if isinstance(writer, Writer):
        return writer
    mend = "Give an object such as JsonLines('logs'), or a function such as `lambda profile: print(profile)`."
    if isinstance(writer, type):
        mend = f"That is the class: give an object, {writer.__name__}(...)."
    elif callable(writer) and _takes_one(writer):
        return FunctionWriter(writer)
    elif hasattr(writer, "write"):
        mend = f"Derive {type(writer).__name__} from keras_initlab.callbacks.Writer, or give a function that uses it."
    raise TypeError(
        "writers must hold objects of a subclass of Writer, or callables that take a Profile. "
        f"Received: writers[{number}]={writer!r}. {mend}"
    )


def _takes_one(function: Callable[..., Any]) -> bool:
    try:
        inspect.signature(function).bind(None)
    except TypeError:
        return False
    except ValueError:  # a builtin without a signature
        return True
    return True
