"""Greedy layer-wise pre-training: each hidden layer learns to keep what it gets, before the task is known."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np

from keras_initlab.initializers.arguments import Count
from keras_initlab.model_init.autoencoder import Autoencoder
from keras_initlab.model_init.graph import check_built
from keras_initlab.model_init.hidden_layers import hidden_layers
from keras_initlab.model_init.layer_inputs import inputs_of, to_arrays
from keras_initlab.model_init.progress import progress_bar
from keras_initlab.model_init.report import Report
from keras_initlab.model_init.roles import own_weights
from keras_initlab.theory.checks import number

__all__ = ["pretrain"]

_COLUMNS = ["layer", "shape", "epochs", "loss_before", "loss_after"]


def pretrain(
    model: Any,
    x: Any,
    *,
    epochs: int = 10,
    batch_size: int = 32,
    learning_rate: float = 0.01,
    seed: int = 0,
    verbose: Any = "auto",
) -> Report:
    """Trains the hidden layers of a model one after the other, each as an autoencoder of what it gets.

    For the layers in the order of execution: the layer's input h is computed for all of ``x`` through the layers before
    it, which are trained already; then the layer's own kernel and bias, and a decoder that is thrown away, are trained
    by Adam to give h back from the layer's output. The decoder is a sigmoid layer under cross-entropy where h lies in
    [0, 1], and a linear one under mean squares elsewhere. Afterwards the model is ready to be trained on its task.

    Dense layers and convolutions (separable and depthwise too) are pre-trained, wherever they are in the model; one
    that is shared once, on the inputs of all its calls. An activation that stands behind the layer counts to it. The
    heads are not: the last layers with weights before each output. All other weights, and what the model was compiled
    with, stay as they are; BatchNormalization and dropout run in inference mode.

    Args:
        model: A built Keras model: Sequential, functional, subclassed or nested.
        x: Inputs of the model, without targets: an array, a list or dictionary of arrays, or a ``tf.data.Dataset`` of
            batches. The inputs of one layer at a time are held in memory for all of it.
        epochs: Passes over ``x`` for each layer, at least 1. By default 10, after which six sigmoid layers reconstruct
            small images to within 10 % of their variance.
        batch_size: Examples for each step, at least 1. By default 32, as in ``fit``.
        learning_rate: Of Adam, above 0. By default 0.01, ten times Keras's: one layer and its decoder are a shallow
            network, and small weights have far to go.
        seed: A whole number from 0, of the decoders' kernels and of the order of the examples. No global random state
            is read or changed.
        verbose: ``"auto"`` for a progress bar where there is a terminal or notebook, 1 to show it anyway, 0 for none.

    Returns:
        A Report with a row for each layer in the order of training: ``layer``, ``shape`` of its kernel, ``epochs``, and
        ``loss_before`` and ``loss_after``: mean square error of the reconstruction divided by the variance of h around
        the mean of each feature, so that 1 is a decoder that always says the mean. Its notes name the layers with
        weights that were left out, and why.

    Raises:
        TypeError: An argument is of the wrong kind.
        ValueError: The model is not built or has no hidden layer to be trained; ``x`` does not fit it, is empty or has
            values that are NaN or infinite; another argument is out of range; or a loss is no longer finite. All
            weights are then what they were.

    Reference:
        Hinton & Salakhutdinov (2006), Reducing the dimensionality of data with neural networks. Bengio, Lamblin,
        Popovici & Larochelle (2007), Greedy layer-wise training of deep networks.

    Example:
        >>> model = keras.Sequential([keras.Input((4,))])
        >>> for units in (3, 2):
        ...     model.add(keras.layers.Dense(units, activation="sigmoid"))
        >>> x = np.eye(4, dtype="float32").repeat(16, axis=0)
        >>> report = pretrain(model, x)
        >>> [row["layer"] for row in report], report["dense"]["loss_after"] < report["dense"]["loss_before"]
        (['dense'], True)
    """
    epochs, batch_size = Count().check("epochs", epochs), Count().check("batch_size", batch_size)
    rate = number("learning_rate", learning_rate, 1e-12, 1e3)
    seed = Count(low=0, high=2**32 - 1).check("seed", seed)
    if verbose not in ("auto", 0, 1):
        raise ValueError(f'Argument `verbose` must be "auto", 0 or 1. Received: verbose={verbose!r}.')
    check_built(model)
    x = to_arrays(x)
    with _weights_put_back(model) as trained:
        layers, notes = hidden_layers(model, keras.tree.map_structure(lambda array: array[:batch_size], x))
        rows = []
        with progress_bar(verbose) as progress:
            task = progress.add_task("", total=len(layers) * epochs)
            for index, hidden in enumerate(layers):
                progress.update(task, description=f"Pre-training {hidden.place}", completed=index * epochs)
                h = inputs_of(model, hidden.layer, x, hidden.calls, batch_size)
                autoencoder = Autoencoder(hidden.layer, hidden.after, h, seed)
                if autoencoder.constant:
                    notes.append(f"Left out: {hidden.place}, since its input is the same for every example.")
                    continue
                before = autoencoder.relative_error(h, batch_size)
                order = np.random.default_rng((seed, index))
                for passes, loss in autoencoder.learn(h, epochs, batch_size, rate, order):
                    _finite(loss, hidden.place)
                    progress.advance(task, passes)
                after = _finite(autoencoder.relative_error(h, batch_size), hidden.place)
                if after >= before:
                    notes.append(f"{hidden.place}: the loss did not fall. Lower `learning_rate`, or raise `epochs`.")
                rows.append(
                    dict(zip(_COLUMNS, (hidden.place, _shape(hidden.layer), epochs, before, after), strict=True))
                )
                trained.extend(hidden.layer.trainable_variables)
        if not rows:
            raise ValueError(f"Argument `x` must differ from example to example. {' '.join(notes)}")
    return Report("Greedy layer-wise pre-training", _COLUMNS, rows, notes)


def _finite(loss: float, place: str) -> float:
    if not np.isfinite(loss):
        raise ValueError(
            f"The reconstruction loss of layer {place!r} has become {loss}. All weights are put back. "
            "Lower `learning_rate`, or bring `x` to zero mean and unit variance."
        )
    return loss


def _shape(layer: Any) -> str:
    return str(next(tuple(weight.variable.shape) for weight in own_weights(layer) if weight.role.kind == "kernel"))


@contextlib.contextmanager
def _weights_put_back(model: Any) -> Iterator[list[Any]]:
    """Puts back all variables but those in the list that is given, and on an error those too."""
    # Of a copy, since TensorFlow's own variables make NumPy 2 warn.
    saved = [(variable, keras.ops.convert_to_numpy(keras.ops.copy(variable))) for variable in model.variables]
    kept: list[Any] = []
    try:
        yield kept
    except BaseException:
        kept.clear()
        raise
    finally:
        changed = {id(variable) for variable in kept}
        for variable, value in saved:
            if id(variable) not in changed:
                variable.assign(value)
