"""A whole model drawn again: what changes, and what does not."""

import random
from typing import ClassVar

import keras
import numpy as np
import pytest

from keras_initlab import initializers as ours
from keras_initlab.model_init.places import placed_weights
from keras_initlab.model_init.reinitialize import reinitialize
from keras_initlab.model_init.schemes import SCHEMES
from tests.initializers.laws import numbers
from tests.model_init.drawing import bits, kernels, layers, sequential, weights, white

L = layers
X, Y = white((32, 8)), white((32, 1), seed=2)


def small(**compiled):
    model = sequential((8,), L.Dense(16, "relu"), L.BatchNormalization(), L.Dense(16, "relu"), L.Dense(1, name="head"))
    if compiled:
        model.compile(**compiled)
    return model


def same(before, after, places):
    return all(before[place].tobytes() == after[place].tobytes() for place in places)


class Counted(L.Layer):
    """Counts how often it is traced."""

    def __init__(self):
        super().__init__()
        self.traces = 0

    def call(self, x):
        self.traces += 1
        return x


class TestInPlace:
    @pytest.mark.parametrize("jit", [False, True], ids=["graph", "XLA"])
    def test_the_compiled_functions_stay_and_see_the_new_weights(self, jit):
        counted = Counted()
        model = sequential((8,), L.Dense(16, "relu"), counted, L.Dense(1))
        model.compile("adam", "mse", jit_compile=jit)
        model.fit(X, Y, verbose=0)
        first = model.predict(X, verbose=0)
        variables, functions = list(model.variables), (model.train_function, model.predict_function)
        traces = counted.traces
        reinitialize(model, "he")
        second = model.predict(X, verbose=0)
        model.fit(X, Y, verbose=0)
        assert counted.traces == traces
        assert (model.train_function, model.predict_function) == functions
        assert all(a is b for a, b in zip(model.variables, variables, strict=True))
        assert not np.allclose(first, second)

    def test_a_model_drawn_again_trains_as_at_first(self):
        """The same weights, statistics, slots and steps: the same bits after two epochs."""
        model, trained = small(optimizer="adam", loss="mse"), []
        for _ in range(2):
            reinitialize(model)
            model.fit(X, Y, epochs=2, shuffle=False, verbose=0)
            trained.append(bits(model))
        assert trained[0] == trained[1]

    def test_statistics_go_back_to_their_start(self):
        model = sequential((8,), L.SpectralNormalization(L.Dense(4)), L.BatchNormalization(), L.PReLU())
        reinitialize(model)
        start = bits(model)
        model.compile("sgd", "mse")
        model.fit(X, white((32, 4)), verbose=0)
        moved = weights(model)
        assert moved["batch_normalization/moving_mean"].any()
        reinitialize(model)
        after = weights(model)
        assert bits(sequential_copy(model)) == start
        assert not after["batch_normalization/moving_mean"].any()
        assert (after["batch_normalization/moving_variance"] == 1.0).all()
        assert (after["batch_normalization/gamma"] == 1.0).all()
        assert not same(moved, after, ["spectral_normalization/vector_u"])


def sequential_copy(model):
    """The model without its optimizer."""
    return keras.Sequential(model.layers)


class TestOptimizer:
    def fitted(self, optimizer="adam"):
        model = small(optimizer=optimizer, loss="mse")
        model.fit(X, Y, verbose=0)
        return model

    def slots(self, model):
        return {variable.path: numbers(variable) for variable in model.optimizer.variables[2:]}

    @pytest.mark.parametrize("name", ["adam", "sgd", "rmsprop", "adagrad", "adamw", "ftrl", "nadam", "lion"])
    def test_reset(self, name):
        """Back to what a new one has, which for Adagrad's accumulator is .1."""
        model, new = self.fitted(name), small(optimizer=name, loss="mse")
        new.optimizer.build(new.trainable_variables)
        reinitialize(model)
        ours, fresh = model.optimizer.variables, new.optimizer.variables
        assert [numbers(v).tobytes() for v in ours] == [numbers(v).tobytes() for v in fresh]

    def test_keep(self):
        model = self.fitted()
        before = [numbers(v).tobytes() for v in model.optimizer.variables]
        reinitialize(model, optimizer="keep")
        assert [numbers(v).tobytes() for v in model.optimizer.variables] == before
        assert any(value.any() for value in self.slots(model).values())

    def test_the_slots_of_other_weights_stay(self):
        model = self.fitted()
        before, steps = self.slots(model), int(model.optimizer.iterations)
        reinitialize(model, only="head/")
        after = self.slots(model)
        assert int(model.optimizer.iterations) == steps > 0
        changed = {path for path, value in after.items() if value.tobytes() != before[path].tobytes()}
        assert {path.split("/")[-1] for path in changed} == {
            f"{model.name}_head_{name}_{slot}" for name in ("kernel", "bias") for slot in ("momentum", "velocity")
        }
        assert not any(after[path].any() for path in changed)

    def test_a_learning_rate_that_was_set_stays(self):
        model = self.fitted()
        model.optimizer.learning_rate = 0.125
        reinitialize(model)
        assert float(model.optimizer.learning_rate) == 0.125

    def test_under_a_loss_scale(self):
        model = self.fitted(keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam()))
        reinitialize(model)
        assert not any(numbers(v).any() for v in model.optimizer.inner_optimizer.variables[2:])


