"""Whole models: predicted moments and gradients against measured ones."""

import keras
import numpy as np
import pytest

import keras_initlab as kil
from keras_initlab.model_init.analytic import propagate, solve
from keras_initlab.model_init.moments.rules import RULES, Moments, rule
from keras_initlab.statistics.lines import from_line, to_line

layers, ops = keras.layers, keras.ops
EXAMPLES = 2048
# Relative. Five standard errors of a standard deviation are 5 √((κ − 1)/4n): with n = 2048 examples of 256 nearly
# independent elements and a kurtosis κ of 6 (behind a ReLU) below .8 %, and less at larger widths.
CLOSE = 0.02


def he(seed, **kwargs):
    return {"kernel_initializer": kil.HeNormal(seed=seed), **kwargs}


def transformer():
    """Tokens that attention makes depend on each other, which their average feels."""
    keras.utils.set_random_seed(0)
    x = inputs = keras.Input((8, 128))
    for seed in range(2):
        tokens = layers.LayerNormalization()(x)
        x = x + layers.MultiHeadAttention(4, 32, seed=seed)(tokens, tokens)
        x = x + layers.Dense(128, **he(2 * seed))(layers.Dense(256, activation="gelu", **he(2 * seed + 1))(x))
    return keras.Model(inputs, layers.Dense(256, **he(9))(layers.GlobalAveragePooling1D()(x)))


def perceptron():
    hidden = [layers.Dense(512, activation="relu", **he(seed)) for seed in range(10)]
    return keras.Sequential([keras.Input((512,)), *hidden, layers.Dense(256, **he(10))])


def convolutional():
    return keras.Sequential(
        [
            keras.Input((8, 8, 16)),
            layers.Conv2D(64, 3, padding="same", activation="relu", **he(0)),
            layers.DepthwiseConv2D(3, padding="same", depthwise_initializer=kil.RandomNormal(stddev=0.4, seed=1)),
            layers.Activation("tanh"),
            layers.Conv2D(128, 3, strides=2, padding="same", activation="gelu", groups=2, **he(2)),
            layers.Conv2DTranspose(64, 4, strides=2, padding="same", activation="elu", **he(3)),
            layers.SeparableConv2D(
                128, 3, depthwise_initializer=kil.HeNormal(seed=4), pointwise_initializer=kil.HeNormal(seed=5)
            ),
            layers.LeakyReLU(0.1),
            layers.Flatten(),
            layers.Dense(256, **he(6)),
        ]
    )


def pooled():
    """The largest of several values behind a ReLU, whose slope is then seldom 0."""
    return keras.Sequential(
        [
            keras.Input((10, 10, 16)),
            layers.Conv2D(64, 3, padding="same", activation="relu", **he(0)),
            layers.MaxPooling2D(2),
            layers.Conv2D(64, 3, padding="same", **he(1)),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.Conv2DTranspose(64, 4, strides=2, padding="same", activation="elu", **he(3)),
            layers.SeparableConv2D(
                128, 3, depthwise_initializer=kil.HeNormal(seed=4), pointwise_initializer=kil.HeNormal(seed=5)
            ),
            layers.Flatten(),
            layers.Dropout(0.2, seed=1),
            layers.Dense(256, **he(6)),
        ]
    )


def residual():
    x = inputs = keras.Input((256,))
    for seed in range(4):
        x = x + layers.Dense(256, **he(2 * seed + 1))(layers.Dense(256, activation="silu", **he(2 * seed))(x))
    return keras.Model(inputs, layers.Dense(256, **he(9))(layers.Activation("softsign")(x)))


def regularized():
    drops = [layers.Dropout(0.3, seed=0), layers.GaussianNoise(0.5, seed=1), layers.AlphaDropout(0.2, seed=2)]
    stack = [keras.Input((512,))]
    for seed, drop in enumerate(drops):
        stack += [layers.Dense(512, activation="softplus", **he(seed)), drop]
    return keras.Sequential([*stack, layers.Dense(512, **he(4))])


def dependent():
    """Operands that share their values, and functions of what is not normal."""
    inputs = keras.Input((512,))
    h = layers.Dense(512, **he(0))(inputs)
    h = layers.Dense(512, **he(1))(h + ops.relu(h))
    h = layers.Dense(512, **he(2))(h * ops.sigmoid(h))
    h = layers.Dense(512, activation="tanh", **he(3))(h)
    h = layers.Dense(512, **he(4))(ops.square(h) + h * h)
    h = layers.Dense(512, **he(5))(ops.maximum(ops.relu(h), layers.Dense(512, **he(6))(h)))
    return keras.Model(inputs, layers.Dense(512, **he(7))(ops.tanh(layers.Dropout(0.3, seed=0)(h))))


