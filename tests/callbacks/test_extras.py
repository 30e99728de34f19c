"""What LayerStatistics measures on demand, against slow references."""

from __future__ import annotations

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil
from keras_initlab.statistics.layers import measured_layers
from keras_initlab.statistics.lines import from_line, to_line
from keras_initlab.statistics.probes.channels import channel_moments, channel_statistics
from keras_initlab.statistics.probes.extras import EXTRAS, check_replicas
from keras_initlab.statistics.probes.noise_scale import noise_scale, noise_sums
from keras_initlab.statistics.taps import Tap, Taps

from ..statistics.networks import chain, data
from ..statistics.reference import eager_step
from .architectures import ARCHITECTURES, differences, left_by_training
from .steps import BATCH, assert_statistics, batch_of, name_of, put_back, recurrent, rows_of, watched

K = keras.layers


# -- what is allowed ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("extras", ["time", ["channel"], ["time", "dead"], None, 3])
def test_wrong_extras(extras):
    with pytest.raises(ValueError, match=r"extras must be a list of some of channels, inference_gap, .* Received: ext"):
        kil.callbacks.LayerStatistics(extras=extras)


def test_a_single_name_is_told_how_to_be_written():
    with pytest.raises(ValueError, match=r"Received: extras='time'\. Write extras=\['time'\]\."):
        kil.callbacks.LayerStatistics(extras="time")


def test_several_replicas():
    check_replicas(("channels", "inference_gap"), 4)
    check_replicas(EXTRAS, 1)
    with pytest.raises(ValueError, match=r"extras noise_scale and time are measured on one device. .* of 2 replicas"):
        check_replicas(EXTRAS, 2)


# -- channels, gap and noise scale in every mode -----------------------------------------------------------------------

MODES = {
    "graph": {},
    "xla": {"jit_compile": True},
    "eager": {"run_eagerly": True},
}


def network(mode):
    """A network in which each of these has something to show."""
    # XLA compiles slowly, and draws dropout from a stream of its own, which no eager reference can follow.
    first = [K.Flatten()] if mode == "xla" else [K.Conv2D(8, 2, activation="relu")]
    random = [] if mode == "xla" else [K.Flatten(), K.Dense(6, activation="relu"), K.Dropout(0.3, seed=3)]
    return keras.Sequential([keras.Input((4, 3, 1)), *first, K.BatchNormalization(), *random, K.Dense(4)])


@pytest.mark.parametrize("mode", MODES)
def test_against_the_reference(mode):
    keras.utils.clear_session()
    keras.utils.set_random_seed(1)
    model = network(mode)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, **MODES[mode])
    x, y = data(2 * BATCH)
    x = x.reshape(-1, 4, 3, 1)
    profile = watched(model, x, y, "channels", "inference_gap", "noise_scale")
    state = [v.numpy() for v in model.variables]
    x, y = batch_of(x), batch_of(y)
    outputs = {layer.name: output for layer, output in zip(chain(model), _outputs(model, x, y), strict=True)}
    assert [(name_of(layer), quantity) for layer, quantity in profile.channels] == [(n, "activation") for n in outputs]
    for layer, found in zip(outputs, profile.channels.values(), strict=True):
        values = np.asarray(outputs[layer], np.float64).reshape(-1, outputs[layer].shape[-1])
        size = np.sqrt((values**2).mean())
        np.testing.assert_allclose(found["mean"], values.mean(axis=0), atol=1e-5 * size)
        np.testing.assert_allclose(found["std"], values.std(axis=0), atol=1e-5 * size)
        np.testing.assert_array_equal(found["zeros"], (values == 0).mean(axis=0))
    put_back(model, state)
    gaps, h = {}, x
    for layer in chain(model):
        h = layer(h, training=False) if layer._call_has_training_arg else layer(h)
        gaps[layer.name] = outputs[layer.name] - h.numpy()
    rows = rows_of(profile, "inference_gap")
    assert [name_of(layer) for layer, _ in rows] == [layer.name for layer in chain(model)[1:]]
    for (layer, _), row in rows.items():
        gap, output = gaps[name_of(layer)], outputs[name_of(layer)]
        assert_statistics(row, gap)
        assert row["relative"] == pytest.approx(np.linalg.norm(gap) / np.linalg.norm(output), rel=1e-5)
    put_back(model, state)
    half = BATCH // 2
    one, two = (_gradients(model, x[part], y[part]) for part in (slice(None, half), slice(half, None)))
    trace = {name: half / 2 * np.sum((one[name] - two[name]) ** 2) for name in one}
    square = {name: np.sum(one[name] * two[name]) for name in one}
    rows = rows_of(profile, "gradient")
    whole = rows.pop((model.name, None))
    assert {f"{layer}/{name}" for layer, name in rows} == set(one)
    assert {row["noise_scale"] is None for row in rows.values()} == {True, False}
    for (layer, name), row in rows.items():
        name = f"{layer}/{name}"
        if square[name] > 0:
            assert row["noise_scale"] == pytest.approx(trace[name] / square[name], rel=1e-3)
        else:
            assert row["noise_scale"] is None
    assert whole["noise_scale"] == pytest.approx(sum(trace.values()) / sum(square.values()), rel=1e-3)
    assert whole["count"] == sum(row["count"] for row in rows.values())
    assert whole["l2"] == pytest.approx(np.sqrt(sum(row["l2"] ** 2 for row in rows.values())))


