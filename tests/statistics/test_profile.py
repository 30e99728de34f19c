"""Profile as a table, a file, a data frame and a picture."""

from __future__ import annotations

import json
import re

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil
from keras_initlab.statistics.lines import from_line, to_line
from keras_initlab.statistics.schema import COLUMNS, QUANTITIES

from .networks import compiled, data


@pytest.fixture(scope="module")
def history():
    model = compiled("batchnorm")
    watching = kil.callbacks.LayerStatistics(update_freq=2)
    model.fit(*data(128), batch_size=32, verbose=0, callbacks=[watching])
    return watching.history


def test_rows(history):
    rows = history[-1].rows
    assert all(tuple(row) == COLUMNS for row in rows)
    measured = {"activation", "activation_gradient", "weight", "gradient", "update", "displacement", "batchnorm"}
    assert {row["quantity"] for row in rows} == measured < set(QUANTITIES)
    assert [row["depth"] for row in rows] == sorted(row["depth"] for row in rows)
    for row in rows:
        for share in ("zeros", "dead", "saturated"):
            assert row[share] is None or 0 <= row[share] <= 1
    assert len({(row["layer"], row["quantity"], row["variable"]) for row in rows}) == len(rows)


def test_lines_keep_every_bit(history):
    for profile in history:
        again = from_line(to_line(profile))
        assert again == profile
        assert again.rows == profile.rows
    assert history[0] != history[1]


def test_dictionary_is_plain(history):
    columns = json.loads(json.dumps(history[0].to_dict()))
    assert tuple(columns) == COLUMNS
    assert columns["layer"] == [row["layer"] for row in history[0].rows]
    assert columns["histogram"] == [row["histogram"] for row in history[0].rows]


def test_a_later_format_is_refused(history):
    line = to_line(history[0]).replace(b'"version":1', b'"version":99')
    with pytest.raises(ValueError, match=r"version 99 of the format, and this release .* reads versions up to 1"):
        from_line(line)


def test_read_names_what_it_wants(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"must be the log_dir of a LayerStatistics callback, or the file prof"):
        kil.Profile.read(tmp_path)


def test_read_refuses_a_file_of_something_else(tmp_path):
    (tmp_path / "profiles.jsonl").write_text("not\njson\n")
    with pytest.raises(ValueError, match=r"has no Profile in any of its 2 lines"):
        kil.Profile.read(tmp_path)


def test_numbers_in_lists_are_an_array(history):
    model = compiled("plain")
    x, y = data(4)
    assert kil.observe(model, x.tolist(), y.tolist()) == kil.observe(model, x, y)


def test_table_has_a_line_a_layer(history):
    text = str(history[-1])
    for path in {row["layer"] for row in history[-1].rows}:
        assert len(re.findall(rf" {path} ", text)) == 1
    assert "update" in text
    assert "step 4" in text
    assert "<pre style" in history[-1]._repr_html_()
    assert repr(history[-1]) == f"<Profile of 25 layers at step 4, {len(history[-1])} rows>"


def test_data_frame(history):
    pd = pytest.importorskip("pandas")
    frame = history[-1].to_dataframe()
    assert isinstance(frame, pd.DataFrame)
    assert tuple(frame.columns) == COLUMNS
    assert len(frame) == len(history[-1])


def test_plot_draws_the_statistic_against_depth(history, tmp_path):
    import matplotlib as mpl

    mpl.use("Agg")
    axes = history[-1].plot("std", label="step 4")
    (line,) = axes.get_lines()
    names, values = history[-1].column("std")
    assert np.array_equal(line.get_ydata(), values)
    assert [label.get_text() for label in axes.get_xticklabels()] == names
    assert history[0].plot("rms", "gradient", ax=axes) is axes
    axes.figure.savefig(tmp_path / "picture.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("variance",), r"statistic must be one of count, mean, .*Received: statistic='variance'"),
        (("std", "loss"), r"quantity must be one of preactivation, .*Received: quantity='loss'"),
    ],
)
def test_wrong_names(history, arguments, message):
    with pytest.raises(ValueError, match=message):
        history[0].column(*arguments)


