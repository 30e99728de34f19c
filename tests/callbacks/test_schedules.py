"""Which steps each schedule names, and that a time budget is kept."""

from __future__ import annotations

import itertools
import random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from keras_initlab.callbacks import Every, EveryEpoch, FirstThenEvery, PowersOfTwo, Schedule, TimeBudget

STEPS = 300


def watched(schedule, steps=STEPS, at_once=1, epochs=1, start=0):
    """The last steps of the watched executions, as Keras cuts epochs into executions."""
    found = []
    for epoch in range(epochs):
        begin = start + epoch * steps
        for first in range(begin + 1, begin + steps + 1, at_once):
            last = min(first + at_once - 1, begin + steps)
            if schedule.due(begin, first, last, steps):
                found.append(last)
    return found


# Each with the set of steps up to STEPS that it is to watch, by a rule that shares nothing with the code.
CASES = [
    (Every(1), set(range(1, STEPS + 1))),
    (Every(7), set(range(7, STEPS + 1, 7))),
    (Every(np.int64(1000)), set()),
    (EveryEpoch(), {STEPS}),
    (PowersOfTwo(), {1, 2, 4, 8, 16, 32, 64, 128, 256}),
    (FirstThenEvery(5, 100), {1, 2, 3, 4, 5, 100, 200, 300}),
    (FirstThenEvery(first=250, every=80), set(range(1, 251))),
]


@pytest.mark.parametrize(("schedule", "steps"), CASES, ids=lambda value: repr(value)[:30])
@pytest.mark.parametrize("at_once", [1, 2, 3, 8, 299, 300])
def test_an_execution_that_includes_a_due_step_is_watched(schedule, steps, at_once):
    """The slow reference asks of each step by itself."""
    executions = [range(first, min(first + at_once, STEPS + 1)) for first in range(1, STEPS + 1, at_once)]
    assert watched(schedule, at_once=at_once) == [steps_[-1] for steps_ in executions if steps & set(steps_)]


def test_epochs():
    assert watched(EveryEpoch(), steps=10, epochs=3) == [10, 20, 30]
    assert watched(EveryEpoch(), steps=10, epochs=3, at_once=4) == [10, 20, 30]
    assert watched(Every(4), steps=10, epochs=2) == [4, 8, 12, 16, 20]
    assert [step for step in range(31, 35) if EveryEpoch().due(30, step, step, None)] == [31]


@pytest.mark.parametrize(
    ("schedule", "steps"),
    [
        (PowersOfTwo(), [1024, 2048]),
        (Every(600), [1200, 1800]),
        (FirstThenEvery(1010, 700), [*range(1001, 1011), 1400, 2100]),
    ],
    ids=repr,
)
def test_a_resumed_training_goes_on(schedule, steps):
    assert watched(schedule, steps=1100, start=1000) == steps


def test_of():
    for update_freq, schedule in [(5, Every(5)), (np.int32(5), Every(5)), ("batch", Every(1)), ("epoch", EveryEpoch())]:
        assert Schedule.of(update_freq) == schedule
    budget = TimeBudget()
    assert Schedule.of(budget) is budget


def test_schedules_are_values():
    assert Every(np.int64(3)) == Every(3)
    assert repr(Every(np.int64(3))) == "Every(n=3)"
    assert {PowersOfTwo(), PowersOfTwo(), FirstThenEvery(1, 2), FirstThenEvery(2, 1)} == {
        PowersOfTwo(),
        FirstThenEvery(1, 2),
        FirstThenEvery(2, 1),
    }
    with pytest.raises(AttributeError, match="cannot assign"):
        Every(3).n = 4


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "7", None, True, np.bool_(True), np.float64(3)])
def test_wrong_numbers(wrong):
    with pytest.raises(ValueError, match=r"n must be a positive integer. Received: n="):
        Every(wrong)
    with pytest.raises(ValueError, match=r"first must be a positive integer. Received: first="):
        FirstThenEvery(wrong, 10)
    with pytest.raises(ValueError, match=r"every must be a positive integer. Received: every="):
        FirstThenEvery(10, wrong)


@pytest.mark.parametrize("wrong", ["2 %", None, True, 0.1j])
def test_a_share_that_is_no_number(wrong):
    with pytest.raises(TypeError, match=r"share must be a number between 0 and 1. Received: share="):
        TimeBudget(wrong)


@pytest.mark.parametrize("wrong", [0, 0.0, 1, 2, -0.1, float("nan"), float("inf")])
def test_a_share_out_of_range(wrong):
    with pytest.raises(ValueError, match=r"share must be between 0 and 1, such as 0.02 .* Received: share="):
        TimeBudget(share=wrong)


class Clock:
    """Seconds of a training that a TimeBudget watches; `added` is what watching really added, in plain steps."""

    def __init__(self, budget, ratio, *, tracing=0.0, after=0.0, noise=0.0, drift=1.0, at_once=1, steps=20_000, seed=0):
        law = random.Random(seed)
        self.added = self.total = behind = 0.0
        self.watched = []
        for first in range(1, steps + 1, at_once):
            last = min(first + at_once - 1, steps)
            # Over the training a step comes to take `drift` times as long.
            plain = at_once * drift ** (first / steps) * law.uniform(1 - noise, 1 + noise)
            plain += 100 if first == 1 else 0  # Keras traces its own function
            due = budget.due(0, first, last, None)
            added, behind = behind, 0.0
            if due:
                cost = at_once * ratio * drift ** (first / steps) * law.uniform(1 - noise, 1 + noise)
                # A part of it is done in the background, and slows down the next execution.
                added, behind = (1 - after) * cost, after * cost
                added += 0 if self.watched else tracing
                self.watched.append(last)
            budget.seconds(last, due, 0.01 * (plain + added))
            self.added, self.total = self.added + added, self.total + plain + added

    @property
    def share(self):
        return self.added / self.total


