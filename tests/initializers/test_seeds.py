"""Seeds: an integer repeats, a generator advances, None draws anew, and nothing global is read or changed."""

import copy
import pickle
import random

import keras
import numpy as np
import pytest

from keras_initlab.initializers import REGISTRY, HeNormal, Orthogonal, RandomNormal

SEEDED = sorted(name for name, entry in REGISTRY.items() if entry.seeded)
tensorflow_only = pytest.mark.skipif(keras.backend.backend() != "tensorflow", reason="of TensorFlow alone")


def draw(initializer, shape):
    return keras.ops.convert_to_numpy(initializer(shape))


@pytest.mark.parametrize("name", SEEDED)
def test_the_three_kinds_of_seed(name):
    entry = REGISTRY[name]
    fixed = entry.make(seed=3)
    assert (draw(fixed, entry.shape) == draw(fixed, entry.shape)).all()
    assert (draw(fixed, entry.shape) == draw(entry.make(seed=np.int64(3)), entry.shape)).all()
    assert (draw(fixed, entry.shape) != draw(entry.make(seed=4), entry.shape)).any()

    advancing = entry.make(seed=keras.random.SeedGenerator(3))
    first, second = draw(advancing, entry.shape), draw(advancing, entry.shape)
    if name != "Sparse":  # it takes two numbers from the generator, and makes two of an integer
        assert (first == draw(fixed, entry.shape)).all()
    assert (first != second).any()

    anew = entry.make(seed=None)
    assert (draw(anew, entry.shape) != draw(anew, entry.shape)).any()


@pytest.mark.parametrize("seed", [0, 2**31 - 1, 2**32 - 1, np.uint32(2**32 - 1)])
def test_the_ends_of_the_range(seed):
    assert (draw(HeNormal(seed), (4, 4)) == draw(HeNormal(seed), (4, 4))).all()


def sequence(between):
    """What every global generator gives after a known seed, with something done in between."""
    keras.utils.set_random_seed(5)
    between()
    given = [random.random(), np.random.rand(), float(keras.random.normal(()))]
    if keras.backend.backend() == "tensorflow":
        import tensorflow as tf

        given.append(float(tf.random.normal(())))
    if keras.backend.backend() == "torch":
        import torch

        given.append(float(torch.rand(())))
    return given


@tensorflow_only
def test_the_global_generator_of_tensorflow_is_left_alone():
    import tensorflow as tf

    tf.random.set_global_generator(tf.random.Generator.from_seed(5))
    for name in SEEDED:
        REGISTRY[name].make(seed=None)(REGISTRY[name].shape)
    first = float(tf.random.get_global_generator().normal(()))
    assert first == float(tf.random.Generator.from_seed(5).normal(()))


def test_no_global_random_state_is_changed():
    def use_everything():
        for name in SEEDED:
            entry = REGISTRY[name]
            for seed in (None, 3, generator):
                initializer = entry.make(seed=seed)
                initializer(entry.shape)
                copy.deepcopy(initializer).clone()

    generator = keras.random.SeedGenerator(1)
    assert sequence(use_everything) == sequence(lambda: None)


def test_keras_changes_the_generator_of_python():
    assert sequence(keras.initializers.RandomNormal)[0] != sequence(lambda: None)[0]


def test_no_global_random_state_is_read():
    draws = []
    for _ in range(2):
        keras.utils.set_random_seed(5)
        draws.append(draw(RandomNormal(), (8,)))
    assert (draws[0] != draws[1]).any()


@pytest.mark.parametrize("copied", [copy.deepcopy, copy.copy, lambda x: pickle.loads(pickle.dumps(x))])
def test_a_copy_goes_on_where_its_original_was(copied):
    original = HeNormal(seed=keras.random.SeedGenerator(3))
    draw(original, (4,))
    twin = copied(original)
    assert (draw(original, (4,)) == draw(twin, (4,))).all()
    # And from there each goes its own way.
    draw(original, (4,))
    assert twin.seed is not original.seed
    assert (draw(original, (4,)) != draw(twin, (4,))).any()


def test_a_generator_without_a_seed_is_copied_with_its_place():
    original = HeNormal(seed=keras.random.SeedGenerator())
    assert (draw(copy.deepcopy(original), (4,)) == draw(original, (4,))).all()


def test_a_clone_starts_its_generator_again():
    original = HeNormal(seed=keras.random.SeedGenerator(3))
    first = draw(original, (4,))
    assert (draw(original.clone(), (4,)) == first).all()


@tensorflow_only
@pytest.mark.parametrize("name", sorted(REGISTRY))
def test_inside_a_compiled_function(name):
    import tensorflow as tf

    entry = REGISTRY[name]
    eager = draw(entry.make(), entry.shape)
    # The graph optimizer may contract products and sums, which moves the last bits.
    np.testing.assert_allclose(tf.function(lambda: entry.make()(entry.shape))(), eager, rtol=1e-5, atol=5e-6)


@tensorflow_only
@pytest.mark.parametrize("name", ["HeNormal", "RandomNormal", "GlorotUniform", "LSTMForgetBias", "Orthogonal"])
def test_under_xla(name):
    """TensorFlow gives other random numbers there, of the same law; a seed repeats them."""
    import tensorflow as tf

    entry = REGISTRY[name]
    if name == "Orthogonal":
        entry = type(entry)(entry.cls, {**entry.example, "method": "qr"}, entry.shape)
    compiled = tf.function(lambda: entry.make()(entry.shape), jit_compile=True)
    values, eager = compiled().numpy(), draw(entry.make(), entry.shape)
    assert (values == compiled().numpy()).all()
    assert values.std() == pytest.approx(eager.std(), rel=0.3)


@tensorflow_only
@pytest.mark.parametrize("method", ["qr", "svd", "gaussian"])
def test_orthogonal_inside_a_graph(method):
    import tensorflow as tf

    traced = tf.function(lambda: Orthogonal(seed=1, method=method)((6, 4)))
    np.testing.assert_allclose(traced(), draw(Orthogonal(seed=1, method=method), (6, 4)), atol=5e-6)
