"""Every way to train: what a Profile says against NumPy, on models that are solved on paper."""

from __future__ import annotations

import itertools

import keras
import numpy as np
import pytest
import tensorflow as tf

import keras_initlab as kil

from ..statistics.reference import States, assert_row
from .matrix import dtype_policy

K = keras.layers
RATE, BATCH, INPUTS, OUTPUTS = 0.1, 8, 3, 2


@pytest.fixture(autouse=True)
def names_start_anew():
    keras.utils.clear_session(free_memory=False)


@pytest.fixture(params=[False, pytest.param(True, marks=pytest.mark.sweep)], ids=["plain", "jit"])
def jit(request):
    return request.param


def linear(jit_compile=False, optimizer=None, loss="mse", **kwargs):
    """One Dense layer, whose gradients are a product of two matrices."""
    layer = K.Dense(OUTPUTS, name="dense", kernel_initializer=keras.initializers.GlorotNormal(seed=0))
    model = keras.Sequential([keras.Input((INPUTS,)), layer], name="model")
    model.compile(optimizer or keras.optimizers.SGD(RATE), loss, jit_compile=jit_compile, **kwargs)
    return model


def data(batches, seed=0):
    generator = np.random.default_rng(seed)
    x = generator.standard_normal((batches * BATCH, INPUTS))
    return x.astype("float32"), generator.standard_normal((batches * BATCH, OUTPUTS)).astype("float32")


def watched(model, *arguments, update_freq=1, **kwargs):
    """Profiles of a call of fit, and the weights before each step and at the end."""
    states, watching = States(), kil.callbacks.LayerStatistics(update_freq=update_freq, strict=True)
    kwargs = {"batch_size": BATCH, "shuffle": False, "verbose": 0, **kwargs}
    model.fit(*arguments, callbacks=[states, watching], **kwargs)
    return watching.history, [[np.asarray(v, np.float64) for v in seen] for seen in states.seen]


def part(array, step, size=BATCH):
    return array[(step - 1) * size : step * size]


def solved(x, y, kernel, bias, weights=1.0):
    """Gradients of the mean squared error of x kernel + bias: of the output, the kernel and the bias."""
    error = (x.astype(np.float64) @ kernel + bias - y) * np.reshape(weights, (-1, 1))
    of_output = 2 * error / error.size
    return of_output, x.T @ of_output, of_output.sum(0)


def rows(profile, layer="model/dense"):
    return {(row["quantity"], row["variable"]): row for row in profile.rows if row["layer"] == layer}


def assert_gradients(profile, of_output, kernel, bias, layer="model/dense"):
    found = rows(profile, layer)
    assert_row(found["activation_gradient", None], of_output)
    assert_row(found["gradient", "kernel"], kernel)
    assert_row(found["gradient", "bias"], bias)


def assert_updates(profile, before, after):
    """Both weights moved by what the differences say."""
    found = rows(profile)
    for name, old, new in zip(("kernel", "bias"), before, after, strict=True):
        norm = np.linalg.norm(new - old)
        assert found["update", name]["l2"] == pytest.approx(norm, rel=1e-4)


# -- one step after another --------------------------------------------------------------------------------------------


def test_run_eagerly():
    x, y = data(3)
    profiles, states = watched(linear(run_eagerly=True, jit_compile=False), x, y)
    assert [profile.step for profile in profiles] == [1, 2, 3]
    for profile, before, after in zip(profiles, states, states[1:], strict=False):
        assert_gradients(profile, *solved(part(x, profile.step), part(y, profile.step), *before))
        assert_updates(profile, before, after)


def test_cosine_displacement_and_angle(jit):
    x, y = data(4)
    profiles, states = watched(linear(jit), x, y, update_freq=2)
    updates = [new[0] - old[0] for old, new in itertools.pairwise(states)]
    way, found = states[4][0] - states[0][0], rows(profiles[1])
    cosine = np.sum(updates[3] * updates[1]) / np.linalg.norm(updates[3]) / np.linalg.norm(updates[1])
    assert found["update", "kernel"]["cosine"] == pytest.approx(cosine, abs=1e-4)
    assert rows(profiles[0])["update", "kernel"]["cosine"] is None
    assert found["displacement", "kernel"]["l2"] == pytest.approx(np.linalg.norm(way), rel=1e-4)
    lengths = np.linalg.norm(states[4][0]) * np.linalg.norm(states[0][0])
    angle = np.degrees(np.arccos(np.sum(states[4][0] * states[0][0]) / lengths))
    assert found["displacement", "kernel"]["angle"] == pytest.approx(angle, rel=1e-3)