def recurrent():
    return keras.Sequential(
        [
            keras.Input((12, 64)),
            layers.LSTM(128, return_sequences=True, recurrent_initializer=kil.Orthogonal(seed=1), **he(0)),
            layers.Lambda(lambda x: 2.0 * ops.abs(x)),
            layers.Dense(256, **he(2)),
        ]
    )


def gated():
    x, y = keras.Input((256,)), keras.Input((256,))
    a, b = layers.Dense(512, **he(0))(x), layers.Dense(512, activation="sigmoid", **he(1))(y)
    merged = layers.Concatenate()([a * b, ops.maximum(a, layers.Dense(512, **he(2))(y))])
    return keras.Model([x, y], layers.Dense(256, **he(3))(merged))


class Block(keras.layers.Layer):
    def __init__(self, seed):
        super().__init__()
        self.inner = layers.Dense(256, activation="gelu", **he(seed))

    def build(self, shape):
        self.inner.build(shape)
        self.place = self.add_weight(shape=(shape[-1],), initializer=kil.RandomNormal(seed=1, stddev=0.5))

    def call(self, x):
        return x - self.inner(x) + self.place


def of_own_layers():
    return keras.Sequential([keras.Input((6, 256)), Block(0), Block(1), layers.Dense(256, **he(3))])


MODELS = [
    perceptron,
    convolutional,
    pooled,
    residual,
    regularized,
    dependent,
    recurrent,
    gated,
    of_own_layers,
    transformer,
]


def inputs_for(model, count, mean=0.0, variance=1.0):
    rng = np.random.default_rng(0)
    found = [rng.normal(mean, variance**0.5, (count, *x.shape[1:])).astype("float32") for x in model.inputs]
    return found if len(found) > 1 else found[0]


BEFORE_THE_OUTPUT = ("query", "key", "value", "softmax")  # by how the name begins: layers are numbered


def by_layer(profile, quantity):
    """Of attention the projection behind it is predicted, and neither those before nor the scores."""
    rows = {row["layer"]: row for row in profile.scalar_rows() if row["quantity"] == quantity}
    return {name: row for name, row in rows.items() if not name.split("/")[-1].startswith(BEFORE_THE_OUTPUT)}


def largest_error(predicted, measured, statistic="rms"):
    """Relative, over the layers that both have."""
    pairs = [(predicted[name], measured[name]) for name in measured if name in predicted]
    assert len(pairs) == len(measured)
    return max(abs(one[statistic] / other[statistic] - 1) for one, other in pairs)


@pytest.mark.parametrize("make", MODELS, ids=lambda make: make.__name__)
def test_moments_are_those_of_a_wide_network(make):
    model = make()
    predicted = by_layer(propagate(model, 0.3, 1.5), "activation")
    measured = by_layer(kil.observe(model, inputs_for(model, EXAMPLES, 0.3, 1.5)), "activation")
    for statistic in ("rms", "std"):
        assert largest_error(predicted, measured, statistic) < CLOSE
    for name, row in measured.items():
        assert abs(predicted[name]["mean"] - row["mean"]) < CLOSE * row["rms"]


def test_a_wrong_rule_is_told_apart(monkeypatch):
    """Negative control: ReLU taken as linear."""
    model = keras.Sequential(
        [keras.Input((256,)), layers.Dense(512, **he(0)), layers.ReLU(), layers.Dense(512, **he(1))]
    )
    measured = by_layer(kil.observe(model, inputs_for(model, EXAMPLES)), "activation")
    assert largest_error(by_layer(propagate(model), "activation"), measured) < CLOSE
    monkeypatch.setitem(RULES, "ReLU", RULES["Identity"])
    assert largest_error(by_layer(propagate(model), "activation"), measured) > 10 * CLOSE


@pytest.mark.parametrize("make", [perceptron, pooled, residual], ids=lambda make: make.__name__)
def test_gradients_are_those_of_a_wide_network(make):
    model, rng = make(), np.random.default_rng(1)
    x, y = inputs_for(model, 512), rng.normal(size=(512, *model.output_shape[1:])).astype("float32")
    model.compile("sgd", lambda target, output: ops.sum(target * output))
    measured = by_layer(kil.observe(model, x, y), "activation_gradient")
    predicted = by_layer(propagate(model), "activation_gradient")
    assert predicted[list(predicted)[-1]]["rms"] == 1.0
    assert largest_error(predicted, measured) < 2 * CLOSE


def state(model):
    return [ops.convert_to_numpy(v).copy() for v in model.variables] + [np.random.get_state()[1].copy()]