class TestOnly:
    @pytest.mark.parametrize(
        ("only", "places"),
        [
            ("^head/", {"head/kernel", "head/bias"}),
            ("kernel", {"dense/kernel", "dense_1/kernel", "head/kernel"}),
            (lambda weight: weight.role.kind == "kernel" and weight.layer.name == "head", {"head/kernel"}),
        ],
        ids=["layer", "kernels", "callable"],
    )
    def test_the_rest_is_left_bit_by_bit(self, only, places):
        model = small()
        for weight in placed_weights(model):
            weight.variable.assign(keras.ops.full(weight.variable.shape, 0.7))
        before = weights(model)
        report = reinitialize(model, only=only)
        after = weights(model)
        assert {row["weight"] for row in report} == places
        assert {place for place in after if after[place].tobytes() != before[place].tobytes()} == places

    def test_the_chosen_have_the_weights_that_they_have_among_all(self):
        model = small()
        reinitialize(model)
        among_all = weights(model)
        reinitialize(model, seed=9)
        reinitialize(model, only="head")
        assert same(among_all, weights(model), ["head/kernel"])


class TestLeftAlone:
    def adapted(self, how):
        model = sequential((8,), L.Dense(16, name="adapted"), L.Dense(4, name="plain"))
        if how == "lora":
            model.layers[0].enable_lora(2)
        else:
            model.layers[0].quantize(how)
        return model

    @pytest.mark.parametrize("how", ["lora", "int8"])
    def test_quantized_and_under_low_rank_adaptation(self, how):
        model = self.adapted(how)
        before, plain = bits(model.layers[0]), bits(model.layers[1])
        report = reinitialize(model, "auto")
        assert bits(model.layers[0]) == before
        assert bits(model.layers[1]) != plain
        rows = [row for row in report if row["weight"].startswith("adapted/")]
        assert len(rows) == len(before) >= 2
        what = {"lora": "under low-rank adaptation", "int8": "quantized"}[how]
        assert all(row["note"] == f"left alone: the layer is {what}" and row["std"] is None for row in rows)

    def test_what_was_learned_from_data(self):
        scaling, words = L.Normalization(), L.TextVectorization(output_sequence_length=3)
        scaling.adapt(X)
        words.adapt(["a b c d"])
        numeric, text = keras.Input((8,)), keras.Input((1,), dtype="string")
        embedded = L.Flatten()(L.Embedding(words.vocabulary_size(), 4)(words(text)))
        model = keras.Model([numeric, text], L.Dense(2)(L.Concatenate()([scaling(numeric), embedded])))
        before = weights(model)
        reinitialize(model, "auto")
        after = weights(model)
        kept = [place for place in after if place.startswith("normalization/")]
        assert kept
        assert same(before, after, kept)
        assert not same(before, after, ["embedding/embeddings"])
        assert not same(before, after, ["dense/kernel"])

    def test_global_random_states(self):
        """Nothing is drawn from Python's, NumPy's, TensorFlow's or Keras's own."""
        model = sequential((8,), L.Dense(16, "relu"), L.Dropout(0.5), L.Dense(1, kernel_initializer="random_normal"))

        def drawn_next():
            return random.random(), np.random.random(), float(keras.random.uniform(())), bits(model)[-1]

        results = []
        for watched in (False, True):
            keras.utils.set_random_seed(11)
            if watched:
                for scheme in ("configured", "auto", "he", keras.initializers.HeNormal(seed=3)):
                    reinitialize(model, scheme, seed=1)
                reinitialize(model, seed=None)
            results.append(drawn_next()[:3])
        assert results[0] == results[1]

    def test_seeds_of_dropout(self):
        model = sequential((8,), L.Dropout(0.5), L.Dense(1))
        state = next(v for v in model.variables if "seed" in v.path)
        model(X, training=True)
        before = numbers(state).tobytes()
        reinitialize(model)
        assert numbers(state).tobytes() == before


