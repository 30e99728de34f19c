"""Identity matrices: what they hold, and what layers do with them."""

import keras
import numpy as np
import pytest

from keras_initlab.initializers import Identity


def matrix(initializer, shape, dtype=None):
    """In the dtype or, if that is narrower, in float32, without loss."""
    values = initializer(shape, dtype=dtype)
    return keras.ops.convert_to_numpy(values if dtype == "float64" else keras.ops.cast(values, "float32"))


@pytest.mark.parametrize("shape", [(4, 4), (3, 5), (5, 3), (1, 4), (4, 1), (0, 3), (3, 0)])
@pytest.mark.parametrize("gain", [1.0, -0.25, 0.0])
def test_every_entry(shape, gain):
    rows, columns = shape
    expected = [[gain if row == column else 0.0 for column in range(columns)] for row in range(rows)]
    assert np.array_equal(matrix(Identity(gain), shape), np.array(expected).reshape(shape))


@pytest.mark.parametrize("dtype", ["float8_e4m3fn", "float16", "bfloat16", "float32"])
def test_every_dtype(dtype):
    values = Identity(gain=1.5)((3, 2), dtype=dtype)
    assert keras.backend.standardize_dtype(values.dtype) == dtype
    assert matrix(Identity(1.5), (3, 2), dtype).tolist() == [[1.5, 0.0], [0.0, 1.5], [0.0, 0.0]]


@pytest.mark.skipif(keras.backend.backend() == "jax", reason="JAX has float64 only where it is switched on.")
def test_float64_takes_the_gain_with_all_its_digits():
    assert matrix(Identity(0.1), (2, 2), "float64").tolist() == [[0.1, 0.0], [0.0, 0.1]]


@pytest.mark.parametrize("units", [3, 5, 8])
def test_dense_passes_its_input_on(units):
    x = np.random.default_rng(0).normal(size=(4, 5)).astype("float32")
    y = keras.ops.convert_to_numpy(keras.layers.Dense(units, kernel_initializer=Identity(2.0))(x))
    shared = min(units, 5)
    assert np.array_equal(y[:, :shared], 2 * x[:, :shared])
    assert not y[:, shared:].any()


@pytest.mark.parametrize(("gain", "kept"), [(1.0, 1.0), (0.5, 0.5**7)])
def test_a_recurrent_layer_of_relu_units_keeps_its_state(gain, kept):
    """After 7 steps without input the state is gain⁷ times what it was; powers of 2 are exact."""
    layer = keras.layers.SimpleRNN(
        3, activation="relu", kernel_initializer="zeros", recurrent_initializer=Identity(gain), use_bias=False
    )
    state = np.array([[0.5, 1.25, 3.0]], "float32")
    after = keras.ops.convert_to_numpy(layer(np.ones((1, 7, 2), "float32"), initial_state=state))
    assert np.array_equal(after, state * kept)


def test_of_a_fused_recurrent_kernel_only_the_first_gate_is_filled():
    gates = matrix(Identity(), (3, 12)).reshape(3, 4, 3)
    assert np.array_equal(gates[:, 0], np.eye(3))
    assert not gates[:, 1:].any()


@pytest.mark.parametrize("shape", [(), (4,), (2, 3, 3), (3, 3, 4, 4)])
def test_other_ranks_are_refused(shape):
    with pytest.raises(ValueError, match=r"Identity needs a shape with two axes. Received: shape=\(.*Use Dirac for"):
        Identity()(shape)
