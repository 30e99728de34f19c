"""Weights that lie on several devices of JAX."""

from __future__ import annotations

import contextvars
import math
from collections.abc import Callable
from typing import Any

import keras

from keras_initlab.initializers.seeds import PortableSeed

__all__ = ["current", "laid_out"]

# From this many bytes on all devices together Keras draws a weight shard by shard, in a compiled program. Below it
# compiling costs more than the copy that it saves.
_LARGE = 250 * 2**20

current: contextvars.ContextVar[Any] = contextvars.ContextVar("sharding", default=None)
"""The sharding that ``portable.draw`` gives its arrays; None outside of ``laid_out``."""


def laid_out(initializer: Any, draw_weight: Callable[[], Any], shape: tuple[int, ...], layout: Any) -> Any:
    """Draw a weight with a layout.

    Args:
        initializer: Whose weight it is.
        draw_weight: Draws it on one device.
        shape: Its shape.
        layout: A ``keras.distribution.TensorLayout`` or a ``jax.sharding.NamedSharding``.

    Returns:
        The weight with this layout.
    """
    import jax

    sharding = layout.backend_layout if isinstance(layout, keras.distribution.TensorLayout) else layout
    if isinstance(sharding.mesh, jax.sharding.AbstractMesh):  # Keras names the mesh by its shape alone
        sharding = jax.sharding.NamedSharding(jax.sharding.get_mesh(), sharding.spec)
    seed = getattr(initializer, "seed", None)
    portable = isinstance(seed, PortableSeed)
    # A generator advances, which it cannot do inside a compiled program; what is not drawn would be a constant of it.
    pure = hasattr(initializer, "seed") and not (portable or isinstance(seed, keras.random.SeedGenerator))
    token = current.set(sharding if portable and initializer.elementwise else None)
    try:
        # Keras calls within a mesh of explicit axes, where a generator's state, placed before, cannot be read.
        with jax.set_mesh(sharding.mesh):
            if pure and 4 * math.prod(shape) * sharding.mesh.size >= _LARGE:
                return jax.jit(draw_weight, out_shardings=sharding)()
            return jax.device_put(draw_weight(), sharding)
    finally:
        current.reset(token)
