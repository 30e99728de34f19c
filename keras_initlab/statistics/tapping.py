"""`Layer.__call__` and `GradientTape.gradient`, wrapped for as long as somebody taps."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import keras
import tensorflow as tf

# One for each thread: the replicas of a mirrored step are traced in threads of their own, by turns.
_active: dict[int, Any] = {}
_lock = threading.Lock()


@contextlib.contextmanager
def tapping(taps: Any) -> Iterator[None]:
    """Lets the taps see what this thread calls; they have the methods `call` and `gradient`."""
    thread = threading.get_ident()
    with _lock:
        if not _active:
            _install()
        _active[thread] = taps
    try:
        yield
    finally:
        with _lock:
            del _active[thread]
            if not _active:
                _uninstall()


_originals: dict[str, Any] = {}


def _install() -> None:
    call, gradient = keras.layers.Layer.__call__, tf.GradientTape.gradient
    _originals.update(call=call, gradient=gradient)

    def tapped_call(layer: Any, *args: Any, **kwargs: Any) -> Any:
        taps = _active.get(threading.get_ident())
        return call(layer, *args, **kwargs) if taps is None else taps.call(layer, call, args, kwargs)

    def tapped_gradient(tape: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
        taps = _active.get(threading.get_ident())
        if taps is None:
            return gradient(tape, target, sources, *args, **kwargs)
        return taps.gradient(gradient, tape, target, sources, *args, **kwargs)

    keras.layers.Layer.__call__, tf.GradientTape.gradient = tapped_call, tapped_gradient


def _uninstall() -> None:
    keras.layers.Layer.__call__, tf.GradientTape.gradient = _originals["call"], _originals["gradient"]
