"""Layer-sequential unit variance: what the pass reaches, measured again from outside, and what it leaves alone."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.lsuv import ARGUMENTS, lsuv

layers = keras.layers


def batch(*shape, seed=0, mean=2.0, std=3.0, dtype="float32"):
    return np.random.default_rng(seed).normal(mean, std, shape).astype(dtype)


def values(model):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in model.variables]


def unchanged(model, before):
    return all((a == b).all() for a, b in zip(values(model), before, strict=True))


def inputs_of(model, layer, x, training=False):
    """What a layer of a functional model gets, by a model of Keras's own."""
    return keras.Model(model.inputs[0], layer.input)(x, training=training)


def pre_activations(layer, inputs):
    """What a layer gives without its activation: a twin of it with the same weights and none."""
    twin = type(layer).from_config({**layer.get_config(), "activation": "linear"})
    twin.build(inputs.shape)
    twin.set_weights(layer.get_weights())
    return np.asarray(keras.ops.convert_to_numpy(twin(inputs)), "float64")


def std_of(model, layer, x, training=False):
    return pre_activations(layer, inputs_of(model, layer, x, training)).std()


def perceptron(depth, activation="tanh", width=32, **options):
    return keras.Sequential([keras.Input((16,)), *(layers.Dense(width, activation, **options) for _ in range(depth))])


KINDS = {
    "dense": ((12,), lambda: layers.Dense(8, "relu")),
    "dense on sequences": ((5, 12), lambda: layers.Dense(8, "relu", use_bias=False)),
    "einsum": ((5, 12), lambda: layers.EinsumDense("btd,dhk->bthk", (5, 3, 4), bias_axes="hk", activation="relu")),
    "conv1d": ((9, 4), lambda: layers.Conv1D(6, 3, padding="causal", activation="relu")),
    "conv2d": ((9, 8, 4), lambda: layers.Conv2D(6, 3, strides=2, activation="relu")),
    "conv2d in groups": ((9, 8, 4), lambda: layers.Conv2D(6, 3, groups=2, padding="same", activation="relu")),
    "conv3d": ((5, 4, 4, 2), lambda: layers.Conv3D(3, 2, activation="relu")),
    "conv1d transposed": ((5, 4), lambda: layers.Conv1DTranspose(6, 3, strides=2, activation="relu")),
    "conv2d transposed": ((5, 4, 4), lambda: layers.Conv2DTranspose(6, 3, strides=2, activation="relu")),
    "conv3d transposed": ((3, 3, 3, 2), lambda: layers.Conv3DTranspose(2, 2, strides=2, activation="relu")),
    "depthwise 1d": ((9, 4), lambda: layers.DepthwiseConv1D(3, depth_multiplier=2, activation="relu")),
    "depthwise 2d": ((9, 8, 4), lambda: layers.DepthwiseConv2D(3, activation="relu")),
    "separable 1d": ((9, 4), lambda: layers.SeparableConv1D(6, 3, depth_multiplier=2, activation="relu")),
    "separable 2d": ((9, 8, 4), lambda: layers.SeparableConv2D(6, 3, padding="same", activation="relu")),
}


@pytest.mark.parametrize("options", [{}, {"orthogonal": False}, {"centre": True}, {"target_std": 0.3}], ids=str)
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_layer_reaches_the_target(kind, options):
    shape, make = KINDS[kind]
    layer = make()
    model = keras.Sequential([keras.Input(shape), layer])
    x = batch(32, *shape)
    report = lsuv(model, x, tolerance=1e-4, **options)
    z = pre_activations(layer, keras.ops.convert_to_tensor(x))
    # The tolerance, and as much for rounding in float32.
    assert z.std() == pytest.approx(options.get("target_std", 1.0), rel=2e-4)
    assert report.rows[-1]["std_after"] == pytest.approx(z.std(), rel=1e-4)
    bias = getattr(layer, "bias", None)
    if options.get("centre") and bias is not None:
        kept = len(bias.shape)
        np.testing.assert_allclose(z.mean(tuple(range(z.ndim - kept))), 0.0, atol=1e-5)
        assert report.rows[-1]["bias"] == "centred"
    elif bias is not None:
        assert not np.any(keras.ops.convert_to_numpy(bias))