def test_gradient_accumulation(jit):
    """The weights stand still for three steps of four, and the fourth moves them by the mean of the four gradients."""
    x, y = data(8)
    model = linear(jit, keras.optimizers.SGD(RATE, gradient_accumulation_steps=4))
    profiles, states = watched(model, x, y)
    assert [profile.step for profile in profiles] == list(range(1, 9))
    gradients = [solved(part(x, i), part(y, i), *states[i - 1]) for i in range(1, 9)]
    for profile, gradient, before, after in zip(profiles, gradients, states, states[1:], strict=False):
        assert_gradients(profile, *gradient)
        if profile.step % 4:
            assert rows(profile)["update", "kernel"]["l2"] == 0.0
        else:
            mean = np.mean([g[1] for g in gradients[profile.step - 4 : profile.step]], axis=0)
            assert rows(profile)["update", "kernel"]["l2"] == pytest.approx(RATE * np.linalg.norm(mean), rel=1e-4)
            assert_updates(profile, before, after)


def test_steps_of_gradient_accumulation_that_ends_between_two_updates():
    model = linear(optimizer=keras.optimizers.SGD(RATE, gradient_accumulation_steps=4))
    model.fit(*data(6), batch_size=BATCH, verbose=0)
    profiles, _ = watched(model, *data(4), update_freq=4)
    assert [profile.step for profile in profiles] == [8]
    assert rows(profiles[0])["update", "kernel"]["l2"] > 0


def test_several_calls_of_fit(jit):
    """Steps and displacement go on where the first call left them."""
    x, y = data(3)
    model, watching, states = linear(jit), kil.callbacks.LayerStatistics(update_freq=3, strict=True), States()
    for _ in range(2):
        model.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[states, watching])
    assert [profile.step for profile in watching.history] == [3, 6]
    kernels = [np.asarray(seen[0], np.float64) for seen in states.seen]
    way = np.linalg.norm(kernels[-1] - kernels[0])
    assert rows(watching.history[1])["displacement", "kernel"]["l2"] == pytest.approx(way, rel=1e-4)


def test_validation_changes_nothing():
    x, y = data(4)
    plain, _ = watched(linear(), x, y, epochs=2)
    validated, _ = watched(linear(), x, y, epochs=2, validation_data=data(3, seed=1))
    assert plain == validated
    assert len(plain) == 8


def test_a_smaller_last_batch(jit):
    x, y = (array[: 2 * BATCH + 3] for array in data(3))
    profiles, states = watched(linear(jit), x, y)
    assert [rows(profile)["activation", None]["count"] for profile in profiles] == [16, 16, 6]
    assert_gradients(profiles[2], *solved(x[-3:], y[-3:], *states[2]))
    assert_updates(profiles[2], *states[2:])


# -- losses ------------------------------------------------------------------------------------------------------------


def test_sample_weights(jit):
    x, y = data(2)
    weights = np.linspace(0, 3, len(x)).astype("float32")
    profiles, states = watched(linear(jit), x, y, sample_weight=weights)
    assert_gradients(profiles[1], *solved(part(x, 2), part(y, 2), *states[1], part(weights, 2)))


def test_class_weights(jit):
    """Of the cross entropy the gradient of the logits is what the softmax says too much."""
    x, _ = data(2)
    classes = np.arange(len(x)) % OUTPUTS
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    profiles, states = watched(linear(jit, loss=loss), x, classes, class_weight={0: 0.5, 1: 3.0})
    kernel, bias = states[1]
    odds = np.exp(part(x, 2) @ kernel + bias)
    said = odds / odds.sum(1, keepdims=True) - np.eye(OUTPUTS)[part(classes, 2)]
    of_output = said * np.array([0.5, 3.0])[part(classes, 2)][:, np.newaxis] / BATCH
    assert_gradients(profiles[1], of_output, part(x, 2).T @ of_output, of_output.sum(0))


def two_inputs(as_dictionary):
    inputs = {name: keras.Input((INPUTS,), name=name) for name in ("a", "b")}
    outputs = {
        name: K.Dense(OUTPUTS, name=name, kernel_initializer=keras.initializers.GlorotNormal(seed=i))(inputs[source])
        for i, (name, source) in enumerate([("left", "a"), ("right", "b")])
    }
    if as_dictionary:
        return keras.Model(inputs, outputs), lambda values, names: dict(zip(names, values, strict=True))
    return keras.Model(list(inputs.values()), list(outputs.values())), lambda values, names: list(values)


