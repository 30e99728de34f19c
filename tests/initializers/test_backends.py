"""The backend that was asked for is the one that is tested, and an initializer compiles in it."""

import os

import keras
import numpy as np
import pytest
from laws import numbers

from keras_initlab.initializers import REGISTRY

BACKEND = keras.backend.backend()
jax_only = pytest.mark.skipif(BACKEND != "jax", reason="of JAX alone")
NAMES = sorted(REGISTRY)


def test_the_backend_is_the_one_that_was_asked_for():
    assert os.environ.get("KERAS_BACKEND", "tensorflow") == BACKEND
    drawn = REGISTRY["RandomNormal"].make()((2, 3))
    assert type(drawn).__module__.split(".")[0] == {"tensorflow": "tensorflow", "jax": "jaxlib"}.get(BACKEND, BACKEND)


@pytest.mark.parametrize("name", NAMES)
def test_every_initializer_draws(name):
    entry = REGISTRY[name]
    drawn = entry.make()(entry.shape, dtype="bfloat16")
    assert tuple(drawn.shape) == entry.shape
    assert keras.backend.standardize_dtype(drawn.dtype) == "bfloat16"
    assert np.isfinite(numbers(drawn)).all()


@pytest.mark.parametrize("name", NAMES)
def test_in_a_stateless_scope(name):
    """As a functional program builds its variables: no state is touched, and the values are the same."""
    entry = REGISTRY[name]
    variable = keras.Variable(entry.make(), shape=entry.shape)
    with keras.StatelessScope(initialize_variables=True):
        inside = keras.Variable(entry.make(), shape=entry.shape)
    assert np.array_equal(numbers(inside.value), numbers(variable.value))


@jax_only
@pytest.mark.parametrize("name", NAMES)
def test_under_jit(name):
    """As Keras compiles the call under a distribution: by these names, shape and dtype static."""
    import jax

    entry = REGISTRY[name]
    initializer = entry.make()
    compiled = jax.jit(initializer.__call__, static_argnames=["shape", "dtype"])
    drawn = numbers(compiled(shape=entry.shape, dtype="float32"))
    # The compiler may contract products and sums, which moves the last bits.
    np.testing.assert_allclose(drawn, numbers(initializer(entry.shape)), rtol=1e-5, atol=5e-6)
