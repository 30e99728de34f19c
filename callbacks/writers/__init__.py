"""Where Profiles go: files that TensorBoard, pandas or `Profile.read` read, trackers of experiments, any function."""

from .background import BackgroundWriter
from .base import Writer, checked_writers
from .budget import MAX_BYTES
from .event_files import EventFiles
from .hyperparameters import checked_hparams, initializer_hparams
from .json_lines import JsonLines
from .opening import checked_max_bytes, open_writers
from .parquet import Parquet
from .trackers import MLflow, Wandb

__all__ = [
    "MAX_BYTES",
    "BackgroundWriter",
    "EventFiles",
    "JsonLines",
    "MLflow",
    "Parquet",
    "Wandb",
    "Writer",
    "checked_hparams",
    "checked_max_bytes",
    "checked_writers",
    "initializer_hparams",
    "open_writers",
]
