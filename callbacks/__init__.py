"""When to measure during training, and where to write what was measured."""

from typing import TYPE_CHECKING, Any

from .schedule import Every, EveryEpoch, FirstThenEvery, PowersOfTwo, Schedule
from .time_budget import TimeBudget
from .writers import EventFiles, JsonLines, MLflow, Parquet, Wandb, Writer, initializer_hparams

if TYPE_CHECKING:
    from .layer_statistics import LayerStatistics

__all__ = [
    "EventFiles",
    "Every",
    "EveryEpoch",
    "FirstThenEvery",
    "JsonLines",
    "LayerStatistics",
    "MLflow",
    "Parquet",
    "PowersOfTwo",
    "Schedule",
    "TimeBudget",
    "Wandb",
    "Writer",
    "initializer_hparams",
]


def __getattr__(name: str) -> Any:
    # Watching needs TensorFlow; writing a Profile that was read from a file does not.
    if name == "LayerStatistics":
        from .layer_statistics import LayerStatistics

        return LayerStatistics
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