def test_shared_layers_have_a_row_a_call():
    shared = keras.layers.Dense(6, name="shared")
    inputs = keras.Input((6,))
    model = keras.Model(inputs, shared(shared(inputs)))
    layers = [row["layer"] for row in kil.observe(model, np.ones((4, 6), "float32")).rows]
    assert layers == ["shared", "shared", "shared", "shared#2"]


def test_layers_without_float_output_are_skipped_and_named():
    inputs = keras.Input((5,), dtype="int32")
    tokens = keras.layers.Lambda(lambda x: x + 1, name="shift")(inputs)
    model = keras.Model(inputs, keras.layers.Embedding(20, 3, name="table")(tokens))
    with pytest.warns(UserWarning, match="not measured. shift: its output is no float tensor but int32"):
        profile = kil.observe(model, np.ones((2, 5), "int32"))
    assert {row["layer"] for row in profile.rows} == {"table"}


def test_layers_inside_a_loop_are_skipped_and_named():
    class Loop(keras.layers.Layer):
        def __init__(self):
            super().__init__(name="loop")
            self.inner = keras.layers.Dense(3, name="inner")

        def build(self, shape):
            self.inner.build(shape[1:])

        def call(self, x):
            return tf.map_fn(self.inner, x)

    model = keras.Sequential([keras.Input((5, 3)), Loop()])
    model.compile("sgd", "mse")
    x = np.ones((4, 5, 3), "float32")
    watching = kil.callbacks.LayerStatistics()
    with pytest.warns(UserWarning, match="not measured. .*loop/inner: it runs inside a loop"):
        model.fit(x, x, verbose=0, callbacks=[watching])
    rows = {(row["layer"].split("/")[-1], row["quantity"]) for row in watching.history[0].rows}
    assert rows >= {("loop", "activation"), ("inner", "weight"), ("inner", "gradient")}
    assert ("inner", "activation") not in rows


@pytest.mark.parametrize("layers", ["dense", lambda layer: "dense" in layer.name])
def test_filter(layers):
    model = compiled("batchnorm")
    profile = kil.observe(model, *data(8), layers=layers)
    assert {row["layer"].split("/")[-1].rstrip("_0123456789") for row in profile.rows} == {"dense"}


def test_a_layer_that_is_not_called_has_no_rows():
    class Partly(keras.Model):
        def __init__(self):
            super().__init__()
            self.used, self.idle = keras.layers.Dense(2, name="used"), keras.layers.ReLU(name="idle")

        def call(self, x):
            return self.used(x)

    model, x = Partly(), np.ones((4, 3), "float32")
    nothing = kil.observe(model, x, layers="idle")
    assert len(nothing) == 0
    assert from_line(to_line(nothing)) == nothing
    assert {row["layer"].split("/")[-1] for row in kil.observe(model, x).rows} == {"used"}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"layers": "nothing like it"}, r"layers='nothing like it' chooses none of the layers of .* It has: .*dense"),
        ({"layers": "("}, r"layers='\(' is not a regular expression"),
        ({"layers": 3}, r"layers must be a regular expression, a callable that takes a layer, or None. Received: 3"),
        ({"model": "digits"}, r"model must be a keras.Model. Received: 'digits' of type str"),
        ({"x": np.zeros((0, 12)), "y": None}, r"x must have at least one example. Received: a batch of length 0"),
        ({"x": tf.data.Dataset.range(3)}, r"x must be one batch: .*Received: a tf.data.Dataset. Take a batch of it"),
        ({"y": np.zeros((8, 3), "int32")}, r"y must fit the model's outputs and its loss. Received: y of shape .*8, 3"),
        ({"y": np.zeros(7)}, r"x and y must have the same number of examples. Received: x with \[8\], y with \[7\]"),
    ],
)
def test_wrong_arguments(change, message):
    x, y = data(8)
    with pytest.raises(ValueError, match=message):
        kil.observe(**{"model": compiled("plain"), "x": x, "y": y, **change})


def test_targets_need_a_loss():
    model = keras.Sequential([keras.Input((12,)), keras.layers.Dense(4)])
    with pytest.raises(ValueError, match=r"y was given, but the model is not compiled.*Call model.compile"):
        kil.observe(model, *data(8))
    assert {row["quantity"] for row in kil.observe(model, data(8)[0]).rows} == {"activation", "weight"}
