"""Dask as the executor: a real scheduler and two worker processes, one of which is killed in the middle of a run."""

import json
import os
import signal
import threading

import pytest

from keras_initlab.lab.sweeps import configurations, sweep

from . import initializers  # noqa: F401  so that the grids can be checked here too
from .processes import QUICK, lines, until

pytestmark = pytest.mark.lab


@pytest.fixture
def client():
    dask, distributed = pytest.importorskip("dask"), pytest.importorskip("distributed")
    # A worker takes seconds to be replaced; two that were killed are enough to blame the run.
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1}),
        distributed.LocalCluster(
            processes=True,
            n_workers=2,
            threads_per_worker=1,
            dashboard_address="127.0.0.1:0",
            host="127.0.0.1",
            preload="tests.lab.sweeps.initializers",
        ) as cluster,
        distributed.Client(cluster) as client,
    ):
        yield client


class Sweeping(threading.Thread):
    """A sweep that goes on while the test looks at it."""

    def __init__(self, grid, executor, out):
        super().__init__(daemon=True)
        self.arguments, self.runs = (grid, executor, out), None
        self.start()

    def run(self):
        self.runs = sweep(*self.arguments, verbose=False)

    def result(self):
        self.join(180)
        assert self.runs is not None, "the sweep did not end"
        return self.runs


def test_a_worker_is_killed_in_the_middle_of_a_run(client, tmp_path):
    go, out = tmp_path / "go", tmp_path / "out"
    grid = {**QUICK, "initializer": ["HeNormal", f"tests>Waits(path={str(go)!r})"], "seed": [0, 1, 2]}
    sweeping = Sweeping(grid, client.get_executor(), out)
    waiting = until(lambda: list(tmp_path.glob("go.*")), "a run that waits")
    killed = int(waiting[0].suffix[1:])
    assert killed != os.getpid()
    os.kill(killed, signal.SIGKILL)
    # Another process has taken up what that one had.
    until(lambda: len(list(tmp_path.glob("go.*"))) >= 2, "a run that waits in another process")
    go.touch()
    runs = sweeping.result()
    assert [row["error"] for row in runs] == [None] * 6
    stored = [json.loads(line)["key"] for line in lines(out)]
    assert len(stored) == len(configurations(grid)) == 6
    assert sorted(stored) == sorted(row["key"] for row in runs)


def test_a_run_that_kills_every_worker_is_a_row(client, tmp_path):
    """Dask blames what waited on the same worker too; alone, that run goes well."""
    kills = f"tests>Kills(path={str(tmp_path / 'killed')!r})"
    grid = {**QUICK, "initializer": [kills, "HeNormal"]}
    killer, healthy = Sweeping(grid, client.get_executor(), tmp_path / "out").result()
    assert killer["error"].startswith("KilledWorker: ")
    assert healthy["error"] is None


def test_a_cluster_that_is_gone(tmp_path):
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(processes=False, n_workers=1, dashboard_address="127.0.0.1:0") as cluster:
        client = distributed.Client(cluster)
        executor = client.get_executor()
        client.close()
        with pytest.raises(RuntimeError, match=r"cannot run a sweep: .*0 of 1 runs are done and stored in"):
            sweep(QUICK, executor, tmp_path / "out", verbose=False)
