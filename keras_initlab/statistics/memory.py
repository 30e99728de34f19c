"""What weights were at the start of training, and how the last watched step moved them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import tensorflow as tf

# Weights that together take more than this are remembered in bfloat16, at half of their size: a displacement is then
# known to 0.2 % of the weight's norm. Below it, in float32.
FULL_COPY_BYTES = 1 << 28


class Memory:
    """The start of each weight and its last watched update, on the device that computes the differences.

    Attributes:
        start: value and norm of each weight at the start, by `id` of the Keras variable.
        updates: the last watched update of each weight, by the same; zero before there was one.
    """

    def __init__(self) -> None:
        self.start: dict[int, tuple[Any, float]] = {}
        self.updates: dict[int, Any] = {}

    def remember(self, variables: Iterable[Any]) -> None:
        """Takes the weights that are not known yet as they are now."""
        fresh = [v for v in variables if id(v) not in self.start]
        size = sum(int(np.prod(v.shape)) * 4 for v in fresh)
        for variable in fresh:
            value = tf.identity(tf.convert_to_tensor(variable))
            norm = float(np.linalg.norm(np.asarray(tf.cast(value, tf.float64)).ravel()))
            kept = value if size <= FULL_COPY_BYTES else tf.cast(value, tf.bfloat16)
            self.start[id(variable)] = kept, norm
            self.updates[id(variable)] = tf.Variable(
                tf.zeros_like(kept),
                trainable=False,
                synchronization=tf.VariableSynchronization.ON_READ,
                aggregation=tf.VariableAggregation.ONLY_FIRST_REPLICA,
            )
