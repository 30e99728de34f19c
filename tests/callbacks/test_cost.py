"""What watching costs besides time in each step: the first step of a deep network, and memory."""

from __future__ import annotations

import json
import subprocess
import sys
import time

import keras
import numpy as np
import pytest

import keras_initlab as kil


def seconds_of_first_step(layers, callbacks):
    """Processor seconds, so that other work on the machine does not count."""
    keras.utils.clear_session()
    # In parts: Keras walks through a model by recursion, and does not come to the end of 1000 layers.
    parts = [keras.Sequential([keras.layers.Dense(8, "relu") for _ in range(50)]) for _ in range(layers // 50)]
    model = keras.Sequential([keras.Input((8,)), *parts, keras.layers.Dense(1)])
    model.compile("sgd", "mse", jit_compile=False)
    x = np.random.default_rng(0).standard_normal((8, 8)).astype("float32")
    start = time.process_time()
    model.fit(x, x[:, :1], verbose=0, callbacks=callbacks)
    return time.process_time() - start


@pytest.mark.parametrize("layers", [150, pytest.param(1000, marks=pytest.mark.sweep)])
def test_the_first_watched_step_of_a_deep_network_takes_at_most_three_times_as_long(layers):
    """Measured: 2.1 times with 1000 layers; 8 with operations of its own for each tensor."""
    seconds_of_first_step(50, [kil.callbacks.LayerStatistics(update_freq=1)])
    plain = seconds_of_first_step(layers, [])
    watching = kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    assert seconds_of_first_step(layers, [watching]) < 3 * plain
    assert len(watching.history[0]) > 10 * layers


MEMORY = """
import json, sys
from pathlib import Path
import keras, numpy as np
import keras_initlab as kil

batch = int(sys.argv[1])
width, depth = 512, 12
peaks = []

def peak():
    # That of this process; `resource` gives that of the process that started it, if it was more.
    (line,) = (line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
    return 1024 * int(line.split()[1])

model = keras.Sequential([keras.Input((width,)), *[keras.layers.Dense(width, "relu") for _ in range(depth)]])
model.compile("sgd", "mse", jit_compile=False)
x = np.random.default_rng(0).standard_normal((batch, width)).astype("float32")
for callbacks in ([], [kil.callbacks.LayerStatistics(update_freq=1, strict=True)]):
    model.fit(x, x, batch_size=batch, epochs=3, verbose=0, callbacks=callbacks)
    peaks.append(peak())
print(json.dumps(peaks[1] - peaks[0]))
"""
BYTES, DEPTH = 512 * 4, 12


def added_peak(batch):
    command = [sys.executable, "-c", MEMORY, str(batch)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.sweep
def test_peak_of_memory():
    """Of three tensors a layer that are measured (36 in all), few wait for it at once: measured 5 to 7."""
    batch = 8192
    tensor = batch * BYTES
    fixed, added = added_peak(16), added_peak(batch)
    assert added - fixed < DEPTH * tensor
    # The graph, and six times the weights: start, last update, what the step found, gradients, and what is under way.
    assert fixed < 200e6 + 6 * DEPTH * 512 * BYTES
