"""A rule of propagation against the layer itself, run on draws of what goes in."""

import keras
import numpy as np

from keras_initlab.model_init.graph import trace
from keras_initlab.model_init.moments.rules import Moments, rule_for

# Of a few hundred elements none lies further from the truth than this many standard errors, in a thousand runs.
SIGMAS = 5.5


def uneven(shape, seed=0, mean=1.0, low=0.3, high=2.0):
    """Moments that differ from element to element."""
    rng = np.random.default_rng(seed)
    return Moments(mean * rng.normal(size=shape), rng.uniform(low, high, shape))


def even(shape, mean=0.0, variance=1.0):
    return Moments(np.full(shape, float(mean)), np.full(shape, float(variance)))


def draw(moments, count, rng, function=None):
    x = rng.normal(moments.mean, np.sqrt(moments.variance), (count, *moments.mean.shape))
    return x if function is None else function(x)


def the_call(outputs, inputs):
    """The last call of the model between these tensors."""
    return trace(keras.Model(inputs, outputs)).calls[-1]


def predict(call, inputs):
    found = rule_for(call.operation)
    assert found is not None, f"{type(call.operation).__name__} has no rule"
    return found(call, inputs)


def predicted_and_sampled(apply, inputs, count=50_000, block=None, function=None, seed=1):
    """The rule's moments, and those of the layer in training mode on ``count`` draws (mean, variance, both errors).

    Args:
        apply: Takes the symbolic inputs and returns the output of one layer.
        inputs: Moments of each.
        block: Draws at a time; all at once for layers whose output depends on the batch.
        function: Applied to the normal draws; the rule is given what ``predict`` should get by the caller.
    """
    symbolic = [keras.Input(x.mean.shape) for x in inputs]
    model = keras.Model(symbolic, apply(*symbolic))
    found = predict(trace(model).calls[-1], inputs)
    rng = np.random.default_rng(seed)
    block = block or count
    powers = 0.0
    for _ in range(count // block):
        x = [draw(m, block, rng, function).astype("float32") for m in inputs]
        y = keras.ops.convert_to_numpy(model(x, training=True)).astype("float64") - (found.mean)
        powers = powers + np.stack([(y**k).sum(0) for k in (1, 2, 3, 4)])
    first, second, third, fourth = powers / (count // block * block)
    variance = second - first**2
    central = fourth - 4 * third * first + 6 * second * first**2 - 3 * first**4
    errors = np.sqrt(variance / count), np.sqrt(np.maximum(central - variance**2, 0) / count)
    mean = first + (found.mean)
    return found, Moments(mean, variance), errors


def check(apply, inputs, *, slack=0.0, **options):
    """Mean and variance of every element within the errors of the draws, and ``slack`` times the deviation itself."""
    found, measured, (mean_error, variance_error) = predicted_and_sampled(apply, inputs, **options)
    assert found.mean.shape == found.variance.shape == measured.mean.shape
    deviation = np.sqrt(measured.variance)
    # Draws are computed in float32.
    rounding = 1e-5 * (np.abs(measured.mean) + deviation) + 1e-7
    excess = np.abs(found.mean - measured.mean) - SIGMAS * mean_error - rounding
    assert (excess <= slack * deviation).all(), (found.mean, measured.mean)
    excess = np.abs(found.variance - measured.variance) - SIGMAS * variance_error - rounding * deviation - 1e-10
    assert (excess <= slack * measured.variance).all(), (found.variance, measured.variance)
    return found
