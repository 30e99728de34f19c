"""Which layers are worst, and where their table is drawn."""

from __future__ import annotations

import contextlib
import io
import math
import os
import pty
import re
import sys
import threading

import keras
import numpy as np
import pytest

from keras_initlab.callbacks.live_table import LiveTable, table_of
from keras_initlab.callbacks.worst_layers import HEALTHY, worst_layers
from keras_initlab.statistics.profile import Profile

LAYERS = [f"block_{i}/dense" for i in range(6)]


def made(*changes, step=100):
    """A healthy Profile of six layers but for changes: (layer, quantity, variable, statistic, value)."""
    table = {}
    for depth, layer in enumerate(LAYERS):
        table[depth, layer, "activation", None] = {"std": 0.8 + depth / 10, "dead": 0.05, "saturated": 0.1}
        table[depth, layer, "activation_gradient", None] = {"rms": 1e-3 * (1 + depth)}
        table[depth, layer, "update", "kernel"] = {"relative": 2e-3}
        table[depth, layer, "update", "bias"] = {"relative": 5.0, "count": 3}
        table[depth, layer, "gradient", "kernel"] = {}
        table[depth, layer, "batchnorm", "mean_drift"] = {"rms": 0.2}
        table[depth, layer, "batchnorm", "variance_ratio"] = {"mean": 1.1}
    for layer, quantity, variable, statistic, value in changes:
        table.setdefault((LAYERS.index(layer), layer, quantity, variable), {})[statistic] = value
    keys = sorted(table, key=lambda key: key[0])
    columns = {name for row in table.values() for name in row} | {"count", "nonfinite"}
    usual = {"count": 100, "nonfinite": 0}
    return Profile(
        step,
        keys,
        {name: np.array([table[key].get(name, usual.get(name, np.nan)) for key in keys]) for name in columns},
    )


ONE = "block_3/dense"
SYMPTOMS = [
    (("activation", None, "dead", 0.62), 1.24, "62 % of units dead"),
    (("activation", None, "dead_window", 0.8), 1.6, "80 % of units dead"),
    (("activation", None, "saturated", 0.7), 1.4, "70 % of values saturated"),
    (("preactivation", None, "saturated", 0.9), 1.8, "90 % of values saturated"),
    (("update", "kernel", "relative", 3e-7), 3 - math.log10(0.3), "update/weight 3.0e-07"),
    (("update", "kernel", "relative", 0.5), math.log10(500), "update/weight 5.0e-01"),
    (("activation", None, "std", 1e-6), 3.0, "output std 1.0e-06, median of the layers 9.5e-01"),
    (("activation", None, "std", 1e9), 4.5, "output std 1.0e+09, median of the layers 1.1e+00"),
    (("activation", None, "std", 0.0), 200, "output std 0.0e+00, median of the layers 1.0e+00"),
    (("activation_gradient", None, "rms", 3e-12), 4.5, "gradient of output 3.0e-12, median of the layers 2.4e-03"),
    (("batchnorm", "mean_drift", "rms", 2.34), 2.34, "batch means 2.3 deviations off the moving means"),
    (("batchnorm", "variance_ratio", "mean", 0.01), 4.0, "batch variances 0.01 times the moving variances"),
    (("batchnorm", "variance_ratio", "mean", 40.0), 3.2, "batch variances 40 times the moving variances"),
    (("gradient", "kernel", "nonfinite", 12345), math.inf, "12,345 values not finite, first in gradient kernel"),
]


@pytest.mark.parametrize(("change", "score", "reason"), SYMPTOMS, ids=[reason for _, _, reason in SYMPTOMS])
def test_each_symptom_ranks_first(change, score, reason):
    (first, found, said), *others = worst_layers(made((ONE, *change)))
    assert (first, said) == (ONE, reason)
    assert found == pytest.approx(score, rel=0.05)
    assert [said for _, _, said in others] == [HEALTHY, HEALTHY]
    assert all(0 <= score < 1 for _, score, _ in others)


def test_a_healthy_network():
    worst = worst_layers(made(), number=10)
    assert len(worst) == len(LAYERS)
    assert {reason for _, _, reason in worst} == {HEALTHY}
    assert max(score for _, score, _ in worst) < 1
    assert table_of(made()) == "step 100: nothing stands out in 6 layers"
    assert worst_layers(Profile(0, [], {})) == []


def test_the_first_offender_comes_first():
    """Infinities on their way back: the deepest gradient was first, then the layers by depth."""
    bad = [(layer, "gradient", "kernel", "nonfinite", 3) for layer in LAYERS[:5]]
    assert [layer for layer, _, _ in worst_layers(made(*bad), number=4)] == [LAYERS[i] for i in (4, 0, 1, 2)]
    assert [reason for _, _, reason in worst_layers(made(*bad), number=2)] == [
        "3 values not finite, first in gradient kernel",
        "3 values not finite",
    ]


