"""Event files: read by TensorBoard's own reader, held against the Profiles' rows, written without TensorFlow."""

from __future__ import annotations

import itertools
import json
import re
import textwrap

import keras
import numpy as np
import pytest
from tensorboard.backend.event_processing.event_accumulator import STORE_EVERYTHING_SIZE_GUIDANCE, EventAccumulator
from tensorboard.compat.proto.event_pb2 import Event
from tensorboard.plugins.custom_scalar import layout_pb2
from tensorboard.plugins.hparams import plugin_data_pb2
from tensorboard.util import tensor_util

import keras_initlab as kil
from keras_initlab.callbacks import EventFiles, initializer_hparams
from keras_initlab.callbacks.tensorboard_events import event_bytes, scalars_of
from keras_initlab.callbacks.writers import checked_hparams

from ..processes import python
from .profiles import made

# Tag, quantity, variable, statistic, and what is made of it: the contract with whoever reads the tags.
EXPECTED = [
    ("preactivation_mean", "preactivation", None, "mean"),
    ("preactivation_std", "preactivation", None, "std"),
    ("preactivation_saturated", "preactivation", None, "saturated"),
    ("activation_mean", "activation", None, "mean"),
    ("activation_std", "activation", None, "std"),
    ("activation_zeros", "activation", None, "zeros"),
    ("activation_dead", "activation", None, "dead"),
    ("activation_dead_window", "activation", None, "dead_window"),
    ("activation_saturated", "activation", None, "saturated"),
    ("activation_nonfinite", "activation", None, "nonfinite"),
    ("activation_gradient_rms", "activation_gradient", None, "rms"),
    ("activation_gradient_l2", "activation_gradient", None, "l2"),
    ("weight_mean", "weight", "kernel", "mean"),
    ("weight_std", "weight", "kernel", "std"),
    ("weight_l2", "weight", "kernel", "l2"),
    ("gradient_rms", "gradient", "kernel", "rms"),
    ("gradient_l2", "gradient", "kernel", "l2"),
    ("gradient_nonfinite", "gradient", "kernel", "nonfinite"),
    ("gradient_noise_scale", "gradient", "kernel", "noise_scale"),
    ("update_l2", "update", "kernel", "l2"),
    ("update_ratio_log10", "update", "kernel", "relative"),
    ("update_cosine", "update", "kernel", "cosine"),
    ("displacement_l2", "displacement", "kernel", "l2"),
    ("displacement_ratio", "displacement", "kernel", "relative"),
    ("displacement_angle", "displacement", "kernel", "angle"),
    ("batchnorm_input_mean", "batchnorm", "input", "mean"),
    ("batchnorm_input_std", "batchnorm", "input", "std"),
    ("batchnorm_mean_drift", "batchnorm", "mean_drift", "rms"),
    ("batchnorm_variance_ratio", "batchnorm", "variance_ratio", "mean"),
    ("normalization_mean", "normalization", "mean", "mean"),
    ("normalization_variance", "normalization", "variance", "mean"),
    ("inference_gap_relative", "inference_gap", None, "relative"),
]


def expected_scalars(profile):
    """Row by row, from the public table."""
    found = {}
    for row in profile.rows:
        place = f"{row['depth']:03d}_{row['layer']}"
        for tag, quantity, variable, statistic in EXPECTED:
            if row["quantity"] == quantity and row["variable"] == variable and row[statistic] is not None:
                weight = "/kernel" if variable == "kernel" else ""
                value = np.log10(row[statistic]) if tag.endswith("log10") else row[statistic]
                found[f"{tag}/{place}{weight}"] = value
        if row["quantity"] == "activation":
            found[f"band_of_activation_mean/lower/{place}"] = row["mean"] - row["std"]
            found[f"band_of_activation_mean/upper/{place}"] = row["mean"] + row["std"]
    return found


def read(folder):
    accumulator = EventAccumulator(str(folder), size_guidance=STORE_EVERYTHING_SIZE_GUIDANCE)
    accumulator.Reload()
    return accumulator


def write(folder, profiles, **arguments):
    events = EventFiles(folder, **arguments)
    for profile in profiles:
        events.write(profile)
    events.close()
    return read(folder)


@pytest.mark.parametrize("histograms", [True, False])
def test_every_scalar_is_that_of_its_row(tmp_path, histograms):
    profiles = [made(step, histograms=histograms) for step in (7, 130, 2**40)]
    events = write(tmp_path, profiles)
    assert set(events.Tags()["scalars"]) == set(expected_scalars(profiles[0]))
    for number, profile in enumerate(profiles):
        for tag, value in expected_scalars(profile).items():
            event = events.Scalars(tag)[number]
            assert (event.step, event.value) == (profile.step, np.float32(value)), tag


