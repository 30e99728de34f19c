"""Inside Keras's layers: what Keras's own initializers do there, and what these do."""

import keras
import numpy as np
import pytest
from laws import FLOATS, assert_std, numbers
from test_laws import scaled

from keras_initlab.initializers import REGISTRY, HeNormal, Orthogonal, VarianceScaling

# The laws for any kernel that Keras has under the same name; Identity takes matrices only.
KERNELS = sorted(name for name in REGISTRY if hasattr(keras.initializers, name) and name != "Identity")
FAN_AWARE = sorted(name for name in KERNELS if issubclass(REGISTRY[name].cls, VarianceScaling))


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("by_string", [False, True])
def test_attention_and_einsum_layers_build(name, by_string):
    kernel = f"keras_initlab>{name}" if by_string else REGISTRY[name].cls(seed=1)
    attention = keras.layers.MultiHeadAttention(2, 4, kernel_initializer=kernel)
    attention.build((None, 3, 8), (None, 3, 8))
    grouped = keras.layers.GroupQueryAttention(4, 4, 2, kernel_initializer=kernel)
    grouped.build((None, 3, 8), (None, 3, 8))
    einsum = keras.layers.EinsumDense("abc,cd->abd", output_shape=(None, 6), kernel_initializer=kernel)
    einsum.build((None, 3, 8))
    for layer in (attention, grouped, einsum):
        assert all(np.isfinite(numbers(weight)).all() for weight in layer.weights)


@pytest.mark.parametrize("name", FAN_AWARE)
def test_einsum_dense_hands_on_its_axes(name):
    """Output projection of 8 heads: fan-in 8·16, fan-out 64, where the convention would say 8·16 and 8·64."""
    entry = REGISTRY[name]
    layer = keras.layers.EinsumDense("abnd,nde->abe", (None, 64), kernel_initializer=entry.cls(seed=2))
    layer.build((None, 5, 8, 16))
    initializer = entry.cls()
    fan = {"fan_in": 128, "fan_out": 64, "fan_avg": 96}[initializer.mode]
    assert_std(numbers(layer.kernel), scaled(initializer.distribution, initializer.scale / fan))


def test_one_declared_list_of_axes_is_not_ignored():
    shape = (16, 64, 32)
    ours = numbers(VarianceScaling(seed=1, input_axes=[2])(shape))
    assert_std(ours, scaled("truncated_normal", 1 / 32))
    theirs = numbers(keras.initializers.VarianceScaling(seed=1, input_axes=[2])(shape))
    assert_std(theirs, scaled("truncated_normal", 1 / (16 * 64)))


def test_axes_that_are_neither_are_the_receptive_field():
    ours = VarianceScaling(seed=1, input_axes=[-2], output_axes=[-1])((3, 3, 64, 32))
    assert_std(ours, scaled("truncated_normal", 1 / (9 * 64)))
    theirs = keras.initializers.VarianceScaling(seed=1, input_axes=[-2], output_axes=[-1])((3, 3, 64, 32))
    assert_std(theirs, scaled("truncated_normal", 1 / 64))


@pytest.mark.parametrize("dtype", FLOATS)
def test_lstm_with_orthogonal_builds_in_every_dtype(dtype):
    layer = keras.layers.LSTM(8, dtype=dtype, recurrent_initializer=Orthogonal(seed=1), kernel_initializer=HeNormal(1))
    layer.build((None, 3, 4))
    assert keras.backend.standardize_dtype(layer.cell.recurrent_kernel.dtype) == dtype


def test_keras_cannot_build_that_lstm():
    with pytest.raises(Exception, match=r"(?i)bfloat16|Could not find"):
        keras.layers.LSTM(8, dtype="bfloat16", recurrent_initializer="orthogonal").build((None, 3, 4))


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_law_as_keras_under_the_same_name(name):
    """A reader who changes the import gets the law that the name had."""
    ours = numbers(REGISTRY[name].cls(seed=1)((300, 200)))
    theirs = numbers(getattr(keras.initializers, name)(seed=1)((300, 200)))
    # Two independent samples: the error of the ratio is √2 times that of each, at most √(2 · (3 − 1) / (4n)).
    assert ours.std() / theirs.std() == pytest.approx(1.0, abs=5 / np.sqrt(ours.size))
