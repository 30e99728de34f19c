"""An optimizer's memory goes back to its start, that of the chosen weights or all of it."""

import keras
import numpy as np
import pytest
from keras import layers, optimizers

from keras_initlab.model_init.optimizers import reset

OPTIMIZERS = {
    "sgd": lambda: optimizers.SGD(0.05),
    "momentum": lambda: optimizers.SGD(0.05, momentum=0.9, nesterov=True),
    "adam": lambda: optimizers.Adam(0.01),
    "amsgrad": lambda: optimizers.Adam(0.01, amsgrad=True, clipnorm=1.0),
    "adamw": lambda: optimizers.AdamW(0.01, weight_decay=0.1),
    "adagrad": lambda: optimizers.Adagrad(0.05, initial_accumulator_value=0.3),
    "adadelta": lambda: optimizers.Adadelta(0.5),
    "adafactor": lambda: optimizers.Adafactor(0.01),
    "adamax": lambda: optimizers.Adamax(0.01),
    "lamb": lambda: optimizers.Lamb(0.01),
    "rmsprop": lambda: optimizers.RMSprop(0.01, momentum=0.5, centered=True),
    "nadam": lambda: optimizers.Nadam(0.01),
    "ftrl": lambda: optimizers.Ftrl(0.05, initial_accumulator_value=0.2),
    "lion": lambda: optimizers.Lion(0.001),
    "muon": lambda: optimizers.Muon(0.01),
    "schedule free": lambda: optimizers.ScheduleFreeAdamW(0.01),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam(0.01), initial_scale=1024.0),
    "average": lambda: optimizers.Adam(0.01, use_ema=True, ema_momentum=0.9, ema_overwrite_frequency=7),
    "accumulation": lambda: optimizers.Adam(0.01, gradient_accumulation_steps=2),
    "schedule": lambda: optimizers.Adam(optimizers.schedules.ExponentialDecay(0.05, 3, 0.5)),
}
each_optimizer = pytest.mark.parametrize("name", list(OPTIMIZERS))
X = np.random.default_rng(0).normal(size=(24, 5)).astype("float32")
Y = np.random.default_rng(1).normal(size=(24, 2)).astype("float32")


def small(optimizer, frozen=False, dtype=None):
    """A model that is compiled and has fixed weights."""
    model = keras.Sequential(
        [
            keras.Input((5,)),
            layers.Dense(4, "tanh", kernel_initializer=keras.initializers.GlorotUniform(1), dtype=dtype, name="first"),
            layers.Dense(4, "tanh", kernel_initializer=keras.initializers.GlorotUniform(2), dtype=dtype, name="middle"),
            layers.Dense(2, kernel_initializer=keras.initializers.GlorotUniform(3), dtype=dtype, name="last"),
        ]
    )
    model.get_layer("middle").trainable = not frozen
    model.compile(optimizer, "mse", jit_compile=False)
    return model


def fit(model):
    """Nine steps."""
    return model.fit(X, Y, batch_size=8, epochs=3, shuffle=False, verbose=0)


def numbers(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(first, second):
    first, second = numbers(first), numbers(second)
    return len(first) == len(second) and all(np.array_equal(a, b) for a, b in zip(first, second, strict=True))


def step(model, steps=5):
    """Steps with made-up gradients; an odd number, so that gradients are still gathered."""
    random = np.random.default_rng(2)
    for _ in range(steps):
        gradients = [random.normal(size=v.shape).astype("float32") for v in model.trainable_variables]
        model.optimizer.apply([keras.ops.convert_to_tensor(g) for g in gradients], model.trainable_variables)


@each_optimizer
def test_all_slots_are_those_of_a_fresh_optimizer_and_the_steps_repeat_bit_for_bit(name):
    model = small(OPTIMIZERS[name]())
    start = model.get_weights()
    step(model)
    after = model.get_weights()
    assert not same(after, start)
    model.set_weights(start)
    reset(model.optimizer, model.weights)
    fresh = OPTIMIZERS[name]()
    fresh.build(model.trainable_variables)
    assert same(model.optimizer.variables, fresh.variables)
    step(model)
    assert same(model.get_weights(), after)


@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"sgd"}))
def test_without_a_reset_the_steps_do_not_repeat(name):
    model = small(OPTIMIZERS[name]())
    start = model.get_weights()
    step(model)
    after = model.get_weights()
    model.set_weights(start)
    step(model)
    assert not same(model.get_weights(), after)