class TestSchemes:
    MODEL = staticmethod(
        lambda: sequential((6, 6, 3), L.Conv2D(8, 3, activation="relu"), L.Flatten(), L.Dense(4, "tanh"), L.Dense(2))
    )

    @pytest.mark.parametrize("scheme", [name for name in SCHEMES if name != "analytic"])
    def test_targets_are_met(self, scheme):
        """By orthogonal kernels to rounding; of n values by five times √((k − 1)/(4n)), k at most 2.366."""
        report = reinitialize(self.MODEL(), scheme)
        rows = [row for row in report if row["role"] == "kernel"]
        assert len(rows) == 3
        for row in rows:
            band = 5 * np.sqrt(1.366 / 4 / np.prod(row["shape"]))
            assert row["std"] == pytest.approx(row["target"], rel=band)

    @pytest.mark.parametrize(
        ("scheme", "scale", "mode"),
        [
            ("he", 2.0, "fan_in"),
            ("lecun", 1.0, "fan_in"),
            ("glorot", 1.0, None),
            ("glorot_normal", 1.0, None),
            (keras.initializers.HeNormal(seed=5), 2.0, "fan_in"),
            (ours.HeUniform(), 2.0, "fan_in"),
            ({"class_name": "LecunNormal", "config": {}}, 1.0, "fan_in"),
        ],
        ids=lambda value: type(value).__name__ if isinstance(value, keras.initializers.Initializer) else str(value),
    )
    def test_laws_by_name_and_by_instance(self, scheme, scale, mode):
        for row in reinitialize(self.MODEL(), scheme):
            if row["role"] == "kernel":
                fan = row[mode] if mode else (row["fan_in"] + row["fan_out"]) / 2
                assert row["target"] == pytest.approx(np.sqrt(scale / fan))

    def test_one_for_kernels_leaves_the_rest_to_the_layers(self):
        model = sequential((3, 8), L.LSTM(4, bias_initializer="ones"), L.Dense(2))
        report = reinitialize(model, "he")
        assert report["lstm/lstm_cell/recurrent_kernel"]["law"] == "Orthogonal"
        assert report["lstm/lstm_cell/bias"]["law"] == "Ones, forget gate 1"
        assert report["lstm/lstm_cell/kernel"]["law"] == "HeNormal"

    def test_auto(self):
        model = sequential(
            (3,), L.Embedding(50, 8), L.LSTM(4), L.Dense(6), L.LayerNormalization(), L.ReLU(), L.Dense(2)
        )
        report = reinitialize(model, "auto")
        assert report["embedding/embeddings"]["target"] == pytest.approx(1 / np.sqrt(8))
        assert report["lstm/lstm_cell/bias"]["law"] == "LSTMForgetBias"
        assert report["dense/kernel"]["law"].startswith("Orthogonal, gain 1.414 for ")
        assert report["dense/kernel"]["target"] == pytest.approx(np.sqrt(2 / 4))
        assert report["dense_1/kernel"]["target"] == pytest.approx(np.sqrt(1 / 6))

    def test_a_residual_sum_and_a_sum_of_branches(self):
        x = keras.Input((8,))
        y = L.Add()([x, L.Dense(8, name="first")(x)])
        y = L.Add()([y, L.Dense(8, name="second")(y)])
        z = L.Add()([L.Dense(4, name="left")(y), L.Dense(4, name="right")(y)])
        report = reinitialize(keras.Model(x, z), "auto")
        targets = [report[f"{name}/kernel"]["target"] ** 2 * 8 for name in ("first", "second", "left", "right")]
        assert targets == pytest.approx([0.5] * 4)


class TestDtypes:
    """Sampled wide and cast once: every dtype holds the same weights as far as it can."""

    EPS: ClassVar = {"bfloat16": 2**-8, "float16": 2**-11, "mixed_bfloat16": 0.0, "mixed_float16": 0.0}

    def model(self, dtype):
        return sequential((8,), L.Dense(16, "relu", dtype=dtype), L.Dense(4, dtype=dtype))

    @pytest.mark.parametrize("scheme", ["configured", "auto"])
    @pytest.mark.parametrize("dtype", EPS)
    def test_narrow(self, dtype, scheme):
        wide, model = self.model("float32"), self.model(dtype)
        dtypes = [variable.dtype for variable in model.weights]
        reinitialize(wide, scheme)
        reinitialize(model, scheme)
        assert [variable.dtype for variable in model.weights] == dtypes
        for a, b in zip(kernels(wide).values(), kernels(model).values(), strict=True):
            np.testing.assert_allclose(b, a, rtol=self.EPS[dtype])

    def test_float64(self):
        model = self.model("float64")
        reinitialize(model, "orthogonal")
        kernel = kernels(model)["dense/kernel"]
        np.testing.assert_allclose(kernel @ kernel.T, np.eye(8), atol=1e-14)
