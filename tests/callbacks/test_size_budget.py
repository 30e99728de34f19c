"""max_bytes holds to the byte, however long the training, and what is left out is said once."""

from __future__ import annotations

import numpy as np
import pytest

import keras_initlab as kil
from keras_initlab.callbacks.writers import checked_writers, open_writers
from keras_initlab.callbacks.writers.budget import Budget

from .profiles import made, same_as
from .test_event_files import read

LIMIT = 3_000_000


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def train(folder, steps, max_bytes=LIMIT, first=1, histograms=True, **arguments):
    """What is said in a training that is watched for some steps."""
    profile = made(histograms=histograms)
    writer = open_writers(folder, max_bytes=max_bytes, **arguments)
    for step in range(first, first + steps):
        writer.write(same_as(profile, step))
    writer.close()
    assert writer.failures == []
    return writer.messages()


@pytest.fixture(scope="module")
def long(tmp_path_factory):
    folder = tmp_path_factory.mktemp("long")
    return folder, train(folder, 2000), kil.Profile.read(folder)


def test_the_limit_holds(long):
    folder, _, _ = long
    assert 0.75 * LIMIT < size_of(folder) <= LIMIT


def test_histograms_go_after_a_half_and_steps_after_three_quarters(long):
    _, _, profiles = long
    bare = [profile.histograms is None for profile in profiles]
    first_bare = bare.index(True)
    assert all(bare[first_bare:])
    assert not any(bare[:first_bare])
    gaps = np.diff([profile.step for profile in profiles])
    assert (gaps[:first_bare] == 1).all()  # histograms go before any step does
    thinned = int(np.argmax(gaps > 1))
    assert thinned > first_bare
    assert set(gaps) == {2**n for n in range(len(set(gaps)))}
    assert (np.diff(gaps) >= 0).all()
    assert 2000 - profiles[-1].step < 2 * gaps[-1]  # it goes on to the end


def test_each_stage_is_said_once(long):
    folder, messages, _ = long
    histograms, steps = messages
    assert f"of max_bytes=3,000,000 to '{folder}': histograms are left out from here on" in histograms
    assert "only every 2nd of the watched steps is written from here on, then every 4th and so on" in steps
    assert all("Give a larger max_bytes or watch fewer steps" in message for message in messages)


def test_the_event_files_have_the_same_steps(long):
    folder, _, profiles = long
    events = read(folder).Scalars("activation_std/000_net/layer_0")
    assert [event.step for event in events] == [profile.step for profile in profiles]


def test_without_histograms_there_is_one_stage(tmp_path):
    (message,) = train(tmp_path, 300, max_bytes=10**6, histograms=False)
    assert "every 2nd of the watched steps" in message


def test_under_the_half_everything_is_written_and_nothing_said(tmp_path):
    assert train(tmp_path, 5) == []
    assert [profile.step for profile in kil.Profile.read(tmp_path)] == [1, 2, 3, 4, 5]
    assert size_of(tmp_path) < LIMIT / 2


def test_what_lies_in_the_folder_counts_and_nothing_else(tmp_path):
    """Trainings into the same folder share the limit; the file of another program is not ours to count."""
    (tmp_path / "events.out.tfevents.1.other").write_bytes(b"x" * LIMIT)
    others = size_of(tmp_path)
    for run in range(6):
        train(tmp_path, 20, 10**6, first=20 * run + 1, hparams={"seed": run})
        assert size_of(tmp_path) - others <= 10**6
    profiles = kil.Profile.read(tmp_path)
    assert profiles[0].histograms is not None
    assert profiles[-1].histograms is None
    assert profiles[-1].step > 100


def test_a_limit_too_small_for_one_profile(tmp_path):
    train(tmp_path, 50, max_bytes=100)
    assert size_of(tmp_path) <= 100
    assert kil.Profile.read(tmp_path) == []


def test_other_writers_are_given_everything(tmp_path):
    seen = []
    writers = checked_writers([lambda profile: seen.append(profile.histograms is not None)])
    train(tmp_path, 50, max_bytes=10_000, writers=writers)
    assert seen == [True] * 50


def test_the_end_is_not_reached():
    """With room for a thousand Profiles, of which a thousand a second are watched for a quarter of an hour."""
    budget, profile, written = Budget(10**5), made(1, layers=1, histograms=False), []
    for step in range(10**6):
        if budget.form(profile) is not None:
            assert budget.spend(100), step
            written.append(step)
    assert budget.used == 100 * len(written) <= 10**5
    assert 10**6 - written[-1] < 2 * (written[-1] - written[-2])
    assert 10**5 - budget.used > 10 * 100