def _outputs(model, x, y):
    return eager_step(chain(model), model, x, y)["outputs"]


def _gradients(model, x, y):
    found = eager_step(chain(model), model, x, y)["gradients"]
    return {name: np.asarray(value, np.float64) for name, value in found.items()}


@pytest.mark.parametrize(
    ("policy", "tolerance", "arguments"),
    [
        ("mixed_float16", 0.05, {"steps_per_execution": 2}),
        pytest.param("float32", 1e-5, {"steps_per_execution": 2}, marks=pytest.mark.sweep),
        pytest.param("mixed_float16", 0.05, {"jit_compile": True, "steps_per_execution": 2}, marks=pytest.mark.sweep),
        pytest.param("mixed_bfloat16", 0.3, {}, marks=pytest.mark.sweep),
    ],
)
def test_precision_and_several_steps(policy, tolerance, arguments):
    """The same numbers as those of eager training in float32, to what the precision allows."""
    x, y = data(2 * BATCH)
    found = []
    for name, options in (("float32", {"run_eagerly": True}), (policy, arguments)):
        keras.utils.clear_session()
        keras.config.set_dtype_policy(name)
        try:
            layer = K.LSTM(
                5, kernel_initializer=kil.GlorotUniform(seed=0), recurrent_initializer=kil.Orthogonal(seed=1)
            )
            model = recurrent(layer, last=K.BatchNormalization())
            watching = kil.callbacks.LayerStatistics(update_freq=2, strict=True, extras=EXTRAS, histograms=False)
            model.compile(keras.optimizers.SGD(0.0), "mse", **options)
            model.fit(x.reshape(-1, 4, 3), y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[watching])
        finally:
            keras.config.set_dtype_policy("float32")
        found.append(watching.history[0])
    plain, other = found
    assert plain.step == other.step == 2
    assert plain.keys == other.keys
    assert plain.channels.keys() == other.channels.keys()
    extra = [key[2] in ("inference_gap", "state", "state_gradient") for key in plain.keys]
    assert sum(extra) == 4 * 2 * 2 + 2
    for statistic in ("l2", "relative"):
        one, two = (profile.statistics[statistic][extra] for profile in found)
        np.testing.assert_allclose(two, one, rtol=tolerance, atol=tolerance * np.nanmax(one))
    for key, values in plain.channels.items():
        np.testing.assert_allclose(other.channels[key]["std"], values["std"], rtol=tolerance, atol=tolerance)


# -- the noise scale ---------------------------------------------------------------------------------------------------


