"""What the replicas of a mirrored step have measured, brought together."""

from __future__ import annotations

from typing import Any

import tensorflow as tf


def replica_context() -> Any:
    """The context of a step that runs on several replicas; None everywhere else."""
    context = tf.distribute.get_replica_context()
    return context if context is not None and context.num_replicas_in_sync > 1 else None


def summed_over_replicas(value: Any) -> Any:
    """A gradient as the optimizer will reduce it: each replica's is that of its share of the loss."""
    context = replica_context()
    return value if context is None else context.all_reduce(tf.distribute.ReduceOp.SUM, value)


def gathered(packed: dict[str, Any]) -> dict[str, Any]:
    """Arrays with an axis for the replicas in front; `samples`, whose lengths may differ, one after the other."""
    context = replica_context()
    if context is None:
        return packed
    # Keras takes the mean over the first axis, or over replicas: of equal values, which leaves them as they are.
    return {
        name: context.all_gather(value if name == "samples" else value[tf.newaxis], axis=0)[tf.newaxis]
        for name, value in packed.items()
    }
