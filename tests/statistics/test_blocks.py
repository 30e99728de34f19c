"""Tensors that are measured together, against each by itself."""

from __future__ import annotations

import numpy as np
import pytest
import tensorflow as tf

from keras_initlab.statistics.blocks import Subject, blocks_of
from keras_initlab.statistics.measurement import pack
from keras_initlab.statistics.taps import Tap, Taps
from keras_initlab.statistics.unpacking import on_host, unpack

from .reference import histogram, statistics

BOUNDS = (-0.5, 1.5)


def rows_of(tensors, shapes, axis=-1):
    """One row for each tensor, measured in a graph that knows no more of them than their shapes."""
    layouts = []

    @tf.function(input_signature=[tf.TensorSpec(shape) for shape in shapes])
    def run(*tensors):
        taps = [Tap(i, f"layer {i}", "activation", None, x, BOUNDS, axis) for i, x in enumerate(tensors)]
        packed, layout = pack(Taps([], tensors=taps), None, shortcut=True)
        layouts.append(layout)
        return packed

    packed = run(*(tf.constant(x, tf.float32) for x in tensors))
    return unpack(on_host(packed), layouts[-1], step=0).rows


def drawn(*shape, seed=0):
    values = np.random.default_rng([seed, *shape]).standard_normal(shape).astype("float32")
    values[..., : shape[-1] // 3] = 0
    return values


def check(row, values, axis=-1):
    for name, value in statistics(values).items():
        assert row[name] == pytest.approx(value, rel=3e-6, abs=3e-6 * float(np.abs(values).max())), name
    assert row["count"] == values.size
    assert row["saturated"] == np.mean((values <= BOUNDS[0]) | (values >= BOUNDS[1]))
    others = tuple(a for a in range(values.ndim) if a != axis % values.ndim)
    assert row["dead"] == pytest.approx(np.mean((values == 0).all(axis=others)))
    if values.size <= 2047:
        edges = [(low, high) for low, high, _ in row["histogram"]]
        assert [count for *_, count in row["histogram"]] == histogram(values, edges)


# Of 40 units and 256 examples a tensor is joined with others; of 400 units it is not.
@pytest.mark.parametrize("units", [6, 40, 400])
@pytest.mark.parametrize("batch", [None, 5])
def test_of_one_length(units, batch):
    tensors = [drawn(5, units, seed=i) for i in range(7)]
    for row, values in zip(rows_of(tensors, [(batch, units)] * 7), tensors, strict=True):
        check(row, values)


@pytest.mark.parametrize("units", [6, 40, 400])
@pytest.mark.parametrize("lengths", [(4, 5, 6), (6, 3, 3), (1, 1, 7), (3, 0, 3), (2, 1, 1)])
def test_of_lengths_that_turn_out_to_differ(units, lengths):
    """Some add up to a multiple of their number, and would pass for equal ones."""
    tensors = [drawn(length, units, seed=length) for length in lengths]
    for row, values in zip(rows_of(tensors, [(None, units)] * 3), tensors, strict=True):
        if values.size:
            check(row, values)
        else:
            assert (row["count"], row["mean"], row["histogram"]) == (0, None, [])


@pytest.mark.parametrize("axis", [-1, 1])
def test_of_images(axis):
    tensors = [drawn(3, 4, 5, 6, seed=i) for i in range(3)]
    for row, values in zip(rows_of(tensors, [(None, 4, 5, 6)] * 3, axis), tensors, strict=True):
        check(row, values, axis)


@pytest.mark.parametrize("units", [6, 400])
def test_one_that_is_not_finite_leaves_the_others_alone(units):
    tensors = [drawn(5, units, seed=i) for i in range(3)]
    tensors[1][2, 3:] = np.nan
    one, bad, other = rows_of(tensors, [(None, units)] * 3)
    check(one, tensors[0])
    check(other, tensors[2])
    assert bad["nonfinite"] == units - 3
    assert bad["rms"] == pytest.approx(statistics(tensors[1])["rms"], rel=1e-5)


def test_units_whose_number_is_not_known_are_not_counted():
    values = drawn(3, 4, 5)
    (row,) = rows_of([values], [(None, None, None)])
    assert row["dead"] is None
    assert row["rms"] == pytest.approx(statistics(values)["rms"], rel=1e-5)
    assert sum(count for *_, count in row["histogram"]) == values.size


def test_what_is_alike_is_measured_together_and_in_the_order_of_the_last():
    wide, narrow = tf.zeros((8, 32)), tf.zeros((8, 16))
    subjects = [Subject(x, 1) for x in (wide, narrow, wide, wide)]
    assert blocks_of(subjects) == [[1], [0, 2, 3]]
    assert blocks_of([Subject(wide, 1), Subject(wide, 1, BOUNDS)]) == [[0], [1]]
    assert blocks_of([Subject(wide, 0), Subject(wide, 0)]) == [[0], [1]]
    assert len(blocks_of([Subject(wide, 1)] * 100)) == 2
    assert len(blocks_of([Subject(tf.zeros((512, 512)), 1)] * 3)) == 3