def test_the_two_estimates_are_unbiased():
    """Over many batches they come to the trace of the covariance of the examples' gradients, and to |G|²."""
    generator = np.random.default_rng(0)
    x, y = generator.standard_normal((256, 3)).astype("float32"), generator.standard_normal((256, 1)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), K.Dense(1, use_bias=False)])
    model.compile(loss="mse")
    weights = model.layers[0].kernel.numpy().astype(float)
    gradients = 2 * (x @ weights - y) * x
    mean = gradients.mean(axis=0)
    exact = np.array([((gradients - mean) ** 2).sum(axis=1).mean(), mean @ mean])
    entries = measured_layers(model)
    estimates = tf.function(lambda *batch: noise_sums(model, entries, batch, shortcut=True)[0][0])
    batches = generator.integers(0, len(x), (1000, 8))
    samples = [estimates(tf.constant(x[chosen]), tf.constant(y[chosen])).numpy() for chosen in batches]
    # Five standard errors of the mean of independent estimates.
    band = 5 * np.std(samples, axis=0, ddof=1) / np.sqrt(len(samples))
    found = np.mean(samples, axis=0)
    assert np.all(np.abs(found - exact) < band)
    # What the usual slips would give: b for b / 2 in the trace, and the squared norm of a batch's gradient for |G|².
    assert np.all(np.abs(found - exact * [2, 1] - [0, exact[0] / 8]) > band)


def test_noise_scale_where_the_estimate_of_the_square_is_not_positive():
    np.testing.assert_array_equal(noise_scale([3.0, 3.0, 3.0, np.nan], [2.0, 0.0, -1.0, np.nan]), [1.5, *[np.nan] * 3])


def test_halves_of_odd_and_single_examples_and_of_dictionaries():
    inputs = {"a": keras.Input((3,), name="a"), "b": keras.Input((2,), name="b")}
    model = keras.Model(inputs, K.Dense(1)(K.Concatenate()(list(inputs.values()))))
    model.compile(loss="mse")
    entries = measured_layers(model)
    generator = np.random.default_rng(0)

    def sums(rows):
        batch = {"a": a[rows], "b": b[rows]}, y[rows], weights[rows]
        return noise_sums(model, entries, keras.tree.map_structure(tf.constant, batch), shortcut=True)[0].numpy()

    a, b, y = (generator.standard_normal((5, n)).astype("float32") for n in (3, 2, 1))
    weights = np.arange(5, dtype="float32")
    np.testing.assert_array_equal(sums([0, 1, 2, 3, 4]), sums([0, 1, 3, 4]))
    assert np.all(np.isnan(sums([3])[:, 0]))
    assert np.all(np.isfinite(sums([3, 4])))


# -- channels ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shortcut", [True, False])
def test_moments_of_hard_channels(shortcut):
    """Where float32 loses digits, or values are not finite; and of several replicas together."""
    generator = np.random.default_rng(0)
    x = generator.standard_normal((2, 40, 6)).astype("float32")
    x *= np.array([1, 1e-20, 1e20, 0, 1, 1], "float32")
    x[..., 4] += 1e4
    x[0, 3, 5], x[1, 7, 5] = np.inf, np.nan
    parts = []
    for part in x:
        taps = Taps([], tensors=[Tap(0, "layer", "activation", None, tf.constant(part))])
        moments, found, skipped = channel_moments(taps, shortcut)
        parts.append(moments.numpy())
        assert not skipped
    values = x.reshape(-1, 6).astype(float)
    values[~np.isfinite(values)] = np.nan
    expected = {"mean": np.nanmean(values, axis=0), "std": np.nanstd(values, axis=0), "zeros": [0, 0, 0, 1, 0, 0]}
    columns = channel_statistics(np.stack(parts), found)["layer", "activation"]
    for name, value in expected.items():
        np.testing.assert_allclose(columns[name], value, rtol=1e-9)


# -- what cannot be measured -------------------------------------------------------------------------------------------


class OwnStep(keras.Model):
    """Takes a batch that is no x and y."""

    def __init__(self):
        super().__init__()
        self.dense = K.Dense(2)

    def call(self, x):
        return self.dense(x)

    def train_step(self, batch):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self(batch["x"]) ** 2)
        self.optimizer.apply_gradients(
            zip(tape.gradient(loss, self.trainable_weights), self.trainable_weights, strict=True)
        )
        return {"loss": loss}


