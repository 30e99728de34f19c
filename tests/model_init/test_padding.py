"""What zero padding takes from a convolution, counted by the layer itself, and what `"auto"` makes of it."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.padding import met_shares
from keras_initlab.model_init.reinitialize import reinitialize

layers = keras.layers
CASES = {
    "image": (layers.Conv2D, (8, 8, 3), {"kernel_size": 3}),
    "even kernel": (layers.Conv2D, (7, 5, 2), {"kernel_size": (4, 2)}),
    "strides": (layers.Conv2D, (9, 8, 2), {"kernel_size": 3, "strides": (2, 3)}),
    "dilation": (layers.Conv1D, (11, 2), {"kernel_size": 3, "dilation_rate": 2}),
    "causal": (layers.Conv1D, (9, 2), {"kernel_size": 4, "padding": "causal"}),
    "volume": (layers.Conv3D, (4, 5, 3, 2), {"kernel_size": 3}),
    "kernel larger than the image": (layers.Conv2D, (2, 3, 2), {"kernel_size": 5}),
    "groups": (layers.Conv2D, (6, 6, 4), {"kernel_size": 3, "groups": 2}),
    "depthwise": (layers.DepthwiseConv2D, (8, 6, 3), {"kernel_size": 3}),
    "separable": (layers.SeparableConv1D, (8, 3), {"kernel_size": 3}),
}


def model_of(case):
    cls, shape, arguments = CASES[case]
    arguments = {"padding": "same", **arguments}
    if "Depthwise" not in cls.__name__:
        arguments["filters"] = 4
    return keras.Sequential([keras.Input(shape), cls(**arguments)])


@pytest.mark.parametrize("case", CASES)
def test_shares_are_what_a_kernel_of_ones_counts(case):
    model = model_of(case)
    layer = model.layers[0]
    ones = [np.ones(weight.shape) if "bias" not in weight.name else np.zeros(weight.shape) for weight in layer.weights]
    layer.set_weights(ones)
    counted = keras.ops.convert_to_numpy(model(np.ones((1, *model.input_shape[1:]))))
    inside = (
        np.prod(layer.weights[0].shape[:-1]) if "Depthwise" not in type(layer).__name__ else np.prod(layer.kernel_size)
    )
    np.testing.assert_allclose(met_shares(trace(model))[id(layer)], counted.mean() / inside, rtol=1e-6)


def test_nothing_is_padded_or_a_size_is_not_known():
    valid = keras.Sequential([keras.Input((8, 8, 3)), layers.Conv2D(4, 3)])
    open_ = keras.Sequential([keras.Input((None, None, 3)), layers.Conv2D(4, 3, padding="same")])
    assert met_shares(trace(valid)) == {}
    assert list(met_shares(trace(open_)).values()) == [1.0]


@pytest.mark.parametrize("case", CASES)
def test_auto_makes_up_for_it(case):
    model = model_of(case)
    x = np.random.default_rng(0).standard_normal((4096, *model.input_shape[1:])).astype("float32")
    square = []
    for seed in range(12):
        reinitialize(model, "auto", seed=seed)
        square.append(float(np.mean(keras.ops.convert_to_numpy(model(x)).astype("float64") ** 2)))
    # Over kernels and examples; what the kernels scatter is in the scatter of the twelve.
    error = np.std(square, ddof=1) / np.sqrt(len(square)) + np.sqrt(2 / x.size)
    assert abs(np.mean(square) - 1) < 5 * error
    share = next(iter(met_shares(trace(model)).values()))
    assert abs(share * np.mean(square) - 1) > 5 * error or share > 0.9  # without it the same band tells
