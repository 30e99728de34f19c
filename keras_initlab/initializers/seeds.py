"""Seeds: the portable stream, and seeds for the parts of one weight."""

from __future__ import annotations

import numbers
from dataclasses import dataclass
from typing import Any, Literal

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.initializers.arguments import Argument, Count

__all__ = ["PortableSeed", "Seed", "fold"]

_WORD = Count(low=0, high=2**64 - 1, mend="Pass an integer; every integer is a stream of its own.")


@keras.saving.register_keras_serializable("keras_initlab")
class PortableSeed:
    """A seed whose values are the same bits on every backend, machine and shard.

    Value i of a weight, counted in C order, is made from word i of the counter-based generator Philox4x64-10 with key
    ``seed``: ``u_i = ⌊word_i / 2¹¹⌋ · 2⁻⁵³``, which is what ``numpy.random.Generator(numpy.random.Philox(key=seed))``
    gives in ``random``. Every law is the inverse of its distribution function at u_i, taken in float64 on the host and
    rounded once. So any part of a weight can be drawn without the rest.

    Use it as ``seed=`` of any initializer of this package. Uniform and normal laws, cut ones too, then give the same
    bits under TensorFlow, JAX, torch and NumPy; orthogonal weights agree to 1e-6, since each backend multiplies
    matrices in its own order. As with an integer, the values repeat at each call with the same shape.

    Args:
        seed: A whole number from 0 to 2**64 − 1.

    With a JAX distribution each shard draws its own part only. Under ``jax.jit`` the values are asked from the host
    when the program runs; in a ``tf.function`` they become a constant of the graph.

    Raises:
        TypeError: ``seed`` is not a whole number.
        ValueError: ``seed`` is out of range.

    Reference:
        Salmon, Moraes, Dror & Shaw (2011), Parallel random numbers: as easy as 1, 2, 3, section 3.3, on Philox.

    Example:
        >>> PortableSeed(7).uniform(0, 3)
        array([0.87207345, 0.29536538, 0.42009768])
        >>> np.random.Generator(np.random.Philox(key=7)).random(3)
        array([0.87207345, 0.29536538, 0.42009768])
    """

    def __init__(self, seed: int) -> None:
        self.seed = _WORD.check("seed", seed)

    def uniform(self, start: int, count: int) -> NDArray[np.float64]:
        """Uniform numbers in [0, 1).

        Args:
            start: Index of the first, at least 0.
            count: How many, at least 0.

        Returns:
            float64 of shape (count,).
        """
        # Each step of the counter makes four words.
        step, skipped = divmod(start, 4)
        generator = np.random.Generator(np.random.Philox(key=self.seed, counter=step))
        return generator.random(skipped + count)[skipped:]

    def fold(self, index: int) -> PortableSeed:
        """The seed of part ``index`` of a weight, independent of this one's values and of other parts'."""
        return PortableSeed(int(_mixed(self.seed, index, "uint64")))

    def get_config(self) -> dict[str, Any]:
        """Return ``{"seed": seed}``."""
        return {"seed": self.seed}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> PortableSeed:
        """Make one from ``get_config``'s dictionary."""
        return cls(**config)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, PortableSeed) and other.seed == self.seed

    def __hash__(self) -> int:
        return hash((PortableSeed, self.seed))

    def __repr__(self) -> str:
        return f"PortableSeed({self.seed})"


@dataclass(frozen=True)
class Seed(Argument):
    """None, a whole number that every backend can hold, a ``keras.random.SeedGenerator`` or a ``PortableSeed``."""

    allowed = "None, a whole number from 0 to 2**32 - 1, a keras.random.SeedGenerator or a PortableSeed"
    mend = "Pass an integer to repeat the values, None to draw anew at each call."
    wrong = (-1, 2**32, 1.0, True, "0", [1], (1, 2), {"class_name": "nothing"})

    def check(self, name: str, value: Any) -> Any:
        """Return what was passed, an integer as int; a seed's config is made into the seed."""
        if isinstance(value, dict) and value.get("class_name") in ("SeedGenerator", "PortableSeed"):
            value = keras.saving.deserialize_keras_object(value)
        if value is None or isinstance(value, (keras.random.SeedGenerator, PortableSeed)):
            return value
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            raise self.refuse(TypeError, name, value)
        if not 0 <= int(value) < 2**32:
            raise self.refuse(ValueError, name, value)
        return int(value)

    def to_config(self, value: Any) -> Any:
        """Write an int or None as it is, a generator as Keras does."""
        return keras.saving.serialize_keras_object(value)


def fold(seed: Any, index: int) -> Any:
    """A seed for one of several parts of a weight that are drawn independently.

    Args:
        seed: What ``Initializer._next_seed`` returned.
        index: Which part, counted from 0.

    Returns:
        A seed of the same kind. A ``SeedGenerator`` is returned itself: it advances with each draw.
    """
    if isinstance(seed, keras.random.SeedGenerator):
        return seed
    return seed.fold(index) if isinstance(seed, PortableSeed) else int(_mixed(seed, index, "uint32"))


def _mixed(seed: int, index: int, dtype: Literal["uint32", "uint64"]) -> Any:
    return np.random.SeedSequence(seed, spawn_key=(index,)).generate_state(1, dtype)[0]
