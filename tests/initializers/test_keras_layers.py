"""Inside Keras's layers: every law builds there, and is the one that Keras has under its name."""

import keras
import numpy as np
import pytest
from laws import assert_std, numbers
from test_laws import scaled

from keras_initlab.initializers import REGISTRY, VarianceScaling

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


@pytest.mark.parametrize("name", KERNELS)
def test_the_same_law_as_keras_under_the_same_name(name):
    """A reader who changes the import gets the law that the name had."""
    ours = numbers(REGISTRY[name].cls(seed=1)((300, 200)))
    theirs = numbers(getattr(keras.initializers, name)(seed=1)((300, 200)))
    # Two independent samples: the error of the ratio is √2 times that of each, at most √(2 · (3 − 1) / (4n)).
    assert ours.std() / theirs.std() == pytest.approx(1.0, abs=5 / np.sqrt(ours.size))