def messages(model, x, y, *extras, step=1):
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        watching = kil.callbacks.LayerStatistics(update_freq=step, strict=True, extras=extras)
        model.fit(x, y, batch_size=BATCH, verbose=0, epochs=2, callbacks=[watching])
    assert len(watching.history) == 2
    return [str(w.message) for w in caught if "is not measured" in str(w.message)], watching.history[-1]


def test_a_batch_that_the_model_does_not_take():
    model = OwnStep()
    model(np.ones((1, 3), "float32"))
    model.compile("sgd")
    batch = {"x": np.ones((BATCH, 3), "float32")}
    told, profile = messages(model, tf.data.Dataset.from_tensors(batch), None, *EXTRAS)
    assert len(told) == 2
    assert told[0].startswith("inference_gap is not measured. ")
    assert told[1].startswith("noise_scale is not measured. ")
    assert len(profile.channels) == 1
    assert not rows_of(profile, "inference_gap")


def test_no_loss_to_take_of_half_a_batch():
    model = recurrent(K.GRU(3), batch=BATCH)
    model.compile("sgd", "mse")
    told, profile = messages(model, np.ones((BATCH, 4, 3), "float32"), np.ones((BATCH, 1), "float32"), "noise_scale")
    assert told == ["noise_scale is not measured. The model takes batches of one size only."]
    assert all(row["noise_scale"] is None for row in profile.rows)


class TwoWays(keras.Model):
    """Runs other layers, and other shapes, in training than in inference; counts its calls in a variable of its own."""

    def __init__(self):
        super().__init__()
        self.a, self.b, self.c = (K.Dense(2, name=name) for name in "abc")
        self.calls = [tf.Variable(0, trainable=False)]

    def call(self, x, training=False):
        self.calls[0].assign_add(1)
        x = self.a(x)
        # Of a length that only the step itself shows.
        times = tf.cast(tf.reduce_sum(0 * x), tf.int32) + (2 if training else 1)
        wide = self.c(tf.tile(x, [times, 1]))
        return (self.b(self.b(x)) if training else self.b(x)) + wide[: tf.shape(x)[0]]


def test_layers_that_run_otherwise_in_inference():
    model = TwoWays()
    model(np.ones((1, 2), "float32"))
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).standard_normal((BATCH, 2)).astype("float32")
    model.calls[0].assign(0)
    told, profile = messages(model, x, x, "inference_gap")
    assert told == [f"inference_gap is not measured of these layers. {model.name}/b#2: it does not run in inference."]
    # One call in the real training for each step, and none besides.
    assert model.calls[0].numpy() == 2
    assert profile.notes == {f"{model.name}/c": "no inference gap: its output has another shape in inference"}


# -- files, and bits ---------------------------------------------------------------------------------------------------


def test_the_files_have_all_of_it(tmp_path):
    model = recurrent(K.LSTM(3))
    model.compile("sgd", "mse", run_eagerly=True)
    x, y = data(BATCH)
    watching = kil.callbacks.LayerStatistics(tmp_path, update_freq=1, strict=True, extras=EXTRAS)
    model.fit(x.reshape(-1, 4, 3), y, verbose=0, callbacks=[watching])
    (profile,) = watching.history
    assert [key[0] for key in profile.keys] == sorted(key[0] for key in profile.keys)
    assert len(set(profile.keys)) == len(profile)
    assert from_line(to_line(profile)) == profile
    assert kil.Profile.read(tmp_path) == [profile]
    plain = next(row for row in profile.rows if row["quantity"] == "weight")
    assert sum(count for *_, count in plain["histogram"]) == plain["count"]


ALL = [(name, extras) for name in ("batchnorm", "dropout", "recurrent") for extras in (EXTRAS, *([e] for e in EXTRAS))]
OFTEN = [("dropout", EXTRAS), ("recurrent", ["time"])]


@pytest.mark.parametrize(
    ("name", "extras"), [pytest.param(*case, marks=() if case in OFTEN else pytest.mark.sweep) for case in ALL]
)
def test_same_bits(name, extras):
    watching = kil.callbacks.LayerStatistics(update_freq=1, strict=True, extras=extras)
    plain, seen = (left_by_training(ARCHITECTURES[name], False, 40, callbacks) for callbacks in ([], [watching]))
    assert len(watching.history) == 40
    assert differences(plain, seen) == []