def test_histograms_are_those_of_their_rows(tmp_path):
    profiles = [made(step) for step in (1, 2)]
    events = write(tmp_path, profiles)
    tags = {tag for tag in events.Tags()["tensors"] if "/" in tag}
    assert {tag.split("/")[0] for tag in tags} == {"activation", "activation_gradient", "weight", "gradient"}
    for number, profile in enumerate(profiles):
        rows = [row for row in profile.rows if row["quantity"] in {tag.split("/")[0] for tag in tags}]
        assert len(rows) == len(tags)
        for row in rows:
            kernel = "/kernel" if row["variable"] else ""
            tag = f"{row['quantity']}/{row['depth']:03d}_{row['layer']}{kernel}"
            assert events.summary_metadata[tag].plugin_data.plugin_name == "histograms"
            table = tensor_util.make_ndarray(events.Tensors(tag)[number].tensor_proto)
            assert np.array_equal(table, slow_buckets(row["histogram"]))


def slow_buckets(histogram, octaves=7):
    """14 bins on each side of zero, up to the one that is farthest from it, and one for all that is smaller."""
    found = sorted((low, high) for low, high, _ in histogram if low != high)
    largest = max(max(-low, high) for low, high in found)
    edges = [largest]
    while len(edges) < 2 * octaves + 1:
        mantissa = edges[-1] / 2.0 ** np.floor(np.log2(edges[-1]))
        edges.append(edges[-1] * (2 / 3 if mantissa == 1.5 else 3 / 4))
    ascending = edges[::-1]
    table = [[-high, -low, 0.0] for low, high in itertools.pairwise(ascending)][::-1]
    table += [[-ascending[0], ascending[0], 0.0]]
    table += [[low, high, 0.0] for low, high in itertools.pairwise(ascending)]
    for low, high, count in histogram:
        middle = (low + high) / 2
        (place,) = [i for i, (left, right, _) in enumerate(table) if left <= middle < right or left == middle == right]
        table[place][2] += count
    return np.array(table)


def test_what_does_not_apply_is_absent_and_what_is_not_a_number_is_shown():
    profile = made()
    row = next(i for i, key in enumerate(profile.keys) if key[2] == "update")
    profile.statistics["relative"][row] = 0.0  # a weight that stood still has no logarithm
    profile.statistics["mean"][[key[2] == "weight" for key in profile.keys]] = np.nan
    values = {value.tag: value.simple_value for value in Event.FromString(event_bytes(profile)).summary.value}
    assert "update_ratio_log10/000_net/layer_0/kernel" not in values
    assert "update_ratio_log10/001_net/layer_1/kernel" in values
    assert np.isnan(values["weight_mean/000_net/layer_0/kernel"])
    plain = scalars_of(profile)
    assert "weight_mean/000_net/layer_0/kernel" not in plain
    assert not any(tag.startswith("band_of") for tag in plain)
    assert plain["weight_std/000_net/layer_0/kernel"] == values["weight_std/000_net/layer_0/kernel"]


def test_events_that_are_alike_in_length_only_are_not_mixed_up():
    """The template is chosen by the rows and by what is absent from them, both of which change here."""
    profiles = [made(1), made(1, layers=2), made(1)]
    profiles[2].statistics["cosine"][:] = np.nan
    for profile in (*profiles, *profiles):
        values = {v.tag for v in Event.FromString(event_bytes(profile)).summary.value if v.HasField("simple_value")}
        assert values == set(expected_scalars(profile))


def test_a_thousand_layers_sort_in_order_of_depth():
    tags = [tag for tag in scalars_of(made(layers=1001, histograms=False)) if tag.startswith("activation_std/")]
    assert sorted(tags) == tags
    assert tags[-1] == "activation_std/1000_net/layer_1000"


def test_the_layout_names_tags_that_are_there(tmp_path):
    events = write(tmp_path, [made(3), made(6)])
    (tensor,) = events.Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(tensor.tensor_proto).item())
    by_layer, bands = layout.category
    tags = events.Tags()["scalars"]
    assert len(bands.chart) == 3
    for depth, chart in enumerate(reversed(bands.chart)):  # as the page shows them
        (series,) = chart.margin.series
        assert series.value == f"activation_mean/{depth:03d}_net/layer_{depth}"
        assert {series.value, series.lower, series.upper} <= set(tags)
    matched = {chart.title: [t for t in tags if re.match(chart.multiline.tag[0], t)] for chart in by_layer.chart}
    assert len(matched) == 7
    assert all(len(found) in (3, 6) for found in matched.values())
    assert len(matched["gradient of the loss by weight, rms"]) == 3


def test_a_chart_without_rows_is_left_out(tmp_path):
    profile = made()
    some = [key[2] == "activation" for key in profile.keys]
    part = kil.Profile(
        1,
        [key for key, chosen in zip(profile.keys, some, strict=True) if chosen],
        {name: column[some] for name, column in profile.statistics.items() if name != "saturated"},
    )
    (tensor,) = write(tmp_path, [part]).Tensors("custom_scalars__config__")
    layout = layout_pb2.Layout.FromString(tensor_util.make_ndarray(tensor.tensor_proto).item())
    assert [chart.title for chart in layout.category[0].chart] == ["share of dead units"]