def bound(budget, clock, ratio, tracing, at_once):
    """What may have been added in the whole training, in plain steps.

    While the first watched step is paid back, half of the share goes into watching. Before it is known what watching
    adds, one more comes unasked, and n is chosen from averages: two in all.
    """
    unasked = 2 * ratio * at_once
    return max(budget.share * clock.total, budget.share / 2 * clock.total + tracing) + unasked


@given(
    ratio=st.floats(0.1, 50),
    share=st.sampled_from([0.005, 0.02, 0.1]),
    tracing=st.floats(0, 2000),
    after=st.floats(0, 0.9),
    at_once=st.sampled_from([1, 1, 1, 4, 10]),
)
@settings(max_examples=60, deadline=None)
def test_constant_costs(ratio, share, tracing, after, at_once):
    budget = TimeBudget(share)
    clock = Clock(budget, ratio, tracing=tracing, after=after, at_once=at_once)
    assert clock.added <= bound(budget, clock, ratio, tracing, at_once) * (1 + 1e-9)
    # At least half of the budget is used, up to the one execution that the end of the training cuts off, and no more
    # than every other execution is watched.
    wanted = min(share / 2, ratio / (2 * ratio + 4)) * clock.total
    assert clock.added >= wanted - ratio * at_once


@given(
    ratio=st.floats(0.1, 50),
    tracing=st.floats(0, 2000),
    after=st.floats(0, 0.9),
    noise=st.floats(0, 0.5),
    drift=st.floats(0.2, 5),
    seed=st.integers(0, 2**32),
)
@settings(max_examples=60, deadline=None)
def test_noise_and_drift(ratio, tracing, after, noise, drift, seed):
    budget = TimeBudget()
    clock = Clock(budget, ratio, tracing=tracing, after=after, noise=noise, drift=drift, seed=seed)
    # A step is dearer by `drift` at most; noise puts the mean of few watched steps off by so much at most.
    allowed = bound(budget, clock, ratio * max(drift, 1) * (1 + noise), tracing, 1)
    assert clock.added <= allowed
    assert clock.watched


def test_the_bound_notices_a_budget_that_is_not_kept():
    """Twice as often as asked for is too often, and half as often is too rarely."""
    for factor in (2, 0.5):
        budget = TimeBudget(0.02 * factor)
        clock = Clock(budget, 1.0, steps=20_000)
        budget.share = 0.02
        kept = clock.added <= bound(budget, clock, 1.0, 0, 1)
        used = clock.share >= 0.01
        assert (kept, used) == ((False, True) if factor == 2 else (True, False))


def test_tracing_is_paid_back_and_watching_goes_on_meanwhile():
    budget = TimeBudget()
    short, long = (Clock(TimeBudget(), 0.5, tracing=300, steps=steps) for steps in (5_000, 40_000))
    clock = Clock(budget, 0.5, tracing=300, steps=40_000)
    assert short.share > 0.05
    assert 0.015 <= long.share <= 0.02
    # Half of the share goes into watching from the beginning: .01 of 5000 steps, half a step each.
    assert 60 <= len(short.watched) <= 100
    # 300 steps are half of 2 % of 30,000.
    (paid,) = [step for step, n in budget.chosen[-1:]]
    assert 20_000 <= paid <= 31_000
    assert clock.watched == long.watched


def test_the_first_plain_step_does_not_mislead():
    """The first step, a hundred times as long, changes nothing but the total."""
    with_tracing = TimeBudget()
    Clock(with_tracing, 1.0)
    assert with_tracing.chosen[0][0] == 9
    assert 49 <= with_tracing.chosen[-1][1] <= 2 * 49


def test_what_was_chosen_is_what_was_done():
    budget = TimeBudget()
    clock = Clock(budget, 2.0, tracing=500, noise=0.3, drift=0.5, steps=50_000)
    assert [step for step, _ in budget.chosen] == sorted({step for step, _ in budget.chosen})
    changes = dict(budget.chosen)
    assert set(changes) <= set(clock.watched)
    n = None
    for step, after in itertools.pairwise(clock.watched):
        n = changes.get(step, n)
        assert after - step == n
    # The budget's own account is that of the clock, but for what noise hides.
    assert 0.01 * clock.added == pytest.approx(budget.spent, rel=0.05)
    assert 0.01 * clock.total == pytest.approx(budget.total, rel=1e-9)


def test_the_note_is_said_once_for_each_change():
    budget, notes = TimeBudget(0.1), {}
    assert budget.note() is None
    for step in range(1, 2_001):
        due = budget.due(0, step, step, None)
        budget.seconds(step, due, 3.0 if due else 1.0)
        note = budget.note()
        if note is not None:
            notes[step] = note
    # Known one step later, since the step after a watched one counts too.
    assert notes == {
        10: "every 23 steps from step 9 on, for 10 % of the training time",
        33: "every 46 steps from step 32 on, for 10 % of the training time",
        79: "every 22 steps from step 78 on, for 10 % of the training time",
    }
    assert all(schedule.note() is None for schedule in (Every(1), EveryEpoch(), PowersOfTwo(), FirstThenEvery(1, 1)))


def test_a_clock_that_stands_still_is_survived():
    budget = TimeBudget()
    for step in range(1, 1_001):
        budget.seconds(step, budget.due(0, step, step, None), 0.0)
    assert budget.chosen == [(9, 59), (68, 3)]