def test_the_check_rejects_a_model_that_is_not_corrected():
    model = perceptron(3)
    assert std_of(model, model.layers[2], batch(64, 16)) < 0.9


def test_both_parts_of_a_separable_convolution():
    layer = layers.SeparableConv2D(6, 3)
    model = keras.Sequential([keras.Input((9, 8, 4)), layer])
    x = batch(32, 9, 8, 4)
    report = lsuv(model, x)
    depthwise = keras.ops.convert_to_numpy(keras.ops.depthwise_conv(x, layer.depthwise_kernel))
    assert depthwise.std() == pytest.approx(1.0, rel=1e-4)
    assert [row["layer"] for row in report] == ["separable_conv2d:depthwise", "separable_conv2d:pointwise"]


@pytest.mark.parametrize("activation", ["tanh", "relu", "sigmoid", "gelu"])
def test_a_hundred_layers_to_the_last(activation):
    model, x = perceptron(100, activation), batch(64, 16)
    report = lsuv(model, x)
    inside = keras.Model(model.inputs[0], [layer.input for layer in model.layers])(x)
    reached = [pre_activations(layer, h).std() for layer, h in zip(model.layers, inside, strict=True)]
    np.testing.assert_allclose(reached, 1.0, rtol=0.02)
    # Rounding of float32 adds up over a hundred layers.
    np.testing.assert_allclose([row["std_after"] for row in report], reached, rtol=2e-3)


def test_existing_biases_stay_and_are_counted():
    model, x = perceptron(3, bias_initializer=keras.initializers.RandomNormal(0.5, 0.6, seed=1)), batch(64, 16)
    biases = [np.array(keras.ops.convert_to_numpy(layer.bias)) for layer in model.layers]
    lsuv(model, x, orthogonal=False)
    for layer, bias in zip(model.layers, biases, strict=True):
        assert std_of(model, layer, x) == pytest.approx(1.0, rel=0.02)
        assert (keras.ops.convert_to_numpy(layer.bias) == bias).all()


def test_orthogonal_kernels_up_to_their_factor_and_seeded_by_place():
    first, second, longer = perceptron(3), perceptron(3), perceptron(4)
    report = lsuv(first, batch(64, 16), seed=5)
    lsuv(second, batch(64, 16), seed=5)
    lsuv(longer, batch(64, 16), seed=5)
    kernel = np.asarray(keras.ops.convert_to_numpy(first.layers[1].kernel)) / report["dense_1"]["factor"]
    np.testing.assert_allclose(kernel.T @ kernel, np.eye(32), atol=1e-5)
    for a, b, c in zip(first.layers, second.layers, longer.layers, strict=False):
        for other in (b, c):
            assert (keras.ops.convert_to_numpy(a.kernel) == keras.ops.convert_to_numpy(other.kernel)).all()
    lsuv(second, batch(64, 16), seed=6)
    assert (
        keras.ops.convert_to_numpy(first.layers[1].kernel) != keras.ops.convert_to_numpy(second.layers[1].kernel)
    ).any()


def test_within_the_tolerance_nothing_changes():
    model, x = perceptron(3), batch(64, 16)
    lsuv(model, x)
    before = values(model)
    report = lsuv(model, x, orthogonal=False)
    assert unchanged(model, before)
    assert [row["factor"] for row in report] == [1.0, 1.0, 1.0]


GATED = {"lstm": (layers.LSTM, 4), "gru": (layers.GRU, 3), "simple": (layers.SimpleRNN, 1)}


@pytest.mark.parametrize("kind", GATED)
def test_recurrent_layers_gate_by_gate(kind):
    make, gates = GATED[kind]
    layer, x = make(6), batch(32, 7, 5)
    model = keras.Sequential([keras.Input((7, 5)), layer])
    before = [np.array(keras.ops.convert_to_numpy(v)) for v in layer.cell.weights]
    report = lsuv(model, x)
    kernel = np.asarray(keras.ops.convert_to_numpy(layer.cell.kernel), "float64")
    recurrent = np.asarray(keras.ops.convert_to_numpy(layer.cell.recurrent_kernel), "float64")
    for gate in range(gates):
        part = slice(6 * gate, 6 * gate + 6)
        assert (x.astype("float64") @ kernel[:, part]).std() == pytest.approx(1.0, rel=1e-4)
        np.testing.assert_allclose(recurrent[:, part].T @ recurrent[:, part], np.eye(6), atol=1e-5)
    assert len(report) == gates
    assert (keras.ops.convert_to_numpy(layer.cell.bias) == before[2]).all()