@pytest.mark.parametrize("as_dictionary", [False, True], ids=["lists", "dictionaries"])
def test_several_inputs_and_outputs(as_dictionary, jit):
    """Two layers side by side, the loss of the second counted three times."""
    (a, left), (b, right) = data(2), data(2, seed=1)
    model, shaped = two_inputs(as_dictionary)
    losses, counted = shaped(("mse", "mse"), ("left", "right")), shaped((1.0, 3.0), ("left", "right"))
    model.compile(keras.optimizers.SGD(RATE), losses, loss_weights=counted, jit_compile=jit)
    x, y = shaped((a, b), ("a", "b")), shaped((left, right), ("left", "right"))
    profiles, states = watched(model, x, y)
    assert_gradients(profiles[1], *solved(part(a, 2), part(left, 2), *states[1][:2]), layer="left")
    thrice = [3 * gradient for gradient in solved(part(b, 2), part(right, 2), *states[1][2:])]
    assert_gradients(profiles[1], *thrice, layer="right")


def test_masks_and_a_different_number_of_time_steps_each_batch(jit):
    """A recurrent layer passes over masked steps; batches of three, five and three time steps."""
    inputs = keras.Input((None, INPUTS))
    masked, lstm = K.Masking(name="masking"), K.LSTM(4, name="lstm", return_sequences=True)
    head = K.Dense(OUTPUTS, name="head")
    model = keras.Model(inputs, head(lstm(masked(inputs))))
    model.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=jit)
    generator = np.random.default_rng(0)
    batches = [
        (generator.standard_normal((BATCH, t, INPUTS), "float32"), np.ones((BATCH, t, OUTPUTS), "float32"))
        for t in (3, 5, 3)
    ]
    for x, _ in batches:
        x[: BATCH // 2, -1] = 0.0
    states, watching = States(), kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    feed = (batch for batch in batches)
    model.fit(feed, steps_per_epoch=3, shuffle=False, verbose=0, callbacks=[states, watching])
    for i, ((x, y), profile) in enumerate(zip(batches, watching.history, strict=True)):
        states.restore(i)
        valid = np.any(x != 0, axis=-1)
        with tf.GradientTape() as tape:
            hidden = lstm(tf.convert_to_tensor(x), mask=tf.convert_to_tensor(valid))
            said = head(hidden)
            # The mask reaches the loss too: the mean over the steps that count.
            loss = tf.reduce_mean(tf.boolean_mask(tf.reduce_mean(tf.square(said - y), axis=-1), valid))
        of_hidden, of_said, *of_weights = tape.gradient(
            loss, [hidden, said, *(v.value for v in lstm.trainable_weights)]
        )
        assert rows(profile, "lstm")["activation", None]["count"] == hidden.numpy().size
        assert_row(rows(profile, "lstm")["activation", None], hidden)
        assert_row(rows(profile, "lstm")["activation_gradient", None], of_hidden)
        assert_row(rows(profile, "head")["activation_gradient", None], of_said)
        for variable, gradient in zip(lstm.trainable_weights, of_weights, strict=True):
            assert_row(rows(profile, "lstm")["gradient", variable.name], gradient)


# -- optimizers --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("clipping", ["clipnorm", "global_clipnorm", "clipvalue"])
def test_clipping(clipping):
    """Gradients are those of the loss, updates those of what was left of them."""
    bound = 0.02
    x, y = data(2)
    profiles, states = watched(linear(optimizer=keras.optimizers.SGD(RATE, **{clipping: bound})), x, y)
    of_output, *gradients = solved(part(x, 2), part(y, 2), *states[1])
    assert_gradients(profiles[1], of_output, *gradients)
    whole = np.sqrt(sum(np.sum(g**2) for g in gradients))
    clipped = {
        "clipnorm": lambda g: g * min(1, bound / np.linalg.norm(g)),
        "global_clipnorm": lambda g: g * min(1, bound / whole),
        "clipvalue": lambda g: np.clip(g, -bound, bound),
    }[clipping]
    for name, gradient in zip(("kernel", "bias"), gradients, strict=True):
        norm = np.linalg.norm(clipped(gradient))
        assert norm < 0.9 * np.linalg.norm(gradient)
        assert rows(profiles[1])["update", name]["l2"] == pytest.approx(RATE * norm, rel=1e-4)


def test_frozen_layers(jit):
    """They have outputs and weights, and nothing that moves."""
    frozen = K.Dense(4, name="frozen", trainable=False)
    model = keras.Sequential([keras.Input((INPUTS,)), frozen, K.Dense(OUTPUTS, name="dense")], name="model")
    model.compile(keras.optimizers.SGD(RATE), "mse", jit_compile=jit)
    x, y = data(2)
    profiles, _ = watched(model, x, y)
    kernel, bias = (np.asarray(v, np.float64) for v in frozen.weights)
    hidden = part(x, 2) @ kernel + bias
    found = rows(profiles[1], "model/frozen")
    assert set(found) == {("activation", None), ("activation_gradient", None), ("weight", "kernel"), ("weight", "bias")}
    assert_row(found["activation", None], hidden)
    assert_row(found["weight", "kernel"], kernel)


def test_averaged_weights(jit):
    """Every second step the weights become their running mean; the update is the way that they went."""
    x, y = data(4)
    optimizer = keras.optimizers.SGD(RATE, use_ema=True, ema_momentum=0.5, ema_overwrite_frequency=2)
    profiles, states = watched(linear(jit, optimizer), x, y)
    average = states[0][0]
    for profile, before, after in zip(profiles[:3], states, states[1:], strict=False):
        of_output, kernel, bias = solved(part(x, profile.step), part(y, profile.step), *before)
        assert_gradients(profile, of_output, kernel, bias)
        assert_updates(profile, before, after)
        new = before[0] - RATE * kernel
        average = new if profile.step == 1 else 0.5 * average + 0.5 * new
        went = (average if profile.step == 2 else new) - before[0]
        assert rows(profile)["update", "kernel"]["l2"] == pytest.approx(np.linalg.norm(went), rel=1e-4)


def test_a_loss_scale_that_overflows(jit):
    """Steps whose scaled gradients are infinite move nothing, and halve the scale; the others are right."""
    with dtype_policy("mixed_float16"):
        model = linear(jit, keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(RATE), initial_scale=2.0**16))
        x, y = data(6)
        profiles, states = watched(model, x, y)
    overflowed = [profile.first_nonfinite is not None for profile in profiles]
    assert any(overflowed)
    for profile, infinite in zip(profiles, overflowed, strict=True):
        assert (rows(profile)["update", "kernel"]["l2"] == 0.0) == infinite
    finite = overflowed.index(False)
    # float16 has eleven bits: an output of a few sums is right to some thousandths.
    _, kernel, _ = solved(part(x, finite + 1), part(y, finite + 1), *states[finite])
    assert_row(rows(profiles[finite])["gradient", "kernel"], kernel, 5e-3)


