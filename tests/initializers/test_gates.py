"""Biases by gate: what a recurrent layer makes of them, their laws, and the shapes that they refuse."""

import json
import math
import re

import keras
import numpy as np
import pytest
from laws import assert_distribution, assert_law, uniform

from keras_initlab.initializers import ChronoBias, GateBias, LSTMForgetBias, Orthogonal, PerGate, UniformGateBias

UNITS = 5
LSTM_VALUES = {"i": 0.4, "f": 1.5, "c": -0.7, "o": 0.9}
GRU_VALUES = {"z": 1.2, "r": -0.6, "h": 0.8}
BIASES = [
    pytest.param(lambda units, cell: GateBias(units, {"f" if cell == "lstm" else "z": 1.0}, cell), id="GateBias"),
    pytest.param(lambda units, cell: ChronoBias(units, 30, cell, seed=1), id="ChronoBias"),
    pytest.param(lambda units, cell: UniformGateBias(units, cell, seed=1), id="UniformGateBias"),
]


def values(tensor):
    return keras.ops.convert_to_numpy(keras.ops.cast(tensor, "float32"))


def sigmoid(x):
    return 1 / (1 + np.exp(-np.asarray(x, "float64")))


def identity_of_the_last_gate(shape, dtype=None):
    """Recurrent kernel that hands the state to the candidate as it is, and nothing to the gates."""
    units = shape[0]
    zeros = np.zeros((units, shape[1] - units))
    return keras.ops.convert_to_tensor(np.concatenate([zeros, np.eye(units)], axis=1), dtype=dtype)


def step(layer, *state, shape=(2, 1, 3)):
    """Output and states after one time step from this state; the inputs count for nothing."""
    output, *states = layer(np.ones(shape, "float32"), initial_state=[np.asarray(s, "float32") for s in state])
    return values(output), [values(one) for one in states]


STATE = np.linspace(-0.8, 0.9, 2 * UNITS).reshape(2, UNITS)
CELL_STATE = np.linspace(1.2, -1.0, 2 * UNITS).reshape(2, UNITS)


