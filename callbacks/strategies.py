"""Distribution strategies: which can be watched, and which process writes."""

from __future__ import annotations

from typing import Any

import tensorflow as tf

from .schedule import Schedule
from .time_budget import TimeBudget

_WATCHED = (tf.distribute.MirroredStrategy, tf.distribute.MultiWorkerMirroredStrategy, tf.distribute.OneDeviceStrategy)


def check_strategy(model: Any, schedule: Schedule) -> None:
    """Refuses a strategy whose step has no moment at which a whole batch is known, and workers that would part company.

    Raises:
        ValueError: neither mirrored nor of one device; XLA with several replicas; several workers and a schedule that
            goes by the clock.
    """
    strategy = model.distribute_strategy
    if strategy is not _default() and not isinstance(strategy, _WATCHED):
        raise ValueError(
            "LayerStatistics watches models under MirroredStrategy, MultiWorkerMirroredStrategy, OneDeviceStrategy or "
            "none: there every replica has the weights, and all make one step together. Received: a model made under "
            f"{type(strategy).__name__}. Train it under one of those, or without the callback."
        )
    if strategy.num_replicas_in_sync > 1 and model.jit_compile and not model.run_eagerly:
        # Keras compiles the step of all replicas as one program, and XLA makes that for one device.
        raise ValueError(
            "jit_compile must be False where several replicas make one step: XLA compiles for one device. Received: "
            f"jit_compile=True and {strategy.num_replicas_in_sync} replicas under {type(strategy).__name__}. Compile "
            "the model with jit_compile=False."
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
