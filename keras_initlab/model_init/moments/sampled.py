"""What no rule covers is measured: normal values are sent through the layer itself, forwards or backwards."""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from keras_initlab.model_init.graph import Call, Value
from keras_initlab.model_init.moments.rules import Moments, weights

__all__ = ["measured", "pulled_back", "vector_product"]

Array = NDArray[np.float64]
Inputs = Mapping[Value, Moments]

# Values of the largest tensor held at once, examples in a run, and examples in all at least.
_AT_ONCE, _LARGEST, _SMALLEST, _EXAMPLES = 2**22, 4096, 16, 512


def measured(calls: Sequence[Call], inputs: Inputs, sizes: int = 0) -> tuple[list[Moments], int]:
    """Moments of the outputs of the last of several calls, from normal inputs with independent elements.

    Layers run as in training. Variables, seeds and moving statistics stay as they are: what the run assigns to them is
    kept in a scope of its own and dropped with it. The draws depend on the place alone.

    Args:
        calls: In order; what they take is made by one of them or is among the inputs.
        inputs: Moments of the values they begin with.
        sizes: Elements of the largest tensor between, if it is larger than the inputs. Default 0.

    Returns:
        The moments of each output, and the number of examples that were sent.
    """
    batch, runs = _plan(inputs, sizes)
    generator = _generator(calls[-1])
    sums: list[Array] | None = None
    for _ in range(runs):
        with keras.StatelessScope(weights().replaced()):
            outputs = _run(calls, {value: _draw(value, inputs[value], batch, generator) for value in inputs})
        parts = [part for output in outputs for part in _powers(output)]
        sums = parts if sums is None else [total + part for total, part in zip(sums, parts, strict=True)]
    means = [total / runs for total in sums or []]
    pairs = zip(means[::2], means[1::2], strict=True)
    return [Moments(first, np.maximum(second - first**2, 0.0)) for first, second in pairs], batch * runs


def _plan(inputs: Inputs, sizes: int) -> tuple[int, int]:
    largest = max([sizes, 1, *(moments.mean.size for moments in inputs.values())])
    batch = int(np.clip(_AT_ONCE // largest, _SMALLEST, _LARGEST))
    return batch, -(-_EXAMPLES // batch)


def _generator(call: Call) -> np.random.Generator:
    return np.random.default_rng(zlib.crc32(call.place.encode()))


def _draw(value: Value, moments: Moments, batch: int, generator: np.random.Generator) -> Any:
    """Normal where there are moments; of indices 0 and 1, which any table has; of masks true."""
    shape = (batch, *moments.mean.shape)
    if value.dtype == "bool":
        drawn: Any = np.ones(shape, bool)
    elif not keras.backend.is_float_dtype(value.dtype):
        drawn = generator.integers(0, 2, shape)
    else:
        drawn = moments.mean + np.sqrt(moments.variance) * generator.standard_normal(shape)
        drawn = drawn.astype("float32")
    return keras.ops.cast(keras.ops.convert_to_tensor(drawn), value.dtype)


def _run(calls: Sequence[Call], values: dict[Value, Any]) -> list[Any]:
    """The outputs of the last call."""
    outputs: list[Any] = []
    for call in calls:
        args, kwargs = keras.tree.map_structure(
            lambda leaf: values[leaf] if isinstance(leaf, Value) else leaf, (call.args, call.kwargs)
        )
        # The trace was made without training, and a functional model's own argument goes before what a node says.
        if getattr(call.operation, "_call_has_training_arg", False):
            kwargs["training"] = True
        outputs = keras.tree.flatten(call.operation(*args, **kwargs))
        values.update(zip(call.outputs, outputs, strict=True))
    return outputs


def _powers(output: Any) -> tuple[Array, Array]:
    """Means of a batch of values and of their squares; of what is no number NaN."""
    if not keras.backend.is_float_dtype(keras.backend.standardize_dtype(output.dtype)):
        nothing = np.full(tuple(output.shape)[1:], np.nan)
        return nothing, nothing
    values = np.asarray(keras.ops.convert_to_numpy(keras.ops.cast(output, "float32")), "float64")
    return values.mean(0), (values**2).mean(0)


def pulled_back(
    call: Call, inputs: Sequence[Moments], squares: Sequence[Array], before: Callable[[Any], Any] | None = None
) -> list[Array]:
    """Mean squares of the gradients that a call gives to its inputs, from independent normal gradients at its outputs.

    Args:
        call: The call.
        inputs: Moments of its inputs.
        squares: Mean square of the gradient of every element of each output.
        before: A function that the inputs go through first; then the gradients are those of what goes into it.

    Returns:
        A map for each input; of a value that comes twice, the second is 0.
    """
    given = dict(zip(call.inputs, inputs, strict=True))
    batch, runs = _plan(given, max(square.size for square in squares))
    generator = _generator(call)
    floats = [value for value in given if keras.backend.is_float_dtype(value.dtype)]
    totals = {value: np.zeros(moments.mean.shape) for value, moments in given.items()}

    def gradient(output: Any, square: Array) -> Any:
        drawn = np.sqrt(square) * generator.standard_normal(tuple(output.shape))
        return keras.ops.cast(keras.ops.convert_to_tensor(drawn.astype("float32")), output.dtype)

    for _ in range(runs):
        values = {value: _draw(value, given[value], batch, generator) for value in given}

        def forward(*tensors: Any, values: dict[Value, Any] = values) -> list[Any]:
            drawn = dict(zip(floats, tensors if before is None else map(before, tensors), strict=True))
            outputs = _run([call], {**values, **drawn})
            return [x for x in outputs if keras.backend.is_float_dtype(keras.backend.standardize_dtype(x.dtype))]

        with keras.StatelessScope(weights().replaced()):
            found = vector_product(
                forward,
                [values[value] for value in floats],
                lambda outputs: [gradient(output, square) for output, square in zip(outputs, squares, strict=True)],
            )
        for value, x in zip(floats, found, strict=True):
            if x is not None:
                totals[value] += _powers(x)[1] / runs
    return [totals.pop(value, np.zeros(())) for value in call.inputs]


def vector_product(forward: Any, tensors: list[Any], gradients: Any) -> list[Any]:
    """The product of the gradients at the outputs with the Jacobian, by the backend's own differentiation.

    Args:
        forward: Takes the tensors and gives a list of outputs.
        tensors: Where.
        gradients: Takes the outputs and gives their gradients.
    """
    backend = keras.backend.backend()
    if backend == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(tensors)
            outputs = forward(*tensors)
        found = tape.gradient(outputs, tensors, output_gradients=gradients(outputs))
        return [None if x is None else tf.convert_to_tensor(x) for x in found]
    if backend == "jax":
        import jax

        outputs, pull = jax.vjp(forward, *tensors)
        return list(pull(gradients(outputs)))
    import torch  # type: ignore[import-not-found,unused-ignore]

    tensors = [tensor.detach().requires_grad_() for tensor in tensors]
    outputs = forward(*tensors)
    return list(torch.autograd.grad(outputs, tensors, gradients(outputs), allow_unused=True))
