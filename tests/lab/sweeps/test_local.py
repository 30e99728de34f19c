"""The default executor, in real processes that are killed, interrupted and started again."""

import importlib
import json
import multiprocessing
import os
import signal
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from keras_initlab.lab.sweeps import configurations, sweep
from keras_initlab.lab.sweeps.local import cores

from . import initializers
from .processes import QUICK, finished, group, lines, script, started, until

pytestmark = pytest.mark.lab


def seeds(out):
    return [(row["initializer"].partition("(")[0], row["seed"]) for row in map(json.loads, lines(out))]


def waiting(folder):
    """Two runs that end at once, and two that wait for a file."""
    return {**QUICK, "initializer": ["HeNormal", f"tests>Waits(path={str(folder / 'go')!r})"], "seed": [0, 1]}


def caught(process, folder, number):
    """Pids of the processes that wait, as soon as that many do."""

    def found():
        assert process.poll() is None, process.stderr.read()
        pids = [int(path.suffix[1:]) for path in Path(folder).glob("go.*")]
        return pids if len(pids) == number else None

    return until(found, f"{number} runs that wait")


def test_a_sweep_that_is_killed_is_finished_by_the_next(tmp_path):
    out, grid = tmp_path / "out", waiting(tmp_path)
    path = script(tmp_path, grid, out)
    with started(path) as process:
        pids = caught(process, tmp_path, 2)
        before = lines(out)
        assert len(before) == 2
        assert set(pids) < set(group(process))
        process.send_signal(signal.SIGKILL)
        process.wait()
        # No worker outlives it, though each is in the middle of a run.
        until(lambda: not group(process), "the workers to end", 20)
    assert lines(out) == before
    # What a kill in the middle of a line leaves.
    with (out / "rows.jsonl").open("a") as file:
        file.write('{"key": "cut o')
    (tmp_path / "go").touch()
    output, errors, status = finished(path)
    assert status == 0, errors
    rows = json.loads(output)
    assert [row["error"] for row in rows] == [None] * 4
    assert lines(out)[:2] == before
    assert sorted(json.loads(line)["key"] for line in lines(out)) == sorted(row["key"] for row in rows)
    assert len({row["key"] for row in rows}) == len(configurations(grid)) == 4


def test_ctrl_c_keeps_what_is_done(tmp_path):
    out = tmp_path / "out"
    path = script(tmp_path, waiting(tmp_path), out)
    with started(path) as process:
        caught(process, tmp_path, 2)
        os.killpg(process.pid, signal.SIGINT)  # as a terminal does it: to all
        _, errors = process.communicate(timeout=30)
        assert group(process) == []
    assert process.returncode != 0
    assert f"KeyboardInterrupt: 2 of 4 runs are done and stored in '{out}'; the same call does the others." in errors
    assert "Process Spawn" not in errors
    assert sorted(seeds(out)) == [("HeNormal", 0), ("HeNormal", 1)]


def test_a_run_that_kills_its_process_takes_no_other_with_it(tmp_path):
    """One is killed once and is done again; one kills every process that it is given to, and becomes a row."""
    out, once, always = tmp_path / "out", tmp_path / "once", tmp_path / "always"
    laws = [f"tests>KillsOnce(path={str(once)!r})", "HeNormal", f"tests>Kills(path={str(always)!r})", "Zeros"]
    output, errors, status = finished(script(tmp_path, {**QUICK, "initializer": laws}, out))
    assert status == 0, errors
    *healthy, killer, other = json.loads(output)
    assert [row["error"] for row in (*healthy, other)] == [None] * 3
    assert once.exists()
    assert killer["error"].startswith("WorkerDied: twice, the second time alone")
    assert 1 < len(always.read_text().splitlines()) <= 3
    assert len(lines(out)) == 4


def test_a_pool_of_the_callers_that_dies(tmp_path):
    kills = f"tests>Kills(path={str(tmp_path / 'killed')!r})"
    grid = {**QUICK, "initializer": ["HeNormal", kills, "Zeros"]}
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, spawn, importlib.import_module, (initializers.__name__,)) as pool:
        text = (
            r"died: BrokenProcessPool: .*\. 1 of 3 runs are done and stored in '.*out'; the same call does the others"
        )
        with pytest.raises(RuntimeError, match=text):
            sweep(grid, pool, tmp_path / "out", verbose=False)
    assert seeds(tmp_path / "out") == [("HeNormal", 0)]


UNGUARDED = """
    import sys
    sys.path.insert(0, {root!r})
    from keras_initlab.lab.sweeps import sweep

    sweep({grid!r}, out={out!r}, workers={workers!r}, verbose=False)
"""


def test_a_script_without_a_guard_is_told_so(tmp_path):
    out = tmp_path / "out"
    _, errors, status = finished(script(tmp_path, {**QUICK, "seed": range(2)}, out, text=UNGUARDED))
    assert status == 1
    assert "RuntimeError: The worker processes of the sweep ended before their first run." in errors
    assert "under `if __name__ == '__main__':`" in errors
    assert "0 of 2 runs are done" in errors
    assert "bootstrapping phase" not in errors
    assert lines(out) == []


SETTINGS = """
    import json, os, sys
    sys.path.insert(0, {root!r})
    import tensorflow as tf
    from keras_initlab.lab.sweeps import local

    def settings(configuration):
        names = ("OMP_NUM_THREADS", "TF_FORCE_GPU_ALLOW_GROWTH")
        threads = tf.config.threading
        counts = threads.get_intra_op_parallelism_threads(), threads.get_inter_op_parallelism_threads()
        return [os.getpid(), *counts, *(os.environ[name] for name in names)]

    if __name__ == "__main__":
        local.trial, local._RUNS_IN_A_PROCESS, before = settings, 2, dict(os.environ)
        found = list(local.in_local_processes([1, 2, 3, 4, 5, 6], {workers!r}))
        print(json.dumps([os.environ == before, os.getpid(), found]))
"""


def test_the_cores_are_shared_out_and_processes_replaced_before_they_have_grown(tmp_path):
    workers = 2
    output, errors, status = finished(script(tmp_path, {}, "", workers, SETTINGS))
    assert status == 0, errors
    unchanged, pid, found = json.loads(output)
    assert unchanged
    share = max(1, cores() // workers)
    assert len(found) == 6
    assert all(settings[1:] == [share, share, str(share), "true"] for settings in found)
    first, second = ({settings[0] for settings in part} for part in (found[:4], found[4:]))
    assert pid not in first | second
    assert len(first) <= workers
    assert not first & second
