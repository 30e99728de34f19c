"""What cannot be done is told, and leaves every bit as it was."""

import keras
import numpy as np
import pytest

from keras_initlab.model_init.reinitialize import reinitialize
from tests.model_init.drawing import bits, layers, sequential

L = layers


def trained(optimizer="adam"):
    model = sequential((4,), L.Dense(5, "relu"), L.BatchNormalization(), L.Dense(3, name="middle"), L.Dense(1))
    model.compile(optimizer, "mse")
    model.optimizer.apply([keras.ops.ones_like(v) for v in model.trainable_variables], model.trainable_variables)
    return model


class OnTheThird:
    """An initializer that goes wrong at its third weight."""

    def __init__(self, what):
        self.what, self.calls = what, 0

    def __call__(self, shape, dtype=None):
        self.calls += 1
        values = keras.ops.ones(shape, dtype)
        return values if self.calls < 3 else self.what(shape, values)


def raise_it(shape, values):
    raise RuntimeError("the disk is full.")


def nan(shape, values):
    return keras.ops.where(keras.ops.arange(shape[0])[:, None] == 0, np.nan, values)


THIRD = r"^The law of 'dense_1/kernel' \(OnTheThird\) "
WRONG = {
    "raises": (raise_it, THIRD + r"cannot draw its shape \(3, 1\): the disk is full\. No weight has changed\.$"),
    "NaN": (
        nan,
        THIRD + r"must give finite values of shape \(3, 1\)\. Received: NaN or infinity in shape \(3, 1\)\. M",
    ),
    "infinity": (lambda shape, values: values / 0.0, THIRD + r"must give finite values .*NaN or infinity in"),
    "shape": (
        lambda shape, values: keras.ops.transpose(values),
        THIRD
        + r"must give finite values of shape \(3, 1\)\. Received: shape \(1, 3\)\. Mend the initializer; no weight",
    ),
    "one number": (lambda shape, values: 1.0, THIRD + r"must give finite .* Received: shape \(\)\."),
    "nothing": (lambda shape, values: None, THIRD + r"cannot draw its shape \(3, 1\): .* No weight has changed"),
}
# What is wrong, the message.
ARGUMENTS = {
    "scheme": ({"scheme": "hee"}, r"^Argument `scheme` must be one of configured, auto, .* Received: scheme='hee'"),
    "scheme None": ({"scheme": None}, r"^Argument `scheme` must be one of .* Received: scheme=None"),
    "scheme of a list": ({"scheme": ["he"]}, r"^Argument `scheme` must be one of .* Received: scheme=\['he'\]"),
    "optimizer": (
        {"optimizer": "drop"},
        r'^Argument `optimizer` must be "reset" or "keep"\. Received: optimizer=\'drop',
    ),
    "nothing chosen": (
        {"only": "attention"},
        r"^Argument `only` chooses none of the weights\. Received: only='attention'\. There are: dense/kernel, ",
    ),
    "nothing chosen by a callable": ({"only": lambda weight: False}, r"^Argument `only` chooses none of the weights"),
    "no regular expression": (
        {"only": "("},
        r"^Argument `only` must be a regular expression\. Received: '\(': missing",
    ),
    "no filter": ({"only": 3}, r"^Argument `only` must be a regular expression, a callable or None\. Received: only=3"),
    "a filter that raises": ({"only": lambda weight: int(weight.place)}, "invalid literal"),
    "a negative seed": ({"seed": -1}, r"^Argument `seed` must be None, a whole number from 0 .* Received: seed=-1"),
    "an array of another shape": (
        {"scheme": np.ones((2, 2))},
        r"^The law of 'dense/kernel' .* its shape \(4, 5\): .*\(2, 2\)",
    ),
}


class TestNothingHasChanged:
    def assert_refused(self, message, error=ValueError, model=None, **arguments):
        model = model or trained()
        before = bits(model)
        with pytest.raises(error, match=message):
            reinitialize(model, **arguments)
        assert bits(model) == before

    @pytest.mark.parametrize(("what", "message"), WRONG.values(), ids=WRONG.keys())
    def test_an_initializer_that_goes_wrong_on_the_third_weight(self, what, message):
        self.assert_refused(message, scheme=OnTheThird(what))

    @pytest.mark.parametrize(("arguments", "message"), ARGUMENTS.values(), ids=ARGUMENTS.keys())
    def test_arguments(self, arguments, message):
        self.assert_refused(message, **arguments)

    @pytest.mark.parametrize("seed", [1.0, "0", True, [1]])
    def test_a_seed_of_another_kind(self, seed):
        self.assert_refused("^Argument `seed` must be None, a whole number", TypeError, seed=seed)

    def test_an_optimizer_that_cannot_be_made_again(self):
        """The weights were assigned already, and are put back."""

        class Scheduled(keras.optimizers.Adam):
            @classmethod
            def from_config(cls, config):
                raise TypeError("needs a schedule")

        self.assert_refused("needs a schedule", TypeError, trained(Scheduled()))

    def test_the_layers_own_initializer(self):
        """Made for one shape, given to a layer of another through its configuration."""
        model = sequential((4,), L.Dense(2), L.Dense(3, name="odd"))
        model.layers[1].kernel_initializer = keras.initializers.get(np.ones((4, 4)))
        before = bits(model)
        with pytest.raises(
            ValueError, match=r"^The law of 'odd/kernel' .* cannot draw its shape \(2, 3\): .*No weight"
        ):
            reinitialize(model)
        assert bits(model) == before


class TestModels:
    def test_not_built(self):
        with pytest.raises(
            ValueError, match=r"^Argument `model` must be built.*Call model\.build\(input_shape\), or call"
        ):
            reinitialize(keras.Sequential([L.Dense(3)]))

    def test_without_weights(self):
        model = sequential((4,), L.ReLU(), L.Flatten())
        with pytest.raises(ValueError, match=rf"^Argument `model` must have weights\. Received: '{model.name}'"):
            reinitialize(model)

    @pytest.mark.parametrize("model", [None, 3, "model", [1]])
    def test_no_model(self, model):
        with pytest.raises(TypeError, match=r"^Argument `model` must be a Keras model\. Received: "):
            reinitialize(model)
