"""Distribution strategies: which can be watched, and which process writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .schedule import Schedule
from .time_budget import TimeBudget

_WATCHED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.OneDeviceStrategy)


def check_strategy(strategy: Any, schedule: Schedule) -> None:
    """Refuses a strategy whose step has no moment at which a whole batch is known, and workers that would part company.

    Raises:
        ValueError: neither mirrored nor of one device; a schedule by the clock with several workers.
    """
    if strategy is not _default() and not isinstance(strategy, _WATCHED):
        raise ValueError(
            "LayerStatistics watches models under MirroredStrategy, MultiWorkerMirroredStrategy, OneDeviceStrategy or "
            "none: there every replica has the weights, and all make one step together. Received: a model made under "
            f"{type(strategy).__name__}. Train it under one of those, or without the callback."
        )
    if len(_workers(strategy)) > 1 and isinstance(schedule, TimeBudget):
        raise ValueError(
            "update_freq must choose the same steps on each worker, since a watched step needs them all. Received: a "
            "TimeBudget, which goes by each worker's own clock. Give a number of steps, or another Schedule."
        )


def writes(strategy: Any) -> bool:
    """Whether this process is the one that writes: of several workers the chief, or else the first."""
    workers = _workers(strategy)
    return not workers or (strategy.cluster_resolver.task_type, strategy.cluster_resolver.task_id) == workers[0]


def _workers(strategy: Any) -> list[tuple[str, int]]:
    """Job and number of each process that trains, if there are several."""
    if not isinstance(strategy, tf.distribute.MultiWorkerMirroredStrategy):
        return []
    cluster = strategy.cluster_resolver.cluster_spec()
    return [(job, i) for job in ("chief", "worker") if job in cluster.jobs for i in cluster.task_indices(job)]


def _default() -> Any:
    return tf.distribute.get_strategy() if not tf.distribute.has_strategy() else None