@pytest.mark.parametrize("make", [dependent, recurrent, regularized], ids=lambda make: make.__name__)
def test_nothing_changes(make):
    model = make()
    before, names = state(model), [layer.name for layer in model.layers]
    seeds = ops.convert_to_numpy(keras.random.SeedGenerator(3).state)
    propagate(model)
    solve(model)
    for one, other in zip(before, state(model), strict=True):
        assert np.array_equal(one, other)
    assert names == [layer.name for layer in model.layers]
    assert np.array_equal(seeds, ops.convert_to_numpy(keras.random.SeedGenerator(3).state))


def test_moving_statistics_stay():
    model = keras.Sequential([keras.Input((8,)), layers.Lambda(lambda x: x), layers.BatchNormalization(renorm=True)])
    before = state(model)
    assert "measured" in propagate(model).notes[model.layers[-1].path]
    assert all(np.array_equal(*pair) for pair in zip(before, state(model), strict=True))


def test_the_same_twice():
    model = recurrent()
    assert propagate(model) == propagate(model)


def test_names_and_notes():
    shared = layers.Dense(4, name="shared")
    x = keras.Input((4,))
    model = keras.Model(x, layers.Lambda(lambda x: x**2, name="own")(shared(shared(x))))
    profile = propagate(model)
    assert [row["layer"] for row in profile.rows if row["quantity"] == "activation"] == ["shared", "shared#2", "own"]
    assert set(profile.notes) == {"own"}
    assert profile.notes["own"].startswith("measured by a run of 4096 samples through the layer, since it has no rule")
    assert "own: measured by" in " ".join(str(profile).split())
    assert from_line(to_line(profile)) == profile
    assert profile != propagate(keras.Model(x, shared(x)))


def test_correlated_operands_are_measured_together():
    x = keras.Input((64,))
    h = layers.Dense(64, **he(0))(x)
    notes = propagate(keras.Model(x, layers.Add(name="sum")([h, layers.ReLU(name="bent")(h)]))).notes
    assert "all from bent to sum, since its operands depend on the same values" in notes["sum"]
    assert not propagate(keras.Model(x, layers.Add()([h, layers.Dense(64, activation="relu")(h)]))).notes


def test_unknown_sizes_are_said():
    model = keras.Sequential([keras.Input((None, 8)), layers.Conv1D(4, 3, padding="same")])
    profile = propagate(model)
    assert profile.rows[0]["count"] == 16 * 4
    assert profile.notes["inputs"] == "sizes that the model leaves open are taken as 16"


def test_weights_are_in_the_profile():
    model = keras.Sequential([keras.Input((300,)), layers.Dense(200, **he(0, name="only"))])
    (row,) = [row for row in propagate(model).rows if row["variable"] == "kernel"]
    assert row["std"] == pytest.approx(ops.convert_to_numpy(model.layers[0].kernel).std(), rel=1e-5)


class Twice(keras.layers.Layer):
    def call(self, x):
        return 2 * x


def test_strict_names_the_layer_and_the_mend(monkeypatch):
    model = keras.Sequential([keras.Input((4,)), Twice(name="doubling")])
    message = r"after 'doubling', a Twice, can't be predicted by a rule alone: it has no rule. .*rule\(Twice\)"
    with pytest.raises(ValueError, match=message):
        propagate(model, strict=True)
    monkeypatch.setitem(RULES, Twice, None)
    rule(Twice)(lambda call, inputs: Moments(2 * inputs[0].mean, 4 * inputs[0].variance))
    (row,) = propagate(model, 1.0, 9.0, strict=True).rows[:1]
    assert (row["mean"], row["std"]) == (2.0, 6.0)


def test_a_layer_that_fails_is_named():
    class Failing(keras.layers.Layer):
        def compute_output_spec(self, x):
            return keras.KerasTensor(x.shape)

        def call(self, x):
            raise RuntimeError("no such thing")

    model = keras.Sequential([keras.Input((4,)), Failing(name="failing")])
    with pytest.raises(
        ValueError, match=r"(?s)'failing', a Failing, can't be predicted: .*RuntimeError: .*no such thing"
    ):
        propagate(model)


def two_inputs():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    return keras.Model([a, b], layers.Concatenate()([layers.Identity()(a), layers.Identity()(b)]))


