"""Weights of another saved model: what is taken, what is not and why, and that nothing else changes."""

import json
import pickle

import keras
import numpy as np
import pytest
from safetensors.numpy import save_file

from keras_initlab.initializers.weight_files import read_weights
from keras_initlab.model_init.places import placed_weights
from keras_initlab.model_init.transfer.matching import load_matching

from ..processes import python

layers = keras.layers


def array(variable):
    return np.array(keras.ops.convert_to_numpy(variable))


def values(model):
    return {w.place: array(w.variable) for w in placed_weights(model)}


def same(some, others):
    return some.keys() == others.keys() and all(np.array_equal(some[place], others[place]) for place in some)


def scattered(model, seed=0):
    """The model with weights of its own, all different."""
    generator = np.random.default_rng(seed)
    for weight in model.weights:
        weight.assign(generator.uniform(0.1, 1.0, size=weight.shape))
    return model


def rows(report, *columns):
    return [tuple(row[column] for column in columns) for row in report]


def taken(report):
    return {row["weight"]: row["saved"] for row in report if row["rule"]}


def not_taken(report):
    return {row["weight"] or row["saved"]: row["reason"] for row in report if not row["rule"]}


def perceptron(head=3, head_name="head", hidden=8):
    return keras.Sequential(
        [
            keras.Input((4,)),
            layers.Dense(hidden),
            layers.BatchNormalization(),
            layers.Dropout(0.5),
            layers.Dense(hidden),
            layers.Dense(head, name=head_name),
        ]
    )


def convolutions():
    inputs = keras.Input((8, 8, 3))
    x = layers.Conv2D(4, 3, padding="same")(inputs)
    x = layers.SeparableConv2D(4, 3, padding="same", depth_multiplier=2)(x)
    x = layers.add([x, layers.Conv2D(4, 1, use_bias=False)(layers.GroupNormalization(2)(x))])
    x = layers.Conv2DTranspose(4, 3)(layers.DepthwiseConv2D(3)(x))
    return keras.Model(inputs, layers.Dense(2)(layers.GlobalAveragePooling2D()(x)))


def recurrent():
    inner = keras.Sequential([keras.Input((6,)), layers.Dense(4), layers.BatchNormalization(), layers.Dense(4)])
    return keras.Sequential(
        [
            keras.Input((5, 6)),
            layers.TimeDistributed(inner),
            layers.Bidirectional(layers.LSTM(3, return_sequences=True)),
            layers.Bidirectional(
                layers.GRU(3, return_sequences=True),
                backward_layer=layers.LSTM(3, go_backwards=True, return_sequences=True),
            ),
            layers.RNN([layers.GRUCell(3), layers.LSTMCell(2), layers.GRUCell(3)]),
            layers.SpectralNormalization(layers.Dense(3)),
        ]
    )


def attention():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 6)(inputs)
    for _ in range(2):
        x = layers.LayerNormalization()(x + layers.MultiHeadAttention(2, 3, dropout=0.1)(x, x))
    x = layers.GroupQueryAttention(4, 4, 2)(x, x) if hasattr(layers, "GroupQueryAttention") else x
    return keras.Model(inputs, layers.EinsumDense("abc,cd->abd", (None, 4), bias_axes="d")(x))


def nested():
    block = keras.Sequential([keras.Input((4,)), layers.Dense(4), layers.Dense(4)], name="block")
    inputs = keras.Input((4,))
    other = keras.Model(inputs, layers.Dense(4)(block(inputs)))
    outer = keras.Input((4,))
    return keras.Model(outer, layers.Dense(2)(other(block(other(outer)))))


@keras.saving.register_keras_serializable("test_matching")
class Block(layers.Layer):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.second, self.first = layers.Dense(4), layers.Dense(4)
        self.norms = [layers.LayerNormalization(), layers.LayerNormalization()]

    def build(self, input_shape):
        for layer in (self.first, self.second, *self.norms):
            layer.build(input_shape)
        self.gate = self.add_weight(shape=(4,), name="gate")

    def call(self, x):
        return self.norms[1](self.second(self.norms[0](self.first(x)))) * self.gate


