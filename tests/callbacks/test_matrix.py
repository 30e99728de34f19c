"""Profiles of real training against the slow reference, for every kind of model, mode and data.

All cells apply. A covering subset of them runs by default, the others under the marker `sweep`.
"""

from __future__ import annotations

import itertools
import math

import keras
import numpy as np
import pytest

import keras_initlab as kil

from ..statistics.reference import States, assert_row, gradient_descent
from .matrix import AXES, BATCH, CELLS, DATA, EXECUTIONS, NETWORKS, Cell, covering, dtype_policy, examples, pairs

RATE = 0.1
COVERING = covering(CELLS)
# Half of the distance between 1 and the next larger number.
ROUNDOFF = {"float32": 2.0**-24, "mixed_float16": 2.0**-11, "mixed_bfloat16": 2.0**-8}
FLOAT32 = 1e-5


def tolerance_of(policy: str, calls: int) -> float:
    """Five standard errors of a value that is rounded k times, of relative size u at most: 5 u sqrt(k / 3).

    A layer rounds three times (product, bias, activation) on the way there and three on the way back. A kernel that
    fuses the three rounds once, which is how two right computations come to differ.
    """
    return max(FLOAT32, 5 * ROUNDOFF[policy] * math.sqrt(6 * calls / 3))


def watched(cell: Cell):
    """The Profile of the last step, and the reference's account of it from the state before its execution."""
    keras.utils.clear_session(free_memory=False)
    steps = cell.steps_per_execution
    x, y = examples(EXECUTIONS * steps * BATCH)
    network = NETWORKS[cell.network]
    with dtype_policy(cell.policy):
        model = network.make()
        model.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=cell.jit_compile, steps_per_execution=steps)
        states = States()
        watching = kil.callbacks.LayerStatistics(update_freq=steps, strict=True)
        model.fit(**DATA[cell.data](x, y), shuffle=False, verbose=0, callbacks=[states, watching])
    assert [profile.step for profile in watching.history] == [steps, 2 * steps]
    states.restore(EXECUTIONS - 1)
    parts = [slice(i * BATCH, (i + 1) * BATCH) for i in range(steps, 2 * steps)]
    expected = gradient_descent(
        network.forward, model, [(x[part], y[part]) for part in parts], RATE, states.scales[EXECUTIONS - 1]
    )
    return watching.history[-1], expected


def named(profile, quantity):
    found = [row for row in profile.rows if row["quantity"] == quantity]
    return {row["layer"] if row["variable"] is None else f"{row['layer']}/{row['variable']}": row for row in found}


def assert_agrees(profile, expected, tolerance):
    """Every row there has to be, in order, and no other; and what they say."""
    wanted = {
        "activation": dict(expected["outputs"]),
        "activation_gradient": {path: g for path, g in expected["output_gradients"] if g is not None},
        "weight": expected["weights"],
        "gradient": expected["gradients"],
        "update": expected["updates"],
    }
    assert list(named(profile, "activation")) == list(wanted["activation"])
    for quantity, tensors in wanted.items():
        rows = named(profile, quantity)
        assert rows.keys() == tensors.keys(), quantity
        for name, values in tensors.items():
            # The differences of float32 numbers a thousand times larger have four digits.
            assert_row(rows[name], values, max(tolerance, 1e-4) if quantity == "update" else tolerance)
    for name, row in named(profile, "update").items():
        norm = np.linalg.norm(expected["weights"][name])
        ratio = np.linalg.norm(expected["updates"][name]) / norm if norm else None
        assert row["relative"] == (ratio and pytest.approx(ratio, rel=max(2 * tolerance, 1e-4)))


def of_cells(cells, marks=()):
    return [pytest.param(cell, marks=marks, id="-".join(map(str, cell))) for cell in cells]


REST = [cell for cell in CELLS if cell not in COVERING]


@pytest.mark.parametrize("cell", of_cells(COVERING) + of_cells(REST, pytest.mark.sweep))
def test_cell(cell):
    profile, expected = watched(cell)
    assert_agrees(profile, expected, tolerance_of(cell.policy, len(expected["outputs"])))


def test_the_subset_has_every_pair_of_values():
    assert len(CELLS) == 336
    for (i, one), (j, other) in itertools.combinations(enumerate(AXES.values()), 2):
        assert {(cell[i], cell[j]) for cell in COVERING} == set(itertools.product(one, other))
    # No smaller one has: seven networks meet four kinds of data.
    assert len(COVERING) == 28
    lost = set().union(*map(pairs, COVERING)) - set().union(*map(pairs, COVERING[1:]))
    assert (("network", COVERING[0].network), ("data", COVERING[0].data)) in lost


@pytest.fixture(scope="module")
def example():
    cell = Cell("own_step", False, 1, "mixed_bfloat16", "arrays")
    profile, expected = watched(cell)
    return profile, expected, tolerance_of(cell.policy, len(expected["outputs"]))


@pytest.mark.parametrize(
    ("quantity", "wrong"),
    [
        ("gradients", lambda values: values * 32768),
        ("gradients", lambda values: values * 1.1),
        ("updates", lambda values: values * 0.5),
        ("weights", lambda values: values + 0.1 * values.std()),
    ],
    ids=["scale kept", "another batch", "two steps", "after the step"],
)
def test_the_comparison_rejects(quantity, wrong, example):
    profile, expected, tolerance = example
    assert_agrees(profile, expected, tolerance)
    worse = {**expected, quantity: {name: wrong(values) for name, values in expected[quantity].items()}}
    with pytest.raises(AssertionError, match=r"(weight|gradient|update) of"):
        assert_agrees(profile, worse, tolerance)