def test_a_model_without_trainable_weights():
    model = keras.Sequential([keras.Input((INPUTS,)), K.Dense(OUTPUTS, name="dense", trainable=False)], name="model")
    model.compile("sgd", "mse", jit_compile=False)
    x, y = data(2)
    with pytest.warns(UserWarning, match="does not have any trainable weights"):
        profiles, states = watched(model, x, y)
    assert [profile.step for profile in profiles] == [1, 2]
    found = rows(profiles[1])
    assert set(found) == {("activation", None), ("weight", "kernel"), ("weight", "bias")}
    assert_row(found["activation", None], part(x, 2) @ states[0][0] + states[0][1])


# -- loops of one's own ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("through_a_list", [False, True], ids=["by hand", "CallbackList"])
def test_train_on_batch(through_a_list, jit):
    x, y = data(4)
    model, watching = linear(jit), kil.callbacks.LayerStatistics(update_freq=2, strict=True)
    loop = keras.callbacks.CallbackList([watching], model=model) if through_a_list else watching
    loop.set_model(model)
    loop.on_train_begin()
    seen = []
    for i in range(4):
        seen.append([np.asarray(v, np.float64) for v in model.weights])
        loop.on_train_batch_begin(i)
        model.train_on_batch(part(x, i + 1), part(y, i + 1))
        loop.on_train_batch_end(i)
    seen.append([np.asarray(v, np.float64) for v in model.weights])
    loop.on_train_end()
    assert [profile.step for profile in watching.history] == [2, 4]
    for profile in watching.history:
        step = profile.step
        assert_gradients(profile, *solved(part(x, step), part(y, step), *seen[step - 1]))
        assert_updates(profile, seen[step - 1], seen[step])
        way = np.linalg.norm(seen[step][0] - seen[0][0])
        assert rows(profile)["displacement", "kernel"]["l2"] == pytest.approx(way, rel=1e-4)