@pytest.mark.parametrize("name", ["adam", "loss scale", "accumulation"])
def test_training_repeats_bit_for_bit_in_the_same_compiled_function(name):
    model, traces = small(OPTIMIZERS[name](), frozen=name == "adam"), []

    def loss(true, predicted):
        traces.append(name)
        return keras.ops.mean(keras.ops.square(true - predicted), axis=-1)

    model.compile(model.optimizer, loss, jit_compile=False)
    start = model.get_weights()
    first, function, count = fit(model).history["loss"], model.train_function, len(traces)
    after = model.get_weights()
    model.set_weights(start)
    reset(model.optimizer, model.weights)
    assert fit(model).history["loss"] == first
    assert same(model.get_weights(), after)
    assert model.train_function is function
    assert len(traces) == count > 0


# Adafactor does not name its slots after the weights.
@pytest.mark.parametrize("name", sorted(set(OPTIMIZERS) - {"adafactor"}))
def test_a_part_of_the_weights_leaves_the_slots_of_the_others(name):
    model = small(OPTIMIZERS[name]())
    step(model)
    layer = model.get_layer("middle")
    before = numbers(model.optimizer.variables)
    layer.set_weights([weight + 0.1 for weight in layer.get_weights()])
    reset(model.optimizer, layer.weights)
    fresh = OPTIMIZERS[name]()
    fresh.build(model.trainable_variables)
    mine = 0
    for variable, old, start in zip(model.optimizer.variables, before, numbers(fresh.variables), strict=True):
        now = np.array(keras.ops.convert_to_numpy(variable))
        if "middle" not in variable.path:
            assert np.array_equal(now, old), variable.path
        elif "average" not in variable.path:
            assert np.array_equal(now, start), variable.path
            mine += not np.array_equal(now, old)
    assert bool(mine) == (name != "sgd")


def test_a_part_under_averaging_starts_from_the_new_weights():
    """A running average that starts at zero would be written over the weights."""
    model = small(optimizers.SGD(0.0, use_ema=True, ema_momentum=0.99, ema_overwrite_frequency=1))
    step(model)
    layer = model.get_layer("middle")
    layer.set_weights([np.full(weight.shape, 2.0) for weight in layer.get_weights()])
    reset(model.optimizer, layer.weights)
    step(model)
    for weight in layer.get_weights():
        np.testing.assert_allclose(weight, 2.0, rtol=1e-5)  # five roundings of float32


@pytest.mark.parametrize("name", ["adam", "loss scale", "average"])
def test_a_learning_rate_set_by_hand_stays(name):
    model = small(OPTIMIZERS[name]())
    step(model)
    getattr(model.optimizer, "inner_optimizer", model.optimizer).learning_rate.assign(0.003)
    reset(model.optimizer, model.weights)
    inner = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    assert float(inner.learning_rate) == np.float32(0.003)
    assert int(inner.iterations) == 0


def test_under_mixed_precision():
    model = small(optimizers.Adam(0.01), dtype="mixed_float16")
    start = model.get_weights()
    model.compile(
        optimizers.LossScaleOptimizer(optimizers.Adam(0.01), dynamic_growth_steps=2), "mse", jit_compile=False
    )
    first = fit(model).history["loss"]
    assert float(model.optimizer.dynamic_scale) != model.optimizer.initial_scale
    model.set_weights(start)
    reset(model.optimizer, model.weights)
    assert float(model.optimizer.dynamic_scale) == model.optimizer.initial_scale
    assert fit(model).history["loss"] == first


def test_frozen_weights_are_not_needed_for_a_full_reset():
    model = small(optimizers.Adam(0.01), frozen=True)
    step(model)
    reset(model.optimizer, model.trainable_variables)
    assert int(model.optimizer.iterations) == 0
    step(model)
    reset(model.optimizer, model.get_layer("middle").weights)
    assert int(model.optimizer.iterations) == 5


def test_an_optimizer_that_is_not_built_or_trains_others_has_nothing_to_put_back():
    model = small(optimizers.Adam(0.01))
    model.optimizer.built = False
    reset(model.optimizer, model.weights)
    model = small(optimizers.Adam(0.01))
    step(model)
    before = numbers(model.optimizer.variables)
    reset(model.optimizer, small(optimizers.Adam(0.01)).weights)
    assert same(model.optimizer.variables, before)


def test_several_optimizers_in_one():
    chosen = {"first": optimizers.Adam(0.01), "rest": optimizers.SGD(0.05, momentum=0.9)}
    model = small(optimizers.MultiOptimizer(lambda weight: chosen["first" if "first" in weight.path else "rest"]))
    start = model.get_weights()
    step(model)
    after = model.get_weights()
    model.set_weights(start)
    reset(model.optimizer, model.weights)
    step(model)
    assert same(model.get_weights(), after)
