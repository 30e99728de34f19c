"""What the replicas of a mirrored step have measured, brought together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy.typing as npt
import tensorflow as tf


def replica_context() -> Any:
    """The context of a step that runs on several replicas; None everywhere else."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def summed_over_replicas(gradients: list[Any], read: Callable[[Any], Any]) -> list[Any]:
    """Gradients as the optimizer will reduce them: each replica's is that of its share of the loss.

    Args:
        gradients: of one replica.
        read: gives the tensor to read in place of one of the model's.
    """
    context = replica_context()
    if context is None or not gradients:
        return gradients
    return list(context.all_reduce(tf.distribute.ReduceOp.SUM, [read(gradient) for gradient in gradients]))


def gathered(packed: dict[str, Any]) -> dict[str, Any]:
    """Arrays with an axis for the replicas in front; `samples`, whose lengths may differ, one after the other.

    Keras takes the mean of what a step returns, over replicas and with several workers over the first axis too. The
    arrays are equal on all replicas, and in float64 the sum of equal float32 numbers is exact, so that the mean leaves
    each what it is.
    """
    context = replica_context()
    if context is None:
        return packed
    return {
        name: _gathered(context, tf.cast(value if name == "samples" else value[tf.newaxis], tf.float64))
        for name, value in packed.items()
    }


def _gathered(context: Any, value: Any) -> Any:
    if value.shape.num_elements() == 0:
        # TensorFlow 2.21 ends with a segmentation fault where it gathers nothing.
        parts = [value] * context.num_replicas_in_sync
        return tf.concat(parts, axis=0)[tf.newaxis]
    return context.all_gather(value, axis=0)[tf.newaxis]


def by_replica(array: npt.NDArray[Any], rank: int) -> npt.NDArray[Any]:
    """A gathered array on the host, with one axis for the replicas in front of the axes that each one has.

    Args:
        array: (1, replicas, ...), or (replicas, ...) where Keras took the mean over the first axis; without any where
            there is one device only.
        rank: of the array of one replica.
    """
    own = array.shape[array.ndim - rank :]
    return array.reshape(array.shape[-rank - 1] if array.ndim > rank else 1, *own)
