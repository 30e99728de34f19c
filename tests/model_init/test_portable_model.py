"""A portable copy: the same to the bit, and loaded where keras_initlab cannot be imported."""

import json
import runpy
import site
import sys
import sysconfig
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_initlab as kil
from keras_initlab.initializers import REGISTRY
from keras_initlab.model_init.transfer.portable_config import keras_equivalent
from keras_initlab.model_init.transfer.portable_model import portable

from ..processes import ROOT, python

layers = keras.layers


def values(variables):
    return [np.array(keras.ops.convert_to_numpy(variable)) for variable in variables]


def same(some, others):
    return len(some) == len(others) and all(np.array_equal(a, b) for a, b in zip(some, others, strict=True))


def scattered(model):
    """The model with weights that no initializer would draw."""
    generator = np.random.default_rng(0)
    for weight in model.weights:
        weight.assign(generator.uniform(0.1, 1.0, size=weight.shape))
    return model


def perceptron():
    inner = keras.Sequential(
        [
            keras.Input((6,)),
            layers.Dense(4, kernel_initializer=kil.HeNormal(seed=1), bias_initializer=kil.RandomNormal(seed=2)),
            layers.BatchNormalization(gamma_initializer=kil.RandomUniform(0.5, 1.0)),
            layers.Dropout(0.2, seed=3),
        ],
        name="inner",
    )
    inputs = keras.Input((6,))
    hidden = layers.add([inner(inputs), layers.Dense(4, kernel_initializer=kil.Sparse(2))(inputs)])
    return keras.Model(inputs, layers.Dense(2, kernel_initializer=kil.Orthogonal(gain=1.5))(hidden))


def convolutions():
    return keras.Sequential(
        [
            keras.Input((8, 8, 3)),
            layers.Conv2D(4, 3, kernel_initializer=kil.DeltaOrthogonal(seed=1)),
            layers.SeparableConv2D(4, 3, depthwise_initializer=kil.Dirac(), pointwise_initializer=kil.HeUniform()),
            layers.DepthwiseConv2D(3, depthwise_initializer=kil.HeNormal(output_axes=[3], batch_axes=[2])),
            layers.GlobalAveragePooling2D(),
        ]
    )


def recurrent():
    gates = kil.PerGate(kil.Orthogonal(seed=1), gates=4)
    forget = kil.LSTMForgetBias(3)
    lstm = layers.LSTM(
        3, return_sequences=True, recurrent_initializer=gates, bias_initializer=forget, unit_forget_bias=False
    )
    seed = kil.PortableSeed(2**50)
    cells = [
        layers.GRUCell(3, kernel_initializer=kil.VarianceScaling(activation="gelu", seed=seed)),
        layers.LSTMCell(2, recurrent_initializer=gates),
        layers.SimpleRNNCell(2, recurrent_initializer=kil.Identity(gain=0.5)),
    ]
    dense = layers.Dense(4, kernel_initializer=kil.TruncatedNormal(seed=keras.random.SeedGenerator(1)))
    return keras.Sequential(
        [
            keras.Input((5, 6)),
            layers.TimeDistributed(dense),
            layers.Bidirectional(lstm),
            layers.RNN(cells),
        ]
    )


def attention():
    inputs = keras.Input((5,), dtype="int32")
    x = layers.Embedding(7, 6, embeddings_initializer=kil.LecunNormal(seed=1))(inputs)
    y = layers.MultiHeadAttention(2, 3, kernel_initializer=kil.GlorotUniform(seed=1), dropout=0.1, seed=3)(x, x)
    y = layers.LayerNormalization(beta_initializer=kil.RandomNormal())(y)
    y = layers.EinsumDense("abc,cd->abd", (None, 4), kernel_initializer=kil.HeNormal(input_axes=[0], output_axes=[1]))(
        y
    )
    return keras.Model(inputs, y)


MODELS = {model.__name__: model for model in (perceptron, convolutions, recurrent, attention)}


def batch(model):
    generator = np.random.default_rng(1)
    shape = (3, *model.input_shape[1:])
    if model.inputs[0].dtype == "int32":
        return generator.integers(0, 7, shape)
    return generator.normal(size=shape).astype("float32")