def test_recurrent_kernels_stay_without_orthogonal():
    layer = layers.LSTM(6)
    model = keras.Sequential([keras.Input((7, 5)), layer])
    before = np.array(keras.ops.convert_to_numpy(layer.cell.recurrent_kernel))
    lsuv(model, batch(32, 7, 5), orthogonal=False)
    assert (keras.ops.convert_to_numpy(layer.cell.recurrent_kernel) == before).all()


def test_both_directions_and_stacked_cells():
    stack = layers.RNN([layers.LSTMCell(4), layers.GRUCell(3)], return_sequences=True, go_backwards=True)
    both = layers.Bidirectional(layers.SimpleRNN(6, return_sequences=True))
    model, x = keras.Sequential([keras.Input((7, 5)), both, stack]), batch(32, 7, 5)
    report = lsuv(model, x)
    assert len(report) == 2 + 4 + 3
    for direction in (both.forward_layer, both.backward_layer):
        assert (x @ keras.ops.convert_to_numpy(direction.cell.kernel)).std() == pytest.approx(1.0, rel=1e-4)
    h = keras.Model(model.inputs[0], both.output)(x)
    lower = layers.RNN(stack.cell.cells[0], return_sequences=True, go_backwards=True)
    for cell, got, gates in ((stack.cell.cells[0], h, 4), (stack.cell.cells[1], lower(h), 3)):
        product = np.asarray(keras.ops.convert_to_numpy(got)) @ keras.ops.convert_to_numpy(cell.kernel)
        for part in np.split(product, gates, axis=-1):
            assert part.std() == pytest.approx(1.0, rel=1e-3)


def test_conv_lstm():
    layer, x = layers.ConvLSTM2D(3, 2), batch(16, 3, 5, 4, 2)
    model = keras.Sequential([keras.Input((3, 5, 4, 2)), layer])
    lsuv(model, x)
    merged = keras.ops.reshape(keras.ops.convert_to_tensor(x), (-1, 5, 4, 2))
    product = keras.ops.convert_to_numpy(keras.ops.conv(merged, layer.cell.kernel))
    for part in np.split(product, 4, axis=-1):
        assert part.std() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("make", [layers.MultiHeadAttention, layers.GroupQueryAttention], ids=lambda c: c.__name__)
def test_projections_of_attention(make):
    options = (2, 4) if make is layers.MultiHeadAttention else (4, 4, 2)
    attention, x = make(*options), batch(32, 6, 8)
    inputs = keras.Input((6, 8))
    model = keras.Model(inputs, attention(inputs, inputs))
    report = lsuv(model, x)
    assert len(report) == 4
    for projection in (attention._query_dense, attention._key_dense, attention._value_dense):
        z = keras.ops.convert_to_numpy(projection(x))
        assert z.std() == pytest.approx(1.0, rel=1e-4)
    assert keras.ops.convert_to_numpy(model(x)).std() == pytest.approx(1.0, rel=1e-4)
    kernels = [keras.ops.convert_to_numpy(p.kernel) for p in (attention._key_dense, attention._value_dense)]
    assert not np.allclose(*kernels)


def test_embeddings_and_scores():
    table = layers.Embedding(20, 6)
    first, second = keras.Input((5,), dtype="int32"), keras.Input((4,), dtype="int32")
    a, b = table(first), table(second)
    scores = layers.AdditiveAttention()
    out, weights = scores([a, b], return_attention_scores=True)
    model = keras.Model([first, second], [out, weights])
    x = [np.random.default_rng(0).integers(0, 20, (32, n)).astype("int32") for n in (5, 4)]
    before = np.array(keras.ops.convert_to_numpy(table.embeddings))
    report = lsuv(model, x)
    h = keras.ops.convert_to_numpy(table(x[0]))
    assert h.std() == pytest.approx(1.0, rel=1e-4)
    ratio = keras.ops.convert_to_numpy(table.embeddings) / before
    np.testing.assert_allclose(ratio, report["embedding"]["factor"], rtol=1e-5)
    assert "later call" in report["embedding"]["note"]
    z = keras.ops.convert_to_numpy(scores._calculate_scores(table(x[0]), table(x[1])))
    assert z.std() == pytest.approx(1.0, rel=1e-4)