@keras.saving.register_keras_serializable("test_matching")
class Subclassed(keras.Model):
    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.blocks = [Block(), Block()]
        self.out = layers.Dense(2)

    def build(self, input_shape):
        for block in self.blocks:
            block.build(input_shape)
        self.out.build(input_shape)

    def call(self, x):
        for block in self.blocks:
            x = block(x)
        return self.out(x)


def subclassed():
    model = Subclassed()
    model.build((None, 4))
    return model


MODELS = {model.__name__: model for model in (perceptron, convolutions, recurrent, attention, nested, subclassed)}


def save(model, path):
    """The model in the format of the suffix; the arrays of the others are named by place."""
    if path.name.endswith(".weights.h5"):
        model.save_weights(path)
    elif path.suffix == ".keras":
        model.save(path)
    elif path.suffix == ".npz":
        np.savez(path, **values(model))
    else:
        save_file({place.replace("/", "."): value for place, value in values(model).items()}, path)
    return path


FORMATS = ["model.keras", "model.weights.h5", "model.npz", "model.safetensors"]


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("file", FORMATS)
def test_all_of_the_same_architecture_is_taken_by_place(tmp_path, name, file):
    old = scattered(MODELS[name]())
    path = save(old, tmp_path / file)
    # Keras's global counters are further on, so that automatic names are others.
    new = scattered(MODELS[name](), seed=1)
    report = load_matching(new, path, "place")
    assert same(values(new), values(old))
    assert not not_taken(report)
    assert list(taken(report)) == list(values(new))
    assert {row["rule"] for row in report} == {"place"}
    assert all(row["shape"] == row["saved_shape"] for row in report)
    count = len(values(new))
    assert report.notes == (f"{count} of the model's {count} weights were taken, and 0 of the file fit nowhere.",)
    assert [w.name for w in new.layers] != [w.name for w in old.layers] or name == "subclassed"


FRESH = """
import sys, keras, numpy as np
a = keras.layers.Dense(1)
model = keras.Sequential([keras.Input((4,)), *[keras.layers.Dense(4) for _ in range(12)], keras.layers.Dense(2)])
for number, weight in enumerate(model.weights):
    weight.assign(np.full(weight.shape, number))
model.compile("adam", "mse")
model.fit(np.zeros((2, 4)), np.zeros((2, 2)), verbose=0)
for number, weight in enumerate(model.weights):
    weight.assign(np.full(weight.shape, number))
model.save(sys.argv[1])
"""


def test_a_file_of_another_process(tmp_path):
    done = python("-c", FRESH, tmp_path / "m.keras")
    assert done.returncode == 0, done.stderr[-3000:]
    model = keras.Sequential([keras.Input((4,)), *[layers.Dense(4) for _ in range(12)], layers.Dense(5)])
    report = load_matching(model, tmp_path / "m.keras")
    assert [float(keras.ops.max(weight)) for weight in model.weights[:24]] == list(range(24))
    assert report["dense_11/bias"]["saved"] == "dense_11/1"
    assert report["dense_12/kernel"]["reason"] == "other shape of kernel: (4, 2) in the file, (4, 5) here"
    assert len(report) == 26  # the optimizer's slots are no weights