@pytest.fixture(scope="module")
def without_package(tmp_path_factory):
    """A folder with all that is installed but keras_initlab, to be the only one that a process imports from."""
    folder = tmp_path_factory.mktemp("packages")
    installed = {sysconfig.get_path("purelib"), sysconfig.get_path("platlib"), str(Path(keras.__file__).parents[1])}
    installed |= {path for path in site.getsitepackages() if path in sys.path}
    for one in sorted(path for place in installed if Path(place).is_dir() for path in Path(place).iterdir()):
        if "keras_initlab" not in one.name and one.suffix != ".pth" and not (folder / one.name).exists():
            (folder / one.name).symlink_to(one)
    return folder


LOAD = """
import importlib.util, json, pathlib, sys
assert importlib.util.find_spec("keras_initlab") is None
import keras, numpy as np
folder, found = pathlib.Path(sys.argv[1]), {}
for path in sorted(folder.glob("*.keras")):
    try:
        model = keras.saving.load_model(path)
        np.save(path.with_suffix(".loaded.npy"), model.predict(np.load(folder / f"{path.stem}.x.npy"), verbose=0))
        found[path.name] = "loaded"
    except Exception as error:
        found[path.name] = str(error)
for path in sorted(folder.glob("*.json")):
    model = keras.models.model_from_json(path.read_text())
    model.load_weights(path.with_suffix(".weights.h5"))
    np.save(path.with_suffix(".read.npy"), model.predict(np.load(path.with_suffix(".x.npy")), verbose=0))
assert not any(name.startswith("keras_initlab") for name in sys.modules)
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def elsewhere(tmp_path_factory, without_package):
    """Each model saved as it is and as a portable copy, and what became of both in a process without the package."""
    folder = tmp_path_factory.mktemp("saved")
    for name, make in MODELS.items():
        model = scattered(make())
        copy = portable(model)
        x = batch(model)
        np.save(folder / f"{name}.expected.npy", model.predict(x, verbose=0))
        for stem, one in ((name, copy), (f"{name}-itself", model)):
            one.save(folder / f"{stem}.keras")
            np.save(folder / f"{stem}.x.npy", x)
        (folder / f"{name}.json").write_text(copy.to_json())
        copy.save_weights(folder / f"{name}.weights.h5")
    # -S: what is installed for development is reached by files that the module site reads.
    done = python("-S", "-c", LOAD, folder, path=without_package, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return folder, json.loads(done.stdout.splitlines()[-1])


@pytest.mark.xdist_group("without the package")
@pytest.mark.parametrize("name", MODELS)
class TestWithoutThePackage:
    def test_the_copy_loads_and_predicts_the_same_bits(self, elsewhere, name):
        folder, found = elsewhere
        assert found[f"{name}.keras"] == "loaded"
        expected = np.load(folder / f"{name}.expected.npy")
        np.testing.assert_array_equal(np.load(folder / f"{name}.loaded.npy"), expected)
        assert np.ptp(expected) > 0

    def test_from_json_and_weights(self, elsewhere, name):
        folder, _ = elsewhere
        np.testing.assert_array_equal(np.load(folder / f"{name}.read.npy"), np.load(folder / f"{name}.expected.npy"))

    def test_the_model_itself_does_not_load(self, elsewhere, name):
        assert "keras_initlab" in elsewhere[1][f"{name}-itself.keras"]


@pytest.mark.parametrize("name", MODELS)
class TestTheCopy:
    def test_has_the_same_weights_and_outputs_and_leaves_the_model_alone(self, name):
        model = scattered(MODELS[name]())
        before, config, x = values(model.variables), model.to_json(), batch(model)
        copy = portable(model)
        assert type(copy) is type(model)
        assert same(values(copy.variables), before)
        assert [(w.name, w.dtype, w.trainable) for w in copy.weights] == [
            (w.name, w.dtype, w.trainable) for w in model.weights
        ]
        np.testing.assert_array_equal(copy.predict(x, verbose=0), model.predict(x, verbose=0))
        assert same(values(model.variables), before)
        assert model.to_json() == config
        for weight in copy.weights:
            weight.assign(weight * 0)
        assert same(values(model.variables), before)

    def test_names_nothing_of_the_package(self, name):
        model = MODELS[name]()
        assert "keras_initlab" in model.to_json()
        assert "keras_initlab" not in portable(model).to_json()

    def test_dropout_goes_on_alike(self, name):
        model = scattered(MODELS[name]())
        x = batch(model)
        copy = portable(model)
        assert same(values([copy(x, training=True)]), values([model(x, training=True)]))


@keras.saving.register_keras_serializable("test_portable")
class Holder(layers.Layer):
    """A layer of another package with one weight of any shape, and a seed."""

    def __init__(self, initializer, shape, seed=None, key="kernel_initializer", **kwargs):
        super().__init__(**kwargs)
        self.initializer = keras.initializers.get(initializer)
        self.shape, self.seed, self.key = tuple(shape), seed, key

    def build(self, input_shape):
        self.w = self.add_weight(shape=self.shape, initializer=self.initializer, name="w")

    def call(self, x):
        return x

    def get_config(self):
        seed = keras.saving.serialize_keras_object(self.seed)
        held = {self.key: keras.initializers.serialize(self.initializer), "shape": self.shape, "seed": seed}
        return {**super().get_config(), "key": self.key, **held}

    @classmethod
    def from_config(cls, config):
        return cls(config.pop(config["key"]), config.pop("shape"), **config)


def held(initializer, shape, **kwargs):
    return keras.Sequential([keras.Input((2,)), Holder(initializer, shape, **kwargs)])


@pytest.mark.parametrize("name", REGISTRY)
@pytest.mark.parametrize("changes", [{}, {"seed": kil.PortableSeed(2**63 + 5)}], ids=["example", "portable seed"])
def test_any_initializer_in_a_layer_of_another_package(name, changes):
    entry = REGISTRY[name]
    model = held(entry.make(**changes) if entry.seeded else entry.make(), entry.shape)
    copy = portable(model)
    assert isinstance(copy.layers[0], Holder)
    assert type(copy.layers[0].initializer).__module__.startswith("keras.")
    assert "keras_initlab" not in copy.to_json()
    assert same(values(copy.weights), values(model.weights))


def test_a_seed_in_a_layer_of_another_package():
    copy = portable(held(kil.HeNormal(), (3, 2), seed=kil.PortableSeed(7)))
    assert copy.layers[0].seed == 7
    assert "keras_initlab" not in copy.to_json()


@pytest.mark.parametrize("key", ["kernel_initializer", "embeddings_initializer", "moving_mean_initializer"])
@pytest.mark.parametrize("shape", [(), (3,), (3, 2), (2, 3, 4, 5), (0, 3)])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_what_takes_the_place_of_another_law_can_be_drawn_in_any_shape_and_dtype(tmp_path, key, shape, dtype):
    path = tmp_path / "w.npz"
    np.savez(path, w=np.full(shape, 0.5, "float32"))
    model = held(kil.FromFile(path, "w"), shape, key=key, dtype=dtype)
    path.unlink()
    copy = portable(model)
    assert (values(copy.weights)[0] == 0.5).all()
    law = {"moving_mean_initializer": "Zeros"}.get(key, "GlorotUniform")
    assert type(copy.layers[0].initializer).__name__ == law


EQUIVALENTS = [
    (kil.HeNormal(seed=3), "HeNormal", {"seed": 3}),
    (kil.HeUniform(), "HeUniform", {}),
    (kil.GlorotNormal(), "GlorotNormal", {}),
    (kil.GlorotUniform(), "GlorotUniform", {}),
    (kil.LecunNormal(), "LecunNormal", {}),
    (kil.LecunUniform(), "LecunUniform", {}),
    (
        kil.VarianceScaling(3.0, "fan_out", "uniform", seed=1),
        "VarianceScaling",
        {"scale": 3.0, "mode": "fan_out", "distribution": "uniform", "seed": 1},
    ),
    (kil.VarianceScaling(0.0), "Zeros", {}),
    (kil.RandomNormal(0.5, 0.25), "RandomNormal", {"mean": 0.5, "stddev": 0.25}),
    (kil.RandomUniform(-1.0, 2.0), "RandomUniform", {"minval": -1.0, "maxval": 2.0}),
    (kil.TruncatedNormal(0.5, 0.25), "TruncatedNormal", {"mean": 0.5, "stddev": 0.25}),
    (kil.TruncatedNormal(stddev=0.5, lower=-1.0, upper=1.0, units="absolute"), "TruncatedNormal", {"stddev": 0.5}),
    (kil.Orthogonal(1.5, seed=2), "Orthogonal", {"gain": 1.5, "seed": 2}),
    (kil.Orthogonal(method="svd"), "Orthogonal", {"gain": 1.0}),
    (kil.Identity(0.5), "Identity", {}),
]
NO_EQUIVALENTS = [
    kil.VarianceScaling(mode="fan_geo_avg"),
    kil.HeNormal(batch_axes=[0]),
    kil.HeNormal(input_axes=[0]),
    kil.Orthogonal(output_axes=[1]),
    kil.Orthogonal(method="gaussian"),
    kil.Orthogonal(variance_preserving=True),
    kil.TruncatedNormal(upper=None),
    kil.TruncatedNormal(lower=-1.0, upper=1.0, units="absolute"),
    kil.Sparse(),
    kil.PerGate(kil.Identity(), 4),
    kil.DeltaOrthogonal(),
]


class TestTheLaws:
    @pytest.mark.parametrize(("ours", "name", "config"), EQUIVALENTS, ids=repr)
    def test_that_keras_has_too(self, ours, name, config):
        theirs = keras_equivalent(ours)
        assert type(theirs) is getattr(keras.initializers, name)
        assert {key: theirs.get_config()[key] for key in config} == config

    @pytest.mark.parametrize("ours", NO_EQUIVALENTS, ids=repr)
    def test_that_keras_does_not_have(self, ours):
        assert keras_equivalent(ours) is None

    @pytest.mark.parametrize(
        "ours",
        [
            kil.VarianceScaling(activation="gelu", seed=1),
            kil.VarianceScaling(0.7, "fan_out", "uniform", activation="tanh", seed=1),
            kil.VarianceScaling(2.0, "fan_avg", "untruncated_normal", seed=1),
            kil.TruncatedNormal(stddev=0.3, stddev_of="values", seed=1),
        ],
        ids=repr,
    )
    def test_have_the_same_scale(self, ours):
        shape = (300, 200)
        expected, found = (np.std(keras.ops.convert_to_numpy(law(shape))) for law in (ours, keras_equivalent(ours)))
        # Five standard errors of the difference of two sample standard deviations, of kurtosis 3 at most.
        tolerance = 5 * np.sqrt(2 * (3 - 1) / (4 * np.prod(shape)))
        np.testing.assert_allclose(found, expected, rtol=tolerance)
        assert tolerance < 0.03  # the activation's gain, or the factor 0.88 of the cut, would show

    @pytest.mark.parametrize("dtype", ["bfloat16", "mixed_bfloat16"])
    def test_orthogonal_in_a_dtype_that_keras_cannot_factorise(self, dtype):
        lstm = layers.LSTM(3, dtype=dtype, recurrent_initializer=kil.Orthogonal(seed=1))
        model = keras.Sequential([keras.Input((5, 2)), lstm])
        copy = portable(model)
        law = type(copy.layers[0].cell.recurrent_initializer).__name__
        assert law == ("Orthogonal" if dtype == "mixed_bfloat16" else "GlorotUniform")
        assert same(values(copy.weights), values(model.weights))


class TestTraining:
    def fitted(self, optimizer):
        model = perceptron()
        model.compile(optimizer, "mse", metrics=["mae"])
        x = batch(model)
        model.fit(x, np.ones((len(x), 2)), epochs=3, verbose=0)
        return model, x

    def test_goes_on_where_it_was(self):
        model, x = self.fitted(keras.optimizers.Adam(0.01))
        copy = portable(model)
        assert same(values(copy.optimizer.variables), values(model.optimizer.variables))
        histories = [
            one.fit(x, np.ones((len(x), 2)), epochs=2, verbose=0, shuffle=False).history for one in (model, copy)
        ]
        assert histories[0] == histories[1]
        assert "mae" in histories[0]
        assert same(values(copy.weights), values(model.weights))

    def test_not_compiled(self):
        assert not portable(perceptron()).compiled

    def test_what_is_frozen_stays_so(self):
        model = perceptron()
        model.layers[1].trainable = False
        assert (
            len(portable(model).trainable_weights) == len(model.trainable_weights) < len(perceptron().trainable_weights)
        )


@keras.saving.register_keras_serializable("test_portable")
class Subclassed(keras.Model):
    def __init__(self, units, initializer=None, **kwargs):
        super().__init__(**kwargs)
        self.units, self.initializer = units, keras.initializers.get(initializer)
        self.dense = layers.Dense(units, kernel_initializer=self.initializer)

    def call(self, x):
        return self.dense(x)

    def get_config(self):
        initializer = keras.initializers.serialize(self.initializer)
        return {**super().get_config(), "units": self.units, "initializer": initializer}


@keras.saving.register_keras_serializable("test_portable")
class MadeInCode(Subclassed):
    def __init__(self, units, **kwargs):
        kwargs["initializer"] = kil.HeNormal()
        super().__init__(units, **kwargs)


class NotRegistered(Subclassed):
    pass


class NoConfig(keras.Model):
    def __init__(self, layer):
        super().__init__()
        self.layer = layer

    def call(self, x):
        return self.layer(x)


class TestSubclassed:
    def test_with_a_config(self):
        model = Subclassed(3, kil.HeNormal(seed=1))
        x = np.ones((1, 2), "float32")
        expected = values([model(x)])
        copy = portable(model)
        assert same(values([copy(x)]), expected)
        assert type(copy.initializer) is keras.initializers.HeNormal

    def test_without_one(self):
        model = NoConfig(layers.Dense(2))
        model(np.ones((1, 2)))
        with pytest.raises(ValueError, match=r"one that Keras can save.*NoConfig.*Write get_config in that class"):
            portable(model)

    def test_not_registered(self):
        model = NotRegistered(2, kil.HeNormal())
        model(np.ones((1, 2)))
        with pytest.raises(ValueError, match=r"can load once.*Could not locate class 'NotRegistered'.*Register your"):
            portable(model)
        with keras.saving.custom_object_scope({"NotRegistered": NotRegistered}):
            assert type(portable(model).initializer) is keras.initializers.HeNormal

    def test_whose_code_makes_the_initializer(self):
        model = MadeInCode(2)
        model(np.ones((1, 2)))
        with pytest.raises(
            ValueError, match=r"from its configuration only.*made_in_code.*makes initializer = HeNormal"
        ):
            portable(model)


class TestRefused:
    def test_no_model(self):
        with pytest.raises(TypeError, match=r"`model` must be a Keras model. Received: 3"):
            portable(3)

    def test_not_built(self):
        with pytest.raises(ValueError, match=r"must be built.*Call model.build\(input_shape\)"):
            portable(keras.Sequential([layers.Dense(2)]))

    @pytest.mark.parametrize("word", ["keras_initlab>Nothing", "keras_initlab.callbacks", "keras_initlab"])
    def test_something_else_of_the_package(self, word):
        inner = keras.Sequential([keras.Input((2,)), Holder("zeros", (2,), seed=word, name="odd")], name="inner")
        model = keras.Sequential([keras.Input((2,)), inner], name="outer")
        with pytest.raises(ValueError, match=rf"with outer/layers/inner/layers/odd/seed: '{word}'. Put something else"):
            portable(model)

    def test_a_name_that_only_looks_like_it(self):
        model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="keras_initlab_demo")])
        assert portable(model).layers[0].name == "keras_initlab_demo"

    def test_leaves_no_files(self, tmp_path, monkeypatch):
        monkeypatch.setenv("TMPDIR", str(tmp_path))
        monkeypatch.setattr("tempfile.tempdir", None)
        portable(perceptron())
        with pytest.raises(ValueError, match="Put something else"):
            portable(held("zeros", (2,), seed="keras_initlab>Nothing"))
        assert not list(tmp_path.iterdir())


def test_the_example(capsys):
    report, mentions = runpy.run_path(str(ROOT / "examples" / "weights_from_another_model.py"))["main"]()
    assert mentions == 0
    assert [row["weight"] for row in report if row["reason"]] == ["letters/kernel", "letters/bias", None, None]
    assert report["batch_normalization/moving_mean"]["rule"] == "place"
    assert "names keras_initlab 4 times, that of the portable copy 0 times" in capsys.readouterr().out


def test_a_compiled_model_that_was_not_trained_yet():
    """Keras warns of the slots that such an optimizer lacks; warnings are errors here."""
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, kernel_initializer=kil.HeNormal(seed=0))])
    model.compile("adam", "mse")
    copy = portable(model)
    copy.fit(np.ones((4, 3)), np.ones((4, 2)), verbose=0)
    assert int(copy.optimizer.iterations) == 1
