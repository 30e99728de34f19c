"""What every initializer shares: checked arguments, one config, one cast, copies that keep a generator's place."""

from __future__ import annotations

import inspect
import numbers
import secrets
from collections.abc import Mapping
from typing import Any, ClassVar

import keras

from keras_initlab.initializers.arguments import Argument
from keras_initlab.initializers.sharding import laid_out

__all__ = ["Initializer"]


class Initializer(keras.initializers.Initializer):
    """Base of all initializers of this package.

    A subclass declares ``arguments``, passes its constructor's arguments on to this constructor by name, and draws in
    ``_draw``. The constructor's signature is the config: nothing else is state.

    Args:
        **values: Constructor arguments; each is checked by its entry in ``arguments`` and becomes an attribute.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: An argument is out of range.
    """

    arguments: ClassVar[Mapping[str, Argument]] = {}
    elementwise: ClassVar[bool] = False
    """Whether each value is drawn on its own by ``sampling``, in the weight's own shape."""

    # Not calling Keras's constructors is on purpose: for seed=None they take a number from Python's global generator.
    def __init__(self, **values: Any) -> None:
        for name, value in values.items():
            setattr(self, name, self.arguments[name].check(name, value))

    def __call__(self, shape: Any, dtype: Any = None, layout: Any = None) -> Any:
        """Draw a weight.

        Args:
            shape: Sizes of the weight's axes, whole numbers that are at least 0.
            dtype: Any float dtype of Keras; None (the default) stands for ``keras.config.floatx()``. The values are
                drawn in float32, or in float64 for float64, and cast once at the end, so that a bfloat16 weight takes
                every value that bfloat16 has in the range.
            layout: How the weight lies on several devices: a ``keras.distribution.TensorLayout`` or JAX sharding,
                which Keras passes on JAX under a distribution. None (the default): on one.

        Returns:
            A tensor of this shape and dtype. With a layout it has the values that it has without.

        Raises:
            TypeError: ``shape`` is not a list of whole numbers.
            ValueError: ``dtype`` is not a float dtype, or the law is not defined for this shape.
        """
        shape, dtype = _checked_shape(shape), _checked_dtype(dtype)
        wide = "float64" if dtype == "float64" else "float32"

        def draw() -> Any:
            return keras.ops.cast(self._draw(shape, wide), dtype)

        if layout is None:
            return draw()
        return laid_out(self, draw, shape, layout)

    def _draw(self, shape: tuple[int, ...], dtype: str) -> Any:
        """Draw the values in a wide dtype."""
        raise NotImplementedError

    def _next_seed(self) -> Any:
        """What to hand to ``keras.random``: entropy of the operating system for None, and no global generator."""
        seed = getattr(self, "seed", None)
        return secrets.randbelow(2**31 - 2) if seed is None else seed

    def get_config(self) -> dict[str, Any]:
        """Return the constructor's declared arguments, as JSON can hold them."""
        names = [name for name in inspect.signature(type(self)).parameters if name in self.arguments]
        return {name: self.arguments[name].to_config(getattr(self, name)) for name in names}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Initializer:
        """Make one from its config.

        Args:
            config: Constructor arguments. A bare string name comes here with none.

        Raises:
            TypeError: An argument that has no default is missing.
        """
        parameters = inspect.signature(cls).parameters.values()
        needed = [one.name for one in parameters if one.default is one.empty]
        if any(name not in config for name in needed):
            wanted = " and ".join(f"`{name}`, {cls.arguments[name].allowed}," for name in needed)
            raise TypeError(
                f"{cls.__name__} needs argument{'s' if len(needed) > 1 else ''} {wanted} and so cannot be given by its "
                f"name alone. Received: {config!r}. Pass {cls.__name__}({', '.join(f'{name}=...' for name in needed)})."
            )
        return cls(**config)

    def __repr__(self) -> str:
        parameters = inspect.signature(type(self)).parameters
        values = {name: getattr(self, name) for name in self.get_config()}
        changed = (f"{name}={value!r}" for name, value in values.items() if value != parameters[name].default)
        return f"{type(self).__name__}({', '.join(changed)})"

    # copy and pickle go through the config too. A SeedGenerator holds a module, which neither of them can take.
    def __reduce__(self) -> tuple[Any, ...]:
        seed = getattr(self, "seed", None)
        place = seed.state.numpy() if isinstance(seed, keras.random.SeedGenerator) else None
        return _rebuild, (type(self), self.get_config(), place)


def _rebuild(cls: type[Initializer], config: dict[str, Any], place: Any) -> Initializer:
    """Make a copy from its config and put its generator where the original's was."""
    copy: Initializer = cls.from_config(config)
    if place is not None:
        copy._next_seed().state.assign(place)
    return copy


def _checked_shape(shape: Any) -> tuple[int, ...]:
    try:
        sizes = tuple(shape)
    except TypeError:
        sizes = (None,)
    if any(isinstance(size, bool) or not isinstance(size, numbers.Integral) for size in sizes):
        raise TypeError(
            f"Argument `shape` must be a list of whole numbers, every one of them known. Received: shape={shape!r}. "
            "Pass (n,) for a vector and () for a scalar."
        )
    if any(size < 0 for size in sizes):
        raise ValueError(f"Argument `shape` must have sizes that are at least 0. Received: shape={shape!r}.")
    return tuple(int(size) for size in sizes)


def _checked_dtype(dtype: Any) -> str:
    try:
        name = str(keras.backend.standardize_dtype(dtype))
    except (ValueError, TypeError):
        name = ""
    if not name or not keras.backend.is_float_dtype(name):
        raise ValueError(
            f"Argument `dtype` must be a float dtype of Keras, such as float32 or bfloat16. Received: dtype={dtype!r}. "
            "Weights of other dtypes have no random law; cast the drawn tensor."
        )
    return name
