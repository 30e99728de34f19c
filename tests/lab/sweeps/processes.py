"""Sweeps in a process of their own, and the processes that they start."""

import contextlib
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

from ...processes import PACKAGE_PATH, ROOT

SWEEP = """
    import json, sys
    sys.path.insert(0, {root!r})
    from keras_initlab.lab.sweeps import sweep
    import tests.lab.sweeps.initializers

    if __name__ == "__main__":
        runs = sweep({grid!r}, out={out!r}, workers={workers!r}, verbose=False)
        print(json.dumps(runs.rows))
"""
QUICK = {"depth": 2, "width": 16, "steps": 5}


def script(folder, grid, out, workers=2, text=SWEEP):
    """A script that sweeps; its path."""
    path = Path(folder) / "script.py"
    path.write_text(textwrap.dedent(text.format(root=str(ROOT), grid=grid, out=str(out), workers=workers)))
    return path


@contextlib.contextmanager
def started(path):
    """The script, running, in a group of processes of its own, of which none is left afterwards."""
    environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PATH)}
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    command = [sys.executable, str(path)]
    with subprocess.Popen(command, env=environment, start_new_session=True, **pipes) as process:
        try:
            yield process
        finally:
            if group(process):
                os.killpg(process.pid, signal.SIGKILL)


def finished(path, timeout=240):
    """The script's output, errors and exit status, after its end."""
    with started(path) as process:
        output, errors = process.communicate(timeout=timeout)
    return output, errors, process.returncode


def group(process):
    """The living processes of a script's group, the script among them."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, _, pgrp = stat.read_text().rpartition(")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(pgrp) == process.pid and state != "Z":
            found.append(int(stat.parent.name))
    return found


def until(condition, what, seconds=120):
    """Waits for a condition, which must come true."""
    end = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < end, f"waited in vain for {what}"
        time.sleep(0.02)
    return value


def lines(out):
    """Whole lines of the rows that are stored."""
    path = Path(out) / "rows.jsonl"
    return path.read_text().splitlines() if path.exists() else []