@pytest.mark.parametrize(
    "change",
    [
        (LAYERS[-1], "activation", None, "saturated", 1.0),  # the answers of a classifier
        (LAYERS[0], "update", "kernel", "relative", 0.0),  # a weight that stands still between accumulated gradients
        (LAYERS[0], "update", "kernel", "relative", np.nan),
    ],
)
def test_what_is_no_symptom(change):
    assert {reason for _, _, reason in worst_layers(made(change), number=6)} == {HEALTHY}


def test_the_last_watched_steps_say_more_than_the_last_batch():
    dead = (ONE, "activation", None, "dead", 0.9)
    assert worst_layers(made(dead))[0][2] == "90 % of units dead"
    assert worst_layers(made(dead, (ONE, "activation", None, "dead_window", 0.1)))[0][2] == HEALTHY


def test_zeros_count_after_the_first_step():
    zero = (ONE, "activation_gradient", None, "rms", 0.0)
    assert worst_layers(made(zero, step=1))[0][2] == HEALTHY
    assert worst_layers(made(zero, step=2))[0][::2] == (
        ONE,
        "gradient of output 0.0e+00, median of the layers 3.0e-03",
    )


def test_the_gradients_of_query_and_key_are_small_by_nature():
    keys = [(i, f"attention/{name}", "activation_gradient", None) for i, name in enumerate(["query", "key", "value"])]
    keys += [(3, "a", "activation_gradient", None), (4, "b", "activation_gradient", None)]
    statistics = {"rms": [1e-9, 1e-9, 1e-3, 1e-3, 1e-9], "nonfinite": np.zeros(5), "count": np.full(5, 8)}
    reasons = {layer: reason for layer, _, reason in worst_layers(Profile(9, keys, statistics), number=5)}
    assert [layer for layer, reason in reasons.items() if reason != HEALTHY] == ["attention/value", "a"]


def test_the_table_is_a_hundred_columns_wide_at_most():
    names = [f"model_with_a_long_name/encoder_{i}/[layer]/multi_head_attention_normalization" for i in range(4)]
    keys = [(i, name, "gradient", "recurrent_kernel") for i, name in enumerate(names)]
    keys += [(4 + i, f"{i}", "activation_gradient", None) for i in range(2)]
    statistics = {"nonfinite": [1_234_567_890, 2, 0, 0, 0, 0], "rms": [np.nan] * 4 + [1e-9, 1e-1]}
    lines = table_of(Profile(12345, keys, statistics)).splitlines()
    assert lines[0] == "step 12,345: layers that stand out"
    assert len(lines) == 4
    assert max(map(len, lines)) <= 100
    assert lines[1].startswith("  …yer]/multi_head_attention_normalization  2 values not finite, first in gradient rec")


class Training(keras.callbacks.Callback):
    """Shows made-up Profiles while a real model trains, as LayerStatistics does."""

    def __init__(self):
        super().__init__()
        self.table, self.step, self.seen = LiveTable(), 0, []

    def on_train_batch_end(self, batch, logs=None):
        self.step += 1
        self.table.show(made((ONE, "activation", None, "dead", 0.6 + self.step / 100), step=self.step))

    def on_epoch_end(self, epoch, logs=None):
        self.table.end_epoch()

    def on_train_end(self, logs=None):
        self.table.close()


def train(verbose):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    model.fit(np.ones((40, 3)), np.ones((40, 1)), batch_size=4, epochs=2, verbose=verbose, callbacks=[Training()])


class Screen:
    """As much of a terminal as Keras's progress bar and the table use, of endless height."""

    def __init__(self):
        self.lines, self.row, self.column = [""], 0, 0

    def feed(self, text):
        for move, letter in re.findall(r"\x1b\[([\d;]*[A-Za-z])|([\s\S])", text):
            line = self.lines[self.row]
            if move.endswith("m"):
                continue
            if move.endswith("A"):
                self.row -= int(move[:-1] or 1)
            elif move in ("K", "J"):
                self.lines[self.row] = line[: self.column]
                del self.lines[self.row + 1 if move == "J" else len(self.lines) :]
            elif letter == "\r":
                self.column = 0
            elif letter == "\b":
                self.column = max(self.column - 1, 0)
            elif letter == "\n":
                self.row += 1
                self.lines += [""] * (self.row + 1 - len(self.lines))
            else:
                assert letter.isprintable(), (move, letter)
                self.lines[self.row] = line[: self.column].ljust(self.column) + letter + line[self.column + 1 :]
                self.column += 1

    def __str__(self):
        return "\n".join(line.rstrip() for line in self.lines)


