"""The one list of initializers: string names, command-line choices, docs and tests derive from it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import keras

from keras_initlab.initializers.base import Initializer

__all__ = ["PACKAGE", "REGISTRY", "Entry", "register"]

PACKAGE = "keras_initlab"

T = TypeVar("T", bound=type[Initializer])


@dataclass(frozen=True)
class Entry:
    """One registered class, with what is needed to make one and call it.

    Args:
        cls: The class.
        example: Constructor arguments that differ from the defaults, so that a lost one shows.
        shape: A shape that the example can draw.
    """

    cls: type[Initializer]
    example: dict[str, Any]
    shape: tuple[int, ...]

    def make(self, **changes: Any) -> Initializer:
        """Make the example, with some arguments changed."""
        return self.cls(**{**self.example, **changes})

    @property
    def seeded(self) -> bool:
        """Whether the class draws at random."""
        return "seed" in self.cls.arguments


REGISTRY: dict[str, Entry] = {}


def register(shape: tuple[int, ...] = (24, 16), **example: Any) -> Callable[[T], T]:
    """Enter a class here and with Keras, which then resolves the string ``"keras_initlab>ClassName"``.

    Args:
        shape: A shape that the example can draw.
        **example: Constructor arguments of the example.

    Returns:
        A class decorator.
    """

    def enter(cls: T) -> T:
        keras.saving.register_keras_serializable(PACKAGE)(cls)
        REGISTRY[cls.__name__] = Entry(cls, example, shape)
        return cls

    return enter