@pytest.mark.parametrize(
    ("mean", "variance"),
    [([1.0, 5.0], 4.0), ({"b": 5.0, "a": 1.0}, {"a": 4.0, "b": 4.0}), ([np.ones(3), 5.0], np.full(3, 4.0))],
)
def test_several_inputs(mean, variance):
    rows = propagate(two_inputs(), mean, variance).rows
    assert [row["mean"] for row in rows if row["quantity"] == "activation"] == [1.0, 5.0, 3.0]
    assert [row["std"] for row in rows if row["quantity"] == "activation"] == pytest.approx([2.0, 2.0, 8**0.5])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"mean": [0.0]}, r"Argument `mean` must be one number .*model's 2 inputs. Received: 1 entries"),
        ({"variance": -1.0}, r"Argument `variance` must be finite and not negative. Received: variance=-1.0"),
        ({"mean": float("nan")}, r"Argument `mean` must be finite. Received: mean=nan"),
        ({"mean": np.zeros(4)}, r"must broadcast to one example, of shape \(3,\). Received: shapes \(4,\) and \(\)"),
    ],
)
def test_wrong_arguments(arguments, message):
    with pytest.raises(ValueError, match=message):
        propagate(two_inputs(), **arguments)


def test_an_unbuilt_model():
    with pytest.raises(ValueError, match=r"must be built"):
        propagate(keras.Sequential([layers.Dense(3)]))


# -- solve -------------------------------------------------------------------------------------------------------------


def with_solved(model, target, **moments):
    """The model, its kernels drawn anew with the solved standard deviations."""
    rng = np.random.default_rng(5)
    for key, stddev in solve(model, target=target, **moments).items():
        (variable,) = [v for v in model.weights if id(v) == key]
        variable.assign(rng.normal(0.0, stddev, variable.shape))
    return model


@pytest.mark.parametrize("target", [1.0, 2.5])
def test_solved_weights_give_the_target(target):
    model = with_solved(
        keras.Sequential(
            [
                keras.Input((8, 8, 16)),
                layers.Conv2D(256, 3, padding="same", bias_initializer="ones"),
                layers.Activation("sigmoid"),
                layers.SeparableConv2D(256, 3, padding="same"),
                layers.Activation("relu"),
                layers.Conv2DTranspose(128, 3, strides=2, padding="same"),
                layers.Activation("gelu"),
                layers.Flatten(),
                layers.Dense(512),
            ]
        ),
        target,
        mean=1.0,
        variance=3.0,
    )
    measured = by_layer(kil.observe(model, inputs_for(model, 256, 1.0, 3.0)), "activation")
    for layer in model.layers:
        if layer.weights:
            # Where the inputs hardly vary, the variance is that of the units' means: one draw for each unit.
            units = layer.output.shape[-1]
            assert measured[layer.path]["std"] ** 2 == pytest.approx(target, rel=5 * (2 / units) ** 0.5)


def test_solved_values_of_a_chain():
    model = keras.Sequential(
        [keras.Input((32,)), layers.Dense(4096, activation="relu"), layers.Dense(64), layers.Dense(8)]
    )
    found = list(solve(model, mean=1.0, variance=2.0, target=3.0).values())
    # Σ (v + m²) over the fan: 32·3; then behind a ReLU half of 3 each; then 3 each.
    assert found[0] ** 2 == pytest.approx(3 / (32 * 3))
    assert found[1] ** 2 == pytest.approx(3 / (4096 * 1.5), rel=0.1)
    assert found[2] ** 2 == pytest.approx(3 / (64 * 3), rel=0.6)


def test_solve_counts_padding():
    model = keras.Sequential([keras.Input((8, 8, 4)), layers.Conv2D(6, 3, padding="same")])
    (stddev,) = solve(model).values()
    assert stddev**2 * 9 * 4 == pytest.approx(1 / 0.8402777777, rel=1e-6)


def test_a_shared_kernel_is_solved_for_its_first_call():
    shared, x = layers.Dense(16), keras.Input((16,))
    (stddev,) = solve(keras.Model(x, shared(shared(x) * 3.0))).values()
    assert stddev**2 == pytest.approx(1 / 16)


def test_solve_names_a_kernel_that_sees_nothing():
    model = keras.Sequential([keras.Input((4,)), layers.Rescaling(0.0), layers.Dense(3, name="blind")])
    with pytest.raises(ValueError, match=r"The kernel 'blind/kernel' can't be solved: .* mean square .* is 0"):
        solve(model)
    with pytest.raises(ValueError, match=r"Argument `target` must be a finite number above 0. Received: target=0"):
        solve(model, target=0)


def kernels(model):
    return {id(v) for v in model.trainable_variables if "kernel" in v.name}


@pytest.mark.parametrize("make", [convolutional, transformer], ids=lambda make: make.__name__)
def test_every_kernel_is_solved(make):
    """Those of layers that are measured, too: behind a small receptive field, or where tokens depend on each other."""
    model = make()
    before = state(model)
    assert set(solve(model)) == kernels(model)
    assert all(np.array_equal(*pair) for pair in zip(before, state(model), strict=True))
