"""Trackers of experiments: MLflow and Weights & Biases, through their public interfaces."""

from __future__ import annotations

import re
import time
from typing import Any

from ...statistics.profile import Profile
from ..tensorboard_events import SCALARS, scalars_of
from .base import Writer

# The most that an MLflow server takes in one request.
_MLFLOW_BATCH = 1000
_STEP = "layer_statistics/step"


class MLflow(Writer):
    """Logs the scalars that TensorBoard shows as metrics of an MLflow run, under the same names, by step.

    Characters that MLflow does not allow in names become underscores. Histograms are left out, and so are values that
    are not finite.

    Args:
        run_id: the run to log to. Default `None`: the run that is active when a training starts; without one a new run,
            which ends with the training.

    Raises:
        ImportError: mlflow is not installed.

    Example:
        Needs a tracking server or a local store::

            mlflow.set_tracking_uri("sqlite:///runs.db")
            model.fit(x, y, callbacks=[LayerStatistics(writers=(MLflow(),))])
    """

    def __init__(self, run_id: str | None = None) -> None:
        try:
            import mlflow  # noqa: F401  that it is there
        except ImportError as error:
            raise ImportError("MLflow needs mlflow: pip install mlflow-skinny.") from error
        self.run_id = run_id
        self._client: Any = None
        self._logged_to: str | None = None
        self._own = False

    def open(self) -> None:
        """Finds the run, in the thread that trains: MLflow has an active run for each thread."""
        import mlflow

        self._client = mlflow.MlflowClient()
        active = mlflow.active_run()
        self._own = self.run_id is None and active is None
        if self._own:
            # Not left active: what else this thread does would land in it.
            with mlflow.start_run() as active:
                pass
            self._client.update_run(active.info.run_id, status="RUNNING")
        self._logged_to = self.run_id if active is None or self.run_id else active.info.run_id

    def write(self, profile: Profile) -> None:
        """Logs one Profile."""
        from mlflow.entities import Metric

        if self._logged_to is None:
            self.open()
        now = int(1000 * time.time())
        found = [Metric(_allowed(tag), value, now, profile.step) for tag, value in scalars_of(profile).items()]
        for first in range(0, len(found), _MLFLOW_BATCH):
            self._client.log_batch(self._logged_to, metrics=found[first : first + _MLFLOW_BATCH], synchronous=True)

    def close(self) -> None:
        """Ends the run, if it is one of its own."""
        run, self._logged_to = self._logged_to, None
        if run is not None and self._own:
            self._client.set_terminated(run)


class Wandb(Writer):
    """Logs the scalars that TensorBoard shows to a run of Weights & Biases, under the same names.

    They are shown over `layer_statistics/step`, the training step; the count of steps that the run keeps for what else
    is logged to it goes on by itself. Histograms are left out, and so are values that are not finite.

    Args:
        run: the run, as `wandb.init` returns it. Default `None`: the run that is active when a training starts; without
            one a new run, which ends with the training.

    Raises:
        ImportError: wandb is not installed.

    Example:
        Without a network, and synchronized later by `wandb sync`::

            run = wandb.init(mode="offline")
            model.fit(x, y, callbacks=[LayerStatistics(writers=(Wandb(run),))])
    """

    def __init__(self, run: Any = None) -> None:
        try:
            import wandb  # noqa: F401  that it is there
        except ImportError as error:
            raise ImportError("Wandb needs wandb: pip install wandb.") from error
        self.run = run
        self._logged_to: Any = None
        self._own = False

    def open(self) -> None:
        """Finds the run and says over what its charts are drawn."""
        import wandb

        self._own = self.run is None and wandb.run is None
        self._logged_to = self.run or wandb.run or wandb.init()
        self._logged_to.define_metric(_STEP, hidden=True)
        for group, *_ in SCALARS:
            self._logged_to.define_metric(f"{group}/*", step_metric=_STEP)

    def write(self, profile: Profile) -> None:
        """Logs one Profile."""
        if self._logged_to is None:
            self.open()
        self._logged_to.log({_STEP: profile.step, **scalars_of(profile)})

    def close(self) -> None:
        """Ends the run, if it is one of its own."""
        run, self._logged_to = self._logged_to, None
        if run is not None and self._own:
            run.finish()


def _allowed(name: str) -> str:
    """The name with what MLflow takes, of which the depth keeps different ones apart."""
    return re.sub(r"[^\w\-. :/]", "_", name)