class TestAnotherHead:
    @pytest.mark.parametrize(("file", "compiled"), [*((file, False) for file in FORMATS), ("model.keras", True)])
    def test_keeps_its_weights(self, tmp_path, file, compiled):
        old, new = scattered(perceptron()), scattered(perceptron(head=5), seed=1)
        if compiled:
            for model in (old, new):
                model.compile("adam", "mse", metrics=["mae"])
                model.fit(np.ones((2, 4)), np.ones((2, model.output_shape[1])), verbose=0)
        before, expected = [array(v) for v in new.variables], values(old)
        head = values(new)["head/kernel"]
        report = load_matching(new, save(old, tmp_path / file))
        assert same(
            {k: v for k, v in values(new).items() if "head" not in k},
            {k: v for k, v in expected.items() if "head" not in k},
        )
        assert (values(new)["head/kernel"] == head).all()
        assert not_taken(report) == dict.fromkeys(
            ["head/kernel", "head/bias"], "other shape of kernel: (8, 3) in the file, (8, 5) here"
        )
        loaded = {id(w.variable) for w in placed_weights(new) if not w.place.startswith("head")}
        for variable, value in zip(new.variables, before, strict=True):
            # All else, the generator of dropout too, is where it was.
            assert np.array_equal(array(variable), value) != (id(variable) in loaded)

    def test_of_another_name(self, tmp_path):
        old, new = scattered(perceptron(head_name="birds")), scattered(perceptron(head_name="flowers"), seed=1)
        report = load_matching(new, save(old, tmp_path / "m.keras"), ("place", "name"))
        assert not_taken(report) == dict.fromkeys(["flowers/kernel", "flowers/bias", "birds/0", "birds/1"], "no match")
        assert rows(report, "weight", "saved")[-2:] == [(None, "birds/0"), (None, "birds/1")]

    def test_the_moving_statistics_are_taken(self, tmp_path):
        old, new = scattered(perceptron()), perceptron(head=5)
        load_matching(new, save(old, tmp_path / "m.keras"))
        assert (
            values(new)["batch_normalization/moving_variance"] == values(old)["batch_normalization/moving_variance"]
        ).all()


