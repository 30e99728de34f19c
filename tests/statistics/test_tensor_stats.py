"""Statistics of single tensors against NumPy, where float32 would fail first."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_initlab.statistics.measurement import pack
from keras_initlab.statistics.schema import BIN_EDGES, ZERO_BIN
from keras_initlab.statistics.taps import Tap, Taps
from keras_initlab.statistics.unpacking import on_host, unpack

from .reference import histogram, statistics

NORMAL = np.random.default_rng(0).standard_normal((64, 32))

CASES = {
    "normal": NORMAL,
    "relu": np.maximum(NORMAL, 0),
    "1e30": 1e30 * NORMAL,
    "3e38": np.clip(1e38 * NORMAL, -3.4e38, 3.4e38),
    "1e-30": 1e-30 * NORMAL,
    "mean a thousand deviations": 1 + 1e-3 * NORMAL,
    "mean of two deviations": 2 + NORMAL,
    "constant": np.full((64, 32), 0.1),
    "zeros": np.zeros((64, 32)),
    "one far out": np.where(np.arange(64 * 32).reshape(64, 32) == 7, 1e20, NORMAL),
    "one value": np.full((1, 1), -3.0),
    "vector": NORMAL[0],
    "scalar": np.array(2.5),
    "image": NORMAL.reshape(4, 8, 8, 8),
}
MODES = ("quick", "careful", "xla")


def measured(values, dtype="float32", mode="careful", quantity="activation", unit_axis=-1, bounds=None):
    tensor = tf.constant(values, dtype)
    layouts = []

    def run(x):
        tap = Tap(0, "layer", quantity, None, x, bounds, unit_axis)
        packed, layout = pack(Taps([], tensors=[tap]), None, shortcut=mode == "quick")
        layouts.append(layout)
        return packed

    packed = tf.function(run, jit_compile=mode == "xla")(tensor)
    (row,) = unpack(on_host(packed), layouts[0], step=3).rows
    return row


def assert_close(row, expected, rel):
    for name, value in expected.items():
        scale = expected["rms"] if name in ("mean", "std", "rms", "min", "max") else abs(value)
        assert abs(row[name] - value) <= rel * scale, name


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("case", CASES)
def test_float32(case, mode):
    values = CASES[case].astype("float32")
    row = measured(values, mode=mode)
    expected = statistics(values)
    assert_close(row, expected, 2e-6)
    # The deviation to its own digits, too: float32 itself holds five of them where the mean is a thousand times larger.
    assert row["std"] == pytest.approx(expected["std"], rel=5e-6, abs=1e-45)
    assert row["step"] == 3


@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float64"])
def test_other_dtypes(dtype):
    values = tf.constant(NORMAL, dtype)
    row = measured(values, dtype)
    assert_close(row, statistics(tf.cast(values, tf.float64)), 1e-6)


@pytest.mark.parametrize("scale", [1e200, 1e-200])
def test_float64_far_out(scale):
    assert_close(measured(scale * NORMAL, "float64"), statistics(scale * NORMAL), 1e-9)


@pytest.mark.parametrize("mode", MODES)
def test_values_that_are_not_finite_are_counted_and_left_out(mode):
    values = NORMAL[:60].astype("float32")
    values[3, 4], values[5, 6], values[7, 8] = np.nan, np.inf, -np.inf
    row = measured(values, mode=mode)
    assert row["nonfinite"] == 3
    assert_close(row, statistics(values), 2e-6)
    assert sum(count for *_, count in row["histogram"]) == values.size - 3


@pytest.mark.parametrize("mode", MODES)
def test_nothing_finite(mode):
    row = measured(np.full((4, 3), np.nan), mode=mode)
    assert row["nonfinite"] == row["count"] == 12
    assert [row[name] for name in ("mean", "std", "rms", "min", "max", "l2")] == [None] * 6
    assert row["histogram"] == []


def test_no_values():
    row = measured(np.zeros((0, 3)))
    assert (row["count"], row["mean"], row["zeros"]) == (0, None, None)


@pytest.mark.parametrize(("axis", "dead"), [(-1, 2 / 8), (1, 1 / 3)])
def test_dead_units(axis, dead):
    values = np.ones((5, 3, 8))
    values[..., [1, 6]] = 0
    values[:, 2] = 0
    row = measured(values, unit_axis=axis)
    assert row["dead"] == pytest.approx(dead)
    assert row["zeros"] == np.mean(values == 0)


def test_dead_is_of_activations_alone():
    assert measured(np.zeros((5, 3)), quantity="weight")["dead"] is None


@pytest.mark.parametrize("mode", MODES)
def test_saturated(mode):
    values = np.array([[-1, -0.99, -0.98, 0.5, 0.995, 1.0]])
    assert measured(values, mode=mode, bounds=(-0.99, 0.99))["saturated"] == pytest.approx(4 / 6)
    assert measured(values, mode=mode)["saturated"] is None


@pytest.mark.parametrize("mode", MODES)
def test_histogram_against_one_value_after_the_other(mode):
    values = (NORMAL * 10.0 ** np.random.default_rng(1).integers(-6, 6, NORMAL.shape)).astype("float32")[:60]
    values[:, :3] = [0.0, -0.0, 1.0]
    row = measured(values, mode=mode)
    edges = [(low, high) for low, high, _ in row["histogram"]]
    assert edges == sorted(edges)
    assert [count for *_, count in row["histogram"]] == histogram(values, edges)
    assert sum(count for *_, count in row["histogram"]) == values.size


def test_bins_leave_no_gap():
    assert BIN_EDGES[ZERO_BIN].tolist() == [0, 0]
    positive = BIN_EDGES[ZERO_BIN + 1 :]
    assert np.array_equal(positive[1:, 0], positive[:-1, 1])
    assert np.array_equal(BIN_EDGES[:ZERO_BIN], -positive[::-1, ::-1])
    assert positive[0, 0] == np.finfo("float32").tiny
    assert positive[-1, 1] == 2.0**128


def test_histogram_of_a_large_tensor_is_a_fair_sample():
    values = np.random.default_rng(2).standard_normal((600, 500)).astype("float32")
    row = measured(values)
    taken = sum(count for *_, count in row["histogram"])
    assert 1024 <= taken <= 2048
    positive = sum(count for low, _, count in row["histogram"] if low >= 0) / taken
    # Five standard errors of a share of one half.
    assert abs(positive - 0.5) < 5 * 0.5 / np.sqrt(taken)


def test_deep_network_reports_its_values_and_not_infinity():
    """Products of matrices with weights N(0, 1) leave float32 at the 29th; a float32 square leaves it at the 15th."""
    generator = np.random.default_rng(0)
    x = tf.constant(generator.standard_normal((16, 512)), tf.float32)
    found = []
    for _ in range(27):
        x = x @ tf.constant(generator.standard_normal((512, 512)), tf.float32)
        found.append(measured(x.numpy(), mode="quick"))
    assert all(row["nonfinite"] == 0 for row in found)
    growth = np.log2([row["std"] for row in found]) / np.arange(1, 28)
    # Each product multiplies the deviation by √512 = 2^4.5, give or take 1 % of width 512 in 16 examples.
    assert np.abs(growth - 4.5).max() < 0.05
    assert found[-1]["std"] > 1e30
