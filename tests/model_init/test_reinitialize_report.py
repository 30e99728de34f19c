"""What a call says it did."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.reinitialize import reinitialize
from keras_initlab.model_init.roles import Role
from tests.model_init.drawing import layers, sequential, weights

L = layers


def model():
    return sequential((3, 8), L.LSTM(4), L.Dense(16, "relu"), L.BatchNormalization(), L.Dense(1, name="head"))


class TestReport:
    def test_a_row_for_each_weight_in_order(self):
        drawn = model()
        assert [row["weight"] for row in reinitialize(drawn)] == list(weights(drawn))

    @pytest.mark.parametrize("scheme", ["configured", "auto"])
    def test_std_is_that_of_the_weight(self, scheme):
        drawn = model()
        report = reinitialize(drawn, scheme)
        for place, value in weights(drawn).items():
            assert report[place]["std"] == pytest.approx(value.std(), rel=1e-5, abs=1e-7)
            assert report[place]["shape"] == value.shape

    def test_a_row(self):
        assert reinitialize(model(), "he")["dense/kernel"] == {
            "weight": "dense/kernel",
            "role": "kernel",
            "shape": (4, 16),
            "fan_in": 4,
            "fan_out": 16,
            "law": "HeNormal",
            "target": pytest.approx(np.sqrt(2 / 4)),
            "std": pytest.approx(np.sqrt(2 / 4), rel=5 * np.sqrt(1.366 / 4 / 64)),
            "note": None,
        }

    def test_an_unknown_row_names_those_that_there_are(self):
        with pytest.raises(KeyError, match=r"No row named 'dense'\. There are: lstm/lstm_cell/kernel, "):
            reinitialize(model())["dense"]

    def test_printed(self):
        text = str(reinitialize(model(), "auto"))
        first, *_ = text.splitlines()
        assert first.strip().endswith("drawn again: auto")
        for word in ("lstm/lstm_cell/recurrent_kernel", "fan_in", "(4, 16)", "1.414 for relu", "head/bias"):
            assert word in text
        assert "note" not in text  # there is none
        assert "head/bias" in reinitialize(model())._repr_html_()

    def test_to_dataframe(self):
        pytest.importorskip("pandas")
        report = reinitialize(model())
        frame = report.to_dataframe()
        assert list(frame["weight"]) == [row["weight"] for row in report]
        assert frame.set_index("weight").loc["head/kernel", "std"] == report["head/kernel"]["std"]

    @pytest.mark.parametrize(
        ("scheme", "title"),
        [
            ("he", "he"),
            (keras.initializers.HeNormal(), "HeNormal"),
            (keras.initializers.HeNormal, "HeNormal"),
            (lambda shape, dtype=None: keras.ops.ones(shape, dtype), "<lambda>"),
        ],
        ids=["name", "instance", "class", "callable"],
    )
    def test_the_title_names_the_scheme(self, scheme, title):
        assert reinitialize(model(), scheme).title.endswith(f"drawn again: {title}")


class Gated(L.Layer):
    """A layer of the user's: a kernel, a gate and a table that no initializer of its own belongs to."""

    def build(self, input_shape):
        d = input_shape[-1]
        self.mix = self.add_weight(shape=(16, d), initializer="glorot_uniform", name="mix")
        self.gate = self.add_weight(shape=(16,), initializer="ones", name="gate")
        self.count = self.add_weight(shape=(), dtype="int32", initializer="zeros", trainable=False, name="count")

    def call(self, x):
        return keras.ops.matmul(x, keras.ops.transpose(self.mix)) * self.gate


class Told(Gated):
    """The same, and says what its weights are."""

    mix_initializer, gate_initializer = keras.initializers.LecunNormal(), keras.initializers.Ones()

    def keras_initlab_roles(self):
        return {"mix": Role("kernel", (1,), (0,)), "gate": Role("scale")}


class TestLayersOfTheUser:
    def test_what_is_known_is_drawn(self):
        report = reinitialize(sequential((6,), Told()), "auto")
        assert (report["told/mix"]["fan_in"], report["told/mix"]["fan_out"]) == (6, 16)
        assert report["told/mix"]["target"] == pytest.approx(1 / np.sqrt(6))
        assert report["told/mix"]["std"] == pytest.approx(1 / np.sqrt(6), rel=0.1)
        assert report["told/gate"]["law"] == "Ones"
        assert reinitialize(sequential((6,), Told()))["told/mix"]["law"] == "LecunNormal"

    def test_what_is_not_is_left_and_noted(self):
        drawn = sequential((6,), Gated())
        before = weights(drawn)
        report = reinitialize(drawn)
        after = weights(drawn)
        assert all(before[place].tobytes() == after[place].tobytes() for place in before)
        assert report["gated/mix"]["note"] == "Gated is in no table of roles: axes guessed from the shape"
        assert report["gated/gate"]["note"] == "Gated is in no table of roles"
        assert report["gated/count"]["note"] == "left alone: it holds no floats"
        assert all(row["law"] is None and row["std"] is None for row in report)

    def test_a_scheme_for_kernels_takes_what_looks_like_one(self):
        drawn = sequential((6,), Gated())
        before = weights(drawn)
        report = reinitialize(drawn, "he")
        assert report["gated/mix"]["law"] == "HeNormal"
        assert not np.array_equal(before["gated/mix"], weights(drawn)["gated/mix"])


def test_a_model_that_cannot_be_traced_is_drawn_and_the_report_says_so():
    class Eager(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(8, activation="relu")

        def build(self, shape):
            self.dense.build(shape)

        def call(self, x):
            y = self.dense(x)
            return y if float(keras.ops.sum(y)) > 0 else -y

    model = Eager()
    model.build((None, 4))
    report = reinitialize(model, "auto")
    assert report["dense/kernel"]["law"] == "Orthogonal, gain 1.414 for relu"
    assert report.notes[0].startswith("eager can't be traced (")
    assert reinitialize(model).notes == ()