class TestALayerIsTakenWholeOrNotAtAll:
    def test_when_one_weight_has_another_shape(self, tmp_path):
        # The bias alone would fit.
        old = scattered(keras.Sequential([keras.Input((3,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")]))
        new = scattered(keras.Sequential([keras.Input((5,)), layers.Dense(4, name="a"), layers.Dense(2, name="b")]), 1)
        bias = values(new)["a/bias"]
        for file in FORMATS:
            report = load_matching(new, save(old, tmp_path / file))
            assert set(taken(report)) == {"b/kernel", "b/bias"}
            assert (values(new)["a/bias"] == bias).all()

    def test_when_it_has_other_weights(self, tmp_path):
        old = scattered(
            keras.Sequential(
                [keras.Input((3,)), layers.BatchNormalization(scale=False, name="a"), layers.Dense(2, name="b")]
            )
        )
        new = scattered(
            keras.Sequential([keras.Input((3,)), layers.BatchNormalization(name="a"), layers.Dense(2, name="b")]), 1
        )
        report = load_matching(new, save(old, tmp_path / "m.weights.h5"))
        assert report["a/gamma"]["reason"] == "other number of weights: 3 in the file, 4 here"
        assert set(taken(report)) == {"b/kernel", "b/bias"}
        # Where the arrays have names, what is there is taken.
        report = load_matching(new, save(old, tmp_path / "m.npz"))
        assert not_taken(report) == {"a/gamma": "no match"}
        assert (values(new)["a/moving_mean"] == values(old)["a/moving_mean"]).all()


class TestNames:
    def backbone(self, prefix=""):
        return [keras.Input((4,)), layers.Dense(6, name=f"{prefix}narrow"), layers.Dense(6, name=f"{prefix}wide")]

    def test_wherever_they_stand(self, tmp_path):
        backbone = keras.Sequential(self.backbone(), name="backbone")
        old = scattered(keras.Sequential([keras.Input((4,)), backbone, layers.Dense(2)]))
        new = scattered(keras.Sequential([*self.backbone(), layers.Dense(2)]), seed=1)
        for file in FORMATS:
            path = save(old, tmp_path / file)
            assert "narrow/kernel" not in taken(load_matching(new, path, "place"))
            report = load_matching(new, path)
            assert {row["weight"]: row["rule"] for row in report} == {
                **dict.fromkeys(["narrow/kernel", "narrow/bias", "wide/kernel", "wide/bias"], "name"),
                **dict.fromkeys(["dense/kernel", "dense/bias"], "place"),
            }
            assert [*values(new).values()][2].tolist() == [*values(old).values()][2].tolist()

    def test_the_same_in_two_places_is_ambiguous(self, tmp_path):
        first, second = (keras.Sequential(self.backbone(), name=name) for name in ("first", "second"))
        inputs = keras.Input((4,))
        old = scattered(keras.Model(inputs, layers.concatenate([first(inputs), second(inputs)])))
        new = scattered(keras.Sequential([*self.backbone(), layers.Dense(1, name="head")]), seed=1)
        before = values(new)
        with pytest.raises(ValueError, match=r"ambiguous by name: 2 in the file, 1 here"):
            load_matching(new, save(old, tmp_path / "m.keras"))
        assert same(values(new), before)

    def test_automatic_names_are_none(self, tmp_path):
        inner = keras.Sequential([keras.Input((4,)), layers.Dense(6)], name="a")
        old = scattered(keras.Sequential([keras.Input((4,)), inner]))
        new = scattered(keras.Sequential([keras.Input((4,)), layers.Dense(6)]), seed=1)
        with pytest.raises(ValueError, match="No weight of"):
            load_matching(new, save(old, tmp_path / "m.keras"), "name")

    @pytest.mark.parametrize("file", FORMATS)
    def test_renamed(self, tmp_path, file):
        old = scattered(keras.Sequential([*self.backbone("v1_"), layers.Dense(2, name="head")]))
        new = scattered(
            keras.Sequential([keras.Sequential(self.backbone("v2_"), name="inner"), layers.Dense(2, name="head")]),
            seed=1,
        )
        path = save(old, tmp_path / file)
        assert set(taken(load_matching(new, path))) == {"head/kernel", "head/bias"}
        report = load_matching(new, path, "place", rename={"^v1_": "inner/v2_"})
        assert not not_taken(report)
        assert [value.tolist() for value in values(new).values()] == [value.tolist() for value in values(old).values()]
        saved = report["inner/v2_narrow/kernel"]["saved"]
        assert saved == ("v1_narrow/0" if "keras" in file or "h5" in file else "v1_narrow/kernel")

    def test_several_patterns_one_after_the_other(self, tmp_path):
        np.savez(tmp_path / "m.npz", **{"enc.0.weight": np.ones((4, 6)), "enc.0.b": np.ones(6)})
        new = scattered(keras.Sequential([keras.Input((4,)), layers.Dense(6, name="first")]))
        rename = [("weight$", "kernel"), ("b$", "bias"), (r"^enc/0/(\w+)", r"first/\1")]
        report = load_matching(new, tmp_path / "m.npz", rename=rename)
        assert taken(report) == {"first/kernel": "enc/0/weight", "first/bias": "enc/0/b"}
        assert (values(new)["first/kernel"] == 1).all()


class TestShapes:
    def towers(self, names, sizes=(6, 5, 6)):
        tower = [layers.Dense(size, name=name) for size, name in zip(sizes, names, strict=True)]
        return keras.Sequential([keras.Input((6,)), *tower])

    def test_are_asked_for(self, tmp_path):
        old, new = scattered(self.towers("abc")), scattered(self.towers("xyz"), seed=1)
        path = save(old, tmp_path / "m.keras")
        before = values(new)
        with pytest.raises(ValueError, match=r"or rules=\(\"place\", \"name\", \"shape\"\) to go by the shapes too"):
            load_matching(new, path)
        assert same(values(new), before)
        report = load_matching(new, path, ("place", "name", "shape"))
        assert taken(report)["z/bias"] == "c/1"
        assert list(map(np.ndarray.tolist, values(new).values())) == list(map(np.ndarray.tolist, values(old).values()))

    def test_in_order_where_there_are_equally_many(self, tmp_path):
        old = scattered(self.towers("abcd", (6, 6, 6, 2)))
        new = scattered(self.towers("wxyz", (6, 6, 6, 3)), seed=1)
        report = load_matching(new, save(old, tmp_path / "m.keras"), "shape")
        assert taken(report) == {
            f"{n}/{k}": f"{o}/{i}" for n, o in zip("wxy", "abc", strict=True) for i, k in enumerate(("kernel", "bias"))
        }
        assert not_taken(report) == dict.fromkeys(["z/kernel", "z/bias", "d/0", "d/1"], "no match")

    def test_are_ambiguous_where_there_are_not(self, tmp_path):
        old = scattered(self.towers("abcd", (6, 6, 6, 2)))
        new = scattered(self.towers("xyz", (6, 6, 2)), seed=1)
        report = load_matching(new, save(old, tmp_path / "m.keras"), ["shape"])
        assert set(taken(report)) == {"z/kernel", "z/bias"}
        assert not_taken(report)["x/kernel"] == "ambiguous by shape: 3 in the file, 2 here"
        assert not_taken(report)["a/0"] == "ambiguous by shape: 3 in the file, 2 here"


class TestDtypes:
    @pytest.mark.parametrize("here", ["float32", "bfloat16", "float16", "mixed_bfloat16"])
    @pytest.mark.parametrize("there", ["float32", "bfloat16", "float16"])
    @pytest.mark.parametrize("file", ["model.keras", "model.safetensors"])
    def test_floats_are_cast(self, tmp_path, here, there, file):
        old = scattered(keras.Sequential([keras.Input((3,)), layers.Dense(4, dtype=there, name="a")]))
        new = keras.Sequential([keras.Input((3,)), layers.Dense(4, dtype=here, name="a")])
        report = load_matching(new, save(old, tmp_path / file))
        assert len(taken(report)) == 2
        for ours, theirs in zip(new.weights, old.weights, strict=True):
            assert keras.backend.standardize_dtype(ours.dtype) == ("float32" if "mixed" in here else here)
            expected = keras.ops.convert_to_numpy(keras.ops.cast(theirs, ours.dtype))
            assert np.array_equal(keras.ops.convert_to_numpy(ours), expected)

    def test_float64_of_numpy(self, tmp_path):
        new = scattered(perceptron())
        np.savez(tmp_path / "m.npz", **{place: value.astype("float64") + np.pi for place, value in values(new).items()})
        expected = {place: (value.astype("float64") + np.pi).astype("float32") for place, value in values(new).items()}
        load_matching(new, tmp_path / "m.npz")
        assert same(values(new), expected)

    def test_a_value_that_is_too_large(self, tmp_path):
        new = scattered(
            keras.Sequential([keras.Input((3,)), layers.Dense(4, dtype="float16", name="a"), layers.Dense(4, name="b")])
        )
        arrays = {**values(new), "a/bias": np.full(4, 1e6, "float32")}
        arrays["b/kernel"] = arrays["b/kernel"] + 1
        np.savez(tmp_path / "m.npz", **arrays)
        before = values(new)
        with pytest.raises(ValueError, match=r"for 'a/bias' must fit its dtype float16. Received: values up to 1e\+06"):
            load_matching(new, tmp_path / "m.npz")
        assert same(values(new), before)

    def test_integers_are_no_floats(self, tmp_path):
        new = scattered(perceptron())
        np.savez(tmp_path / "m.npz", **{**values(new), "head/kernel": np.ones((8, 3), "int8")})
        report = load_matching(new, tmp_path / "m.npz")
        assert not_taken(report)["head/bias"] == "other dtype of kernel: int8 in the file, float32 here"

    @pytest.mark.parametrize("change", ["quantize", "enable_lora"])
    def test_quantized_and_adapted_layers_are_left_alone(self, tmp_path, change):
        old, new = scattered(perceptron()), scattered(perceptron(), seed=1)
        path = save(old, tmp_path / "m.keras")
        adapted = new.layers[0]
        adapted.quantize("int8") if change == "quantize" else adapted.enable_lora(2)
        before = [array(w) for w in adapted.weights]
        report = load_matching(new, path)
        assert all(np.array_equal(array(w), value) for w, value in zip(adapted.weights, before, strict=True))
        reasons = {
            reason
            for weight, reason in not_taken(report).items()
            if weight.startswith("dense/") and weight[6:] not in "01"
        }
        assert reasons == {
            f"left alone: the layer is {'quantized' if change == 'quantize' else 'under low-rank adaptation'}"
        }
        assert "dense_1/kernel" in taken(report)

    def test_a_quantized_layer_of_the_file(self, tmp_path):
        old, new = scattered(perceptron()), scattered(perceptron(), seed=1)
        old.layers[0].quantize("int8")
        report = load_matching(new, save(old, tmp_path / "m.keras"))
        assert "dense_1/kernel" in taken(report)
        assert not_taken(report)["dense/kernel"] == "other number of weights: 3 in the file, 2 here"

    def test_a_file_without_names_of_layers(self, tmp_path):
        import h5py

        old, new = scattered(perceptron(head_name=None)), scattered(perceptron(head_name=None), seed=1)
        path = save(old, tmp_path / "m.weights.h5")
        with h5py.File(path, "a") as file:
            file.visititems(lambda _, item: item.attrs.pop("name", None) and None)
        assert not read_weights(str(path)).layers
        load_matching(new, path)
        assert same(values(new), values(old))


class TestRefused:
    def test_nothing_matches(self, tmp_path):
        old, new = scattered(perceptron()), scattered(keras.Sequential([keras.Input((2,)), layers.Dense(9, name="z")]))
        before = values(new)
        for file in FORMATS:
            path = save(old, tmp_path / file)
            with pytest.raises(
                ValueError,
                match=r"No weight of .* fits the model by place or name. The file has "
                r"'batch_normalization/.*10 in all\); the model 'z/kernel', 'z/bias'. Pass rename="
                if file != "model.npz"
                else r"The file has 'dense/kernel', .*; the model 'z/kernel', 'z/bias'. Pass rename=",
            ):
                load_matching(new, path)
        assert same(values(new), before)

    def test_one_fits_but_for_its_shape(self, tmp_path):
        path = save(scattered(perceptron()), tmp_path / "m.keras")
        new = keras.Sequential([keras.Input((2,)), layers.Dense(3, name="head")])
        with pytest.raises(
            ValueError, match=r"For 'head/kernel': other shape of kernel: \(8, 3\) in the file, \(2, 3\) here"
        ):
            load_matching(new, path)

    def test_the_model(self, tmp_path):
        path = save(scattered(perceptron()), tmp_path / "m.keras")
        with pytest.raises(TypeError, match=r"`model` must be a Keras model. Received: 'm'"):
            load_matching("m", path)
        with pytest.raises(ValueError, match=r"must be built.*Call model.build\(input_shape\)"):
            load_matching(keras.Sequential([layers.Dense(2)]), path)
        with pytest.raises(ValueError, match=r"must have weights"):
            load_matching(keras.Sequential([keras.Input((2,)), layers.ReLU()]), path)

    @pytest.mark.parametrize(
        "rules", [(), "size", ("place", "place"), 3, None, [["place"]], ("name", "colour"), {"a": "b"}]
    )
    def test_rules(self, tmp_path, rules):
        path = save(scattered(perceptron()), tmp_path / "m.keras")
        with pytest.raises(ValueError, match=r"`rules` must be one or several of 'place', 'name', 'shape', none twice"):
            load_matching(perceptron(), path, rules)

    @pytest.mark.parametrize(
        ("rename", "error", "text"),
        [
            ("head", TypeError, "must be a dictionary of regular expressions"),
            ([("a", "b", "c")], TypeError, "must be a dictionary of regular expressions"),
            ({"a": 3}, TypeError, "must be a dictionary of regular expressions"),
            (3, TypeError, "must be a dictionary of regular expressions"),
            ({"(": "b"}, ValueError, "must hold valid regular expressions"),
            ({"a": r"\1"}, ValueError, "must hold valid regular expressions"),
            ({"hed": "head"}, ValueError, "must hold patterns that occur.*'hed', which does not. The file has"),
            (
                {"[01]$": "x"},
                ValueError,
                "must leave different names.*'batch_normalization/0' and 'batch_normalization/1'",
            ),
        ],
    )
    def test_rename(self, tmp_path, rename, error, text):
        new = scattered(perceptron(), seed=1)
        before = values(new)
        with pytest.raises(error, match=text):
            load_matching(new, save(scattered(perceptron()), tmp_path / "m.keras"), rename=rename)
        assert same(values(new), before)

    def test_the_file(self, tmp_path):
        model = scattered(perceptron())
        before = values(model)
        with pytest.raises(FileNotFoundError, match=r"there when it is read.*nothing.keras"):
            load_matching(model, tmp_path / "nothing.keras")
        with pytest.raises(ValueError, match=r"a path that ends in .npz or .h5 or .keras or .safetensors"):
            load_matching(model, tmp_path / "model.pt")
        with pytest.raises(TypeError, match=r"a path that ends in"):
            load_matching(model, 3)
        (tmp_path / "folder.keras").mkdir()
        with pytest.raises(ValueError, match="which is a folder"):
            load_matching(model, tmp_path / "folder.keras")
        for file in FORMATS:
            whole = save(scattered(perceptron(), seed=1), tmp_path / file).read_bytes()
            (tmp_path / file).write_bytes(whole[: len(whole) // 2])
            with pytest.raises(ValueError, match=f"must name a whole file.*{file}', where reading failed with"):
                load_matching(model, tmp_path / file)
        np.savez(tmp_path / "empty.npz")
        with pytest.raises(ValueError, match=r"must name a file with weights.*which has none"):
            load_matching(model, tmp_path / "empty.npz")
        np.savez(tmp_path / "objects.npz", **{"head/kernel": np.array([print], object)})
        with pytest.raises(ValueError, match="not of Python objects"):
            load_matching(model, tmp_path / "objects.npz")
        assert same(values(model), before)

    def test_nothing_of_the_config_is_looked_at(self, tmp_path):
        import zipfile

        old, new = scattered(perceptron()), scattered(perceptron(), seed=1)
        save(old, tmp_path / "m.keras")
        with zipfile.ZipFile(tmp_path / "m.keras") as archive:
            weights = archive.read("model.weights.h5")
        with zipfile.ZipFile(tmp_path / "odd.keras", "w") as archive:
            archive.writestr("model.weights.h5", weights)
            archive.writestr("config.json", json.dumps({"class_name": "__lambda__", "config": {"value": "x"}}))
            archive.writestr("bomb.pkl", pickle.dumps(print))
        load_matching(new, tmp_path / "odd.keras")
        assert same(values(new), values(old))


def test_it_prints_as_a_table(tmp_path):
    report = load_matching(scattered(perceptron(head=5)), save(scattered(perceptron()), tmp_path / "m.keras"))
    text = str(report)
    assert f"Weights from {tmp_path / 'm.keras'}" in text
    assert "8 of the model's 10 weights were taken, and 0 of the file fit nowhere." in text
    assert "other shape of kernel: (8, 3) in the file, (8, 5) here" in text
