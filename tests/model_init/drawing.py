"""What the tests of drawn models share: weights as numbers and as bits, models of every kind, white inputs."""

import keras
import numpy as np

from keras_initlab.model_init.places import placed_weights
from tests.initializers.laws import numbers

layers = keras.layers


def weights(model):
    """Every weight by its place, float64."""
    return {weight.place: numbers(weight.variable) for weight in placed_weights(model)}


def kernels(model):
    """The drawn ones: what is multiplied with something."""
    roles = {weight.place: weight.role.kind for weight in placed_weights(model)}
    return {place: value for place, value in weights(model).items() if roles[place].endswith("kernel")}


def bits(model):
    """Every variable of a model and its optimizer, seeds and metrics too, as bytes."""
    variables = [*model.variables, *getattr(getattr(model, "optimizer", None), "variables", [])]
    return [keras.ops.convert_to_numpy(variable).tobytes() for variable in variables]


def sequential(shape, *stack):
    return keras.Sequential([keras.Input(shape), *stack])


def correlation(a, b):
    """Of what both have, as far as the smaller reaches."""
    size = min(a.size, b.size)
    return np.corrcoef(a.ravel()[:size], b.ravel()[:size])[0, 1]


def white(shape, seed=1):
    """Independent standard normal numbers."""
    return np.random.default_rng(seed).standard_normal(shape).astype("float32")
