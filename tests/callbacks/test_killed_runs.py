"""A training that is killed: what it had measured reads back, and the next one appends to it."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator

import keras_initlab as kil

from ..processes import ROOT
from ..statistics.networks import compiled, data

STEPS_AN_EPOCH = 10**6

TRAINING = f"""
    import sys, time
    sys.path.insert(0, sys.argv[1])
    import keras, keras_initlab as kil
    from tests.statistics.networks import compiled, data

    class Tell(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            print(batch + 1, time.monotonic(), flush=True)

    def batches():
        x, y = data(16)
        while True:
            yield x, y

    watching = kil.callbacks.LayerStatistics(sys.argv[2], update_freq=1)
    model = compiled("plain")
    model.fit(batches(), steps_per_epoch={STEPS_AN_EPOCH}, verbose=0, callbacks=[watching, Tell()])
"""


def killed(folder, seconds):
    """Trains until some seconds after the first step, kills the process, and returns each step with its moment."""
    seen = []
    command = [sys.executable, "-c", textwrap.dedent(TRAINING), str(ROOT), str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        for line in process.stdout:
            step, moment = line.split()
            seen.append((int(step), float(moment)))
            if seen[-1][1] - seen[0][1] > seconds:
                process.send_signal(signal.SIGKILL)
                break
        # What the pipe still holds was done before the end too.
        seen += [(int(line.split()[0]), float(line.split()[1])) for line in process.stdout if line.endswith("\n")]
    assert process.returncode == -signal.SIGKILL
    return seen


def steps_in_events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    tag = next(tag for tag in accumulator.Tags()["scalars"] if tag.startswith("activation_std/000"))
    return [event.step for event in accumulator.Scalars(tag)]


@pytest.fixture(scope="module")
def killed_run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("killed")
    return folder, killed(folder, seconds=4)


@pytest.fixture
def run(killed_run, tmp_path):
    """A copy of the folder, and the steps that were done."""
    folder, seen = killed_run
    return Path(shutil.copytree(folder, tmp_path / "run")), seen


def test_all_but_the_last_second_reads_back(run):
    folder, seen = run
    assert seen[-1][0] < STEPS_AN_EPOCH  # in the middle of an epoch
    old = [step for step, moment in seen if moment < seen[-1][1] - 1]
    assert len(old) > 10
    for steps in ([profile.step for profile in kil.Profile.read(folder)], steps_in_events(folder)):
        assert steps == list(range(1, len(steps) + 1))  # no gap, nothing twice
        assert steps[-1] >= old[-1]


@pytest.mark.parametrize("cut", [0, 1, 1000, 20_000])
def test_the_next_run_appends(run, cut):
    """Also to files that end in the middle of a record, as a machine without power leaves them."""
    folder, _ = run
    (events,) = folder.glob("events.out.tfevents.*")
    for file in (folder / "profiles.jsonl", events):
        file.write_bytes(file.read_bytes()[: file.stat().st_size - cut])
    before = [profile.step for profile in kil.Profile.read(folder)]
    assert before == list(range(1, len(before) + 1))
    assert len(before) > 10
    of_events = steps_in_events(folder)
    assert of_events == list(range(1, len(of_events) + 1))
    time.sleep(1.1)  # event files are named by the second
    compiled("plain").fit(*data(32), batch_size=16, verbose=0, callbacks=[kil.callbacks.LayerStatistics(folder, 1)])
    assert [profile.step for profile in kil.Profile.read(folder)] == [*before, 1, 2]
    (added,) = set(folder.glob("events.out.tfevents.*")) - {events}
    assert steps_in_events(added) == [1, 2]
