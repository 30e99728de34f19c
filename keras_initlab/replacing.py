"""An instance's method is another one for a while."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

__all__ = ["replaced"]


@contextlib.contextmanager
def replaced(target: Any, name: str, value: Any) -> Iterator[None]:
    """Set an attribute of an instance past its class's attribute tracking, and put back what was there."""
    missing = object()
    saved = vars(target).get(name, missing)
    vars(target)[name] = value
    try:
        yield
    finally:
        if saved is missing:
            del vars(target)[name]
        else:
            vars(target)[name] = saved
