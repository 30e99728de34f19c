"""What is on the disk, read by TensorBoard's own reader and by ours."""

from __future__ import annotations

import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.util import tensor_util

import keras_initlab as kil

from ..statistics.networks import compiled, data


def read_events(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    return accumulator


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    model = compiled("batchnorm")
    watching = kil.callbacks.LayerStatistics(folder, update_freq=2)
    model.fit(*data(256), batch_size=32, verbose=0, callbacks=[watching])
    return folder, watching.history, read_events(folder)


def test_json_lines_are_the_history(run):
    folder, history, _ = run
    assert kil.Profile.read(folder) == history
    assert kil.Profile.read(folder / "profiles.jsonl") == history
    assert [profile.step for profile in history] == [2, 4, 6, 8]


def test_scalars_are_those_of_the_profiles(run):
    _, history, events = run
    tags = events.Tags()["scalars"]
    for tag, quantity, statistic in [
        ("activation_std/000_", "activation", "std"),
        ("gradient_l2/000_", "gradient", "l2"),
        ("displacement_ratio/000_", "displacement", "relative"),
        ("activation_gradient_rms/000_", "activation_gradient", "rms"),
    ]:
        (found,) = [name for name in tags if name.startswith(tag)]
        expected = [profile.column(statistic, quantity)[1][0] for profile in history]
        assert [event.step for event in events.Scalars(found)] == [2, 4, 6, 8]
        assert [event.value for event in events.Scalars(found)] == pytest.approx(expected, rel=1e-6)
    assert any(tag.startswith("batchnorm_mean_drift/001_") for tag in tags)


def test_tags_sort_in_order_of_depth(run):
    _, history, events = run
    tags = sorted(tag for tag in events.Tags()["scalars"] if tag.startswith("activation_std/"))
    layers = [tag.split("/", 1)[1].split("_", 1)[1] for tag in tags]
    assert layers == history[0].column("std")[0]


def test_histograms_hold_the_sample(run):
    _, history, events = run
    tags = [tag for tag in events.Tags()["tensors"] if tag.startswith("activation/")]
    rows = [row for row in history[-1].rows if row["quantity"] == "activation"]
    assert len(tags) == len(rows)
    for tag, row in zip(sorted(tags), rows, strict=True):
        assert events.summary_metadata[tag].plugin_data.plugin_name == "histograms"
        table = tensor_util.make_ndarray(events.Tensors(tag)[-1].tensor_proto)
        assert table[:, 2].sum() == row["count"]
        assert np.array_equal(table[1:, 0], table[:-1, 1])
        inside = table[table[:, 2] > 0]
        assert inside[0, 0] <= row["min"]
        assert inside[-1, 1] >= row["max"]
        positive = sum(count for low, _, count in row["histogram"] if low >= table[len(table) // 2, 1])
        assert table[len(table) // 2 + 1 :, 2].sum() == positive


def test_a_second_run_appends(tmp_path):
    for _ in range(2):
        compiled("plain").fit(*data(32), verbose=0, callbacks=[kil.callbacks.LayerStatistics(tmp_path)])
    assert len(kil.Profile.read(tmp_path)) == 2
    assert len(list(tmp_path.glob("events.out.tfevents.*"))) == 2


def test_a_line_cut_off_is_left_out_and_harms_no_other(tmp_path):
    compiled("plain").fit(*data(32), verbose=0, callbacks=[kil.callbacks.LayerStatistics(tmp_path)])
    file = tmp_path / "profiles.jsonl"
    whole = file.read_bytes()
    file.write_bytes(whole + whole[: len(whole) // 2])
    assert len(kil.Profile.read(tmp_path)) == 1
    compiled("plain").fit(*data(32), verbose=0, callbacks=[kil.callbacks.LayerStatistics(tmp_path)])
    assert len(kil.Profile.read(tmp_path)) == 2