def hparams_of(events, tag):
    return plugin_data_pb2.HParamsPluginData.FromString(events.summary_metadata[tag].plugin_data.content)


def test_hyperparameters_of_every_kind(tmp_path):
    given = {"kernel_initializer": "HeNormal", "seed": 3, "rate": 0.5, "augmented": True}
    events = write(tmp_path, [made()], hparams=given)
    start = hparams_of(events, "_hparams_/session_start_info").session_start_info
    assert {name: value.WhichOneof("kind") for name, value in start.hparams.items()} == {
        "kernel_initializer": "string_value",
        "seed": "number_value",
        "rate": "number_value",
        "augmented": "bool_value",
    }
    assert start.hparams["seed"].number_value == 3
    assert hparams_of(events, "_hparams_/session_end_info").session_end_info.end_time_secs >= start.start_time_secs


def test_without_hyperparameters_no_session_is_written(tmp_path):
    assert not [tag for tag in write(tmp_path, [made()]).Tags()["tensors"] if "hparams" in tag]


def test_initializers_of_a_model():
    K = keras.layers
    model = keras.Sequential(
        [
            keras.Input((4, 3)),
            K.LSTM(4, kernel_initializer="orthogonal"),
            K.Dense(4, kernel_initializer=keras.initializers.RandomNormal(seed=keras.random.SeedGenerator(1))),
            K.Dense(4, kernel_initializer=kil.HeNormal(seed=11)),
            K.Dense(4, kernel_initializer=kil.HeNormal(seed=12)),
        ]
    )
    assert initializer_hparams(model) == {"kernel_initializer": "Orthogonal, RandomNormal, HeNormal", "seed": 11}
    assert initializer_hparams(keras.Sequential([keras.Input((3,)), K.ReLU()])) == {}


def test_hyperparameters_of_the_wrong_kind_are_refused():
    assert checked_hparams({"rate": np.float32(0.5)}) == {"rate": 0.5}
    assert checked_hparams(None) is None
    with pytest.raises(TypeError, match=r"hparams must be a dictionary with strings as keys, or None .*hparams=\[3\]"):
        checked_hparams([3])
    with pytest.raises(TypeError, match=r"strings, numbers and booleans as values. Received: hparams\['x'\]=\(1,\)"):
        checked_hparams({"x": (1,)})


def test_lines_become_event_files_without_tensorflow(tmp_path):
    """In a process in which TensorFlow cannot be imported; Keras may keep what it has."""
    lines = kil.callbacks.JsonLines(tmp_path)
    for step in (1, 2):
        lines.write(made(step))
    lines.close()
    script = f"""
        import json, sys
        import keras

        class Refuse:
            def find_spec(self, name, path=None, target=None):
                if name.split(".")[0] == "tensorflow":
                    raise ImportError("TensorFlow is not here.")

        for name in [name for name in sys.modules if name.split(".")[0] == "tensorflow"]:
            del sys.modules[name]
        sys.meta_path.insert(0, Refuse())
        import keras_initlab as kil

        events = kil.callbacks.EventFiles({str(tmp_path / "events")!r}, hparams={{"seed": 1}})
        for profile in kil.Profile.read({str(tmp_path)!r}):
            events.write(profile)
        events.close()
        print(json.dumps([name for name in sys.modules if name.split(".")[0] == "tensorflow"]))
    """
    done = python("-c", textwrap.dedent(script))
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == []
    (tmp_path / "again").mkdir()
    with_tensorflow = write(tmp_path / "again", kil.Profile.read(tmp_path), hparams={"seed": 1})
    without = read(tmp_path / "events")
    assert without.Tags() == with_tensorflow.Tags()
    for tag in without.Tags()["scalars"]:
        one, other = without.Scalars(tag), with_tensorflow.Scalars(tag)
        assert [(event.step, event.value) for event in one] == [(event.step, event.value) for event in other]
    for tag in without.Tags()["tensors"]:
        one, other = without.Tensors(tag), with_tensorflow.Tensors(tag)
        assert [(event.step, event.tensor_proto) for event in one] == [(e.step, e.tensor_proto) for e in other]


def test_a_second_run_writes_a_file_of_its_own(tmp_path):
    events = EventFiles(tmp_path)
    for step in (1, 2):
        events.write(made(step))
        events.close()
    assert len(list(tmp_path.iterdir())) == 2
    assert [event.step for event in read(tmp_path).Scalars("activation_std/000_net/layer_0")] == [1, 2]
    assert events.used() == sum(path.stat().st_size for path in tmp_path.iterdir())