def in_terminal(action, columns=90):
    """What an action writes where the standard output is a (pseudo-)terminal."""
    outer, inner = pty.openpty()
    written = []

    def read():
        with contextlib.suppress(OSError):  # the other side is closed
            while piece := os.read(outer, 65536):
                written.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        with (
            pytest.MonkeyPatch.context() as patch,
            os.fdopen(inner, "w", encoding="utf-8") as stream,
        ):
            # Here and not in a fixture: pytest puts its own standard output in place before each test.
            patch.setattr(sys, "stdout", stream)
            patch.setenv("COLUMNS", str(columns))
            action()
    finally:
        reader.join()
        os.close(outer)
    return b"".join(written).decode()


@pytest.fixture
def at_once(monkeypatch):
    monkeypatch.setattr("keras_initlab.callbacks.live_table._REDRAW_SECONDS", 0.0)


@pytest.mark.parametrize("verbose", [0, 1, 2])
@pytest.mark.usefixtures("at_once")
def test_in_a_terminal(verbose):
    """Keras's lines stand as without the table, and the last table below them."""
    text = in_terminal(lambda: train(verbose))
    screen = Screen()
    screen.feed(text)
    lines = str(screen).splitlines()
    assert lines[-3:] == ["", "step 20: layers that stand out", "  block_3/dense  80 % of units dead"]
    keras_lines = [re.sub(r"━+ | - loss.*|\d+m?s(/step)?| ", "", line) for line in lines[:-3]]
    assert keras_lines == {0: [], 1: ["Epoch1/2", "10/10", "Epoch2/2", "10/10"]}.get(
        verbose, ["Epoch1/2", "10/10--", "Epoch2/2", "10/10--"]
    )
    # Twenty in place, and the last one for good.
    assert text.count("layers that stand out") == 21


@pytest.mark.usefixtures("at_once")
def test_while_it_trains_the_table_is_below_the_bar():
    text = in_terminal(lambda: train(1))
    screen = Screen()
    screen.feed(text[: text.index("step 9:")])
    screen.feed(re.match(r"[\s\S]*?\x1b\[\d+A\r", text[text.index("step 9:") :])[0])
    *_, epoch, bar, title, layer = str(screen).splitlines()
    assert epoch == "Epoch 1/2"
    assert re.match(r" ?\d/10 ━", bar)
    assert title == "step 9: layers that stand out"
    assert layer == "  block_3/dense  69 % of units dead"


def test_twice_a_second_at_most(monkeypatch):
    now = [0.0]
    monkeypatch.setattr("keras_initlab.callbacks.live_table.time.monotonic", lambda: now[0])

    def show():
        table = LiveTable()
        for step in range(100):
            now[0] = 0.0625 * step
            table.show(made(step=step))

    assert re.findall(r"step (\d+)", in_terminal(show)) == [str(step) for step in range(0, 100, 8)]


def test_a_narrow_terminal():
    text = in_terminal(lambda: LiveTable().show(made((ONE, "activation", None, "std", 1e-6))), columns=30)
    assert max(len(line) for line in re.sub(r"\x1b\[\d*[A-Z]", "", text).splitlines()) == 29


@pytest.mark.parametrize("verbose", [0, 1, 2])
def test_elsewhere_once_an_epoch(capsys, verbose):
    train(verbose)
    printed = capsys.readouterr().out
    assert re.findall(r"^step (\d+): layers that stand out\n  block_3/dense  \d+ % of units dead$", printed, re.M) == [
        "10",
        "20",
    ]
    assert "\x1b[J" not in printed
    assert "\x1b[1A" not in printed


def test_an_output_that_has_few_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    table = LiveTable()
    table.show(Profile(3, [(0, "x" * 50 + "é", "gradient", "kernel")], {"nonfinite": [1]}))
    table.close()
    assert b"step 3: layers that stand out\n  ?" + b"x" * 38 + b"?  1 values not finite" in raw.getvalue()


@pytest.mark.parametrize("verbose", [0, 1])
def test_layer_statistics_is_silent_unless_asked(capsys, verbose):
    from keras_initlab.callbacks import LayerStatistics

    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    watching = LayerStatistics(update_freq=2, verbose=verbose)
    model.fit(np.ones((40, 3)), np.ones((40, 2)), batch_size=4, epochs=2, verbose=0, callbacks=[watching])
    assert re.findall(r"^step (\d+): ", capsys.readouterr().out, re.M) == ["10", "20"] * verbose
