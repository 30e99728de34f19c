"""Distribution strategies: which can be watched, and which process writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

_WATCHED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.OneDeviceStrategy)


def check_strategy(strategy: Any) -> None:
    """Refuses a strategy whose step has no moment at which a whole batch is known.

    Raises:
        ValueError: neither mirrored nor of one device.
    """
    if strategy is _default() or isinstance(strategy, _WATCHED):
        return
    raise ValueError(
        "LayerStatistics watches models under MirroredStrategy, MultiWorkerMirroredStrategy, OneDeviceStrategy or none: "
        f"there all replicas make one step together. Received: a model made under {type(strategy).__name__}, whose "
        "workers go on by themselves. Train it under one of those, or without the callback."
    )


def writes(strategy: Any) -> bool:
    """Whether this process is the one that writes: of several workers the first."""
    resolver = getattr(strategy, "cluster_resolver", None)
    return resolver is None or (resolver.task_type in (None, "chief", "worker") and not resolver.task_id)


def _default() -> Any:
    return tf.distribute.get_strategy() if not tf.distribute.has_strategy() else None