class TestTheLayerSeesEachValueInItsGate:
    """One step of a layer whose kernels are trivial, against the equations of the cell with the values by name."""

    def lstm(self, cell_state):
        b = LSTM_VALUES
        cell_state = sigmoid(b["f"]) * cell_state + sigmoid(b["i"]) * np.tanh(b["c"])
        return sigmoid(b["o"]) * np.tanh(cell_state), cell_state

    def gru(self, state, twice=False):
        b = {gate: value * (2 if twice and gate != "h" else 1) for gate, value in GRU_VALUES.items()}
        z, candidate = sigmoid(b["z"]), np.tanh(b["h"] + sigmoid(b["r"]) * state)
        return z * state + (1 - z) * candidate

    def test_lstm(self):
        bias = GateBias(UNITS, LSTM_VALUES)
        layer = keras.layers.LSTM(
            UNITS, kernel_initializer="zeros", recurrent_initializer="zeros", bias_initializer=bias,
            unit_forget_bias=False, return_state=True,
        )  # fmt: skip
        output, (state, cell_state) = step(layer, STATE, CELL_STATE)
        expected, expected_cell = self.lstm(CELL_STATE)
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(state, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(cell_state, expected_cell, rtol=1e-5, atol=1e-6)

    def test_conv_lstm(self):
        bias = GateBias(UNITS, LSTM_VALUES)
        layer = keras.layers.ConvLSTM1D(
            UNITS, 1, kernel_initializer="zeros", recurrent_initializer="zeros", bias_initializer=bias,
            unit_forget_bias=False, return_state=True, recurrent_activation="sigmoid",
        )  # fmt: skip
        place = (2, 1, UNITS)
        output, (_, cell_state) = step(layer, STATE.reshape(place), CELL_STATE.reshape(place), shape=(2, 1, 1, 3))
        expected, expected_cell = self.lstm(CELL_STATE.reshape(place))
        np.testing.assert_allclose(output, expected, rtol=1e-5, atol=1e-6)
        np.testing.assert_allclose(cell_state, expected_cell, rtol=1e-5, atol=1e-6)

    def one_gru_step(self, bias, reset_after):
        layer = keras.layers.GRU(
            UNITS, kernel_initializer="zeros", recurrent_initializer=identity_of_the_last_gate, bias_initializer=bias,
            reset_after=reset_after, return_state=True,
        )  # fmt: skip
        return step(layer, STATE)[0]

    @pytest.mark.parametrize("reset_after", [True, False])
    def test_gru(self, reset_after):
        output = self.one_gru_step(GateBias(UNITS, GRU_VALUES, "gru"), reset_after)
        np.testing.assert_allclose(output, self.gru(STATE), rtol=1e-5, atol=1e-6)

    def test_the_check_refuses_values_in_both_rows(self):
        row = np.repeat(list(GRU_VALUES.values()), UNITS)
        output = self.one_gru_step(np.stack([row, row]), True)
        with pytest.raises(AssertionError, match="Not equal to tolerance"):
            np.testing.assert_allclose(output, self.gru(STATE), rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("steps", [1, 10])
    def test_a_positive_update_bias_remembers(self, steps):
        """What is left of the state after some steps in which nothing comes in."""
        layer = keras.layers.GRU(
            UNITS, kernel_initializer="zeros", recurrent_initializer="zeros",
            bias_initializer=GateBias(UNITS, {"z": 1.0}, "gru"), return_state=True,
        )  # fmt: skip
        output, _ = step(layer, STATE, shape=(2, steps, 3))
        np.testing.assert_allclose(output, STATE * 0.7310585786300049**steps, rtol=1e-5, atol=1e-6)


def test_gates_that_are_not_named_are_zero():
    assert values(GateBias(2, {"c": 3.0})((8,))).tolist() == [0, 0, 0, 0, 3, 3, 0, 0]
    assert not values(GateBias(2, {}, "gru")((2, 6))).any()


class TestLSTMForgetBias:
    """The special case."""

    def test_is_the_general_law_with_one_value(self):
        special, general = LSTMForgetBias(UNITS, 1.5), GateBias(UNITS, {"f": 1.5})
        assert (values(special((20,))) == values(general((20,)))).all()
        assert special.get_config() == {"units": UNITS, "value": 1.5}

    @pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
    def test_is_on_the_forget_gate(self, dtype):
        layer = keras.layers.LSTM(
            5,
            dtype=dtype,
            bias_initializer=LSTMForgetBias(units=5, value=1.5),
            unit_forget_bias=False,
            recurrent_initializer=Orthogonal(seed=1),
        )
        layer.build((None, 3, 4))
        gates = values(layer.cell.bias).reshape(4, 5)
        assert (gates == [[0.0], [1.5], [0.0], [0.0]]).all()

    def test_the_default_is_that_of_keras(self):
        theirs = keras.layers.LSTM(5)
        theirs.build((None, 3, 4))
        assert np.array_equal(values(theirs.cell.bias), values(LSTMForgetBias(units=5)((20,))))

    @pytest.mark.parametrize("shape", [(), (19,), (4, 5), (2, 20), (0,)])
    def test_no_other_shape_is_filled(self, shape):
        with pytest.raises(ValueError, match=r"bias of shape \(20,\) only"):
            LSTMForgetBias(units=5)(shape)


class TestWrongShapes:
    """A bias of another layout is not filled with gates in the wrong places."""

    @pytest.mark.parametrize("make", BIASES)
    def test_lstm_in_pieces(self, make):
        layer = keras.layers.LSTM(5, bias_initializer=make(5, "lstm"))
        with pytest.raises(ValueError, match=r"bias of shape \(20,\) only.*shape=\(5,\).*set `unit_forget_bias=False`"):
            layer.build((None, 3, 4))

    @pytest.mark.parametrize("rank", [1, 2, 3])
    def test_conv_lstm_in_pieces(self, rank):
        convolution = getattr(keras.layers, f"ConvLSTM{rank}D")
        layer = convolution(5, 1, bias_initializer=LSTMForgetBias(5))
        with pytest.raises(ValueError, match=r"shape=\(5,\).*ConvLSTM.*set `unit_forget_bias=False`.*`filters`"):
            layer.build((None, 2, *[3] * rank, 4))

    @pytest.mark.parametrize("units", [2, 4, 5, 20])
    def test_no_unit_count_slips_through_the_pieces(self, units):
        """4 · 5 is the first piece of an LSTM of 20 units; the second is then refused."""
        layer = keras.layers.LSTM(units, bias_initializer=LSTMForgetBias(5))
        with pytest.raises(ValueError, match="`units` to that of the layer"):
            layer.build((None, 3, 4))

    @pytest.mark.parametrize("reset_after", [True, False])
    @pytest.mark.parametrize("make", BIASES)
    def test_lstm_gates_in_a_gru(self, make, reset_after):
        layer = keras.layers.GRU(5, bias_initializer=make(5, "lstm"), reset_after=reset_after)
        with pytest.raises(ValueError, match=r"bias of shape \(20,\) only.*for a GRU, `cell` to \"gru\""):
            layer.build((None, 3, 4))

    @pytest.mark.parametrize("make", BIASES)
    def test_gru_gates_in_an_lstm(self, make):
        layer = keras.layers.LSTM(5, bias_initializer=make(5, "gru"), unit_forget_bias=False)
        match = r"bias of shape \(15,\) or \(2, 15\) only. Received: shape=\(20,\).*for an LSTM, `cell` to \"lstm\""
        with pytest.raises(ValueError, match=match):
            layer.build((None, 3, 4))

    @pytest.mark.parametrize("shape", [(), (0,), (14,), (3, 15), (1, 15), (2, 3, 5), (30,)])
    def test_gru(self, shape):
        with pytest.raises(ValueError, match=re.escape(f"Received: shape={shape}. Set `units`")):
            GateBias(5, {"z": 1.0}, "gru")(shape)


class TestWrongArguments:
    """Beyond what the contract tries on every class."""

    @pytest.mark.parametrize("gate", ["z", "forget", "F", ""])
    def test_a_gate_that_the_lstm_has_not(self, gate):
        match = (
            r'must name gates of cell "lstm": "i" \(input\), "f" \(forget\), "c" \(candidate\), "o" \(output\). '
            rf"Received: values=.*, of which \['{gate}'\] are none.*pass the `cell`"
        )
        with pytest.raises(ValueError, match=match):
            GateBias(5, {"f": 1.0, gate: 2.0})

    def test_a_gate_that_the_gru_has_not(self):
        with pytest.raises(ValueError, match=r'"z" \(update\), "r" \(reset\), "h" \(candidate\). Received.*\[\'f\'\]'):
            GateBias(5, {"f": 1.0}, cell="gru")

    def test_the_values_are_the_callers_no_more(self):
        given = {"f": 1}
        bias = GateBias(5, given)
        given["f"] = 2.0
        bias.get_config()["values"]["f"] = 3.0
        assert bias.get_config() == {"units": 5, "values": {"f": 1.0}, "cell": "lstm"}

    def test_one_unit_has_no_uniform_gate(self):
        with pytest.raises(ValueError, match=r"`units` must be a whole number that is at least 2.*for one unit, GateB"):
            UniformGateBias(1)

    @pytest.mark.parametrize("timescale", [2, 2.0, 1, 0, -5])
    def test_timescales_that_leave_no_room(self, timescale):
        with pytest.raises(ValueError, match=r"`max_timescale` must be a number above 2 .*in time steps"):
            ChronoBias(5, timescale)

    @pytest.mark.parametrize(
        ("name", "needed"),
        [
            ("GateBias", "`units`, .*`values`, .*Pass GateBias(units=..., values=...)."),
            ("LSTMForgetBias", "`units`, .*Pass LSTMForgetBias(units=...)."),
            ("ChronoBias", "`units`, .*`max_timescale`, .*Pass ChronoBias(units=..., max_timescale=...)."),
            ("UniformGateBias", "`units`, .*Pass UniformGateBias(units=...)."),
        ],
    )
    def test_a_bare_name_is_refused(self, name, needed):
        match = rf"{name} needs arguments? " + re.escape(needed).replace(r"\.\*", ".*")
        with pytest.raises(TypeError, match=match):
            keras.initializers.get(f"keras_initlab>{name}")


MANY = 20_000


class TestLaws:
    """Each law is stated for a function of the bias, which the inverse of that function turns into a uniform law."""

    def gates(self, bias, cell):
        """Gates in Keras's order; for a GRU from the first row of its two."""
        if cell == "lstm":
            return values(bias((4 * MANY,))).reshape(4, MANY).astype("float64")
        rows = values(bias((2, 3 * MANY))).astype("float64")
        assert not rows[1].any()
        return rows[0].reshape(3, MANY)

    def remembering(self, bias, cell):
        """The gate that keeps the state; all others are as they should be."""
        if cell == "gru":
            z, r, h = self.gates(bias, cell)
            assert not r.any()
            assert not h.any()
            return z
        i, f, c, o = self.gates(bias, cell)
        assert (i == -f).all()
        assert not c.any()
        assert not o.any()
        return f

    @pytest.mark.parametrize("timescale", [2.5, 10, 1000])
    @pytest.mark.parametrize("cell", ["lstm", "gru"])
    def test_chrono(self, cell, timescale):
        b = self.remembering(ChronoBias(MANY, timescale, cell, seed=3), cell)
        assert b.min() >= 0
        assert b.max() <= math.log(timescale - 1) + 1e-6
        assert_law(np.exp(b), uniform(1, timescale - 1))
        # The time in which the state falls to 1/e, to first order in one step.
        assert_law(1 / (1 - sigmoid(b)), uniform(2, timescale))

    @pytest.mark.parametrize("cell", ["lstm", "gru"])
    def test_uniform_gate(self, cell):
        b = self.remembering(UniformGateBias(MANY, cell, seed=3), cell)
        opening = sigmoid(b)
        # Near 1 the opening is known to the float32 rounding of the draw, 6e-8.
        assert opening.min() >= 1 / MANY - 1e-7
        assert opening.max() <= 1 - 1 / MANY + 1e-7
        assert_law(opening, uniform(1 / MANY, 1 - 1 / MANY))

    def test_the_narrowest_laws(self):
        assert not values(UniformGateBias(2, seed=1)((8,))).any()
        assert np.abs(values(ChronoBias(2, math.nextafter(2.0, 3.0), seed=1)((8,)))).max() <= 1e-6

    def test_the_check_refuses_timescales_uniform_in_their_logarithm(self):
        b = np.random.default_rng(1).uniform(0, math.log(9), MANY)
        assert_distribution(b, uniform(0, math.log(9)))
        with pytest.raises(AssertionError, match="distance"):
            assert_distribution(np.exp(b), uniform(1, 9))

    def test_the_check_refuses_t_in_place_of_t_minus_1(self):
        b = self.remembering(ChronoBias(MANY, 31, seed=3), "lstm")
        with pytest.raises(AssertionError, match=r"mean|std|distance"):
            assert_law(np.exp(b), uniform(1, 31))

    def test_the_check_refuses_a_bias_that_is_uniform_itself(self):
        b = np.random.default_rng(1).uniform(-math.log(MANY), math.log(MANY), MANY)
        with pytest.raises(AssertionError, match="distance"):
            assert_distribution(sigmoid(b), uniform(1 / MANY, 1 - 1 / MANY))

    @pytest.mark.parametrize("make", BIASES)
    def test_both_layouts_of_a_gru_get_the_same_values(self, make):
        bias = make(6, "gru")
        assert (values(bias((18,))) == values(bias((2, 18)))[0]).all()


def recurrent_layers(units, dtype, cell, bias):
    """Every kind of layer that holds such a cell, with a shape that it takes."""
    kernels = {
        "kernel_initializer": PerGate("glorot_uniform", gates=4 if cell == "lstm" else 3),
        "recurrent_initializer": PerGate("he_normal", gates=4 if cell == "lstm" else 3),
        "bias_initializer": bias,
    }
    sequence = (2, 3, 4)
    if cell == "gru":
        for reset_after in (True, False):
            arguments = {**kernels, "reset_after": reset_after, "dtype": dtype}
            yield keras.layers.GRU(units, **arguments), sequence
            yield keras.layers.RNN(keras.layers.GRUCell(units, **arguments), dtype=dtype), sequence
            yield keras.layers.Bidirectional(keras.layers.GRU(units, **arguments), dtype=dtype), sequence
        return
    arguments = {**kernels, "unit_forget_bias": False, "dtype": dtype}
    yield keras.layers.LSTM(units, **arguments), sequence
    yield keras.layers.RNN(keras.layers.LSTMCell(units, **arguments), dtype=dtype), sequence
    yield keras.layers.Bidirectional(keras.layers.LSTM(units, **arguments), dtype=dtype), sequence
    cells = [keras.layers.LSTMCell(units, **arguments) for _ in range(2)]
    yield keras.layers.RNN(keras.layers.StackedRNNCells(cells, dtype=dtype), dtype=dtype), sequence
    for rank in (1, 2, 3):
        yield getattr(keras.layers, f"ConvLSTM{rank}D")(units, 2, **arguments), (2, 3, *[4] * rank, 2)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("cell", ["lstm", "gru"])
@pytest.mark.parametrize("make", BIASES)
def test_every_recurrent_layer_builds_and_runs(make, cell, dtype):
    bias = make(6, cell)
    for layer, shape in recurrent_layers(6, dtype, cell, bias):
        output = layer(keras.ops.ones(shape, dtype=dtype))
        assert np.isfinite(values(output)).all()
        biases = [weight for weight in layer.weights if weight.path.endswith("/bias")]
        assert len(biases) == (2 if isinstance(layer, keras.layers.Bidirectional) or "stacked" in biases[0].path else 1)
        for weight in biases:
            assert keras.backend.standardize_dtype(weight.dtype) == dtype
            assert (values(weight) == values(bias(weight.shape, dtype=dtype))).all()


@pytest.mark.parametrize("make", BIASES)
@pytest.mark.parametrize("cell", ["lstm", "gru"])
def test_survives_a_saved_model(make, cell, tmp_path):
    model = keras.Sequential([keras.Input((3, 4)), next(iter(recurrent_layers(6, "float32", cell, make(6, cell))))[0]])
    model.save(tmp_path / "model.keras")
    loaded = keras.saving.load_model(tmp_path / "model.keras")
    for before, after in zip(model.weights, loaded.weights, strict=True):
        assert (values(before) == values(after)).all()
    restored, original = loaded.layers[0].bias_initializer, model.layers[0].bias_initializer
    assert type(restored) is type(original)
    assert vars(restored) == vars(original)
    assert json.loads(json.dumps(original.get_config(), allow_nan=False)) == restored.get_config()