def test_wrappers():
    inner = layers.Dense(6, "relu")
    spectral = layers.SpectralNormalization(layers.Conv1D(5, 3))
    model, x = keras.Sequential([keras.Input((7, 5)), layers.TimeDistributed(inner), spectral]), batch(32, 7, 5)
    lsuv(model, x)
    assert pre_activations(inner, keras.ops.convert_to_tensor(x)).std() == pytest.approx(1.0, rel=1e-4)
    assert keras.ops.convert_to_numpy(model(x)).std() == pytest.approx(1.0, rel=1e-4)


def test_convolutions_with_batch_normalization():
    x = batch(32, 8, 8, 3)
    model = keras.Sequential([keras.Input((8, 8, 3))])
    for _ in range(6):
        model.add(layers.Conv2D(6, 3, padding="same", use_bias=False))
        model.add(layers.BatchNormalization())
        model.add(layers.ReLU())
        model.add(layers.Dropout(0.5))
    state = [np.array(keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    report = lsuv(model, x)
    for now, then in zip(model.non_trainable_variables, state, strict=True):
        assert (keras.ops.convert_to_numpy(now) == then).all()
    h = keras.ops.convert_to_tensor(x)
    for layer in model.layers:
        if isinstance(layer, layers.Conv2D):
            assert pre_activations(layer, h).std() == pytest.approx(1.0, rel=1e-4)
        if not isinstance(layer, layers.Dropout):
            h = layer(h, training=True) if isinstance(layer, layers.BatchNormalization) else layer(h)
    assert "BatchNormalization follows" in report["conv2d"]["note"]
    assert any("moving ones are as they were" in note for note in report.notes)


def test_residual_sums_are_told():
    inputs = keras.Input((16,))
    h = inputs
    for _ in range(8):
        h = layers.Add()([h, layers.Dense(16)(layers.Activation("relu")(h))])
    model = keras.Model(inputs, h)
    x = batch(64, 16, mean=0.0, std=1.0)
    report = lsuv(model, x)
    (note,) = [note for note in report.notes if "Sums" in note]
    last = keras.ops.convert_to_numpy(model(x)).std()
    assert f"add_7 {last:.3g}" in note
    assert "each of 8" in note


def test_shared_layers_are_corrected_at_their_first_call():
    shared = layers.Dense(16)
    inputs = keras.Input((16,))
    h = shared(layers.Activation("relu")(shared(inputs)))
    model, x = keras.Model(inputs, h), batch(64, 16)
    report = lsuv(model, x)
    assert len(report) == 1
    assert keras.ops.convert_to_numpy(shared(x)).std() == pytest.approx(1.0, rel=1e-4)
    last = keras.ops.convert_to_numpy(model(x)).std()
    assert f"shared: {last:.3g} at 1 later call" in report.rows[0]["note"]


@keras.saving.register_keras_serializable("test_lsuv")
class Scale(layers.Layer):
    """A matrix product written by hand, with a bias and no activation."""

    def build(self, input_shape):
        self.kernel = self.add_weight(shape=(input_shape[-1], 6), name="kernel")
        self.bias = self.add_weight(shape=(6,), name="bias", initializer=keras.initializers.RandomNormal(0, 0.3, 1))

    def call(self, inputs):
        return keras.ops.matmul(inputs, self.kernel) + self.bias


class Positions(layers.Layer):
    """A table that is added, not multiplied."""

    def build(self, input_shape):
        self.table = self.add_weight(shape=tuple(input_shape[1:]), name="table")

    def call(self, inputs):
        return inputs + self.table


class Own(keras.Model):
    """A model that is subclassed."""

    def __init__(self):
        super().__init__()
        self.positions, self.scale = Positions(), Scale()
        self.nested = keras.Sequential([layers.Dense(8, "relu"), layers.Dense(4)])
        self.spare = layers.Dense(3)

    def call(self, inputs, training=None):
        if training:
            raise AssertionError("the pass is one of inference")
        return self.nested(self.scale(self.positions(inputs)))


def test_subclassed_models_and_layers_of_ones_own():
    model, x = Own(), batch(32, 5, 7)
    model.spare.build((None, 4))
    model(x)
    table = np.array(keras.ops.convert_to_numpy(model.positions.table))
    report = lsuv(model, x)
    assert [row["layer"] for row in report] == ["scale", "sequential/dense", "sequential/dense_1"]
    assert keras.ops.convert_to_numpy(model.scale(model.positions(x))).std() == pytest.approx(1.0, rel=1e-4)
    assert keras.ops.convert_to_numpy(model(x)).std() == pytest.approx(1.0, rel=1e-4)
    assert (keras.ops.convert_to_numpy(model.positions.table) == table).all()
    text = " ".join(report.notes)
    assert "not the product of a kernel with what goes in: positions." in text
    assert "the pass did not come by: dense." in text


def test_frozen_and_adapted_layers_stay():
    model, x = perceptron(3), batch(64, 16)
    model.layers[0].trainable = False
    model.layers[1].enable_lora(2)
    before = [values(layer) for layer in model.layers[:2]]
    report = lsuv(model, x)
    assert [row["layer"] for row in report] == ["dense_2"]
    assert all(unchanged(layer, old) for layer, old in zip(model.layers[:2], before, strict=True))
    assert any("frozen" in note and "dense." in note for note in report.notes)
    assert any("low-rank" in note and "dense_1." in note for note in report.notes)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16", "float64"])
def test_other_dtypes(policy):
    if policy == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has no float64 unless the process is told so")
    model, x = perceptron(5, dtype=policy), batch(64, 16)
    report = lsuv(model, x)
    for layer in model.layers:
        # 0.02 is the tolerance asked for.
        assert std_of(model, layer, x) == pytest.approx(1.0, abs=0.02)
    assert all(abs(row["std_after"] - 1) <= 0.02 for row in report)


def test_the_state_of_the_model_is_put_back():
    rnn = layers.LSTM(4, stateful=True)
    inputs = keras.Input((7, 5), batch_size=16)
    model = keras.Model(inputs, layers.Dropout(0.5, seed=1)(rnn(inputs)))
    model(batch(16, 7, 5))
    states = [np.array(keras.ops.convert_to_numpy(state)) for state in rnn.states]
    others = [np.array(keras.ops.convert_to_numpy(v)) for v in model.non_trainable_variables]
    lsuv(model, batch(16, 7, 5, seed=1))
    for state, before in zip(rnn.states, states, strict=True):
        assert (keras.ops.convert_to_numpy(state) == before).all()
    for variable, before in zip(model.non_trainable_variables, others, strict=True):
        assert (keras.ops.convert_to_numpy(variable) == before).all()
    assert all("call" not in vars(layer) for layer in model._flatten_layers())


def test_a_compiled_model_goes_on_with_the_new_weights():
    model, x = perceptron(3), batch(64, 16)
    model.compile("sgd", "mse")
    model.predict(x, verbose=0)
    function = model.predict_function
    lsuv(model, x)
    assert model.predict_function is function
    np.testing.assert_allclose(model.predict(x, verbose=0), keras.ops.convert_to_numpy(model(x)), atol=1e-5)


def test_inputs_by_name():
    a, b = keras.Input((4,), name="a"), keras.Input((3,), name="b")
    model = keras.Model({"a": a, "b": b}, layers.Dense(5)(layers.Concatenate()([layers.Dense(6)(a), b])))
    x = {"a": batch(32, 4), "b": batch(32, 3, seed=1)}
    lsuv(model, x)
    assert keras.ops.convert_to_numpy(model(x)).std() == pytest.approx(1.0, rel=1e-4)


@pytest.mark.parametrize("scale", [1e-25, 1e25])
def test_data_of_any_scale(scale):
    model, x = perceptron(2), batch(64, 16, mean=0.0) * np.float32(scale)
    lsuv(model, x)
    assert std_of(model, model.layers[0], x) == pytest.approx(1.0, rel=1e-3)


# -- refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ARGUMENTS)
def test_wrong_arguments(name):
    model, x = perceptron(1), batch(8, 16)
    for wrong in ARGUMENTS[name].wrong:
        with pytest.raises((TypeError, ValueError), match=f"`{name}`"):
            lsuv(model, x, **{name: wrong})


def test_an_unbuilt_model():
    with pytest.raises(ValueError, match=r"must be built.*model\.build"):
        lsuv(keras.Sequential([layers.Dense(3)]), batch(8, 4))


def test_a_model_without_kernels():
    with pytest.raises(ValueError, match="must have kernels"):
        lsuv(keras.Sequential([keras.Input((4,)), layers.LayerNormalization()]), batch(8, 4))


def with_nan():
    x = batch(8, 16)
    x[3, 2] = np.nan
    return x


WRONG = {
    "nan": (with_nan, "`x` must hold finite numbers"),
    "infinite": (lambda: np.where(batch(8, 16) > 5, np.inf, 0.0), "`x` must hold finite numbers"),
    "shape": (lambda: batch(8, 15), r"`x` must be a batch.*\(None, 16\).*\(8, 15\)"),
    "rank": (lambda: batch(8, 4, 16), r"\(None, 16\).*\(8, 4, 16\)"),
    "two": (lambda: [batch(8, 16), batch(8, 16)], r"\(None, 16\).*\(8, 16\), \(8, 16\)"),
    "one example": (lambda: batch(1, 16), "two examples"),
    "nothing": (lambda: batch(0, 16), "at least one example"),
    "constant": (lambda: np.ones((8, 16), "float32"), "examples that differ"),
}


@pytest.mark.parametrize("case", WRONG)
def test_wrong_batches_leave_the_weights(case):
    make, message = WRONG[case]
    model = perceptron(2)
    before = values(model)
    with pytest.raises(ValueError, match=message):
        lsuv(model, make())
    assert unchanged(model, before)


def test_a_dead_layer_is_named_and_nothing_is_changed():
    model, x = perceptron(3, "relu"), batch(64, 16)
    model.layers[1].bias.assign(np.full(32, -1e3, "float32"))
    before = values(model)
    with pytest.raises(ValueError, match=r"layer 'dense_2' have no spread over this batch.*ReLU"):
        lsuv(model, x)
    assert unchanged(model, before)
    lsuv(model, x, centre=True)


def test_a_kernel_of_zeros():
    model = perceptron(2, kernel_initializer="zeros")
    with pytest.raises(ValueError, match=r"'dense' have no spread.*orthogonal=True"):
        lsuv(model, batch(64, 16), orthogonal=False)
    lsuv(model, batch(64, 16))


def test_biases_that_spread_more_than_the_target():
    model, x = perceptron(2), batch(64, 16)
    model.layers[1].bias.assign(np.linspace(-9, 9, 32))
    before = values(model)
    with pytest.raises(ValueError, match=r"biases of layer 'dense_1' spread more.*centre=True"):
        lsuv(model, x)
    assert unchanged(model, before)


def test_pre_activations_that_overflow():
    model, x = perceptron(3), batch(64, 16)
    model.layers[1].bias.assign(np.full(32, np.nan, "float32"))
    before = [np.nan_to_num(value) for value in values(model)]
    with pytest.raises(ValueError, match="'dense_1' are NaN or infinite"):
        lsuv(model, x)
    assert all((np.nan_to_num(a) == b).all() for a, b in zip(values(model), before, strict=True))


def test_an_error_of_the_model_itself_leaves_the_weights():
    class Broken(layers.Layer):
        def call(self, inputs):
            if keras.ops.is_tensor(inputs) and inputs.shape[0] == 64:
                raise RuntimeError("broken on purpose")
            return inputs

    model = keras.Sequential([keras.Input((16,)), layers.Dense(8), Broken()])
    before = values(model)
    with pytest.raises(RuntimeError, match="broken on purpose"):
        lsuv(model, batch(64, 16))
    assert unchanged(model, before)


def test_a_layer_that_is_the_same_for_every_example_is_told():
    class Token(layers.Layer):
        def call(self, inputs):
            return keras.ops.ones_like(inputs)

    model = keras.Sequential([keras.Input((16,)), layers.Dense(8), Token(), layers.Dense(5)])
    report = lsuv(model, batch(64, 16))
    assert "the same for every example" in report["dense_1"]["note"]
    assert report["dense"]["note"] is None
