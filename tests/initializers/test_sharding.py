"""Weights on a mesh of eight devices, JAX alone: the whole equals the unsharded array."""

import keras
import numpy as np
import pytest

from keras_initlab import initializers
from keras_initlab.initializers import PortableSeed, portable, sharding

pytestmark = pytest.mark.skipif(keras.backend.backend() != "jax", reason="of JAX alone")
SEEDS = {"integer": lambda: 3, "generator": lambda: keras.random.SeedGenerator(3), "portable": lambda: PortableSeed(3)}


@pytest.fixture
def kernels():
    """Build a Dense kernel of shape (16, 32) under a distribution that splits its columns in four."""
    devices = keras.distribution.list_devices()
    assert len(devices) == 8
    mesh = keras.distribution.DeviceMesh((2, 4), ("data", "model"), devices)
    layout = keras.distribution.LayoutMap(mesh)
    layout[".*conv.*kernel"] = keras.distribution.TensorLayout([None, None, None, "model"])
    layout["(dense|lstm).*kernel"] = keras.distribution.TensorLayout([None, "model"])
    keras.distribution.set_distribution(keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="data"))

    def build(initializer):
        layer = keras.layers.Dense(32, kernel_initializer=initializer, use_bias=False)
        layer.build((None, 16))
        kernel = layer.kernel.value
        assert {shard.data.shape for shard in kernel.addressable_shards} == {(16, 8)}
        return np.asarray(kernel)

    yield build
    keras.distribution.set_distribution(None)


@pytest.mark.parametrize("seed", sorted(SEEDS))
@pytest.mark.parametrize("name", ["HeNormal", "RandomUniform", "TruncatedNormal", "Orthogonal", "Sparse"])
def test_the_whole_is_the_unsharded_array(kernels, name, seed):
    cls = getattr(initializers, name)
    assert np.array_equal(kernels(cls(seed=SEEDS[seed]())), np.asarray(cls(seed=SEEDS[seed]())((16, 32))))


@pytest.mark.parametrize("name", ["HeNormal", "Orthogonal"])
def test_a_large_weight_is_drawn_in_a_compiled_program(kernels, name, monkeypatch):
    monkeypatch.setattr(sharding, "_LARGE", 0)
    cls = getattr(initializers, name)
    # The compiler contracts products and sums as the processor allows, which moves the last bits: up to 32 of them
    # in sums of 32, times the condition of a Gaussian matrix (about 6). Another draw would be off by 0.1.
    np.testing.assert_allclose(kernels(cls(seed=3)), np.asarray(cls(seed=3)((16, 32))), rtol=0, atol=32 * 6 * 1.2e-7)


def test_each_shard_of_a_portable_seed_is_drawn_once_and_alone(kernels, monkeypatch):
    drawn, whole = [], portable._part

    def part(*arguments):
        values = whole(*arguments)
        drawn.append(values.shape)
        return values

    monkeypatch.setattr(portable, "_part", part)
    kernels(initializers.HeNormal(seed=PortableSeed(3)))
    assert drawn == [(16, 8)] * 4


def test_a_portable_weight_is_no_constant_of_a_compiled_program():
    import jax

    initializer = initializers.RandomUniform(0.0, 1.0, seed=PortableSeed(3))
    compiled = jax.jit(initializer.__call__, static_argnames=["shape", "dtype"])
    program = compiled.lower(shape=(100, 100), dtype="float32").as_text()
    assert len(program) < 5000
    assert np.array_equal(compiled(shape=(100, 100), dtype="float32"), initializer((100, 100)))


@pytest.mark.parametrize("name", ["Dense", "EinsumDense", "Conv2D", "LSTM"])
def test_layers_train_on_the_mesh(kernels, name):
    """What the user does: build a model under the distribution and take a step."""
    orthogonal, he = initializers.Orthogonal(seed=1), initializers.HeNormal(seed=PortableSeed(1))
    inputs, layer = {
        "Dense": ((16,), keras.layers.Dense(8, kernel_initializer=orthogonal)),
        "EinsumDense": ((4, 16), keras.layers.EinsumDense("abc,cd->abd", (4, 8), kernel_initializer=he)),
        "Conv2D": ((6, 6, 4), keras.layers.Conv2D(8, 3, kernel_initializer=he)),
        "LSTM": ((4, 16), keras.layers.LSTM(8, kernel_initializer=he, recurrent_initializer=orthogonal)),
    }[name]
    model = keras.Sequential([keras.Input(inputs), layer, keras.layers.Flatten(), keras.layers.Dense(4)])
    model.compile("sgd", "mse")
    model.fit(np.ones((8, *inputs), "float32"), np.ones((8, 4), "float32"), verbose=0)
    assert all(np.isfinite(np.asarray(weight.value)).all() for weight in model.weights)