class Gan(keras.Model):
    """Two linear maps, trained in turn by an optimizer each."""

    def __init__(self):
        super().__init__(name="gan")
        self.generator = keras.Sequential([keras.Input((2,)), K.Dense(INPUTS, name="make")], name="generator")
        self.critic = keras.Sequential([keras.Input((INPUTS,)), K.Dense(1, name="judge")], name="critic")
        self.turns = [keras.optimizers.SGD(RATE), keras.optimizers.SGD(2 * RATE)]

    def call(self, z):
        return self.critic(self.generator(z))

    def train_step(self, data):
        real, noise = data
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(self.critic(self.generator(noise))) - tf.reduce_mean(self.critic(real))
        weights = self.critic.trainable_weights
        self.turns[0].apply(tape.gradient(loss, weights), weights)
        with tf.GradientTape() as tape:
            fooled = -tf.reduce_mean(self.critic(self.generator(noise)))
        weights = self.generator.trainable_weights
        self.turns[1].apply(tape.gradient(fooled, weights), weights)
        return {"loss": loss}


def test_two_networks_that_train_against_each_other(jit):
    """The critic learns first; the gradient of the generator is that of the critic's new weights."""
    model = Gan()
    model(np.zeros((1, 2), "float32"))
    model.compile(jit_compile=jit)
    generator = np.random.default_rng(0)
    real = generator.standard_normal((2 * BATCH, INPUTS)).astype("float32")
    noise = generator.standard_normal((2 * BATCH, 2)).astype("float32")
    profiles, states = watched(model, real, noise)
    assert [profile.step for profile in profiles] == [1, 2]
    by_name = [dict(zip((v.path for v in model.variables), seen, strict=True)) for seen in states]
    (make, judge), after = (
        [by_name[1][f"{path}/kernel"] for path in ("generator/make", "critic/judge")],
        by_name[2]["critic/judge/kernel"],
    )
    fake = part(noise, 2) @ make + by_name[1]["generator/make/bias"]
    of_judge = (fake.mean(0) - part(real, 2).mean(0))[:, np.newaxis]
    of_make = -np.outer(part(noise, 2).mean(0), after)
    assert_row(rows(profiles[1], "critic/judge")["gradient", "kernel"], of_judge)
    assert_row(rows(profiles[1], "generator/make")["gradient", "kernel"], of_make)
    for layer, gradient, rate in (("critic/judge", of_judge, RATE), ("generator/make", of_make, 2 * RATE)):
        update = rows(profiles[1], layer)["update", "kernel"]["l2"]
        assert update == pytest.approx(rate * np.linalg.norm(gradient), rel=1e-4)
    assert_row(rows(profiles[1], "generator/make")["activation", None], fake)
    # Judged are the made, the real, and the made again by the new weights.
    outputs = {"critic/judge": fake @ judge, "critic/judge#2": part(real, 2) @ judge, "critic/judge#3": fake @ after}
    for layer, values in outputs.items():
        bias = by_name[1 if layer != "critic/judge#3" else 2]["critic/judge/bias"]
        assert_row(rows(profiles[1], layer)["activation", None], values + bias)


# -- interrupted -------------------------------------------------------------------------------------------------------


class Interrupted(Exception):
    pass


class Interrupt(keras.callbacks.Callback):
    def on_train_batch_end(self, batch, logs=None):
        if int(self.model.optimizer.iterations) == 10:
            raise Interrupted


@pytest.mark.parametrize("first", [True, False], ids=["before", "after"])
def test_resuming_with_backup_and_restore(first, tmp_path):
    """Killed in the third epoch of four batches, and begun again from the end of the second."""

    def callbacks(watching):
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return [watching, backup] if first else [backup, watching]

    arguments = {"batch_size": BATCH, "epochs": 3, "shuffle": False, "verbose": 0}
    interrupted = kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    with pytest.raises(Interrupted):
        linear().fit(*data(4), callbacks=[*callbacks(interrupted), Interrupt()], **arguments)
    interrupted.on_train_end()
    assert [profile.step for profile in interrupted.history] == list(range(1, 11))

    resumed = kil.callbacks.LayerStatistics(update_freq=1, strict=True)
    linear().fit(*data(4), callbacks=callbacks(resumed), **arguments)
    assert [profile.step for profile in resumed.history] == [9, 10, 11, 12]
    for one, other in zip(map(rows, resumed.history), map(rows, interrupted.history[8:]), strict=False):
        assert one.keys() == other.keys()
        for key in [key for key in one if key[0] not in ("displacement", "update")]:
            assert one[key] == other[key]
        assert one["update", "kernel"]["l2"] == other["update", "kernel"]["l2"]
    # What the weights were at the first of these steps is all that the new process knows.
    moved = [rows(profile) for profile in resumed.history]
    assert moved[0]["displacement", "kernel"]["l2"] == moved[0]["update", "kernel"]["l2"]
    assert moved[3]["displacement", "kernel"]["l2"] > moved[0]["displacement", "kernel"]["l2"]
